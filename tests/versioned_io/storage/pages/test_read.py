"""Reading a tree, beside a dictionary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.objects.stores import CountingObjects
from tests.versioned_io.storage.pages.trees import Forest, digest, models, names, paths
from versioned_io.errors import IntegrityError
from versioned_io.model.places import FrameRef
from versioned_io.storage.pages.boundaries import FORMAT_RULES
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import LISTING, list_directory, lookup, lookup_many, scan, stat_directory
from versioned_io.storage.pages.schema import ROWS

directories = st.just("") | paths


def below(directory):
    return f"{directory}/" if directory else ""


# In a tree no file is a directory; what reading does with one that has both is nobody's business.
trees = models.map(
    lambda model: {path: value for path, value in model.items() if not any(p.startswith(path + "/") for p in model)}
)


@given(trees, st.lists(paths, max_size=10))
def test_a_path_is_found_when_it_is_there(model, others):
    forest = Forest()
    root = forest.build(model)
    for path in [*model, *others, "", "zzz", "\U0010ffff"]:
        row = lookup(root, path, source=forest.source)
        assert (row is not None) == (path in model)
        if row is not None:
            assert (row.path, row.size, row.attributes) == (path, *model[path])
            assert row.chunks[0].digest == row.digest == digest(row.size)


@given(trees, st.lists(paths, max_size=30))
def test_many_paths_are_found_sorted_and_once(model, wanted):
    forest = Forest()
    found = lookup_many(forest.build(model), [*wanted, *wanted], source=forest.source)
    assert found.schema == ROWS
    assert found["path"].to_pylist() == sorted(set(wanted) & set(model))
    assert found["size"].to_pylist() == [model[path][0] for path in found["path"].to_pylist()]


@settings(max_examples=200)
@given(trees, directories)
def test_a_listing_has_the_immediate_children(model, directory):
    forest = Forest()
    start = below(directory)
    expected = {}
    for path, (content, attributes) in model.items():
        if path.startswith(start):
            name = path[len(start) :].partition("/")[0]
            is_file = start + name == path
            row = (content, digest(content), attributes, bytes(16)) if is_file else (None, None, None, None)
            expected[start + name] = (not is_file, *row)
    found = list_directory(forest.build(model), directory, source=forest.source)
    assert found.schema == LISTING
    assert list(zip(*(column.to_pylist() for column in found.columns), strict=True)) == [
        (path, *expected[path]) for path in sorted(expected)
    ]


@given(trees, directories)
def test_a_directory_is_as_large_as_what_is_below_it(model, directory):
    forest = Forest()
    stat = stat_directory(forest.build(model), directory, source=forest.source)
    inside = [content for path, (content, _) in model.items() if path.startswith(below(directory))]
    assert (stat.files, stat.size_bytes) == (len(inside), sum(inside))


@given(trees, st.just("") | paths | names.map(lambda name: name[:1]), st.none() | paths)
def test_a_scan_has_the_rows_of_a_prefix_in_order(model, prefix, start):
    forest = Forest()
    batches = list(scan(forest.build(model), prefix, source=forest.source, start=start))
    assert all(batch.num_rows and batch.schema == ROWS for batch in batches)
    found = [path for batch in batches for path in batch.column(0).to_pylist()]
    assert found == sorted(path for path in model if path.startswith(prefix) and path >= (start or ""))


def test_the_empty_tree_has_nothing():
    source = Forest().source
    assert lookup(None, "a", source=source) is None
    assert lookup_many(None, ["a"], source=source).num_rows == 0
    assert list(scan(None, source=source)) == []
    assert list_directory(None, source=source).num_rows == 0
    assert stat_directory(None, source=source).files == 0


@pytest.fixture(scope="module")
def large():
    """100 directories of 500 files, and one file beside them."""
    forest = Forest(rules=FORMAT_RULES)
    model = {f"data/day={number // 500:03d}/part-{number:06d}": (number % 7, None) for number in range(50_000)}
    root = forest.build(model | {"readme": (1, None)})
    forest.sink.close()
    return forest.objects, root


def pages_read(objects, read) -> int:
    counting = CountingObjects(objects)
    read(PageSource(counting))
    return counting.calls["ranges"]


def test_reading_a_little_reads_few_pages(large):
    objects, root = large
    assert root.level == 2
    path = "data/day=050/part-025250"
    assert pages_read(objects, lambda source: lookup(root, path, source=source)) == 3
    assert pages_read(objects, lambda source: list_directory(root, "data/day=050", source=source)) <= 5
    assert pages_read(objects, lambda source: stat_directory(root, "data/day=050", source=source)) <= 5
    assert pages_read(objects, lambda source: stat_directory(root, "", source=source)) <= 1


def test_a_listing_jumps_over_what_is_in_subdirectories(large):
    objects, root = large
    assert list_directory(root, "", source=PageSource(objects))["path"].to_pylist() == ["data", "readme"]
    assert pages_read(objects, lambda source: list_directory(root, "", source=source)) <= 6


def test_a_scan_that_stops_early_reads_little(large):
    objects, root = large
    assert pages_read(objects, lambda source: next(scan(root, source=source))) == 3


def test_pages_are_read_once_and_kept(large):
    objects, root = large
    counting = CountingObjects(objects)
    source = PageSource(counting)
    for _ in range(3):
        lookup(root, "readme", source=source)
    assert counting.calls["ranges"] == 3
    small = PageSource(counting, cache_bytes=100_000)
    for _ in scan(root, source=small):
        pass
    assert small._cache._held_bytes <= 100_000
    assert sum(len(page.payload) for page in small._cache._pages.values()) == small._cache._held_bytes


def test_a_reference_to_something_else_is_noticed(large):
    objects, root = large
    with pytest.raises(IntegrityError):
        PageSource(objects).load(FrameRef(root.pack, root.offset + 1, root.stored_size - 1), root.level)
    with pytest.raises(IntegrityError, match="level"):
        PageSource(objects).load(root.frame, 0)
