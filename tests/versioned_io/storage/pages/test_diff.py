"""Comparing two trees."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.objects.stores import CountingObjects
from tests.versioned_io.storage.pages.trees import Forest, deletes, digest, edited, models, paths, rows
from versioned_io.storage.packs.pack_session import PackSession
from versioned_io.storage.pages.boundaries import FORMAT_RULES
from versioned_io.storage.pages.diff import DIFF, diff, differ_at
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import lookup_many


def expected_diff(old, new, prefix=""):
    found = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path) or not path.startswith(prefix):
            continue
        change = "added" if path not in old else "deleted" if path not in new else "modified"
        before, after = old.get(path, (None,))[0], new.get(path, (None,))[0]
        digests = (None if before is None else digest(before), None if after is None else digest(after))
        found.append((path, change, before, after, *digests))
    return found


def as_tuples(table):
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@settings(max_examples=200)
@given(models, models, st.just("") | paths)
def test_a_diff_is_what_differs(old, new, prefix):
    forest = Forest()
    found = diff(forest.build(old), forest.build(new), source=forest.source, prefix=prefix)
    assert found.schema == DIFF
    assert as_tuples(found) == expected_diff(old, new, prefix)


@settings(max_examples=60)
@given(models, models, deletes, st.just("") | paths)
def test_trees_differ_at_a_path_where_a_diff_names_it_or_something_below(model, upserts, deletes, path):
    forest = Forest()
    old = forest.build(model)
    for new in (forest.edit(old, upserts, deletes), forest.build(upserts), None):
        below = f"{path}/" if path else ""
        changed = diff(old, new, source=forest.source).column("path").to_pylist()
        expected = any(one == path or one.startswith(below) for one in changed)
        assert differ_at(old, new, path, source=forest.source) == expected
        assert differ_at(new, old, path, source=forest.source) == expected


@settings(max_examples=200)
@given(models, models, deletes)
def test_a_diff_of_a_tree_and_its_edit_is_the_edit(model, upserts, deletes):
    forest = Forest()
    old = forest.build(model)
    new = forest.edit(old, upserts, deletes)
    assert as_tuples(diff(old, new, source=forest.source)) == expected_diff(model, edited(model, upserts, deletes))


@given(models, models)
def test_applying_a_diff_to_the_old_tree_gives_the_new_one(old, new):
    forest = Forest()
    before, after = forest.build(old), forest.build(new)
    changes = diff(before, after, source=forest.source)
    kinds = dict(zip(changes["path"].to_pylist(), changes["change"].to_pylist(), strict=True))
    gone = [path for path, change in kinds.items() if change == "deleted"]
    taken = lookup_many(after, [path for path, change in kinds.items() if change != "deleted"], source=forest.source)
    applied = edit_tree(before, taken, gone, source=forest.source, sink=forest.sink, rules=forest.rules)
    assert (applied and applied.digest) == (after and after.digest)
    assert diff(applied, after, source=forest.source).num_rows == 0


@given(models)
def test_where_the_bytes_lie_is_no_difference(model):
    forest = Forest()
    here, there = forest.build(model, commit=1), forest.build(model, commit=2)
    assert diff(here, there, source=forest.source).num_rows == 0


@pytest.mark.parametrize("count", [1, 10])
def test_a_diff_reads_only_the_pages_that_differ(count):
    forest = Forest(rules=FORMAT_RULES)
    model = {f"day={number // 500:03d}/part-{number:06d}": (number % 7, None) for number in range(50_000)}
    old = forest.build(model)
    changed = dict.fromkeys(sorted(model)[:: len(model) // count][:count], (9, None))
    forest.sink.close()
    sink = PackSession(forest.objects)
    new = edit_tree(old, rows(changed), [], source=forest.source, sink=sink)
    sink.close()
    counting = CountingObjects(forest.objects)
    assert diff(old, new, source=PageSource(counting)).num_rows == count
    assert counting.calls["get_ranges"] <= 2 * (old.level + 1)
    assert counting.calls["ranges"] <= 2 * (2 * count + 1)
    same = CountingObjects(forest.objects)
    assert diff(new, new, source=PageSource(same)).num_rows == 0
    assert not same.calls
