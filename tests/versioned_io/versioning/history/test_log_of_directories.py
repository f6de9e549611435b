"""The log of a directory is one walk, and finds what a comparison of every commit with its parent finds."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import event

import versioned_io as vio
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import PackLostError, PathNotFoundError
from versioned_io.model.places import pack_key


def grow(store):
    store.create_repo("r")
    random.seed(3)
    for number in range(120):
        with store.transaction("r@main") as tx:
            tx.write(f"{random.choice(['a', 'a/b', 'c', 'c/d'])}/{number % 9}", b"%d" % number)
    return store


@pytest.fixture
def changed(new_store):
    """A grown store of the test's own."""
    return grow(new_store())


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A store that the tests only read."""
    with vio.create_store(tmp_path_factory.mktemp("grown") / "store") as store:
        yield grow(store)


def compared(store, path):
    """The slow way: the commits whose files below *path* differ from their parent's."""
    found = []
    for commit in store.log("r@main"):
        changed = store.diff(commit.parent, commit.id).column("path").to_pylist()
        if any(name == path or name.startswith(f"{path}/") for name in changed):
            found.append(commit.id)
    return found


@pytest.mark.parametrize("path", ["a", "a/b", "c", "c/d"])
def test_it_is_what_comparing_each_commit_with_its_parent_finds(grown, path):
    assert [commit.id for commit in grown.log("r@main", path=path)] == compared(grown, path)


def test_a_limit_takes_the_newest(grown):
    assert [commit.id for commit in grown.log("r@main", path="a", limit=3)] == compared(grown, "a")[:3]
    assert list(grown.log("r@main", path="a", limit=0)) == []


def test_a_path_that_was_a_file_and_a_directory_by_turns_is_followed_through(new_store, write):
    store = new_store()
    store.create_repo("r")
    made = []
    for _ in range(3):
        made.append(write(store, "r@main", {"x": b"file%d" % len(made)}))
        made.append(write(store, "r@main", {"x": None, "x/y": b"below"}))
        made.append(write(store, "r@main", {"x/z": b"more"}))
        write(store, "r@main", {"other": b"%d" % len(made)})
        made.append(write(store, "r@main", {"x/": None}))
    assert [commit.id for commit in store.log("r@main", path="x")] == [commit.id for commit in reversed(made)]


def test_a_directory_that_never_was_is_told(grown):
    with pytest.raises(PathNotFoundError):
        list(grown.log("r@main", path="nowhere"))


def test_it_ends_where_the_data_of_commits_was_let_go_of(changed):
    changed.set_retention("r@main", keep_last=40)
    changed.gc(grace=timedelta(0), expire=timedelta(0))
    found = [commit.number for commit in changed.log("r@main", path="a")]
    assert found
    assert min(found) > 80


def test_the_statements_grow_with_history_and_not_with_the_changes(grown):
    counted = []
    with vio.open_store(grown.url) as store:
        event.listen(store._backend.catalog.engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
        changes = len(list(store.log("r@main", path="a")))
    selects = [statement for statement in counted if statement.lstrip().startswith("SELECT")]
    assert changes > 30
    assert len(selects) < 15


def test_the_pages_of_each_commit_are_read_once(grown):
    changes = len(compared(grown, "a"))
    with vio.open_store(grown.url) as store:
        counted = CountingObjects(store._backend.objects)
        store._backend.pages._objects = counted
        found = len(list(store.log("r@main", path="a")))
    assert found == changes
    # Each tree has one page. Besides the changes: where a small filter says a false yes, and one parent a batch.
    assert counted.calls["ranges"] < 1.5 * changes


def test_a_limit_of_one_reads_few_commits(changed, write):
    write(changed, "r@main", {"a/new": b"1"})
    with vio.open_store(changed.url) as store:
        counted = CountingObjects(store._backend.objects)
        store._backend.pages._objects = counted
        assert len(list(store.log("r@main", path="a", limit=1))) == 1
    assert counted.calls["ranges"] <= 3


def test_pages_of_one_pack_are_read_in_groups(grown):
    grown.compact()
    with vio.open_store(grown.url) as store:
        counted = CountingObjects(store._backend.objects)
        store._backend.pages._objects = counted
        found = [commit.id for commit in store.log("r@main", path="a")]
    assert found == compared(grown, "a")
    assert counted.calls["ranges"] < 0.5 * len(found)


def test_an_unreadable_page_hides_no_newer_change(changed):
    expected = compared(changed, "a")
    lost = changed.commit(expected[20]).root.pack.hex()
    changed._backend.objects.delete([pack_key(lost)])
    with vio.open_store(changed.url) as store:
        history = store.log("r@main", path="a")
        assert [next(history).id for _ in range(19)] == expected[:19]
        with pytest.raises(PackLostError):
            list(history)
