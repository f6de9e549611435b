"""The file system beside the store that it shows."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError, IntegrityError, InvalidInputError, NotAFileError, PathNotFoundError
from versioned_io.interfaces.filesystem import VersionedFileSystem
from versioned_io.model.places import pack_key


@pytest.fixture
def fs(store):
    store.create_repo("r")
    store.create_repo("other")
    return VersionedFileSystem.of(store)


def history(store, branch="r@main"):
    return [(commit.message, commit.stats.files) for commit in store.log(branch)][::-1]


def test_a_pipe_is_refused_and_nothing_waits_for_it(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        fs = VersionedFileSystem.of(store)
        (tmp_path / "local").mkdir()
        (tmp_path / "local" / "a").write_bytes(b"1")
        os.mkfifo(tmp_path / "local" / "pipe")
        for source in ("local", "local/pipe"):
            with pytest.raises(InvalidInputError, match="special file"):
                fs.put(str(tmp_path / source), "r@main/x", recursive=True)
        assert fs.find("r@main") == []


def test_every_file_that_is_closed_is_a_commit_that_says_so(fs, store):
    with fs.open("r@main/a/x", "wb") as file:
        file.write(b"one")
        assert not fs.exists("r@main/a/x")
    fs.pipe_file("versioned://r@main/a/y", b"two")
    with fs.open("r@main/a/x", "ab") as file:
        file.write(b" more")
    with fs.open("r@main/z", "w", encoding="utf-16") as file:
        file.write("ü")
    assert history(store) == [("write a/x", 1), ("write a/y", 2), ("write a/x", 2), ("write z", 3)]
    assert fs.cat("r@main/a/x") == b"one more"
    assert fs.read_text("r@main/z", encoding="utf-16") == "ü"


def test_calls_that_change_many_paths_are_one_commit_each(fs, store, tmp_path):
    local = tmp_path / "local"
    local.mkdir()
    for name in "ab":
        (local / name).write_bytes(name.encode())
    fs.put(str(local), "r@main/up", recursive=True)
    fs.cp("r@main/up", "r@main/copy", recursive=True)
    fs.mv("r@main/copy", "r@main/moved", recursive=True)
    fs.rm("r@main/up", recursive=True)
    fs.pipe({"r@main/p": b"1", "r@main/q": b"2"})
    assert [files for _, files in history(store)] == [2, 4, 4, 2, 4]
    assert fs.find("r@main") == ["r@main/moved/a", "r@main/moved/b", "r@main/p", "r@main/q"]
    fs.get("r@main/moved", str(tmp_path / "back"), recursive=True)
    assert (tmp_path / "back" / "a").read_bytes() == b"a"


def test_a_copy_within_the_store_moves_no_bytes(fs, store, write):
    data = os.urandom(300_000)
    write(store, "r@main", {"big": data})
    store.create_tag("r@v1", at="r@main")
    fs.cp("r@v1/big", "other@main/big")
    commit = store.commit("other@main")
    assert fs.cat("other@main/big") == data
    assert commit.stats.bytes_stored < 1_000  # its pages
    assert commit.provenance == (store.commit("r@v1").id,)


def test_a_transaction_is_one_commit_and_invisible_before_its_end(fs, store, write):
    write(store, "r@main", {"old": b"old", "gone": b"gone", "here": b"here"})
    with fs.transaction:
        with fs.open("r@main/new", "wb") as file:
            file.write(b"new")
        fs.cp("r@main/new", "r@main/twin")
        fs.mv("r@main/here", "r@main/there")
        fs.rm("r@main/gone")
        fs.pipe("other@main/too", b"too")
        assert fs.find("r@main") == ["r@main/gone", "r@main/here", "r@main/old"]
    assert fs.find("r@main") == ["r@main/new", "r@main/old", "r@main/there", "r@main/twin"]
    assert len(history(store)) == 2
    assert store.commit("r@main").lineage_id == store.commit("other@main").lineage_id
    fs.pipe("r@main/after", b"x")
    assert history(store)[-1][0] == "write after"


def test_an_exception_in_a_transaction_leaves_everything_as_it_was(fs, dump, store):
    fs.pipe("r@main/a", b"x")
    before = dump(store)[0]
    with pytest.raises(ZeroDivisionError), fs.transaction:  # noqa: PT012 (a block is what is tested)
        fs.pipe("r@main/b", b"x")
        fs.rm("r@main/a")
        raise ZeroDivisionError
    assert dump(store)[0] == before
    fs.pipe("r@main/c", b"x")
    assert fs.find("r@main") == ["r@main/a", "r@main/c"]


def test_a_directory_that_was_not_committed_leaves_no_trace(fs, tmp_path):
    (tmp_path / "up" / "deep").mkdir(parents=True)
    (tmp_path / "up" / "deep" / "a").write_bytes(b"x")
    fs.pipe("r@main/d/e/a", b"x")
    with pytest.raises(ZeroDivisionError), fs.transaction:  # noqa: PT012 (a block is what is tested)
        fs.cp("r@main/d", "r@main/copy", recursive=True)
        fs.put(str(tmp_path / "up"), "r@main/", recursive=True)
        assert fs.ls("r@main", detail=False) == ["r@main/d"]
        raise ZeroDivisionError
    assert fs.ls("r@main", detail=False) == ["r@main/d"]


def test_a_transaction_that_lost_a_race_says_so_and_is_over(fs, store, write):
    write(store, "r@main", {"a": b"1"})
    fs.start_transaction()
    fs.pipe("r@main/a", b"mine")
    winner = write(store, "r@main", {"a": b"theirs"})
    with pytest.raises(ConflictError, match=winner.id):
        fs.end_transaction()
    fs.pipe("r@main/a", b"again")
    assert fs.cat("r@main/a") == b"again"


def test_a_file_that_is_open_at_the_end_of_a_transaction_is_not_committed_by_halves(fs):
    with pytest.raises(InvalidInputError, match="'r@main/a' is still open"), fs.transaction:  # noqa: PT012 (a block is what is tested)
        fs.pipe("r@main/b", b"whole")
        file = fs.open("r@main/a", "wb")
        file.write(b"half")
    assert file.closed
    assert fs.find("r@main") == []


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_file_whose_block_fails_is_not_written(fs, mode):
    with pytest.raises(ZeroDivisionError), fs.open("r@main/a", mode) as file:  # noqa: PT012 (a block is what is tested)
        file.write(b"half" if "b" in mode else "half")
        raise ZeroDivisionError
    assert not fs.exists("r@main/a")


@pytest.mark.parametrize("head", ["r@v1", "r@main~1", "r@{commit}", ""])
def test_what_is_no_branch_is_read_only(fs, store, write, head):
    commit = write(store, "r@main", {"a": b"1"})
    write(store, "r@main", {"a": b"2"})
    store.create_tag("r@v1", at="r@main~1")
    head = head.format(commit=commit.id)
    if head:
        assert fs.cat(f"{head}/a") == b"1"
    for change in (fs.touch, fs.rm_file, fs.mkdir):
        with pytest.raises(PermissionError, match="can't write to"):
            change(f"{head}/b" if head else "")
    assert len(history(store)) == 2


def test_the_root_lists_every_branch_also_one_with_a_slash(fs, store):
    fs.pipe("r@main/a", b"x")
    store.create_branch("r@feature/x", at="r@main")
    assert fs.ls("", detail=False) == ["other@main", "r@feature%2Fx", "r@main"]
    fs.pipe("r@feature%2Fx/b", b"y")
    assert fs.find("r@feature%2Fx") == ["r@feature%2Fx/a", "r@feature%2Fx/b"]
    assert store.snapshot("r@feature/x").read("b") == b"y"


def test_what_is_missing_is_not_found(fs):
    fs.pipe("r@main/a", b"x")
    for path in ("r@main/b", "none@main/a", "r@none/a"):
        assert not fs.exists(path)
        for read in (fs.info, fs.cat_file, fs.open, fs.ls, fs.modified):
            with pytest.raises(FileNotFoundError):
                read(path)
    for change in (fs.rm, fs.rm_file):
        with pytest.raises(PathNotFoundError, match="'b'"):
            change("r@main/b")
    assert fs.find("none@main") == []


def test_a_directory_is_not_deleted_or_written_over_by_mistake(fs):
    fs.pipe("r@main/d/a", b"x")
    with pytest.raises(NotAFileError):
        fs.rm("r@main/d")
    with pytest.raises(IsADirectoryError):
        fs.open("r@main/d", "wb")
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("r@main/d")
    with pytest.raises(FileExistsError):
        fs.mkdir("r@main/d")
    assert fs.cat("r@main/d/a") == b"x"


def test_an_empty_directory_lives_in_the_object_alone(fs, store):
    fs.mkdir("r@main/d/e")
    assert fs.isdir("r@main/d")
    assert fs.ls("r@main/d", detail=False) == ["r@main/d/e"]
    assert fs.find("r@main", withdirs=True) == ["r@main/d", "r@main/d/e"]
    assert not VersionedFileSystem.of(store).exists("r@main/d")
    fs.rmdir("r@main/d/e")
    assert fs.ls("r@main/d") == []
    assert history(store) == []


def test_reads_are_by_range_and_seekable(fs):
    data = os.urandom(3_000_000)
    fs.pipe("r@main/a", data)
    assert fs.cat_file("r@main/a", 10, 20) == data[10:20]
    assert fs.cat_file("r@main/a", -5) == data[-5:]
    assert fs.cat_file("r@main/a", 5, 2) == b""
    assert fs.cat_ranges(["r@main/a"] * 2, [0, 2_999_990], [3, 3_000_010]) == [data[:3], data[-10:]]
    with fs.open("r@main/a") as file:
        assert (file.seek(-7, 2), file.read(), file.seek(100), file.read(9)) == (
            2_999_993,
            data[-7:],
            100,
            data[100:109],
        )
        assert file.size == 3_000_000
    assert fs.tail("r@main/a", 4) == data[-4:]
    assert fs.info("r@main/a")["size"] == 3_000_000


def test_facts_of_a_file_come_from_its_content_and_its_commit(fs, store):
    fs.pipe({"r@main/a": b"same", "r@main/b": b"same", "r@main/c": b"other"})
    first = store.commit("r@main")
    fs.pipe("r@main/d", b"x")
    assert fs.ukey("r@main/a") == fs.checksum("r@main/b") != fs.ukey("r@main/c")
    assert fs.info("r@main/a")["digest"] == fs.ukey("r@main/a")
    assert fs.modified("r@main/a") == fs.created("r@main/a") == first.created_at
    assert fs.info("r@main/a")["written_by"] == first.id
    assert fs.modified("r@main") == store.commit("r@main").created_at


def test_reads_in_a_run_are_its_provenance(fs, store):
    fs.pipe({"r@main/a": b"1", "r@main/b": b"2", "r@main/c": b"3"})
    source = store.commit("r@main")
    with store.run("train") as run:
        with fs.open("r@main/a") as file:
            file.read()
        fs.cat_file("r@main/b", 0, 1)
        fs.pipe("other@main/model", b"m")
    assert [file.path for file in run.inputs] == ["a", "b"]
    made = store.commit("other@main")
    assert made.provenance == (source.id,)
    assert made.lineage_id == source.lineage_id


def test_many_threads_read_at_once(fs):
    files = {f"r@main/{n}": os.urandom(50_000) for n in range(40)}
    fs.pipe(files)
    barrier = threading.Barrier(8)

    def read(number):
        barrier.wait()
        return all(fs.cat_file(path) == data for path, data in files.items())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_a_pickled_file_system_opens_the_store_again(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        pickled = pickle.dumps(VersionedFileSystem.of(store))
    copy = pickle.loads(pickled)
    assert copy.cat("r@main/a") == b"1"
    assert copy.fsid == f"versioned_{tmp_path / 's'}"
    copy.store.close()


def test_nothing_secret_is_in_what_is_shown_of_it(tmp_path):
    fs = VersionedFileSystem(tmp_path, "postgresql+psycopg://user:hunter2@host/db", skip_instance_cache=True)
    assert "hunter2" not in repr(fs) + str(fs) + fs.fsid


def test_instances_of_different_stores_are_kept_apart(tmp_path, monkeypatch, write):
    for name in ("one", "two"):
        with vio.create_store(tmp_path / name / "data") as store:
            store.create_repo("r")
            write(store, "r@main", {"a": name.encode()})

    def read(**options):
        with fsspec.open("versioned://r@main/a", **options) as file:
            return file.read()

    assert [read(store=str(tmp_path / name / "data")) for name in ("one", "two")] == [b"one", b"two"]
    for name in ("one", "two"):
        monkeypatch.setenv("VERSIONED_STORE", str(tmp_path / name / "data"))
        assert read() == name.encode()
    monkeypatch.delenv("VERSIONED_STORE")
    for name in ("one", "two"):
        monkeypatch.chdir(tmp_path / name)
        assert read(store="data") == name.encode()
    with pytest.raises(InvalidInputError, match="which store"):
        read()
    with pytest.raises(InvalidInputError, match="which store"):
        VersionedFileSystem()


def test_only_the_registered_file_system_reads_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VERSIONED_STORE", str(tmp_path))
    with pytest.raises(InvalidInputError, match="which store"):
        VersionedFileSystem()


def test_a_file_whose_pack_is_lost_is_not_taken_for_one_that_is_not_there(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit = write(store, "r@main", {"a": b"1"})
        store._backend.objects.delete([pack_key(commit.root.pack.hex())])
    with vio.open_store(tmp_path / "s") as store:
        fs = VersionedFileSystem.of(store)
        for look in (fs.exists, fs.info, fs.cat_file):
            with pytest.raises(IntegrityError, match=f"{commit.root.pack.hex()} is missing from .* fsck"):
                look("r@main/a")


def test_a_store_is_prepared_once_when_it_is_opened(tmp_path):
    vio.create_store(tmp_path / "store").close()
    fs = VersionedFileSystem(str(tmp_path / "store"), skip_instance_cache=True)
    prepared = []
    fs.when_opened(prepared.append)
    fs.when_opened(lambda store: pytest.fail("another caller has prepared it"))
    assert prepared == []
    opened = fs.store
    fs.when_opened(lambda store: pytest.fail("it is open"))
    assert (fs.store, prepared) == (opened, [opened])
