"""Names of repos and paths: legal for the core, and never shared by two keys."""

import re

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_versioned.naming import (
    OP_OUTPUTS_REPO,
    partition_segments,
    repo_of_asset,
    stem_of_asset,
    stem_of_op_output,
)
from versioned_io.model.paths import parse_path
from versioned_io.model.refs import parse_repo_name

key_parts = st.lists(
    st.text(st.sampled_from("ab./=%_- é\t") | st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4
)
partition_keys = st.text(
    st.sampled_from("ab./%|data") | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=24
) | st.sampled_from(
    ["data", "data.parquet", "a/data", "a/data.parquet", "/a", "a//b", "..", "a/../b", "e\u0301", "\u00e9"]
)


@pytest.mark.parametrize(
    ("path", "repo"),
    [
        (["weather"], "weather"),
        (["raw", "weather"], "raw.weather"),
        (["raw.weather"], "raw=2Eweather"),
        (["Zürich 8001"], "Z=C3=BCrich=208001"),
        (["a=20"], "a=3D20"),
        (["-flag"], "_=-flag"),
        ([""], "_="),
    ],
)
def test_the_repo_of_an_asset_is_named_after_its_key(path: list[str], repo: str) -> None:
    assert repo_of_asset(dg.AssetKey(path)) == repo


def test_a_long_asset_key_gets_a_repo_name_that_fits_and_still_tells_keys_apart() -> None:
    first, second = (repo_of_asset(dg.AssetKey(["x" * 200, end])) for end in "ab")
    assert first != second
    assert parse_repo_name(first) == first


def test_a_prefix_goes_in_front() -> None:
    assert repo_of_asset(dg.AssetKey("weather"), prefix="team.") == "team.weather"


@given(key_parts, key_parts)
def test_distinct_asset_keys_have_distinct_legal_repos(first: list[str], second: list[str]) -> None:
    names = [repo_of_asset(dg.AssetKey(parts)) for parts in (first, second)]
    for name in names:
        assert parse_repo_name(name) == name
        assert name != OP_OUTPUTS_REPO
    assert (names[0] == names[1]) == (first == second)


@given(partition_keys, partition_keys)
def test_distinct_partitions_have_distinct_legal_paths_and_none_is_inside_the_file_of_another(
    first: str, second: str
) -> None:
    asset = dg.AssetKey("asset")
    paths = [stem_of_asset(asset, key) + ".parquet" for key in (first, second)]
    for path in paths:
        assert parse_path(path) == path
    assert (paths[0] == paths[1]) == (first == second)
    for one, other in (paths, reversed(paths)):
        for file_or_directory in (one, one.removesuffix(".parquet")):
            assert not other.startswith(file_or_directory + "/")


def test_a_very_long_partition_key_gets_a_path_that_fits() -> None:
    paths = {stem_of_asset(dg.AssetKey("asset"), "é/" * 600 + end) for end in "ab"}
    assert len(paths) == 2
    for path in paths:
        assert parse_path(path + ".parquet")


def test_a_slash_in_a_partition_key_makes_directories() -> None:
    assert stem_of_asset(dg.AssetKey("asset"), "2012/01") == "2012/01/data"


def test_an_unpartitioned_asset_is_at_the_root_of_its_repo() -> None:
    assert stem_of_asset(dg.AssetKey("asset"), None) == "data"


def test_the_values_of_a_multi_dimensional_key_are_ordered_by_the_names_of_their_dimensions() -> None:
    key = dg.MultiPartitionKey({"date": "2020-04-22", "abc": "c"})
    assert partition_segments(key) == ["c", "2020-04-22"]


def test_slashes_in_the_values_of_a_multi_dimensional_key_do_not_mix_its_dimensions() -> None:
    first = dg.MultiPartitionKey({"a": "x/y", "b": "z"})
    second = dg.MultiPartitionKey({"a": "x", "b": "y/z"})
    assert partition_segments(first) != partition_segments(second)


def test_in_a_shared_repo_no_asset_is_stored_among_the_partitions_of_another() -> None:
    partition = stem_of_asset(dg.AssetKey(["a"]), "b", in_shared_repo=True)
    nested = stem_of_asset(dg.AssetKey(["a", "b"]), None, in_shared_repo=True)
    assert (partition, nested) == ("a/b/data", "a.b/data")


def test_an_op_output_is_at_its_identifier() -> None:
    assert stem_of_op_output(["run", "fan.inc[0]", "result", "x"]) == "run/fan.inc[0]/result/x/data"


def test_the_repo_of_op_outputs_has_a_legal_name() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._=-]*", parse_repo_name(OP_OUTPUTS_REPO))
