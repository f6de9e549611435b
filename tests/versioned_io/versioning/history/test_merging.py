"""Merge, cherry-pick and revert bring in exactly what they say, keep where things came from, and name conflicts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.errors import InvalidInputError, MergeConflictError, NotFoundError, RefSyntaxError
from versioned_io.versioning.history.merging import Conflict


@pytest.fixture
def forked(store, write):
    """r@main and r@dev after a common commit; nothing was changed on both."""
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", "b": b"1", "c": b"1", "d/x": b"1"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"a": b"dev", "new": b"dev", "c": None})
    write(store, "r@main", {"b": b"main", "other": b"main"})
    return store


def test_disjoint_changes_of_both_are_in_the_merge(forked, files_of):
    dev, main = forked.commit("r@dev"), forked.commit("r@main")
    merge = forked.merge("r@dev", "r@main", author="me")
    assert files_of(forked, "r@main") == {"a": b"dev", "b": b"main", "d/x": b"1", "new": b"dev", "other": b"main"}
    assert (merge.parent, merge.merged, merge.number) == (main.id, dev.id, 3)
    assert (merge.lineage_id, merge.provenance, merge.author) == (dev.lineage_id, (dev.id,), "me")
    assert merge.message == "merge r@dev into r@main"
    assert (merge.stats.added, merge.stats.modified, merge.stats.deleted) == (1, 1, 1)
    assert forked.fsck().is_clean


def test_no_bytes_move_and_files_keep_their_authors(forked):
    dev = forked.commit("r@dev")
    forked.merge("r@dev", "r@main")
    merged = forked.snapshot("r@main")
    assert merged.row("new") == forked.snapshot("r@dev").row("new")
    assert merged.stat("new").written_by == dev.id
    assert [commit.id for commit in forked.log("r@main", path="new")] == [dev.id]
    assert [commit.number for commit in forked.log("r@main", path="b")] == [2, 1]


def test_what_is_merged_already_is_not_merged_again(forked):
    merge = forked.merge("r@dev", "r@main")
    assert forked.merge("r@dev", "r@main") == merge
    assert forked.commit("r@main") == merge


def test_the_next_merge_begins_where_the_last_one_ended(forked, write, files_of):
    forked.merge("r@dev", "r@main")
    write(forked, "r@main", {"a": b"main again"})  # no conflict: dev's change of it is merged
    write(forked, "r@dev", {"new": b"dev again"})
    forked.merge("r@dev", "r@main")
    assert files_of(forked, "r@main")["new"] == b"dev again"
    assert files_of(forked, "r@main")["a"] == b"main again"
    forked.merge("r@main", "r@dev")
    assert files_of(forked, "r@dev") == files_of(forked, "r@main")
    assert forked.commit("r@dev").id == forked.commit("r@main").id  # fast-forward


def test_a_branch_without_commits_of_its_own_is_moved(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1"})
    store.create_branch("r@dev", at="r@main")
    head = write(store, "r@dev", {"a": b"2"})
    assert store.merge("r@dev", "r@main") == head
    assert store.commit("r@main") == head
    assert store.reflog("r@main")[-1].entry.action == "move_branch"
    store.create_branch("r@copy", at="r@main~1")
    merge = store.merge("r@dev", "r@copy", fast_forward=False)
    assert (merge.parent, merge.merged) == (store.commit("r@main~1").id, head.id)
    assert merge.tree_digest == head.tree_digest


def test_an_empty_branch_takes_all(store, write, files_of):
    store.create_repo("r")
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"a": b"2"})
    store.merge("r@dev", "r@main")
    assert files_of(store, "r@main") == {"a": b"2"}


def conflicting(store, write):
    store.create_repo("r")
    write(store, "r@main", {"both": b"0", "same": b"0", "gone": b"0", "kept": b"0"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"both": b"dev", "same": b"1", "gone": None, "dir": b"file", "new": b"dev"})
    write(store, "r@main", {"both": b"main", "same": b"1", "gone": b"main", "dir/x": b"1", "new": b"main"})
    return store


def test_conflicts_are_named_and_nothing_changed(store, write, dump):
    conflicting(store, write)
    before = dump(store)
    with pytest.raises(MergeConflictError) as caught:
        store.merge("r@dev", "r@main")
    assert caught.value.paths == ("both", "dir", "dir/x", "gone", "new")
    assert caught.value.winner == store.commit("r@dev").id
    assert "'gone' (changed here, deleted there)" in str(caught.value)
    assert {one.path: (one.base is None, one.ours is None, one.theirs is None) for one in caught.value.conflicts} == {
        "both": (False, False, False),
        "dir": (True, True, False),
        "dir/x": (True, False, True),
        "gone": (False, False, True),
        "new": (True, False, False),
    }
    assert dump(store)[0] == before[0]


def test_one_side_can_be_taken(store, write, files_of):
    conflicting(store, write)
    store.create_branch("r@ours", at="r@main")
    store.create_branch("r@theirs", at="r@main")
    store.merge("r@dev", "r@ours", strategy="ours")
    assert files_of(store, "r@ours") == files_of(store, "r@main")
    with pytest.raises(vio.VersionedError):
        store.merge("r@dev", "r@theirs", strategy={"dir/**": "ours", "dir": "fail", "**": "theirs"})
    store.merge("r@dev", "r@theirs", strategy={"dir/**": "ours", "dir": "ours", "**": "theirs"})
    assert files_of(store, "r@theirs") == {
        "both": b"dev",
        "same": b"1",
        "dir/x": b"1",
        "new": b"dev",
        "kept": b"0",
    }


def test_a_function_decides_by_path_and_content(store, write, files_of):
    conflicting(store, write)
    seen = []

    def decide(conflict: Conflict):
        seen.append(conflict.path)
        assert (conflict.base is None) == (conflict.path in {"dir", "dir/x", "new"})
        return b"both of them" if conflict.path == "both" else "ours"

    merge = store.merge("r@dev", "r@main", strategy=decide)
    assert seen == ["both", "dir", "dir/x", "gone", "new"]
    assert files_of(store, "r@main")["both"] == b"both of them"
    assert store.snapshot("r@main").stat("both").written_by == merge.id


@pytest.mark.parametrize("ours", [b"x" * 3, None])
def test_a_foreseen_merge_has_the_files_whose_bytes_the_strategy_returns(store, write, ours):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", "b": b"1", "c": b"1"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"a": b"2", "b": b"2", "c": b"2", "new": b"1"})
    write(store, "r@main", {"a": ours, "b": b"33", "c": b"3"} if ours else {"b": b"33", "c": b"3"})
    if ours is None:
        with store.transaction("r@main") as tx:
            tx.delete("a")
    before = store.snapshot("r@main").commit

    def decide(conflict):
        return {"a": b"merged", "b": b"33", "c": "theirs"}[conflict.path]

    foreseen = store.foresee_merge("r@dev", into="r@main", strategy=decide)
    store.merge("r@dev", "r@main", strategy=decide)
    made = store.diff(f"r@{before.id}", "r@main")
    assert foreseen.changes.select(made.column_names).equals(made)
    assert foreseen.changes.column("path").to_pylist() == ["a", "c", "new"]


@pytest.mark.parametrize("strategy", ["mine", {"**": "mine"}, lambda _: "mine", {"[": "ours"}])
def test_a_strategy_that_means_nothing_changes_nothing(store, write, dump, strategy):
    conflicting(store, write)
    before = dump(store)[0]
    with pytest.raises(InvalidInputError):
        store.merge("r@dev", "r@main", strategy=strategy)
    assert dump(store)[0] == before


def test_what_is_not_there_or_of_another_repo_can_not_be_merged(forked):
    forked.create_repo("other")
    with pytest.raises(NotFoundError):
        forked.merge("r@nothing", "r@main")
    with pytest.raises(NotFoundError):
        forked.merge("r@dev", "r@nothing")
    with pytest.raises(RefSyntaxError):
        forked.merge("r@dev", "other@main")


def test_a_writer_that_commits_meanwhile_loses_nothing(forked, write, files_of, monkeypatch):
    from versioned_io.versioning.history import merging

    original = merging._stage

    def stage(*arguments):
        original(*arguments)
        monkeypatch.undo()
        write(forked, "r@main", {"meanwhile": b"1", "d/x": b"2"})

    monkeypatch.setattr(merging, "_stage", stage)
    forked.merge("r@dev", "r@main")
    assert files_of(forked, "r@main") == {
        "a": b"dev",
        "b": b"main",
        "d/x": b"2",
        "new": b"dev",
        "other": b"main",
        "meanwhile": b"1",
    }


def test_a_writer_that_overlaps_meanwhile_makes_a_conflict_of_the_merge(forked, write, monkeypatch):
    from versioned_io.versioning.history import merging

    original = merging._stage

    def stage(*arguments):
        original(*arguments)
        monkeypatch.undo()
        write(forked, "r@main", {"a": b"main"})

    monkeypatch.setattr(merging, "_stage", stage)
    with pytest.raises(MergeConflictError) as caught:
        forked.merge("r@dev", "r@main")
    assert caught.value.paths == ("a",)


def test_a_merge_drives_only_what_it_changed(forked):
    seen = forked.commit("r@main").id
    forked.merge("r@dev", "r@main")
    changes = forked.changes("r@main", since=seen, partitions="{name}")
    assert sorted(changes.keys) == ["a", "new"]
    assert sorted(changes.deleted) == ["c"]


def test_a_commit_is_picked_onto_another_branch(forked, write, files_of):
    picked = write(forked, "r@dev", {"new": b"dev 2", "d/y": b"1"}, message="second")
    before = files_of(forked, "r@main")
    with pytest.raises(MergeConflictError):
        forked.cherry_pick(picked.id, "r@main")  # it changed "new", which main has not
    made = forked.cherry_pick(picked.id, "r@main", strategy="theirs")
    assert files_of(forked, "r@main") == {**before, "new": b"dev 2", "d/y": b"1"}
    assert (made.message, made.lineage_id, made.provenance) == ("second", picked.lineage_id, (picked.id,))
    assert made.merged is None
    assert [use.file.written_by for use in forked.upstream("r@main:d/y").files] == [picked.id]


def test_a_commit_is_taken_back(forked, write, files_of):
    before = files_of(forked, "r@main")
    undone = write(forked, "r@main", {"a": b"wrong", "d/x": None, "more": b"wrong"})
    write(forked, "r@main", {"later": b"1"})
    made = forked.revert("r@main~1", "r@main")
    assert files_of(forked, "r@main") == {**before, "later": b"1"}
    assert made.message == f"revert {undone.id}"
    assert undone.id in made.provenance
    assert forked.log("r@main", path="a").__next__().id == made.id
    write(forked, "r@main", {"a": b"changed since"})
    with pytest.raises(MergeConflictError) as caught:
        forked.revert(undone.id, "r@main")
    assert "a" in caught.value.paths


def test_the_first_commit_can_be_taken_back(store, write, files_of):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1"})
    store.revert("r@main", "r@main")
    assert files_of(store, "r@main") == {}


def test_several_commits_in_a_row_are_taken_back_as_one(forked, write, files_of):
    before, since = files_of(forked, "r@main"), forked.commit("r@main")
    write(forked, "r@main", {"a": b"wrong", "d/x": None, "more": b"wrong"})
    write(forked, "r@main", {"more": b"wrong again", "d/y": b"wrong", "b": b"wrong"})
    last = write(forked, "r@main", {"d/y": None, "e": b"wrong", "b": before["b"]})
    later = write(forked, "r@main", {"later": b"1"})
    made = forked.revert("r@main~1", "r@main", since="r@main~4")
    assert files_of(forked, "r@main") == {**before, "later": b"1"}
    assert (made.parent, made.number) == (later.id, later.number + 1)
    # Undone is the newest; the files are those of the commit before the oldest.
    assert set(made.provenance) == {last.id, since.id}
    assert made.message == f"revert {last.id} and what led to it after {since.id}"
    assert (made.stats.added, made.stats.modified, made.stats.deleted) == (1, 1, 2)
    # Taking that back brings all of it again.
    forked.revert("r@main", "r@main")
    assert files_of(forked, "r@main")["more"] == b"wrong again"


def test_what_later_commits_touched_refuses_the_whole_range(forked, write, files_of, dump):
    write(forked, "r@main", {"a": b"wrong", "more": b"wrong"})
    write(forked, "r@main", {"c": b"wrong", "d/x": b"wrong"})
    write(forked, "r@main", {"c": b"later", "more": None})
    before = dump(forked)
    with pytest.raises(MergeConflictError) as caught:
        forked.revert("r@main~1", "r@main", since="r@main~3")
    assert caught.value.paths == ("c",)  # "more" is as it was before: both say so
    ((path, wrong, ours, theirs),) = caught.value.conflicts
    files = [forked.snapshot(f"r@main~{back}").stat("c").digest for back in (1, 0, 3)]
    assert (path, [wrong, ours, theirs]) == ("c", files)
    assert dump(forked) == before
    forked.revert("r@main~1", "r@main", since="r@main~3", strategy={"c": "ours"})
    assert files_of(forked, "r@main") == {"a": b"1", "b": b"main", "c": b"later", "d/x": b"1", "other": b"main"}


@pytest.mark.parametrize(
    ("ends", "error", "word"),
    [
        (("r@main~1", "r@main"), InvalidInputError, "not in the history"),
        (("r@main", "r@main"), InvalidInputError, "not in the history"),
        (("r@main", "r@dev"), InvalidInputError, "not in the history"),
        (("r@main", "other@main"), RefSyntaxError, "of repo 'r'"),
        (("r@main", "r@main~9"), NotFoundError, "main~9"),
        (("r@main", "r@main:a"), RefSyntaxError, "path"),
        (("r@main", 3), InvalidInputError, "type int"),
    ],
)
def test_a_range_whose_ends_are_not_in_one_history_takes_nothing_back(forked, dump, ends, error, word):
    forked.create_repo("other")
    with forked.transaction("other@main") as tx:
        tx.write("a", b"1")
    with forked.transaction("r@main") as tx:
        tx.write("more", b"1")
    before = dump(forked)
    with pytest.raises(error, match=word):
        forked.revert(ends[0], "r@main", since=ends[1])
    assert dump(forked) == before


PATHS = st.sampled_from(["a", "b", "a/x", "a/y", "c/d/e"])
EDITS = st.dictionaries(PATHS, st.one_of(st.none(), st.sampled_from([b"0", b"1", b"2"])), max_size=4)


def is_tree(files):
    return not any(other.startswith(f"{path}/") for path in files for other in files)


def applied(files, edits):
    found = {**files, **edits}
    return {path: data for path, data in found.items() if data is not None}


@settings(max_examples=60, deadline=None)
@given(EDITS, EDITS, EDITS)
def test_a_merge_is_what_a_plain_dict_says(tmp_path_factory, first, left, right):
    base = applied({}, first)
    ours, theirs = applied(base, left), applied(base, right)
    if not all(map(is_tree, (base, ours, theirs))):
        return
    with vio.create_store(tmp_path_factory.mktemp("merge") / "s") as store:
        store.create_repo("r")
        for branch, files in (("r@main", base), ("r@main", ours)):
            with store.transaction(branch, empty="allow") as tx:
                for path in {file.path for file in store.snapshot(branch).walk()} - set(files):
                    tx.delete(path)
                for path, data in files.items():
                    tx.write(path, data)
        store.create_branch("r@dev", at="r@main~1")
        with store.transaction("r@dev", empty="allow") as tx:
            for path in set(base) - set(theirs):
                tx.delete(path)
            for path, data in theirs.items():
                tx.write(path, data)
        changed = [{path for path in {*base, *side} if base.get(path) != side.get(path)} for side in (ours, theirs)]
        conflicts = {path for path in changed[0] & changed[1] if ours.get(path) != theirs.get(path)}
        wanted = {path: (theirs if path in changed[1] else ours).get(path) for path in {*base, *ours, *theirs}}
        wanted = {path: data for path, data in wanted.items() if data is not None}
        if conflicts or not is_tree(wanted):
            with pytest.raises(MergeConflictError) as caught:
                store.merge("r@dev", "r@main", fast_forward=False)
            assert conflicts <= set(caught.value.paths)
            return
        store.merge("r@dev", "r@main", fast_forward=False)
        snapshot = store.snapshot("r@main")
        assert {file.path: snapshot.read(file.path) for file in snapshot.walk()} == wanted


@pytest.fixture
def meanwhile(monkeypatch):
    """A function that lets somebody act once, between the moment a merge is worked out and its commit."""
    from versioned_io.versioning.history import merging

    original = merging._stage

    def arrange(act):
        def stage(*arguments):
            original(*arguments)
            monkeypatch.undo()
            act()

        monkeypatch.setattr(merging, "_stage", stage)

    return arrange


def test_a_branch_that_is_reset_meanwhile_gets_all_that_the_merge_brings(store, write, files_of, meanwhile):
    store.create_repo("r")
    first = write(store, "r@main", {"a": b"1"})
    write(store, "r@main", {"b": b"1"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"c": b"dev"})
    write(store, "r@main", {"d": b"main"})
    meanwhile(lambda: store.reset("r@main", first.id))
    merge = store.merge("r@dev", "r@main", fast_forward=False)
    assert merge.parent == first.id
    assert files_of(store, "r@main") == {"a": b"1", "b": b"1", "c": b"dev"}


def test_what_both_had_made_alike_and_one_changes_meanwhile_is_a_conflict(store, write, meanwhile):
    store.create_repo("r")
    write(store, "r@main", {"a": b"0"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"a": b"1", "new": b"dev"})
    write(store, "r@main", {"a": b"1"})
    meanwhile(lambda: write(store, "r@main", {"a": b"2"}))
    with pytest.raises(MergeConflictError) as caught:
        store.merge("r@dev", "r@main")
    assert caught.value.paths == ("a",)


def test_a_function_is_asked_again_when_what_it_decided_on_has_changed(store, write, files_of, meanwhile):
    store.create_repo("r")
    write(store, "r@main", {"a": b"0"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"a": b"100"})
    write(store, "r@main", {"a": b"20"})
    meanwhile(lambda: write(store, "r@main", {"a": b"3"}))
    store.merge("r@dev", "r@main", strategy=lambda one: "ours" if one.ours.size > 1 else "theirs")
    assert files_of(store, "r@main") == {"a": b"100"}


@pytest.mark.parametrize("files", [{"dir/x": b"1", "dir/y": b"1", "dir/z/z": b"1"}, {"dir/x": b"1"}])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_file_against_a_whole_directory_is_decided_by_one_word(store, write, files_of, files, swapped):
    store.create_repo("r")
    write(store, "r@main", {"kept": b"1"})
    store.create_branch("r@dev", at="r@main")
    sides = [{"dir": b"file"}, files]
    write(store, "r@dev", sides[swapped])
    write(store, "r@main", sides[not swapped])
    with pytest.raises(MergeConflictError) as caught:
        store.merge("r@dev", "r@main")
    assert set(caught.value.paths) == {"dir", *files}
    ours, theirs = files_of(store, "r@main"), files_of(store, "r@dev")
    store.create_branch("r@copy", at="r@main")
    store.merge("r@dev", "r@main", strategy="theirs")
    assert files_of(store, "r@main") == theirs
    store.merge("r@dev", "r@copy", strategy="ours")
    assert files_of(store, "r@copy") == ours


def test_a_changed_file_against_a_directory_in_its_place_is_decided_by_one_word(store, write, files_of):
    store.create_repo("r")
    write(store, "r@main", {"a": b"0"})
    store.create_branch("r@dev", at="r@main")
    write(store, "r@dev", {"a": b"dev"})
    write(store, "r@main", {"a": None})
    write(store, "r@main", {"a/y": b"main"})
    with pytest.raises(MergeConflictError) as caught:
        store.merge("r@dev", "r@main")
    assert caught.value.paths == ("a", "a/y")
    store.merge("r@dev", "r@main", strategy="theirs")
    assert files_of(store, "r@main") == {"a": b"dev"}


@pytest.mark.parametrize("strategy", [["ours"], None, {"**": ["ours"]}, 1])
def test_a_strategy_of_a_wrong_type_is_refused(forked, strategy):
    with pytest.raises(InvalidInputError):
        forked.merge("r@dev", "r@main", strategy=strategy)
