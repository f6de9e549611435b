"""@task.versioned: arguments out of a store, and the result into it."""

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_versioned import versioned_asset
from airflow_versioned.decorator import versioned_task
from versioned_io import formats


def test_airflow_offers_it_as_task_versioned():
    assert task.versioned is versioned_task


@pytest.fixture
def build(tmp_path):
    """Return a builder of the operator of a function that is decorated with these options."""

    def build(function, **options):
        with DAG("check", schedule=None):
            return versioned_task(store=str(tmp_path / "store"), task_id="task", **options)(function)().operator

    return build


@pytest.fixture
def orders(tmp_path):
    return versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store"))


def commit(store, ref, path, content):
    with store.transaction(ref) as tx:
        tx.write(path, content)
    return tx.commit


def load(store, ref, stem):
    return formats.load_object(store.snapshot(ref), stem)


def test_a_partition_is_claimed_read_and_its_result_committed_with_done(store, build, orders, build_context):
    asked = commit(store, "orders@main", "a.csv", b"amount\n1\n2\n")

    def total(orders: pd.DataFrame):
        return {"total": int(orders["amount"].sum())}

    made = build(total, inputs={"orders": orders}, output="quality@main").execute(build_context(partition_key="a"))
    assert load(store, "quality@main", "a/data") == {"total": 3}
    assert made["lineage_id"] == asked.lineage_id
    assert store.commit("quality@main").provenance == (asked.id,)
    (subscription,) = store.subscriptions("orders@main", prefix="airflow:check:")
    assert subscription.due() == []
    with pytest.raises(AirflowSkipException):
        build(total, inputs={"orders": orders}, output="quality@main").execute(
            build_context(run_id="again", partition_key="a")
        )


def test_a_value_that_dagster_or_another_task_stored_comes_back_equal(store, build, build_context):
    frame = pd.DataFrame({"amount": [1, 2]})
    first = build(lambda: frame, output="orders@main")
    first.execute(build_context())
    assert [info.path for info in store.snapshot("orders@main").walk()] == ["data.parquet"]
    seen = []
    build(lambda orders, run_id: seen.append((orders, run_id)), inputs={"orders": "orders@main"}).execute(
        build_context(run_id="two") | {"run_id": "two"}
    )
    pd.testing.assert_frame_equal(seen[0][0], frame)
    assert seen[0][1] == "two"


def test_a_file_of_a_partition_is_read_as_its_parameter_is_annotated(store, build, orders, build_context):
    commit(store, "orders@main", "a.csv", b"amount\n1\n2\n")

    def total(orders: pl.DataFrame, tabs: pa.Table):
        return {"total": orders["amount"].sum(), "columns": tabs.column_names}

    commit(store, "orders@main", "more.tsv", b"x\ty\n1\t2\n")
    inputs = {"orders": orders, "tabs": "orders@main:more.tsv"}
    build(total, inputs=inputs, output="quality@main").execute(build_context(partition_key="a"))
    assert load(store, "quality@main", "a/data") == {"total": 3, "columns": ["x", "y"]}


def test_a_partition_that_was_stored_as_a_value_is_read_as_one(store, build, orders, build_context):
    with store.transaction("orders@main") as tx:
        formats.save_object(tx, "a", {1, 2})
    (info,) = store.snapshot("orders@main").walk()
    asset = versioned_asset("orders@main", partitions=info.path.replace("a", "{date}", 1), store=orders.address.url)
    found = build(lambda orders: [*sorted(orders)], inputs={"orders": asset}).execute(build_context(partition_key="a"))
    assert found == [1, 2]


def test_paths_may_be_named_and_hold_the_partition_key(store, build, build_context):
    commit(store, "orders@main", "raw/a.txt", b"hello")
    upper = build(
        lambda text: text.upper(), inputs={"text": "orders@main:raw/{key}.txt"}, output="quality@main:loud/{key}"
    )
    upper.execute(build_context(partition_key="a"))
    assert load(store, "quality@main", "loud/a") == "HELLO"


def test_an_output_asset_is_an_outlet_and_names_the_path(store, build, build_context, tmp_path):
    quality = versioned_asset("quality@main", partitions="reports/{date}.json", store=str(tmp_path / "store"))
    made = build(lambda: {"rows": 1}, output=quality)
    assert made.outlets == [quality]
    context = build_context(partition_key="a", outlets=[quality])
    made.execute(context)
    assert load(store, "quality@main", "reports/a") == {"rows": 1}
    assert context["outlet_events"][quality].partition_keys == {"a"}


def test_a_retry_with_another_result_makes_no_second_commit(store, build, build_context):
    numbers = iter(range(9))
    for try_number in (1, 2):
        build(lambda: next(numbers), output="quality@main").execute(build_context(try_number=try_number))
    assert [one.number for one in store.log("quality@main")] == [1]
    assert load(store, "quality@main", "data") == 0


def test_a_repo_of_an_output_that_is_missing_is_made(store, build, build_context):
    build(lambda: 1, output="new@main").execute(build_context())
    assert load(store, "new@main", "data") == 1


@pytest.mark.usefixtures("store")
def test_without_an_output_the_value_is_the_result(build, build_context):
    assert build(lambda: 7).execute(build_context()) == 7


def test_an_input_that_is_not_a_parameter_is_refused_at_parse_time(build):
    with pytest.raises(ValueError, match="not parameters"):
        build(lambda: 7, inputs={"orders": "orders@main"})


def test_two_claimed_inputs_are_refused_at_parse_time(build, orders):
    with pytest.raises(ValueError, match="can work on one"):
        build(lambda a, b: 7, inputs={"a": orders, "b": orders.head})


def test_a_template_that_names_several_files_can_not_be_an_output(store, build, build_context):
    wide = versioned_asset("quality@main", partitions="{date}/*.json", store=store.url)
    with pytest.raises(ValueError, match="does not name one file"):
        build(lambda: 7, output=wide).execute(build_context(partition_key="a", outlets=[wide]))


def test_a_result_that_the_template_of_its_asset_does_not_match_is_refused(store, build, build_context):
    """It was committed beside the template, so that no consumer of the asset ever ran."""
    wrong = versioned_asset("quality@main", partitions="{date}.csv", store=store.url)
    with pytest.raises(ValueError, match=r"stored at 'a\.parquet'; the template '\{date\}\.csv' of quality@main"):
        build(lambda: pd.DataFrame({"rows": [1]}), output=wrong).execute(
            build_context(partition_key="a", outlets=[wrong])
        )
    assert list(store.log("quality@main")) == []


def test_places_are_templated(store, build, build_context):
    commit(store, "orders@main", "a.csv", b"amount\n1\n")
    context = {**build_context(), "name": "orders"}
    copied = build(
        lambda table: table, inputs={"table": "{{ name }}@main:a.csv"}, output="quality@{{ 'main' }}:{{ name }}"
    )
    copied.execute(context)
    assert load(store, "quality@main", "orders")["amount"].tolist() == [1]
