"""What Pachyderm's users rely on, about repos, branches, commits and files; each test has the name of the behaviour.

Behaviours that other tests show are in `SHOWN_ELSEWHERE`, with the test.
"""

import ast
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import (
    ConflictError,
    ExistsError,
    IllegalPathError,
    NotAFileError,
    NotFoundError,
    PathCollisionError,
    RefNotFoundError,
    RefSyntaxError,
    TransactionClosedError,
)

HERE = Path(__file__).resolve().parents[2]
SHOWN_ELSEWHERE = {
    "a trigger does not fire below its size, and at it the head is the same commit": (
        "processing/triggers/test_firing.py",
        "test_trigger_simple_does_not_fire_below_the_size_and_at_it_the_head_is_the_same_commit",
    ),
    "a trigger fires at each n-th commit": (
        "processing/triggers/test_firing.py",
        "test_trigger_count_fires_at_each_n_th_commit",
    ),
    "conditions of a trigger are joined by or, or by and": (
        "processing/triggers/test_firing.py",
        "test_trigger_or_needs_one_condition_and_trigger_and_all",
    ),
    "triggers chain": (
        "processing/triggers/test_firing.py",
        "test_trigger_chain_fires_in_one_evaluation_whatever_the_names",
    ),
    "a cron trigger without a new commit creates nothing": (
        "processing/triggers/test_firing.py",
        "test_trigger_cron_fires_at_an_instant_and_without_a_new_commit_creates_nothing",
    ),
    "a branch that is moved by hand keeps its trigger": (
        "processing/triggers/test_firing.py",
        "test_branch_movement_by_hand_keeps_the_trigger_and_counts_from_there",
    ),
    "a trigger that is not valid is refused": (
        "processing/triggers/test_firing.py",
        "test_trigger_validation_refuses_itself_loops_and_sources_that_do_not_exist",
    ),
    "two datums that write one path are an error": (
        "processing/running/test_claimed_paths.py",
        "test_both_datums_are_named",
    ),
}


@pytest.fixture
def store():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        store.create_repo("r")
        yield store


def put(store, files, branch="r@main"):
    with store.transaction(branch) as tx:
        for path, data in files.items():
            tx.write(path, data)
    return tx.commit


def paths(store, ref="r@main"):
    return [file.path for file in store.snapshot(ref).walk()]


@pytest.mark.parametrize("behaviour", SHOWN_ELSEWHERE)
def test_what_another_test_shows_is_still_there(behaviour):
    file, name = SHOWN_ELSEWHERE[behaviour]
    found = {one.name for one in ast.parse((HERE / file).read_text()).body if isinstance(one, ast.FunctionDef)}
    assert name in found


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "a#b", "@", "a@b"])
def test_invalid_repo_illegal_characters_are_refused(store, name):
    with pytest.raises(RefSyntaxError):
        store.create_repo(name)


def test_create_repo_twice_fails_and_of_many_at_once_one_wins(store):
    def create(_):
        try:
            store.create_repo("new")
        except (ExistsError, ConflictError):
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(create, range(8))) == 1


def test_create_deleted_repo_old_data_never_comes_back(store):
    put(store, {"old": b"old"})
    store.delete_repo("r")
    store.create_repo("r")
    assert paths(store) == []


@pytest.mark.parametrize("branch", ["r@", "r@a b", "r@a:b", "r@a^", f"r@{'0' * 31}1"])
def test_create_invalid_branch_name_is_refused(store, branch):
    put(store, {"a": b""})
    with pytest.raises(RefSyntaxError):
        store.create_branch(branch, at="r@main")


def test_create_branch_head_on_other_repo_is_an_error(store):
    store.create_repo("s")
    with pytest.raises(RefSyntaxError):
        store.create_branch("s@x", at="r@main")


def test_put_file_commit_each_transaction_is_one_commit_and_many_at_once_all_land(store):
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda number: put(store, {f"{number:02}": b"x"}), range(25)))
    assert paths(store) == [f"{number:02}" for number in range(25)]
    assert store.commit("r@main").number == 25


def test_put_file_commit_overwrite_replaces_and_the_old_commit_is_unchanged(store):
    first = put(store, {"a": b"one"})
    put(store, {"a": b"two"})
    assert (store.snapshot("r@main").read("a"), store.snapshot(first.id).read("a")) == (b"two", b"one")


def test_put_file_into_a_finished_commit_is_an_error(store):
    with store.transaction("r@main") as tx:
        tx.write("a", b"a")
    with pytest.raises(TransactionClosedError):
        tx.write("b", b"b")


def test_put_file_atomic_a_failure_leaves_nothing_visible(store):
    put(store, {"a": b"a"})
    tx = store.transaction("r@main")
    tx.write("b", b"b")
    tx.__exit__(ValueError, ValueError("broken"), None)
    assert paths(store) == ["a"]


def test_apply_write_order_the_later_operation_wins(store):
    with store.transaction("r@main") as tx:
        tx.write("a", b"one")
        tx.delete("a")
        tx.write("a", b"two")
        tx.write("b", b"b")
        tx.delete("b")
    assert {path: store.snapshot("r@main").read(path) for path in paths(store)} == {"a": b"two"}


@pytest.mark.parametrize("path", ["", "../a", "a/../b", "a/./b", "a//b", "a\0b", "a\nb", "/"])
def test_put_file_directory_traversal_and_control_characters_are_refused(store, path):
    with pytest.raises(IllegalPathError), store.transaction("r@main") as tx:
        tx.write(path, b"")


def test_names_may_have_any_letter_and_marks_of_patterns_which_pachyderm_refuses(store):
    names = ["[1]*?.txt", "a{b}(c)!@+^", "\u00fcber/\u6587\u4ef6"]
    put(store, dict.fromkeys(names, b""))
    assert sorted(paths(store)) == sorted(names)


def test_a_file_and_a_directory_of_one_name_are_refused_whatever_stands_between(store):
    """Pachyderm compares neighbours only, and ``foo-x`` sorts between ``foo`` and ``foo/bar``."""
    with pytest.raises(PathCollisionError):
        put(store, dict.fromkeys(["foo", "foo-x", "foo/bar"], b""))


def test_copy_file_and_directory_across_repos_and_commits(store):
    first = put(store, {"d/a": b"1", "d/b": b"2"})
    put(store, {"d/a": b"new"})
    store.create_repo("s")
    with store.transaction("s@main") as tx:
        tx.copy(f"r@{first.id}:d/a", "one")
        tx.copy("r@main:d", "all")
    found = store.snapshot("s@main")
    assert {path: found.read(path) for path in paths(store, "s@main")} == {"all/a": b"new", "all/b": b"2", "one": b"1"}


def test_get_file_of_a_directory_is_an_error_and_offsets_are_read(store):
    put(store, {"d/a": b"0123456789"})
    found = store.snapshot("r@main")
    with pytest.raises(NotAFileError):
        found.read("d")
    with found.open("d/a") as file:
        file.seek(4)
        assert file.read(3) == b"456"


def test_glob_order_is_that_of_the_bytes(store):
    put(store, dict.fromkeys(["b", "a-x", "a/1", "A", "\u00e4"], b""))
    assert [file.path for file in store.snapshot("r@main").glob("**")] == sorted(paths(store), key=str.encode)


def test_empty_files_are_kept_and_directories_are_those_of_their_files(store):
    put(store, {"d/empty": b"", "d/b": b"123"})
    assert store.snapshot("r@main").read("d/empty") == b""
    with store.transaction("r@main") as tx:
        tx.delete("d/empty")
        tx.delete("d/b")
        tx.write("other", b"")
    assert paths(store) == ["other"]
    assert not store.snapshot("r@main").is_directory("d")


def test_diff_file_has_additions_changes_and_deletions_against_the_parent_or_any_other(store):
    put(store, {"a": b"1", "b": b"1"})
    with store.transaction("r@main") as tx:
        tx.write("a", b"2")
        tx.write("c", b"1")
        tx.delete("b")
    changes = store.diff("r@main~1", "r@main").to_pylist()
    assert {(row["path"], row["change"]) for row in changes} == {("a", "modified"), ("b", "deleted"), ("c", "added")}
    assert store.diff(None, "r@main").num_rows == 2


def test_list_commit_is_newest_first_with_a_limit_and_ancestry_counts_back(store):
    commits = [put(store, {"a": str(number).encode()}) for number in range(4)]
    assert [one.id for one in store.log("r@main")] == [one.id for one in reversed(commits)]
    assert [one.id for one in store.log("r@main", limit=2)] == [commits[3].id, commits[2].id]
    assert store.commit("r@main^^").id == store.commit("r@main~2").id == commits[1].id
    with pytest.raises(NotFoundError):
        store.commit("r@main~9")


def test_drop_commit_the_head_moves_to_the_parent_and_the_data_is_gone(store):
    first = put(store, {"a": b"1"})
    put(store, {"b": b"2"})
    store.drop("r@main")
    assert (store.commit("r@main").id, paths(store)) == (first.id, ["a"])


def test_squash_keeps_the_content(store):
    for number in range(3):
        put(store, {f"{number}": b""})
    store.squash("r@main")
    assert (paths(store), len(list(store.log("r@main")))) == (["0", "1", "2"], 1)


def test_error_messages_name_the_missing_object(store):
    for ref, words in (("nope@main", "nope"), ("r@nope", "nope")):
        with pytest.raises(NotFoundError, match=words):
            store.commit(ref)
    with pytest.raises(RefNotFoundError):
        store.commit("r@main")
    put(store, {"a": b""})
    with pytest.raises(NotFoundError, match="missing"):
        store.snapshot("r@main").read("missing")
