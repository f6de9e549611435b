"""A file that is gone and is there under another path with the same content is one change, if one asks for it."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioned_io.versioning.history.log import DIFFERENCES, find_renames


@pytest.fixture
def repo(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", "d/x": b"2", "e": b"", "kept": b"1"})
    return store


def renames_of(store):
    return {
        row["path"]: (row["change"], row["old_path"])
        for row in store.diff("r@main~1", "r@main", renames=True).to_pylist()
    }


def test_a_moved_file_is_renamed_with_where_it_was(repo):
    with repo.transaction("r@main") as tx:
        tx.move("a", "b")
        tx.move("d", "dir")
        tx.write("kept", b"new")
    table = repo.diff("r@main~1", "r@main", renames=True)
    assert renames_of(repo) == {"b": ("renamed", "a"), "dir/x": ("renamed", "d/x"), "kept": ("modified", None)}
    row = table.to_pylist()[0]
    assert (row["old_size"], row["new_size"], row["old_digest"]) == (1, 1, row["new_digest"])
    assert table.column("path").to_pylist() == sorted(table.column("path").to_pylist())


def test_nobody_who_does_not_ask_sees_renames(repo):
    with repo.transaction("r@main") as tx:
        tx.move("a", "b")
    table = repo.diff("r@main~1", "r@main")
    assert table.schema == DIFFERENCES
    assert table.column("change").to_pylist() == ["deleted", "added"]


def test_a_copy_an_edit_on_the_way_and_an_empty_file_are_no_renames(repo, write):
    write(repo, "r@main", {"copy of a": b"1", "d/x": None, "d/y": b"2!", "e": None, "f": b""})
    assert renames_of(repo) == {
        "copy of a": ("added", None),
        "d/x": ("deleted", None),
        "d/y": ("added", None),
        "e": ("deleted", None),
        "f": ("added", None),
    }


def test_of_files_with_one_content_those_that_keep_their_names_go_together(store, write):
    store.create_repo("r")
    write(store, "r@main", {"old/a": b"1", "old/b": b"1", "old/c": b"1"})
    write(store, "r@main", {"old/a": None, "old/b": None, "old/c": None, "new/0": b"1", "new/c": b"1"})
    assert renames_of(store) == {
        "new/0": ("renamed", "old/a"),
        "new/c": ("renamed", "old/c"),
        "old/b": ("deleted", None),
    }


def test_against_the_empty_tree_all_is_added(repo):
    assert set(repo.diff(None, "r@main", renames=True).column("change").to_pylist()) == {"added"}
    assert repo.diff("r@main", "r@main", renames=True).num_rows == 0


CHANGES = st.dictionaries(
    st.sampled_from(["a", "b", "x/a", "x/b", "y/a", "y/b"]),
    st.tuples(st.sampled_from(["added", "deleted"]), st.sampled_from(["0", "1"])),
)


@given(CHANGES)
def test_taken_apart_again_renames_are_the_differences(changes):
    rows = [
        {
            "path": path,
            "change": change,
            "old_size": 1 if change == "deleted" else None,
            "new_size": 1 if change == "added" else None,
            "old_digest": digest if change == "deleted" else None,
            "new_digest": digest if change == "added" else None,
        }
        for path, (change, digest) in sorted(changes.items())
    ]
    found = find_renames(pa.Table.from_pylist(rows, schema=DIFFERENCES)).to_pylist()
    apart = {}
    for row in found:
        digest = row["new_digest"] or row["old_digest"]
        if row["change"] == "renamed":
            assert row["old_digest"] == row["new_digest"]
            apart[row["old_path"]] = ("deleted", digest)
            apart[row["path"]] = ("added", digest)
        else:
            assert row["old_path"] is None
            apart[row["path"]] = (row["change"], digest)
    assert apart == changes
    left = [{digest for _, (change, digest) in changes.items() if change == kind} for kind in ("added", "deleted")]
    for digest in left[0] & left[1]:
        counts = [list(changes.values()).count((kind, digest)) for kind in ("added", "deleted")]
        assert sum(row["change"] == "renamed" and row["new_digest"] == digest for row in found) == min(counts)
