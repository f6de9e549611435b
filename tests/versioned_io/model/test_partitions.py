import pickle
import re

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from versioned_io.errors import InvalidInputError, PartitionKeyError
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.versioning.snapshots.glob import parse_glob

MONTHS = PartitionTemplate.parse("{year}/{month}.csv")

# Templates of every kind that can be written, beside the number of files of one partition that a path may stand for.
TEMPLATES = [
    ("{year}/{month}.csv", None),
    ("{year}/{month}.csv", "{month}|{year}"),
    ("{date}.parquet", None),
    ("year={year}/month={month}/part-*.parquet", None),
    ("{a}_{b}/{c}", "{a}|{b}|{c}"),
    ("{a}/x-{b}-*.csv", "{a}/{b}"),
    ("**/{date}.csv", None),
    ("{region}/**", None),
    ("raw/{region}/**/{date}.csv", "{date} in {region}"),
    ("{date}/orders-{date}.csv", None),
    ("{a}+(x)[y].^$|\\ {{z}}?/{b}", None),
    ("/{a}/*", None),
]
CHARACTERS = st.sampled_from([*"ab01-_|. [](){}*?+^$\\é", "日"])
VALUES = st.text(CHARACTERS, min_size=1, max_size=4)
PATHS = st.lists(VALUES.filter(lambda part: part not in {".", ".."}), min_size=1, max_size=4).map("/".join)


def matches_glob(path: str, glob: str) -> bool:
    return parse_glob(glob).matches(path)


@st.composite
def templates_and_paths(draw: st.DrawFn) -> tuple[PartitionTemplate, str, dict[str, str]]:
    text, key = draw(st.sampled_from(TEMPLATES))
    template = PartitionTemplate.parse(text, key)
    values = {name: draw(VALUES) for name in template.fields}
    braces = {"{{": "{", "}}": "}"}

    def filled(token: re.Match[str]) -> str:
        if token[0] == "**":
            return draw(PATHS)
        return draw(VALUES) if token[0] == "*" else braces.get(token[0]) or values[token[0][1:-1]]

    path = re.sub(r"\{\{|\}\}|\{\w+\}|\*\*|\*", filled, text.removeprefix("/"))
    assume(not any(part in {".", ".."} for part in path.split("/")))
    return template, path, values


def key_or_error(template: PartitionTemplate, path: str) -> str | type[Exception] | None:
    try:
        return template.key_of(path)
    except PartitionKeyError:
        return PartitionKeyError


def test_a_path_gives_its_key_and_the_key_its_fields_and_glob() -> None:
    assert MONTHS.key_of("2012/01.csv") == "2012-01"
    assert MONTHS.fields_of("2012-01") == {"year": "2012", "month": "01"}
    assert MONTHS.glob_of("2012-01") == "2012/01.csv"
    assert MONTHS.fields == ("year", "month")
    assert MONTHS.key == "{year}-{month}"
    assert str(MONTHS) == "{year}/{month}.csv"


@pytest.mark.parametrize(
    "path", ["2012/01.txt", "2012.csv", "x/2012/01.csv", "2012/.csv", "2012/01.csv\n", "2012/01xcsv", ""]
)
def test_a_path_that_does_not_match_has_no_key(path: str) -> None:
    assert MONTHS.key_of(path) is None
    assert MONTHS.keys_of(pa.array([path])).to_pylist() == [None]


def test_a_template_of_one_field_has_its_value_as_key_whatever_it_holds() -> None:
    template = PartitionTemplate.parse("{date}.parquet")
    assert template.key_of("2012-01-31.parquet") == "2012-01-31"
    assert template.fields_of("2012-01-31") == {"date": "2012-01-31"}


def test_a_key_template_orders_and_separates_the_fields() -> None:
    template = PartitionTemplate.parse("{station}/{date}.csv", key="{date}|{station}")
    assert template.key_of("sea-tac/2012-01-31.csv") == "2012-01-31|sea-tac"
    assert template.fields_of("2012-01-31|sea-tac") == {"station": "sea-tac", "date": "2012-01-31"}


def test_a_field_that_appears_twice_must_agree() -> None:
    template = PartitionTemplate.parse("{date}/orders-{date}.csv")
    assert template.key_of("2012-01/orders-2012-01.csv") == "2012-01"
    assert template.key_of("2012-01/orders-2012-02.csv") is None
    assert template.glob_of("2012-01") == "2012-01/orders-2012-01.csv"
    paths = pa.array(["2012-01/orders-2012-02.csv", "2012-01/orders-2012-01.csv", None, "x"])
    assert template.keys_of(paths).to_pylist() == [None, "2012-01", None, None]


def test_a_glob_escapes_the_values_and_the_text() -> None:
    template = PartitionTemplate.parse("a[1]?/{date}{{/part-*")
    assert template.glob_of("2*") == "a[[]1][?]/2[*][{]/part-*"


def test_a_key_that_would_not_be_read_back_raises_and_says_what_to_pass() -> None:
    with pytest.raises(PartitionKeyError, match=r"pass key='\{year\}\|\{month\}'"):
        MONTHS.key_of("2012/01-a.csv")
    with pytest.raises(PartitionKeyError, match=r"2012/01-a\.csv"):
        MONTHS.keys_of(pa.array(["2012/01.csv", None, "2012/01-a.csv", "2012/01-b.csv"]))


def test_a_path_that_can_be_read_in_two_ways_raises_and_names_both() -> None:
    template = PartitionTemplate.parse("{station}-{date}.csv")
    with pytest.raises(PartitionKeyError) as raised:
        template.key_of("sea-2012-01.csv")
    assert "station='sea', date='2012-01' or as station='sea-2012', date='01'" in str(raised.value)
    with pytest.raises(PartitionKeyError, match=r"sea-2012-01\.csv"):
        template.keys_of(pa.array(["sea-2012.csv", "sea-2012-01.csv"]))


@pytest.mark.parametrize("key", ["2012", "", "2012-", "-01", "2012/01", "..-01", "2012-a/b", "2012-\n", "e\u0301-01"])
def test_a_key_that_the_template_cannot_produce_raises(key: str) -> None:
    with pytest.raises(PartitionKeyError, match="is not a partition key of"):
        MONTHS.fields_of(key)
    with pytest.raises(PartitionKeyError, match="is not a partition key of"):
        MONTHS.glob_of(key)


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("", None, "can't be empty"),
        ("{year}//{month}", None, "can't be empty"),
        ("{year}/", None, "can't be empty"),
        ("../{year}", None, r"'\.\.'"),
        ("2012.csv", None, "names no field"),
        ("*.csv", None, "names no field"),
        ("{}.csv", None, "is not a field"),
        ("{a b}.csv", None, "is not a field"),
        ("{1}.csv", None, "is not a field"),
        ("{a.csv", None, "no partner"),
        ("a}.csv", None, "no partner"),
        ("{a}{b}.csv", None, "literal text"),
        ("{a}*.csv", None, "literal text"),
        ("*{a}", None, "literal text"),
        ("*-{a}-*", None, r"one '\*' only"),
        ("a**/{b}", None, "a part of its own"),
        ("**/{a}/**", None, r"one '\*\*' only"),
        ("{a}/{a}-{b}", None, "repeated field"),
        ("e\u0301/{a}", None, "normalisation form C"),
        ("\t/{a}", None, "control character"),
        ("{a}/{b}", "{a}", "name each of its fields once"),
        ("{a}/{b}", "{a}-{b}-{c}", "name each of its fields once"),
        ("{a}", "{a}-{a}", "name each of its fields once"),
        ("{a}/{b}", "{a}{b}", "a text between"),
        ("{a}/{b}", "{a}*{b}", "can't have"),
    ],
)
def test_a_malformed_template_is_refused_with_the_reason(text: str, key: str | None, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"is not a partition template: .*{reason}"):
        PartitionTemplate.parse(text, key)


def test_a_template_is_a_value() -> None:
    same = PartitionTemplate.parse("{year}/{month}.csv")
    assert same == MONTHS
    assert hash(same) == hash(MONTHS)
    copy = pickle.loads(pickle.dumps(MONTHS))
    assert copy == MONTHS
    assert copy.key_of("2012/01.csv") == "2012-01"
    assert PartitionTemplate.parse("{year}/{month}.csv", key="{year}|{month}") != MONTHS


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_keys_of_takes_every_kind_of_string_column(type_: pa.DataType) -> None:
    paths = pa.array(["2012/01.csv", None, "x", "2012/02.csv"]).cast(type_)
    assert MONTHS.keys_of(paths).to_pylist() == ["2012-01", None, None, "2012-02"]
    assert MONTHS.keys_of(paths).type == pa.string()
    assert MONTHS.keys_of(paths.slice(2)).to_pylist() == [None, "2012-02"]


def test_keys_of_keeps_the_chunks_of_a_chunked_column() -> None:
    paths = pa.chunked_array([["2012/01.csv"], [], ["x", None]], type=pa.string())
    keys = MONTHS.keys_of(paths)
    assert isinstance(keys, pa.ChunkedArray)
    assert keys.to_pylist() == ["2012-01", None, None]
    assert MONTHS.keys_of(pa.chunked_array([], type=pa.string())).to_pylist() == []


@given(templates_and_paths())
def test_property_the_key_of_a_path_is_read_back_as_the_same_fields(
    case: tuple[PartitionTemplate, str, dict[str, str]],
) -> None:
    template, path, values = case
    key = key_or_error(template, path)
    assert key is not None
    if isinstance(key, str):
        assert template.fields_of(key) == values
        assert template.key_of(path) == key


@given(st.sampled_from(TEMPLATES), st.lists(st.one_of(PATHS, st.none()), max_size=6), st.data())
def test_property_a_column_of_paths_gives_what_each_path_gives(
    template_text: tuple[str, str | None], paths: list[str | None], data: st.DataObject
) -> None:
    template = PartitionTemplate.parse(*template_text)
    paths += [path for other, path, _ in data.draw(st.lists(templates_and_paths(), max_size=6)) if other == template]
    expected = [None if path is None else key_or_error(template, path) for path in paths]
    column = pa.array(paths, pa.string())
    if PartitionKeyError in expected:
        with pytest.raises(PartitionKeyError):
            template.keys_of(column)
    else:
        assert template.keys_of(column).to_pylist() == expected


@given(templates_and_paths(), templates_and_paths())
def test_property_the_glob_of_a_key_matches_exactly_the_paths_with_that_key(
    case: tuple[PartitionTemplate, str, dict[str, str]], other: tuple[PartitionTemplate, str, dict[str, str]]
) -> None:
    template, path, _ = case
    key = key_or_error(template, path)
    assume(isinstance(key, str))
    assert isinstance(key, str)
    glob = template.glob_of(key)
    assert matches_glob(path, glob)
    other_key = key_or_error(template, other[1])
    if other_key is not PartitionKeyError:
        assert matches_glob(other[1], glob) == (other_key == key)
