import enum
import subprocess
import sys
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from versioned_io.errors import ExistsError, FormatError, IllegalPathError, InvalidInputError, PathNotFoundError
from versioned_io.formats import (
    Encoded,
    find_object,
    load_object,
    register_format,
    registered_formats,
    registry,
    save_object,
)

FROM_SESSION = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


@dataclass
class Model:
    weights: list
    labels: set


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
PLAIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(), max_size=3)
    ),
    max_leaves=12,
)


def types_of(value):
    """The type of everything inside: 1, 1.0 and True are equal, and must not become one another."""
    if isinstance(value, dict):
        return dict, [(key, type(key), types_of(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [types_of(item) for item in value]
    return type(value)


@pytest.mark.parametrize(
    ("value", "format_name", "extension"),
    [
        (None, "json", ".json"),
        (True, "json", ".json"),
        (3, "json", ".json"),
        (-0.0, "json", ".json"),
        ([1, [2.5, "é\n", None]], "json", ".json"),
        ({"b": 1, "a": {"c": []}}, "json", ".json"),
        ("line\r\nand 日本", "text", ".txt"),
        ("", "text", ".txt"),
        (b"\0\xff", "bytes", ".bin"),
        (b"", "bytes", ".bin"),
    ],
)
def test_a_plain_value_is_stored_as_what_it_is(objects, value, format_name, extension):
    stored = objects.save(value)
    assert (stored.format, stored.path) == (format_name, objects.stem + extension)
    found = objects.load(allow_pickle=False)
    assert repr(found) == repr(value)
    assert types_of(found) == types_of(value)
    info = objects.snapshot().stat(stored.path)
    assert (info.attributes["format"], info.attributes["format_version"]) == (format_name, "1")
    assert (stored.digest, stored.size, stored.rows) == (info.digest, info.size, None)


SHARED: list[int] = [1]


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        [1, (2, 3)],
        {1: "a"},
        {"a": {2, 3}},
        [{None: 1}],
        float("inf"),
        [float("nan")],
        Colour.RED,
        {"colour": Colour.RED},
        Point(1, 2),
        Text("a"),
        {Text("key"): 1},
        bytearray(b"a"),
        [b"a"],
        3 + 4j,
        "\ud800",
        ["\ud83d", "\ude00"],
        [SHARED, SHARED],
        Model([1.5], {"a", "b"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_would_change_is_pickled_instead(objects, value):
    found, format_name = objects.round_trip(value)
    assert format_name == "pickle"
    assert types_of(found) == types_of(value)
    assert repr(found) == repr(value)


def test_an_integer_too_long_for_json_is_pickled(objects):
    found, format_name = objects.round_trip([10**5000])
    assert (found == [10**5000], format_name) == (True, "pickle")


def test_lists_in_two_places_stay_one_list(objects):
    found, _ = objects.round_trip([SHARED, SHARED])
    assert found[0] is found[1]


def test_a_value_that_contains_itself_and_one_nested_too_deep_are_pickled(objects):
    circle: list = []
    circle.append(circle)
    found, format_name = objects.round_trip(circle)
    assert format_name == "pickle"
    assert found[0] is found
    deep: list = []
    for _ in range(150):
        deep = [deep]
    assert objects.round_trip(deep) == (deep, "pickle")


def test_why_a_value_is_pickled_is_recorded(objects):
    stored = objects.save([1, (2,)])
    reason = objects.snapshot().stat(stored.path).attributes["fallback_reason"]
    assert reason == "JSON would change it: it holds a tuple"


@FROM_SESSION
@given(JSON_VALUES)
def test_property_json_values_come_back_exactly(objects, value):
    found, format_name = objects.round_trip(value)
    assert format_name in {"json", "text"}
    assert found == value
    assert types_of(found) == types_of(value)


@FROM_SESSION
@given(PLAIN_VALUES)
def test_property_every_value_comes_back_exactly_whatever_its_format(objects, value):
    found, _ = objects.round_trip(value)
    assert found == value
    assert types_of(found) == types_of(value)


@FROM_SESSION
@given(PLAIN_VALUES)
def test_property_the_same_value_gives_the_same_bytes(objects, value):
    first, second = objects.save(value), objects.save(value)
    assert first == second


def test_equal_sets_give_equal_bytes_in_every_process(objects):
    script = (
        "import sys; from versioned_io.formats.pickles import PickleFormat;"
        "value = {'labels': {'a', 'b', 'c', frozenset({'d', 'e'})}, 'more': [set('xyz'), (1, 2)]};"
        "sys.stdout.buffer.write(PickleFormat().encode(value).source)"
    )
    contents = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": str(seed)}, capture_output=True, check=True
        ).stdout
        for seed in range(4)
    }
    assert len(contents) == 1


def test_a_set_that_holds_something_that_holds_the_set_is_stored(objects):
    node = Node()
    node.others = {node}
    found, _ = objects.round_trip(node)
    assert found.others == {found}


class Node:
    others: set


def test_loading_a_pickle_must_be_allowed(objects):
    objects.save((1, 2))
    with pytest.raises(InvalidInputError, match=r"is a pickle, and loading one runs code.*allow_pickle=True"):
        objects.load(allow_pickle=False)


def test_what_no_format_takes_is_refused_and_nothing_is_staged(objects):
    objects.save("before")
    with pytest.raises(InvalidInputError, match="a function can't be stored: it can't be pickled"):
        objects.save(lambda: None)
    assert objects.load() == "before"


def test_a_pickle_whose_class_is_gone_says_what_is_missing(objects, monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "Model", Model)
    objects.save(Model([1.0], set()))
    monkeypatch.delattr(module, "Model")
    with pytest.raises(FormatError, match=r"is a pickle of a .*Model that can't be loaded here \(AttributeError"):
        objects.load()


def test_an_object_that_changes_its_type_leaves_only_one_file(objects):
    for value in ["text", {"a": 1}, (1, 2), b"bytes", "text again"]:
        stored = objects.save(value)
        assert objects.paths() == [stored.path]
        assert objects.load() == value


def test_an_object_leaves_those_beside_it_alone(objects):
    with objects.store.transaction(objects.branch) as tx:
        for stem in ["2012-01/data", "2012-01/data.v2", "2012-01/datas", "2012-02/data"]:
            save_object(tx, stem, stem)
        tx.write("2012-01/data.csv", b"by hand")
        tx.write("2012-01/data.npy/part", b"by hand")
    objects.save({"now": "json"})
    assert objects.paths() == [
        "2012-01/data.csv",
        "2012-01/data.json",
        "2012-01/data.npy/part",
        "2012-01/data.v2.txt",
        "2012-01/datas.txt",
        "2012-02/data.txt",
    ]


def test_a_format_can_be_asked_for_by_name_or_family(objects):
    assert objects.save({"a": 1}, format="pickle").format == "pickle"
    assert objects.load() == {"a": 1}
    assert objects.save([1], format="json").format == "json"
    with pytest.raises(InvalidInputError, match="a tuple can't be stored as 'json': it does not take a tuple"):
        objects.save((1,), format="json")
    with pytest.raises(InvalidInputError, match="can't be stored as 'json': JSON would change it: it holds a tuple"):
        objects.save([(1,)], format="json")
    with pytest.raises(InvalidInputError, match="there is no format 'yaml': take one of json, text, bytes, parquet"):
        objects.save([1], format="yaml")
    assert objects.load() == [1]


def test_a_missing_object_is_a_file_that_is_not_found(objects):
    with pytest.raises(PathNotFoundError, match="no object was stored under this name"):
        load_object(objects.snapshot(), "2012-01/nothing")
    with pytest.raises(FileNotFoundError):
        load_object(objects.snapshot(), "nowhere/nothing")
    assert find_object(objects.snapshot(), "nowhere/nothing") is None
    with pytest.raises(IllegalPathError):
        load_object(objects.snapshot(), "../nothing")


def test_a_file_that_was_written_by_hand_is_never_guessed(objects):
    with objects.store.transaction(objects.branch) as tx:
        tx.write("by/hand.json", b"{}")
    with pytest.raises(FormatError, match="has no recorded format"):
        load_object(objects.snapshot(), "by/hand")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"format": "json", "format_version": "2"}, "version 2 of the format 'json'.*upgrade"),
        ({"format": "xml", "format_version": "1"}, "has the format 'xml', which is not known here: upgrade"),
        ({"format": "json"}, "no recorded format"),
        ({"format": "json", "format_version": "new"}, "no recorded format"),
    ],
)
@pytest.mark.parametrize("extension", [".json", ".xml"])
def test_an_unknown_or_newer_format_says_upgrade(objects, attributes, message, extension):
    with objects.store.transaction(objects.branch) as tx:
        tx.write("new/data" + extension, b"{}", attributes=attributes)
    with pytest.raises(FormatError, match=message):
        load_object(objects.snapshot(), "new/data")


def test_two_objects_of_one_name_are_refused_by_name(objects):
    with objects.store.transaction(objects.branch) as tx:
        save_object(tx, "two/data", "text")
        tx.copy(":two/data.txt", "two/data.json")
    with pytest.raises(InvalidInputError, match=r"'two/data.json', 'two/data.txt'; delete all but one"):
        load_object(objects.snapshot(), "two/data")


@pytest.mark.parametrize(
    ("value", "hint", "accepted"),
    [
        (1, int, True),
        (1, float, True),
        (1, str, False),
        ("a", str | None, True),
        (None, str | None, True),
        (None, str, False),
        ([1], list[int], True),
        ([1], dict[str, int], False),
        ({"a": 1}, object, True),
        ((1, 2), tuple[int, ...], True),
        (b"a", str, False),
        (1.5, int, False),
        (Point(1, 2), Point, True),
        (Point(1, 2), tuple, True),
        (Colour.RED, "Colour", True),
    ],
)
def test_a_type_hint_is_checked(objects, value, hint, accepted):
    objects.save(value)
    if accepted:
        assert objects.load(hint) == value
    else:
        with pytest.raises(InvalidInputError, match="which can't be read as"):
            objects.load(hint)


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


@dataclass(frozen=True)
class CelsiusFormat:
    name: str = "celsius"
    version: int = 1
    extension: str = ".celsius"
    family: str = "temperature"

    def claims(self, obj):
        return isinstance(obj, Celsius)

    def encode(self, obj):
        return Encoded(str(obj.degrees).encode(), {"unit": "C"}, rows=1)

    def decode(self, file, wanted):
        assert file.attributes["unit"] == "C"
        return Celsius(float(file.content) if file.version == 2 else float(file.content) + 1000)


@pytest.fixture
def own_formats():
    before = registry._registered
    yield
    registry._registered = before


@pytest.mark.usefixtures("own_formats")
def test_users_register_formats_of_their_own(objects):
    register_format(CelsiusFormat(version=2))
    stored = objects.save(Celsius(21.5))
    assert (stored.format, stored.path, stored.rows) == ("celsius", "2012-01/data.celsius", 1)
    found = objects.load(Celsius, allow_pickle=False)
    assert found.degrees == 21.5
    assert registered_formats()[0].name == "celsius"
    with pytest.raises(ExistsError, match="format 'celsius' exists already"):
        register_format(CelsiusFormat())
    register_format(CelsiusFormat(), replace=True)
    with pytest.raises(FormatError, match="version 2 of the format 'celsius'"):
        objects.load()


@pytest.mark.usefixtures("own_formats")
@pytest.mark.parametrize("wrong", [{"name": ""}, {"version": 0}, {"extension": "celsius"}, {"extension": "./celsius"}])
def test_a_format_that_could_not_be_recorded_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="can't be registered"):
        register_format(CelsiusFormat(**wrong))


@pytest.mark.usefixtures("own_formats")
def test_an_object_of_a_format_that_is_not_registered_here_says_so(objects):
    register_format(CelsiusFormat())
    objects.save(Celsius(1))
    registry._registered = registry._registered[1:]
    with pytest.raises(FormatError, match=r"'celsius', which is not known here: .*register_format\(\) it"):
        objects.load()


def test_nothing_heavy_is_imported_for_plain_values():
    script = (
        "import sys, versioned_io.formats as f;"
        "[f.registered_formats()[i].claims(1) for i in range(12)];"
        "assert not {'pandas', 'polars'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
