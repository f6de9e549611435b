"""A file and a directory of one name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.versioned_io.storage.pages.trees import Forest, deletes, edited, models, paths
from versioned_io.storage.pages.boundaries import FORMAT_RULES
from versioned_io.storage.pages.collisions import Collision, find_collisions


def collisions_by_hand(model):
    return {path for path in model if any(other.startswith(path + "/") for other in model)}


trees = models.map(
    lambda model: {path: value for path, value in model.items() if path not in collisions_by_hand(model)}
)


@settings(max_examples=400)
@given(trees, st.lists(paths, unique=True, max_size=30), deletes)
def test_collisions_are_found_wherever_they_are(model, added, deletes):
    forest = Forest()
    found = find_collisions(forest.build(model), added, deletes, source=forest.source)
    result = edited(model, dict.fromkeys(added, (1, None)), deletes)
    assert [collision.file_path for collision in found] == sorted(collisions_by_hand(result))
    for collision in found:
        assert collision.below.startswith(collision.file_path + "/")
        assert {collision.file_path, collision.below} <= result.keys()


@pytest.mark.parametrize(("there", "added"), [("foo", "foo/bar"), ("foo/bar", "foo"), ("foo", "foo/a/b/c")])
def test_what_sorts_between_a_file_and_its_directory_hides_nothing(there, added):
    """``-``, ``.`` and many others sort before the slash."""
    forest = Forest(rules=FORMAT_RULES)
    between = {f"foo-{number:05d}": (1, None) for number in range(5_000)}
    root = forest.build({there: (1, None)} | between)
    [found] = find_collisions(root, [added], [], source=forest.source)
    assert found == Collision("foo", max(there, added))
    assert find_collisions(root, [added], [there], source=forest.source) == []
    assert find_collisions(root, [added], ["foo/" if "/" in there else "foo"], source=forest.source) == []


def test_many_new_files_are_checked_against_many_that_are_there():
    forest = Forest(rules=FORMAT_RULES)
    root = forest.build({f"{number:06d}/file": (1, None) for number in range(3_000)})
    found = find_collisions(root, [f"{number:06d}" for number in range(2_990, 6_000)], [], source=forest.source)
    assert found == [Collision(f"{number:06d}", f"{number:06d}/file") for number in range(2_990, 3_000)]


def test_new_files_are_looked_for_in_the_order_of_their_directories():
    """``foo`` sorts before ``foo-x``, and ``foo/`` after ``foo-x/``."""
    forest = Forest()
    root = forest.build(
        {f"{name}{number:02d}": (1, None) for name in ("foo/", "foo-x/", "foo-y") for number in range(50)}
    )
    found = find_collisions(root, ["foo", "foo-x"], [], source=forest.source)
    assert found == [Collision("foo", "foo/00"), Collision("foo-x", "foo-x/00")]


def test_a_directory_of_which_something_survives_still_collides():
    forest = Forest()
    root = forest.build({"a/1": (1, None), "a/2": (1, None), "b": (1, None)})
    assert find_collisions(root, ["a"], ["a/1"], source=forest.source) == [Collision("a", "a/2")]
    assert find_collisions(root, ["a"], ["a/1", "a/2"], source=forest.source) == []
    assert find_collisions(None, ["a", "a-x", "a/b"], [], source=forest.source) == [Collision("a", "a/b")]
