"""Small objects that are read whole are what the store has, and are asked for once."""

import pytest

from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import IntegrityError, ObjectNotFoundError
from versioned_io.storage.objects import open_objects, whole
from versioned_io.storage.objects.whole import WholeObjects


@pytest.fixture
def origin(tmp_path):
    objects = open_objects(str(tmp_path / "objects"))
    objects.put("a/small", [b"0123456789"])
    objects.put("a/other", [b"abcdefghij"])
    objects.put("a/large", [bytes(100)])
    return CountingObjects(objects)


@pytest.fixture
def objects(origin, monkeypatch):
    monkeypatch.setattr(whole, "_SMALL_BYTES", 50)
    return WholeObjects(origin, {"a/small", "a/other", "a/large", "a/gone"})


def test_the_parts_of_a_small_object_cost_one_request_together(objects, origin):
    assert objects.size("a/small") == 10
    assert bytes(objects.get_range("a/small", 3, 4)) == b"3456"
    assert [bytes(part) for part in objects.get_ranges("a/small", [(9, 1), (0, 2)])] == [b"9", b"01"]
    assert objects.get("a/small") == b"0123456789"
    assert origin.calls == {"size": 1, "get": 1}


def test_what_is_large_or_was_not_named_is_passed_on(objects, origin):
    origin.objects.put("b/other", [b"xyz"])
    assert bytes(objects.get_range("a/large", 98, 2)) == bytes(2)
    assert objects.size("a/large") == 100
    assert bytes(objects.get_range("b/other", 1, 1)) == b"y"
    assert origin.calls["get"] == 0
    assert origin.calls["get_ranges"] == 2


def test_what_is_not_there_is_not_there(objects):
    with pytest.raises(ObjectNotFoundError):
        objects.size("a/gone")
    with pytest.raises(IntegrityError, match="ends at byte 10"):
        objects.get_range("a/small", 8, 3)


def test_what_was_used_first_goes_first(origin, monkeypatch):
    monkeypatch.setattr(whole, "_HELD_BYTES", 15)
    objects = WholeObjects(origin, {"a/small", "a/other"})
    for key in ("a/small", "a/other", "a/other", "a/small"):
        assert len(objects.get(key)) == 10
    assert origin.calls["get"] == 3
