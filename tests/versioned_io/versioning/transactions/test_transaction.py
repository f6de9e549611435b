"""Staging and committing: on one branch, on several, all or nothing."""

import io
import os
import random
from pathlib import Path

import pytest

import versioned_io as vio
from tests.versioned_io.conftest import dump_store
from versioned_io.errors import (
    EmptyCommitError,
    InvalidInputError,
    NotAFileError,
    PathCollisionError,
    PathNotFoundError,
)
from versioned_io.versioning.snapshots.file_info import TransferProgress

LARGE = random.Random(3).randbytes(2_500_000)


@pytest.fixture
def repo(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", "d/x": b"x", "d/y": b"y", "d/sub/z": b"z", "d-beside": b"-"})
    return store


def listing(tx, directory=""):
    return [(entry.path, entry.is_directory) for entry in tx.list(directory)]


# Writing


def test_every_kind_of_source_is_stored(store, tmp_path, files_of):
    store.create_repo("r")
    (tmp_path / "local").write_bytes(LARGE)
    with store.transaction("r@main") as tx:
        infos = [
            tx.write("bytes", LARGE),
            tx.write("bytearray", bytearray(LARGE)),
            tx.write("memoryview", memoryview(LARGE)),
            tx.write("path", tmp_path / "local"),
            tx.write("file", io.BytesIO(LARGE)),
            tx.write("iterator", (LARGE[at : at + 70_001] for at in range(0, len(LARGE), 70_001))),
            tx.write("empty parts", iter([b"", LARGE[:10], b"", LARGE[10:], b""])),
        ]
        with (tmp_path / "local").open("rb") as file:
            file.seek(1_000_000)
            tx.write("from its position", file)
        tx.write("nothing", iter([]))
    assert len({info.digest for info in infos}) == 1
    assert {info.size for info in infos} == {len(LARGE)}
    files = files_of(store, "r@main")
    assert files.pop("nothing") == b""
    assert files.pop("from its position") == LARGE[1_000_000:]
    assert set(files.values()) == {LARGE}
    assert len(files) == 7
    # Written once.
    assert tx.commit.stats.bytes_stored < 2 * len(LARGE)


def test_what_is_written_is_described(store):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        info = tx.write("d/x", b"data", attributes={"format": "csv"})
        assert (info.path, info.size, info.attributes, info.written_by) == ("d/x", 4, {"format": "csv"}, None)
    stored = store.snapshot("r@main").stat("d/x")
    assert (stored.digest, stored.attributes, stored.written_by) == (info.digest, info.attributes, tx.commit.id)


def test_the_last_write_counts(repo, files_of):
    with repo.transaction("r@main") as tx:
        tx.write("a", b"2")
        tx.write("a", b"3")
        tx.write("new", b"1")
        tx.delete("new")
        tx.write("new", b"2")
    assert files_of(repo, "r@main")["a"] == b"3"
    assert files_of(repo, "r@main")["new"] == b"2"
    assert (tx.commit.stats.added, tx.commit.stats.modified, tx.commit.stats.deleted) == (1, 1, 0)


def test_a_source_that_fails_leaves_the_file_as_it_was(repo, files_of):
    def broken():
        yield b"half"
        raise OSError("the network is gone")

    with repo.transaction("r@main") as tx:
        with pytest.raises(OSError, match="the network is gone"):
            tx.write("a", broken())
        assert tx.read("a") == b"1"
        tx.write("b", b"2")
    assert files_of(repo, "r@main") | {"a": b"1"} == files_of(repo, "r@main")


@pytest.mark.parametrize("size", [0, 1, 130_000, 2_500_000])
@pytest.mark.parametrize("added", [b"", b"tail", LARGE[:300_000]])
def test_an_append_continues_the_file(store, size, added):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        tx.write("f", LARGE[:size])
    with store.transaction("r@main") as tx:
        info = tx.write("f", iter([added]), append=True)
        assert tx.read("f") == LARGE[:size] + added
    assert store.snapshot("r@main").read("f") == LARGE[:size] + added
    with store.transaction("r@main") as other:
        assert other.write("same", LARGE[:size] + added).digest == info.digest


def test_an_append_stores_only_what_is_new(store):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        tx.write("f", LARGE)
    with store.transaction("r@main") as tx:
        tx.write("f", b"tail", append=True)
    assert tx.commit.stats.bytes_stored < 1_100_000  # the last chunk, which is at most 1 MiB


def test_an_append_to_nothing_begins_the_file(repo):
    with repo.transaction("r@main") as tx:
        tx.write("new", b"1", append=True)
        tx.write("new", b"2", append=True)
        tx.delete("a")
        tx.write("a", b"fresh", append=True)
    snapshot = repo.snapshot("r@main")
    assert (snapshot.read("new"), snapshot.read("a")) == (b"12", b"fresh")


def test_a_file_is_still_read_while_something_is_staged_below_it(repo):
    tx = repo.transaction("r@main")
    tx.write("a/below", b"2")
    assert tx.read("a") == b"1"
    tx.write("a", b"+", append=True)
    assert tx.read("a") == b"1+"
    with pytest.raises(PathCollisionError):
        tx.finish()


def test_an_append_to_a_directory_that_is_only_staged_is_refused(repo):
    tx = repo.transaction("r@main")
    tx.write("new/below", b"2")
    with pytest.raises(NotAFileError):
        tx.write("new", b"+", append=True)
    tx.abort()


def test_an_append_keeps_the_attributes_unless_others_are_given(repo):
    for attributes, expected in (({"v": "1"}, {"v": "1"}), (None, {"v": "1"}), ({"v": "2"}, {"v": "2"})):
        with repo.transaction("r@main") as tx:
            assert tx.write("f", b"x", append=True, attributes=attributes).attributes == expected
            tx.write("f", b"y", append=True)
        assert repo.snapshot("r@main").stat("f").attributes == expected
    with repo.transaction("r@main") as tx:
        tx.write("f", b"z")
    assert repo.snapshot("r@main").stat("f").attributes == {}


def test_a_directory_is_imported(repo, tmp_path, files_of):
    for name in ("x", "sub/y", "sub/deep/z", ".hidden"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(name.encode())
    (tmp_path / "in" / "empty").mkdir()
    seen = []
    with repo.transaction("r@main") as tx:
        assert tx.write_tree(tmp_path / "in", to="d/", progress=seen.append) == 4
        assert tx.write_tree(str(tmp_path / "in" / "sub")) == 2
    files = files_of(repo, "r@main")
    assert files["d/x"] == b"x"
    assert files["d/y"] == b"y"
    assert files["d/.hidden"] == b".hidden"
    assert files["d/sub/deep/z"] == files["deep/z"] == b"sub/deep/z"
    assert seen == [TransferProgress(0, 4, 0, 23), TransferProgress(4, 4, 23, 23)]


@pytest.mark.parametrize("kind", ["link", "directory link", "pipe", "bad name"])
def test_an_import_of_what_is_no_plain_file_stages_nothing(repo, tmp_path, kind):
    source = tmp_path / "in"
    source.mkdir()
    (source / "good").write_bytes(b"1")
    odd = source / "odd"
    if kind == "link":
        odd.symlink_to(source / "good")
    elif kind == "directory link":
        odd.symlink_to(tmp_path)
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        Path(os.fsdecode(os.fsencode(source) + b"/\xff")).write_bytes(b"1")
    with repo.transaction("r@main") as tx:
        with pytest.raises(InvalidInputError):
            tx.write_tree(source, to="in")
        assert not tx.exists("in")
    assert not tx.changed


# Copying, moving, deleting


def test_a_copy_moves_no_bytes(repo):
    repo.create_repo("big")
    with repo.transaction("big@main") as tx:
        tx.write("model", LARGE, attributes={"kind": "model"})
    with repo.transaction("r@main") as tx:
        assert tx.copy("big@main:model", to="models/best") == 1
        assert tx.read("models/best") == LARGE
    snapshot = repo.snapshot("r@main")
    assert snapshot.read("models/best") == LARGE
    assert snapshot.stat("models/best").attributes == {"kind": "model"}
    assert snapshot.stat("models/best").digest == repo.snapshot("big@main").stat("model").digest
    assert snapshot.writer_of("models/best") == tx.commit.id
    assert tx.commit.stats.bytes_stored < 10_000
    assert repo.fsck().is_clean


def test_a_directory_a_whole_tree_and_an_old_version_are_copied(repo, write, files_of):
    write(repo, "r@main", {"d/x": b"newer"})
    repo.create_repo("copy")
    with repo.transaction("copy@main") as tx:
        assert tx.copy("r@main~1:d", to="old") == 3
        assert tx.copy("r@main", to="all/") == 5
        assert tx.copy("r:d/", to="") == 3
    files = files_of(repo, "copy@main")
    assert files["old/x"] == b"x"
    assert files["all/d/x"] == files["x"] == b"newer"
    assert files["all/a"] == b"1"
    assert len(files) == 11


def test_a_copy_inside_the_branch_sees_what_is_staged(repo, files_of):
    with repo.transaction("r@main") as tx:
        tx.write("d/new", b"new")
        tx.write("d/x", b"changed")
        tx.delete("d/sub/")
        assert tx.copy(":d", to="e") == 3
        assert tx.copy(":a", to="b") == 1
        assert tx.copy(":b", to="c") == 1
    files = files_of(repo, "r@main")
    assert {path: data for path, data in files.items() if path.startswith("e/")} == {
        "e/new": b"new",
        "e/x": b"changed",
        "e/y": b"y",
    }
    assert files["c"] == b"1"


@pytest.mark.parametrize(
    ("source", "target", "moved"),
    [
        ("a", "b", {"b": b"1"}),
        ("d", "e", {"e/x": b"x", "e/y": b"y", "e/sub/z": b"z"}),
        ("d/", "a/../e", None),
        ("d/sub", "d", {"d/x": b"x", "d/y": b"y", "d/z": b"z"}),
        ("/d/x", "/deep/er/x", {"deep/er/x": b"x"}),
    ],
)
def test_a_move_is_a_renaming(repo, files_of, source, target, moved):
    before = files_of(repo, "r@main")
    if moved is None:
        with pytest.raises(InvalidInputError), repo.transaction("r@main") as tx:
            tx.move(source, target)
        assert files_of(repo, "r@main") == before
        return
    with repo.transaction("r@main") as tx:
        count = tx.move(source, target)
    origin = source.strip("/")
    kept = {path: data for path, data in before.items() if path != origin and not path.startswith(f"{origin}/")}
    assert files_of(repo, "r@main") == kept | moved
    assert len(kept) + count == len(before)
    assert tx.commit.stats.bytes_stored < 10_000


@pytest.mark.parametrize("call", ["move", "copy"])
@pytest.mark.parametrize("is_staged", [True, False])
def test_a_file_and_what_is_staged_below_it_go_together_and_the_commit_refuses_them(store, write, call, is_staged):
    store.create_repo("r")
    write(store, "r@main", {"kept": b"1", **({} if is_staged else {"a": b"file"})})
    tx = store.transaction("r@main")
    if is_staged:
        tx.write("a", b"file")
    tx.write("a/x", b"below")
    assert (tx.move("a", "b") if call == "move" else tx.copy(":a", "b")) == 2
    assert (tx.read("b"), tx.read("b/x")) == (b"file", b"below")
    with pytest.raises(PathCollisionError):
        tx.finish()


def test_a_move_of_a_file_staged_over_a_directory_loses_nothing(store, write, files_of):
    store.create_repo("r")
    write(store, "r@main", {"a/x": b"1", "a/y": b"2"})
    tx = store.transaction("r@main")
    tx.write("a", b"file")
    assert tx.move("a", "b") == 3
    with pytest.raises(PathCollisionError):
        tx.finish()
    assert files_of(store, "r@main") == {"a/x": b"1", "a/y": b"2"}


def test_a_move_onto_its_own_parent_keeps_a_file_of_the_same_name(store, write, files_of):
    store.create_repo("r")
    write(store, "r@main", {"a/b/b": b"inner", "a/b/c": b"c"})
    with store.transaction("r@main") as tx:
        assert tx.move("a/b", "a") == 2
    assert files_of(store, "r@main") == {"a/b": b"inner", "a/c": b"c"}


def test_a_file_is_not_copied_to_a_directory_without_a_name(repo, files_of):
    before = files_of(repo, "r@main")
    with repo.transaction("r@main", empty="skip") as tx:
        for source in (":a", "r@main:a"):
            with pytest.raises(InvalidInputError, match="name the file there, such as 'd/name'"):
                tx.copy(source, "d/")
    assert files_of(repo, "r@main") == before


def test_a_move_replaces_what_is_there(repo, files_of):
    with repo.transaction("r@main") as tx:
        tx.move("d/x", "a")
        tx.move("d", "e")
        tx.move("e", "d")
    assert files_of(repo, "r@main") == {"a": b"x", "d/y": b"y", "d/sub/z": b"z", "d-beside": b"-"}


def test_files_and_directories_are_deleted(repo, files_of):
    with repo.transaction("r@main") as tx:
        tx.delete("a")
        tx.delete("d/sub")
        tx.delete("not there")
        tx.delete("not/there/")
        tx.delete("d/x/")  # a file is no directory: nothing is below it
    assert files_of(repo, "r@main") == {"d/x": b"x", "d/y": b"y", "d-beside": b"-"}
    assert tx.commit.stats.deleted == 2
    with repo.transaction("r@main") as tx:
        tx.delete("/")
        tx.write("last", b"1")
    assert files_of(repo, "r@main") == {"last": b"1"}


# Reading one's own writes


def test_a_transaction_sees_its_own_writes_and_nobody_else_does(repo):
    with repo.transaction("r@main") as tx:
        tx.write("new/deep/file", b"mine")
        tx.write("a", b"2")
        tx.delete("d/x")
        assert tx.read("new/deep/file") == b"mine"
        assert tx.read("a") == b"2"
        assert tx.read("d/y") == b"y"
        with pytest.raises(PathNotFoundError, match="this transaction deletes it"):
            tx.read("d/x")
        outside = repo.snapshot("r@main")
        assert outside.read("a") == b"1"
        assert outside.exists("d/x")
        assert not outside.exists("new")


def test_what_exists_follows_what_is_staged(repo):
    with repo.transaction("r@main") as tx:
        for path in ("a", "d", "d/x", "d/sub", "d-beside"):
            assert tx.exists(path)
        for path in ("b", "d/nope", "d/x/y", "a/b"):
            assert not tx.exists(path)
        tx.write("new/file", b"")
        assert tx.exists("new")
        assert tx.exists("new/file")
        tx.delete("new/file")
        assert not tx.exists("new")
        tx.delete("d/sub/")
        assert not tx.exists("d/sub")
        assert tx.exists("d")
        tx.delete("d/x")
        tx.delete("d/y")
        assert not tx.exists("d")
        tx.write("d/again", b"")
        assert tx.exists("d")
        tx.delete("d/")
        assert not tx.exists("d")
        tx.write("d", b"a file")
        assert tx.exists("d")
        assert tx.exists("d-beside")


def test_a_listing_follows_what_is_staged(repo):
    with repo.transaction("r@main") as tx:
        assert listing(tx) == [("a", False), ("d", True), ("d-beside", False)]
        tx.write("new/deep/file", b"")
        tx.delete("a")
        tx.delete("d/sub/z")
        tx.write("d/x", b"changed", attributes={"k": "v"})
        assert listing(tx) == [("d", True), ("d-beside", False), ("new", True)]
        assert listing(tx, "d") == [("d/x", False), ("d/y", False)]
        assert listing(tx, "new") == [("new/deep", True)]
        assert [entry.size for entry in tx.list("d")] == [7, 1]
        assert next(tx.list("d")).attributes == {"k": "v"}
        assert [(entry.size, entry.files, entry.digest) for entry in tx.list() if entry.is_directory] == [
            (0, 0, "")
        ] * 2
        tx.delete("/")
        assert listing(tx) == listing(tx, "d") == listing(tx, "nowhere") == []


def test_staged_data_reads_back_whatever_its_size(store):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        tx.write("large", LARGE)
        tx.write("small", b"s")
        tx.write("large twice", LARGE + LARGE)
        assert tx.read("large") == LARGE
        assert tx.read("large twice") == LARGE + LARGE
        assert tx.read("small") == b"s"


# Ending


@pytest.mark.parametrize("error", [KeyError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_an_exception_abandons_everything(repo, error):
    before = dump_store(repo)

    def work():
        with repo.transaction("r@main") as tx:
            tx.write("a", b"2")
            tx.branch("r@main").write("b", b"3")
            raise error

    with pytest.raises(type(error)):
        work()
    assert dump_store(repo) == before


def test_an_abort_abandons_everything_without_an_exception(repo):
    before = dump_store(repo)
    with repo.transaction("r@main") as tx:
        tx.write("a", b"2")
        tx.abort()
    assert dump_store(repo) == before
    assert not tx.changed


def test_what_a_large_abandoned_transaction_stored_is_garbage_that_nobody_sees(repo):
    before, packs = dump_store(repo)
    data = random.Random(9).randbytes(60_000_000)
    with repo.transaction("r@main") as tx:
        tx.write("huge", data)
        tx.abort()
    after, garbage = dump_store(repo)
    assert after == before
    assert set(packs) < set(garbage)  # one pack had been full
    assert repo.fsck().is_clean


def test_a_transaction_without_changes_makes_no_commit(repo, write):
    head = repo.commit("r@main")
    before = dump_store(repo)
    with repo.transaction("r@main") as tx:
        pass
    assert (tx.changed, tx.commit) == (False, head)
    assert write(repo, "r@main", {"a": b"1", "d/x": b"x"}) == head
    assert write(repo, "r@main", {"b": None, "nowhere/": None}) == head
    with repo.transaction("r@main") as tx:
        tx.delete("/")
        for path, data in {"a": b"1", "d/x": b"x", "d/y": b"y", "d/sub/z": b"z", "d-beside": b"-"}.items():
            tx.write(path, data)
    assert not tx.changed
    assert dump_store(repo)[0] == before[0]


def test_an_empty_commit_is_made_when_allowed(repo):
    head = repo.commit("r@main")
    with repo.transaction("r@main", empty="allow", message="nothing new") as tx:
        tx.write("a", b"1")
    assert tx.changed
    commit = tx.commit
    assert (commit.number, commit.parent, commit.message, commit.root) == (2, head.id, "nothing new", head.root)
    assert (commit.stats.added, commit.stats.modified, commit.stats.deleted, commit.stats.bytes_written) == (0, 0, 0, 0)
    assert repo.diff("r@main~1", "r@main").num_rows == 0
    assert repo.snapshot("r@main").writer_of("a") == head.id
    assert repo.fsck().is_clean


def test_an_empty_commit_is_refused_when_told_to(repo):
    before = dump_store(repo)
    with pytest.raises(EmptyCommitError, match="nothing changed on r@main"), repo.transaction("r@main", empty="refuse"):
        pass
    assert dump_store(repo) == before


def test_the_first_commit_of_a_branch_may_be_empty_too(store):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        pass
    with pytest.raises(InvalidInputError, match="nothing was ever committed to r@main"):
        _ = tx.commit
    with store.transaction("r@main", empty="allow") as tx:
        pass
    assert (tx.commit.number, tx.commit.root, tx.commit.tree_digest) == (1, None, "0" * 64)
    assert store.snapshot("r@main").is_empty
    assert store.fsck().is_clean


# Authorship


def test_identical_content_keeps_its_author(repo, write):
    first = repo.commit("r@main").id
    second = write(repo, "r@main", {"a": b"1", "d/x": b"new", "d/y": b"y"}).id
    snapshot = repo.snapshot("r@main")
    assert {path: snapshot.writer_of(path) for path in ("a", "d/x", "d/y")} == {
        "a": first,
        "d/x": second,
        "d/y": first,
    }


@pytest.mark.parametrize("deletion", ["a", "/", "d/"])
def test_identical_content_keeps_its_author_also_when_it_was_deleted_in_between(repo, deletion):
    first = repo.commit("r@main").id
    with repo.transaction("r@main") as tx:
        tx.delete(deletion)
        for path, data in {"a": b"1", "d/x": b"x", "d/y": b"changed", "d/sub/z": b"z", "d-beside": b"-"}.items():
            tx.write(path, data)
    snapshot = repo.snapshot("r@main")
    assert {file.path: file.written_by for file in snapshot.walk()} == {
        "a": first,
        "d/x": first,
        "d/y": tx.commit.id,
        "d/sub/z": first,
        "d-beside": first,
    }
    stats = tx.commit.stats
    assert (stats.added, stats.modified, stats.deleted, stats.bytes_written) == (0, 1, 0, 7)


def test_another_attribute_has_another_author(repo):
    first = repo.commit("r@main").id
    with repo.transaction("r@main") as tx:
        tx.write("a", b"1", attributes={"k": "v"})
        tx.write("d/x", b"x", attributes={})
    snapshot = repo.snapshot("r@main")
    assert snapshot.writer_of("a") == tx.commit.id
    assert snapshot.writer_of("d/x") == first


# Several branches


@pytest.fixture
def repos(repo):
    for name in ("labels", "models"):
        repo.create_repo(name)
    return repo


def test_several_branches_are_committed_together(repos, files_of):
    with repos.transaction("r@main", message="all", metadata={"k": 1}, author="me") as tx:
        tx.write("a", b"2")
        labels = tx.branch("labels@main")
        labels.write("l", b"1")
        tx.branch("models").write("m", b"1")
        assert tx.branch("labels") is labels
        assert tx.branch("r") is tx.branch("r@main")
        assert tx.branch("r").read("a") == b"2"
    commits = [tx.commit, labels.commit, repos.commit("models@main")]
    assert len({commit.lineage_id for commit in commits}) == 1
    assert {(commit.message, commit.author, commit.metadata["k"]) for commit in commits} == {("all", "me", 1)}
    assert sorted(commit.repo for commit in repos.lineage(tx.commit.lineage_id)) == ["labels", "models", "r"]
    assert files_of(repos, "labels@main") == {"l": b"1"}
    assert repos.fsck().is_clean


def test_a_branch_where_nothing_changed_gets_no_commit(repos):
    with repos.transaction("r@main") as tx:
        tx.write("a", b"1")
        labels = tx.branch("labels@main")
        labels.write("l", b"1")
    assert (tx.changed, labels.changed) == (False, True)
    assert tx.commit.number == 1


@pytest.mark.parametrize("broken", ["r@main", "labels@main", "models@main"])
def test_when_one_branch_can_not_be_committed_none_is(repos, broken):
    before = dump_store(repos)
    names = ["r@main", "labels@main", "models@main"]
    tx = repos.transaction(names[0])
    for name in names:
        tx.branch(name).write("new", b"1")
    tx.branch(broken).write("new/below", b"2")
    with pytest.raises(PathCollisionError):
        tx.finish()
    assert dump_store(repos)[0] == before[0]


def test_two_branches_of_one_repo_go_together(repos, files_of):
    repos.create_branch("r@dev", at="r@main")
    with repos.transaction("r@main") as tx:
        tx.write("a", b"main")
        tx.branch("r@dev").write("a", b"dev")
    assert files_of(repos, "r@main")["a"] == b"main"
    assert files_of(repos, "r@dev")["a"] == b"dev"
    assert repos.commit("r@main~1") == repos.commit("r@dev~1")
    assert repos.fsck().is_clean


def test_data_that_several_branches_share_is_stored_once(repos):
    with repos.transaction("r@main") as tx:
        tx.write("x", LARGE)
        tx.branch("labels@main").write("y", LARGE)
    assert tx.commit.stats.bytes_stored < 1.1 * len(LARGE)


def test_a_write_through_another_branch_counts_what_is_there(repos, write):
    write(repos, "labels@main", {"l": b"1"})
    with repos.transaction("r@main") as tx:
        labels = tx.branch("labels@main")
        assert labels.read("l") == b"1"
        labels.write("l", b"2", append=True)
        labels.move("l", "moved")
    assert repos.snapshot("labels@main").read("moved") == b"12"
    assert not repos.snapshot("labels@main").exists("l")


def test_what_is_kept_with_a_store_is_found_by_the_next(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("f", LARGE)
    with vio.open_store(tmp_path / "s") as store:
        with store.transaction("r@main") as tx:
            tx.write("g", LARGE)
        assert tx.commit.stats.bytes_stored < 20_000
