"""Building and editing: the same tree, whatever the history."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.versioned_io.storage.objects.stores import CountingObjects
from tests.versioned_io.storage.pages.trees import (
    Forest,
    deletes,
    edited,
    identity,
    models,
    paths,
    rows,
    values,
)
from versioned_io.errors import InvalidInputError
from versioned_io.storage.objects import open_objects
from versioned_io.storage.packs.pack_session import PackSession
from versioned_io.storage.pages.boundaries import FORMAT_RULES
from versioned_io.storage.pages.build import build_tree
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.page_source import PageSource

SUFFIXES = [f"{number:02d}" for number in range(40)]


@given(models)
def test_a_tree_holds_what_it_was_built_from(model):
    forest = Forest()
    root = forest.build(model)
    assert forest.model(root) == model
    assert (root is None) == (not model)
    if root is not None:
        assert (root.files, root.size_bytes) == (len(model), sum(content for content, _ in model.values()))


@settings(max_examples=300)
@given(models, models, deletes)
def test_an_edited_tree_is_the_tree_built_from_the_result(model, upserts, deletes):
    forest = Forest()
    result = edited(model, upserts, deletes)
    assert identity(forest.edit(forest.build(model), upserts, deletes)) == identity(forest.build(result))


@pytest.mark.parametrize("count", [10, 45, 80])  # their last index pages have one row
def test_whatever_is_cut_off_a_tree_the_rest_has_no_superfluous_level(count):
    forest = Forest()
    names = [f"{number:04d}" for number in range(count)]
    root = forest.build(dict.fromkeys(names, (1, None)))
    for number in range(1, count):
        for gone in (names[:number], names[number:], names[number // 2 : number]):
            rest = dict.fromkeys(set(names) - set(gone), (1, None))
            assert identity(forest.edit(root, {}, gone)) == identity(forest.build(rest))


@given(models)
def test_everything_can_be_deleted(model):
    forest = Forest()
    root = forest.build(model)
    assert forest.edit(root, {}, [""]) is None
    assert forest.edit(root, {}, sorted(model)) is None
    assert identity(forest.edit(root, {"new": (1, None)}, [""])) == identity(forest.build({"new": (1, None)}))


@given(models, deletes)
def test_deleting_from_nothing_leaves_nothing(upserts, deletes):
    forest = Forest()
    assert forest.edit(None, {}, deletes) is None
    assert identity(forest.edit(None, upserts, deletes)) == identity(forest.build(upserts))


@given(models)
def test_an_edit_that_changes_nothing_returns_the_same_page(model):
    forest = Forest()
    root = forest.build(model)
    written = forest.sink.bytes_stored
    assert forest.edit(root, {}, []) == root
    assert forest.edit(root, {}, ["not there", "nor/there/"]) == root
    assert forest.edit(root, model, [], commit=0) == root
    assert forest.sink.bytes_stored == written


class LongHistory(RuleBasedStateMachine):
    """One tree beside one dictionary, through many edits of very different sizes."""

    @initialize()
    def start(self):
        self.forest = Forest()
        self.root = None
        self.held = {}

    def apply(self, upserts, deletes):
        self.root = self.forest.edit(self.root, upserts, deletes)
        self.held = edited(self.held, upserts, deletes)

    @rule(upserts=models)
    def add(self, upserts):
        self.apply(upserts, [])

    @rule(directory=paths, value=values)
    def add_many(self, directory, value):
        self.apply({f"{directory}/{suffix}": value for suffix in SUFFIXES}, [])

    @rule(upserts=models, deletes=deletes)
    def change(self, upserts, deletes):
        self.apply(upserts, deletes)

    @rule(data=st.data())
    def delete_some(self, data):
        if self.held:
            self.apply({}, data.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=20)))

    @rule(data=st.data(), value=values)
    def overwrite_one(self, data, value):
        if self.held:
            self.apply({data.draw(st.sampled_from(sorted(self.held))): value}, [])

    @rule(directory=paths)
    def delete_directory(self, directory):
        self.apply({}, [directory + "/"])

    @rule()
    def delete_all_but_the_ends(self):
        self.apply({}, sorted(self.held)[1:-1])

    @invariant()
    def the_tree_is_the_one_built_from_scratch(self):
        assert identity(self.root) == identity(self.forest.build(self.held))


LongHistory.TestCase.settings = settings(max_examples=30, stateful_step_count=20)
TestLongHistory = LongHistory.TestCase


@given(models, models)
def test_rows_that_are_not_touched_are_carried_through_as_they_are(model, upserts):
    forest = Forest()
    root = forest.edit(forest.build(model, commit=1), upserts, [], commit=2)
    commits = {}
    for batch in forest_rows(forest, root):
        for row in batch.to_pylist():
            commits[row["path"]] = int.from_bytes(row["commit"], "big")
            assert row["chunks"][0]["pack"] == row["commit"]
    for path in model.keys() - upserts.keys():
        assert commits[path] == 1
    for path in upserts:
        if upserts[path] != model.get(path):
            assert commits[path] == 2


def forest_rows(forest, root):
    from versioned_io.storage.pages.read import scan

    return scan(root, source=forest.source)


@pytest.mark.parametrize("order", [["b", "a"], ["a", "a"], ["a", "b", "b"], ["", "a"], ["B", "a", "Z"]], ids="-".join)
def test_rows_out_of_order_are_refused(order):
    forest = Forest()
    table = pa.concat_tables([rows({path: (1, None)}) for path in order])
    with pytest.raises(InvalidInputError, match="sorted by path"):
        build_tree(table, sink=forest.sink)
    with pytest.raises(InvalidInputError, match="sorted by path"):
        edit_tree(forest.build({"m": (1, None)}), table, [], source=forest.source, sink=forest.sink)


def test_rows_of_another_schema_are_refused():
    forest = Forest()
    with pytest.raises(InvalidInputError, match="columns"):
        build_tree(rows({"a": (1, None)}).drop_columns("size"), sink=forest.sink)


def test_the_order_of_paths_is_that_of_their_bytes():
    model = dict.fromkeys(["Z", "a", "a!", "a/b", "a0", "é", "\ue000", "\U0001f600"], (1, None))
    forest = Forest()
    found = list(forest.model(forest.build(model)))
    assert found == sorted(model, key=str.encode)


@pytest.fixture(scope="module")
def large():
    """50,000 files under the rules of the format, stored."""
    forest = Forest(rules=FORMAT_RULES)
    model = {f"day={number // 500:03d}/part-{number:06d}": (number % 7, None) for number in range(50_000)}
    root = forest.build(model)
    forest.sink.close()
    return forest.objects, root, model


@pytest.mark.parametrize("count", [1, 10])
def test_a_small_change_reads_and_writes_only_the_pages_on_its_way(large, count):
    objects, root, model = large
    counting = CountingObjects(objects)
    sink = PackSession(open_objects("memory://unused"))
    changed = dict.fromkeys(sorted(model)[:: len(model) // count][:count], (9, None))
    pages = []

    class Sink:
        def put_page(self, payload):
            pages.append(payload)
            return sink.put_page(payload)

    new = edit_tree(root, rows(changed), [], source=PageSource(counting), sink=Sink())
    assert new.files == root.files
    assert root.level == 2
    assert len(pages) <= count + count + 1
    assert counting.calls["ranges"] <= count + count + 1


def test_a_change_of_history_makes_no_other_tree(large):
    """The same files, once added in two halves interleaved, once with strangers that are deleted again."""
    objects, root, model = large
    forest = Forest(rules=FORMAT_RULES)
    names = sorted(model)
    halves = forest.build({path: model[path] for path in names[::2]})
    assert identity(forest.edit(halves, {path: model[path] for path in names[1::2]}, [])) == identity(root)
    strangers = {f"day={number:03d}/stranger-{number}": (1, "{}") for number in range(0, 100, 7)}
    there = forest.edit(halves, strangers, [])
    back = forest.edit(there, {path: model[path] for path in names[1::2]}, sorted(strangers))
    assert identity(back) == identity(root)
    assert diff(root, back, source=PageSource(objects)).num_rows == 0
