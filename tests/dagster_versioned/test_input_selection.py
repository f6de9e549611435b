"""Columns and rows that the metadata of an input select."""

from pathlib import Path

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dagster_versioned import VersionedIOManager
from versioned_io.errors import InvalidInputError

FRAME = pd.DataFrame({"city": ["oslo", "rome", "bern"], "rain": [3, 4, 5], "wind": [1, 2, 3]})
WET = {"columns": ["city", "rain"], "filters": [("rain", ">", 3)]}
EXPECTED = {"city": ["rome", "bern"], "rain": [4, 5]}
ORDERS = dg.AssetSpec("orders").with_io_manager_key("io_manager")


def rows_of(table):
    match table:
        case pl.LazyFrame():
            return table.collect().to_dict(as_series=False)
        case pd.DataFrame():
            return table.to_dict("list")
        case pl.DataFrame():
            return table.to_dict(as_series=False)
        case _:
            return table.to_pydict()


def reader(annotation, metadata, name="read"):
    def body(orders):
        return rows_of(orders)

    body.__annotations__ = {"orders": annotation, "return": dict}
    return dg.asset(name=name, ins={"orders": dg.AssetIn(metadata=metadata)})(body)


def commit_csv(opened):
    opened.create_repo("orders")
    with opened.transaction("orders@main") as tx:
        tx.write("data.csv", FRAME.to_csv(index=False).encode())


@pytest.mark.parametrize("annotation", [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table])
@pytest.mark.parametrize("is_plain", [False, True])
def test_columns_and_filters_reach_the_reader(opened, io_manager, instance, annotation, is_plain):
    @dg.asset
    def orders() -> pd.DataFrame:
        return FRAME

    source = ORDERS if is_plain else orders
    if is_plain:
        commit_csv(opened)
    else:
        dg.materialize([orders], resources={"io_manager": io_manager}, instance=instance)
    read = reader(annotation, WET)
    done = dg.materialize([source, read], resources={"io_manager": io_manager}, instance=instance, selection=[read])
    assert done.output_for_node("read") == EXPECTED
    (use,) = opened.upstream("read@main:data.json").files
    assert (use.file.repo, use.file.path) == ("orders", "data.csv" if is_plain else "data.parquet")


def test_each_partition_is_filtered(io_manager, instance):
    days = dg.StaticPartitionsDefinition(["1", "2"])

    @dg.asset(partitions_def=days)
    def orders(context: dg.AssetExecutionContext) -> pd.DataFrame:
        return FRAME.assign(rain=FRAME.rain + int(context.partition_key))

    @dg.asset(ins={"orders": dg.AssetIn(metadata={"columns": ["city"], "filters": [("rain", "==", 6)]})})
    def read(orders: dict[str, pd.DataFrame]) -> dict:
        return {key: rows_of(frame) for key, frame in orders.items()}

    resources = {"io_manager": io_manager}
    for day in days.get_partition_keys():
        dg.materialize([orders], resources=resources, instance=instance, partition_key=day)
    done = dg.materialize([orders, read], resources=resources, instance=instance, selection=[read])
    assert done.output_for_node("read") == {"1": {"city": ["bern"]}, "2": {"city": ["rome"]}}


def test_a_partition_without_a_value_is_left_out(io_manager, instance):
    days = dg.StaticPartitionsDefinition(["1", "2"])

    @dg.asset(partitions_def=days)
    def orders(context: dg.AssetExecutionContext) -> object:
        return FRAME if context.partition_key == "1" else None

    @dg.asset(ins={"orders": dg.AssetIn(metadata={"columns": ["city"]})})
    def read(orders: dict[str, pd.DataFrame]) -> list:
        return sorted(orders)

    resources = {"io_manager": io_manager}
    for day in days.get_partition_keys():
        dg.materialize([orders], resources=resources, instance=instance, partition_key=day)
    done = dg.materialize([orders, read], resources=resources, instance=instance, selection=[read])
    assert done.output_for_node("read") == ["1"]


def test_what_an_older_io_manager_returns_is_selected_from_as_well(tmp_path: Path, store_url, instance):
    @dg.asset
    def orders() -> pd.DataFrame:
        return FRAME

    old = tmp_path / "old"
    dg.materialize([orders], resources={"io_manager": dg.FilesystemIOManager(base_dir=str(old))}, instance=instance)
    manager = VersionedIOManager(store=store_url, fallback=str(old))
    read = reader(pd.DataFrame, WET)
    done = dg.materialize([orders, read], resources={"io_manager": manager}, instance=instance, selection=[read])
    assert done.output_for_node("read") == EXPECTED


def test_an_asset_value_loader_takes_the_same_metadata(io_manager, instance):
    @dg.asset
    def orders() -> pd.DataFrame:
        return FRAME

    defs = dg.Definitions([orders], resources={"io_manager": io_manager})
    dg.materialize([orders], resources={"io_manager": io_manager}, instance=instance)
    with defs.get_asset_value_loader(instance=instance) as loader:
        found = loader.load_asset_value("orders", input_definition_metadata={**WET, "columns": ["rain"]})
    assert rows_of(found) == {"rain": [4, 5]}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"columns": ["town"]}, r"'data\.csv' has no column 'town'.*'city', 'rain', 'wind'"),
        ({"filters": [("town", "==", 1)]}, r"'data\.csv' has no column 'town'"),
        ({"columns": "city"}, r"write columns=\['city', 'rain'\]"),
        ({"filters": "rain > 3"}, r"write filters=\["),
    ],
)
def test_a_wrong_selection_fails_the_step_with_the_right_form(opened, io_manager, instance, metadata, words):
    commit_csv(opened)
    read = reader(pd.DataFrame, metadata)
    with pytest.raises(InvalidInputError, match=words):
        dg.materialize([ORDERS, read], resources={"io_manager": io_manager}, instance=instance, selection=[read])
