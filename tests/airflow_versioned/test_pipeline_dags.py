"""The DAG of a pipeline: what starts it, what it names, and that a file that declares a pipeline is enough."""

import json

import pytest
from airflow.sdk import AssetAny
from airflow.serialization.serialized_objects import DagSerialization

import versioned_io as vio
from airflow_versioned import build_pipeline_dag


@pytest.fixture
def check():
    @vio.pipeline(
        "check all",
        inputs=vio.cross(vio.glob("orders@main", "/*"), vio.glob("rates@main~1", "/*"), vio.glob("names@v1", "/*")),
        output="quality@main",
        code_version="1",
    )
    def check(datum, out):
        out.write(datum["orders"].path, datum["orders"].read())

    return check


def test_a_commit_to_each_branch_that_it_reads_starts_it(check):
    dag = build_pipeline_dag(check)
    assert dag.dag_id == "check-all"
    assert dag.task_ids == ["check-all.plan", "check-all.evaluate", "check-all.commit"]
    schedule = dag.timetable.asset_condition
    assert isinstance(schedule, AssetAny)
    heads = sorted(asset.uri for asset in schedule.objects)
    assert heads == ["versioned://names/v1", "versioned://orders/main"]
    commit = dag.get_task("check-all.commit")
    assert [outlet.uri for outlet in commit.outlets] == ["versioned://quality/main"]
    assert [asset.uri for asset in commit.wakes_on] == ["versioned://orders/main", "versioned://names/v1"]
    assert DagSerialization.to_dict(dag) == DagSerialization.to_dict(build_pipeline_dag(check))


def test_a_schedule_of_ones_own_replaces_the_watched_branches(check):
    dag = build_pipeline_dag(check, "nightly", schedule="@daily", task_options={"retries": 3}, store="/data/store")
    assert dag.dag_id == "nightly"
    commit = dag.get_task("check-all.commit")
    assert (commit.wakes_on, commit.retries, commit.store) == ((), 3, "/data/store")


def test_a_spec_of_pachyderm_is_a_dag(tmp_path, store, build_context):
    spec = {
        "pipeline": {"name": "count"},
        "input": {"pfs": {"repo": "orders", "branch": "main", "glob": "/*"}},
        "transform": {"cmd": ["sh"], "stdin": ['wc -c < "$orders" > "$PFS_ROOT/out/$(basename "$orders")"']},
        "output_branch": "main",
    }
    (tmp_path / "count.json").write_text(json.dumps(spec))
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"12345")
    dag = build_pipeline_dag(tmp_path / "count.json", store=store.url)
    plan = dag.get_task("count.plan").execute(build_context())
    assert [batch["count"] for batch in plan] == [1]
    dag.get_task("count.commit").reports = []
    dag.get_task("count.commit").execute(build_context())
    assert int(store.snapshot("count@main").read("a.csv")) == 5
