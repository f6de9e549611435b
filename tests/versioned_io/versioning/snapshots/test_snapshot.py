"""Reading one commit."""

import io
import random

import pytest
from blake3 import blake3

import versioned_io as vio
from versioned_io.errors import (
    IllegalPathError,
    InvalidInputError,
    NotAFileError,
    PathNotFoundError,
    RefNotFoundError,
)

LARGE = random.Random(7).randbytes(3_000_000)


@pytest.fixture
def snapshot(store):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        tx.write("2012/01.csv", b"jan", attributes={"format": "csv"})
        tx.write("2012/02.csv", b"february")
        tx.write("2012/deep/er/x", b"x")
        tx.write("2012-x", b"beside")
        tx.write("empty", b"")
        tx.write("large", LARGE)
    return store.snapshot("r@main")


def test_a_file_reads_back(snapshot):
    assert snapshot.read("2012/01.csv") == b"jan"
    assert snapshot.read("/2012/01.csv") == b"jan"
    assert snapshot.read("empty") == b""
    assert snapshot.read("large") == LARGE


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (0, 1),
        (1, None),
        (2_999_999, 5),
        (3_000_000, None),
        (9_000_000, 3),
        (131_071, 131_073),
        (500_000, 10**9),
    ],
)
def test_a_range_is_what_slicing_gives(snapshot, offset, length):
    end = None if length is None else offset + length
    assert snapshot.read("large", offset, length) == LARGE[offset:end]
    assert snapshot.read("2012/02.csv", offset, length) == b"february"[offset:end]
    assert snapshot.read("empty", offset, length) == b""


def test_an_open_file_seeks_as_files_do(snapshot):
    plain = io.BytesIO(LARGE)
    dice = random.Random(1)
    with snapshot.open("large") as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        for _ in range(60):
            whence = dice.choice([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])
            low = {io.SEEK_SET: 0, io.SEEK_CUR: -plain.tell(), io.SEEK_END: -len(LARGE)}[whence]
            step = dice.randint(low, low + len(LARGE) + 10)
            assert file.seek(step, whence) == plain.seek(step, whence)
            size = dice.choice([0, 1, 7, 1000, 400_000])
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()
        file.seek(0)
        assert file.read() == LARGE
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    with snapshot.open("2012/02.csv") as file:
        assert list(file) == [b"february"]
        assert file.read() == b""
    with snapshot.open("empty") as file:
        assert file.read() == b""


def test_a_file_is_described(snapshot):
    info = snapshot.stat("2012/01.csv")
    assert (info.path, info.kind, info.size, info.files) == ("2012/01.csv", vio.FileKind.FILE, 3, 1)
    assert info.digest == blake3(b"jan").hexdigest()
    assert info.attributes == {"format": "csv"}
    assert info.written_by == snapshot.commit.id
    assert not info.is_directory
    with pytest.raises(TypeError):
        info.attributes["format"] = "other"


@pytest.mark.parametrize("text", ["2012", "2012/", "/2012", "/2012/"])
def test_a_directory_is_described_by_what_is_below_it(snapshot, text):
    info = snapshot.stat(text)
    assert (info.path, info.is_directory, info.size, info.files) == ("2012", True, 12, 3)
    assert info.written_by is None


@pytest.mark.parametrize("text", ["", "/"])
def test_the_root_is_a_directory(snapshot, text):
    info = snapshot.stat(text)
    assert (info.path, info.size, info.files) == ("", 12 + 6 + len(LARGE), 6)
    assert snapshot.exists(text)
    assert snapshot.is_directory(text)


def test_the_digest_of_a_directory_tells_contents_names_and_attributes_apart(store):
    store.create_repo("r")
    contents = [
        {"d/a": b"1"},
        {"d/a": b"2"},
        {"d/b": b"1"},
        {"d/a": b"1", "d/b": b"1"},
        {"d/x/a": b"1"},
        {"d/a": b"1", "outside": b"1"},
    ]
    digests = []
    for number, files in enumerate(contents):
        store.create_branch(f"r@b{number}", at="r@main")
        with store.transaction(f"r@b{number}") as tx:
            for path, data in files.items():
                tx.write(path, data)
        digests.append(store.snapshot(f"r@b{number}").stat("d").digest)
    assert len(set(digests[:5])) == 5
    assert digests[0] == digests[5]
    with store.transaction("r@b0") as tx:
        tx.write("d/a", b"1", attributes={"x": "y"})
    assert store.snapshot("r@b0").stat("d").digest not in digests


def test_a_listing_has_files_and_directories_in_order(snapshot):
    assert [(entry.path, entry.is_directory) for entry in snapshot.list()] == [
        ("2012", True),
        ("2012-x", False),
        ("empty", False),
        ("large", False),
    ]
    assert [(entry.path, entry.is_directory, entry.size) for entry in snapshot.list("2012/")] == [
        ("2012/01.csv", False, 3),
        ("2012/02.csv", False, 8),
        ("2012/deep", True, 0),
    ]
    assert next(snapshot.list("2012")).attributes == {"format": "csv"}


def test_a_walk_has_every_file_below(snapshot):
    paths = ["2012/01.csv", "2012/02.csv", "2012/deep/er/x"]
    assert [file.path for file in snapshot.walk()] == ["2012-x", *paths, "empty", "large"]
    assert [file.path for file in snapshot.walk("2012")] == paths
    assert [file.path for file in snapshot.walk("/2012/deep/")] == paths[2:]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nope", "beside it are '2012', '2012-x', 'empty', 'large'"),
        ("2012/03.csv", "beside it are '2012/01.csv', '2012/02.csv', '2012/deep'"),
        ("201", "beside it are"),
        ("nowhere/x", "there is no directory 'nowhere' either"),
        ("2012-x/y/z", "'2012-x' is a file, so nothing is below it"),
    ],
)
def test_what_is_not_there_is_told_with_what_is_near(snapshot, path, hint):
    for call in (snapshot.read, snapshot.open, snapshot.stat, snapshot.writer_of):
        with pytest.raises(PathNotFoundError, match=hint) as caught:
            call(path)
        assert str(caught.value).startswith(f"no file {path!r} in r@main ({snapshot.commit.id})")
    for call in (snapshot.list, snapshot.walk):
        with pytest.raises(PathNotFoundError, match=hint):
            list(call(path))
    assert not snapshot.exists(path)
    assert not snapshot.is_directory(path)


def test_a_directory_is_no_file_and_a_file_no_directory(snapshot):
    for call in (snapshot.read, snapshot.open, snapshot.writer_of):
        with pytest.raises(NotAFileError, match="name a file below it, or list it"):
            call("2012")
    for call in (snapshot.list, snapshot.walk):
        with pytest.raises(InvalidInputError, match=r"'2012-x' in .* is a file, not a directory"):
            list(call("2012-x"))


@pytest.mark.parametrize("path", ["a//b", "../x", "a\0b", "x" * 1025, None])
def test_an_illegal_path_is_refused_by_every_call(snapshot, path):
    for call in (snapshot.read, snapshot.open, snapshot.stat, snapshot.exists, snapshot.is_directory):
        with pytest.raises(IllegalPathError):
            call(path)
    for call in (snapshot.list, snapshot.walk):
        with pytest.raises(IllegalPathError):
            list(call(path))


def test_an_empty_branch_reads_as_an_empty_tree(store):
    store.create_repo("r")
    snapshot = store.snapshot("r@main")
    assert snapshot.is_empty
    assert list(snapshot.walk()) == list(snapshot.list()) == list(snapshot.glob("**")) == []
    assert snapshot.stat("").files == 0
    assert not snapshot.exists("x")
    with pytest.raises(PathNotFoundError, match=r"in r@main \(no commit yet\): it has no files"):
        snapshot.read("x")
    with pytest.raises(RefNotFoundError, match="the branch has no commit yet; write to it first"):
        _ = snapshot.commit


def test_a_snapshot_stays_as_it_is_whatever_is_committed(store, snapshot, write):
    write(store, "r@main", {"2012/01.csv": b"changed", "2012/02.csv": None, "new": b"1"})
    assert snapshot.read("2012/01.csv") == b"jan"
    assert snapshot.exists("2012/02.csv")
    assert not snapshot.exists("new")
    assert store.snapshot("r@main").read("2012/01.csv") == b"changed"


def test_a_version_knows_who_wrote_it(store, snapshot, write):
    first = snapshot.commit.id
    second = write(store, "r@main", {"2012/01.csv": b"changed", "2012/02.csv": b"february"}).id
    now = store.snapshot("r@main")
    assert now.writer_of("2012/01.csv") == second
    assert now.writer_of("2012/02.csv") == first
    assert {file.path: file.written_by for file in now.walk("2012")}["2012/deep/er/x"] == first


def test_names_sort_by_their_utf8_bytes(store, write):
    store.create_repo("r")
    names = ["z", "é", "\uffee", "\U0001f600", "Z", "a-", "a/b", "a.b", "a0"]
    write(store, "r@main", dict.fromkeys(names, b""))
    assert [file.path for file in store.snapshot("r@main").walk()] == sorted(names, key=str.encode)


def test_a_large_tree_is_read_as_a_small_one(new_store):
    store = new_store()
    store.create_repo("r")
    paths = [f"{number % 7}/{number % 91}/{number:05}" for number in range(4000)]
    with store.transaction("r@main") as tx:
        for path in paths:
            tx.write(path, path.encode())
    snapshot = store.snapshot("r@main")
    assert [file.path for file in snapshot.walk()] == sorted(paths)
    assert [entry.path for entry in snapshot.list()] == [str(number) for number in range(7)]
    below = [path for path in paths if path.startswith("3/")]
    assert snapshot.stat("3").files == len(below)
    assert [file.path for file in snapshot.glob("3/*/*")] == sorted(below)
    for path in paths[::97]:
        assert snapshot.read(path) == path.encode()
    with store.transaction("r@main") as tx:
        tx.delete("3/")
        tx.write("3", b"file now")
    assert store.snapshot("r@main").stat("").files == 4000 - len(below) + 1
    assert store.commit("r@main").stats.deleted == len(below)
    assert store.fsck().is_clean
