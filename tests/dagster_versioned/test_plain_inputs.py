"""Files that somebody committed, as inputs of assets."""

from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

ORDERS = dg.AssetSpec("orders").with_io_manager_key("io_manager")


@pytest.fixture
def committed(opened):
    def commit(repo, **files):
        opened.create_repo(repo, exist_ok=True)
        with opened.transaction(f"{repo}@main") as tx:
            for path, content in files.items():
                tx.write(path, content)

    return commit


def made_of(asset, spec, io_manager, instance, **options):
    resources = {"io_manager": io_manager}
    return dg.materialize([spec, asset], resources=resources, instance=instance, selection=[asset], **options)


def test_a_committed_table_is_an_input_and_is_recorded(committed, opened, io_manager, instance):
    @dg.asset
    def rain(orders: pd.DataFrame) -> int:
        return int(orders.rain.sum())

    committed("orders", **{"data.csv": b"city,rain\noslo,3\nrome,4\n"})
    assert made_of(rain, ORDERS, io_manager, instance).output_for_node("rain") == 7
    (use,) = opened.upstream("rain@main:data.json").files
    assert (use.file.repo, use.file.path) == ("orders", "data.csv")


@pytest.mark.parametrize(("annotation", "value"), [(bytes, b"a,b\n"), (str, "a,b\n")])
def test_the_annotation_says_what_a_file_is_read_as(committed, io_manager, instance, annotation, value):
    def body(orders):
        return orders

    body.__annotations__ = {"orders": annotation}
    committed("orders", **{"data.csv": b"a,b\n"})
    assert made_of(dg.asset(name="copy")(body), ORDERS, io_manager, instance).output_for_node("copy") == value


def test_an_image_is_bytes_and_a_directory_is_a_path(committed, io_manager, instance):
    @dg.asset
    def size(orders) -> int:
        return len(orders)

    committed("orders", **{"data.png": b"\x89PNG"})
    assert made_of(size, ORDERS, io_manager, instance).output_for_node("size") == 4
    committed("more", **{"data/a.txt": b"", "data/b/c.txt": b""})
    more = dg.AssetSpec("more").with_io_manager_key("io_manager")

    @dg.asset
    def files(more: Path) -> list:
        return sorted(path.name for path in more.rglob("*.txt"))

    assert made_of(files, more, io_manager, instance).output_for_node("files") == ["a.txt", "c.txt"]


def test_a_partition_is_a_file_of_its_own(committed, io_manager, instance):
    days = dg.StaticPartitionsDefinition(["1", "2"])
    spec = dg.AssetSpec("orders", partitions_def=days).with_io_manager_key("io_manager")

    @dg.asset(partitions_def=days)
    def text(orders: str) -> str:
        return orders.upper()

    committed("orders", **{"1/data.txt": b"one", "2/data.txt": b"two"})
    done = made_of(text, spec, io_manager, instance, partition_key="2")
    assert done.output_for_node("text") == "TWO"
