"""Pipelines as tasks: what they evaluate and commit, what a retry repeats, and what the tasks of a group exchange."""

import dataclasses
import json

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from airflow.serialization.serialized_objects import DagSerialization

import versioned_io as vio
from airflow_versioned import VersionedDatumOperator, datum_task_group, versioned_asset
from airflow_versioned.datum_decorator import datum_task


class Orders:
    """A store of orders, and tasks of a pipeline that notes what it evaluates."""

    def __init__(self, store):
        self.store = store
        self.ran, self.bad = [], set()

    def commit(self, *, deletes=(), **files):
        with self.store.transaction("orders@main") as tx:
            for name, text in files.items():
                tx.write(f"{name}.csv", text.encode())
            for name in deletes:
                tx.delete(f"{name}.csv")
        return tx.commit

    def pipeline(self, output="checked@main", **options):
        @vio.pipeline("check", inputs=vio.glob("orders@main", "/(*).csv"), output=output, code_version="1", **options)
        def check(datum, out):
            name = datum["orders"].captures[0]
            self.ran.append(name)
            if name in self.bad:
                raise ValueError(name)
            out.write(name, datum["orders"].read()[:1])

        return check

    def operator(self, **options):
        with DAG("check", schedule=None):
            return VersionedDatumOperator(task_id="task", pipeline=self.pipeline(), store=self.store.url, **options)

    def group(self, pipeline=None, **options):
        with DAG("check", schedule=None) as dag:
            datum_task_group(pipeline or self.pipeline(), store=self.store.url, **options)
        return dag

    def execute_group(self, dag, context):
        """Do what Airflow does with the group's three tasks."""
        tasks = {one.task_id.rpartition(".")[2]: one for one in dag.tasks}
        batches = json.loads(json.dumps(tasks["plan"].execute(context)))
        reports = []
        for batch in batches:
            mapped = tasks["evaluate"]
            kwargs = {key: value for key, value in mapped.partial_kwargs.items() if key in {"pipeline", "store"}}
            one = mapped.operator_class(task_id="evaluate", batch=batch, **kwargs)
            reports.append(json.loads(json.dumps(one.execute(context))))
        tasks["commit"].reports = reports
        return tasks["commit"].execute(context)


@pytest.fixture
def orders(store):
    return Orders(store)


def test_a_task_evaluates_the_changed_datum_alone_and_its_commit_is_the_event(store, orders, build_context):
    orders.commit(a="1", b="2", c="3")
    assert orders.operator().execute(build_context())["counts"]["run"] == 3
    caused = orders.commit(b="4", deletes=["c"])
    checked = versioned_asset("checked@main", store=store.url)
    context = build_context(run_id="two", outlets=[checked])
    made = orders.operator().execute(context)
    assert {name: count for name, count in made["counts"].items() if count} == {"run": 1, "skipped": 1, "deleted": 1}
    assert orders.ran == ["a", "b", "c", "b"]
    head = store.commit("checked@main")
    assert (made["commit"], made["lineage_id"]) == (head.id, caused.lineage_id)
    assert (head.run.orchestrator, head.run.job, head.run.run_id) == ("airflow", "check", "two")
    assert head.provenance == (caused.id,)
    assert context["outlet_events"][checked].extra["commit"] == head.id


def test_two_pipelines_write_to_branches_of_one_repo(store, orders, build_context):
    orders.commit(a="1")
    orders.operator().execute(build_context())
    other = dataclasses.replace(orders.pipeline("checked@initials"), name="initials")
    with DAG("initials", schedule=None):
        operator = VersionedDatumOperator(task_id="task", pipeline=other, store=store.url)
    assert operator.execute(build_context(run_id="two"))["counts"]["reused"] == 1
    assert store.snapshot("checked@initials").read("a") == b"1"


def test_a_task_that_changes_nothing_is_skipped_and_a_retry_after_its_commit_succeeds(orders, build_context):
    orders.commit(a="1")
    made = orders.operator().execute(build_context())
    with pytest.raises(AirflowSkipException, match="checked@main is up to date"):
        orders.operator().execute(build_context(run_id="two"))
    assert orders.operator().execute(build_context(try_number=2))["commit"] == made["commit"]
    assert orders.operator(when_unchanged="succeed").execute(build_context(run_id="3"))["commit"] == made["commit"]


def test_a_failed_datum_fails_the_task_and_a_retry_evaluates_it_alone(orders, build_context):
    orders.commit(a="1", b="2")
    orders.bad = {"b"}
    with pytest.raises(AirflowException, match=r"1 datums of the pipeline 'check' failed: 'b.csv': ValueError: b"):
        orders.operator().execute(build_context())
    orders.bad = set()
    orders.operator().execute(build_context(try_number=2))
    assert orders.ran == ["a", "b", "b"]


def test_a_group_exchanges_batches_and_reports_and_commits_once(store, orders, build_context):
    orders.commit(a="1", b="2", c="3")
    dag = orders.group(batch_size=2)
    made = orders.execute_group(dag, build_context())
    assert made["counts"]["run"] == 3
    assert len(list(store.log("checked@main"))) == 1
    with pytest.raises(AirflowSkipException):
        orders.execute_group(dag, build_context(run_id="two"))
    assert orders.ran == ["a", "b", "c"]


def test_a_failed_batch_keeps_its_results(orders, build_context):
    orders.commit(a="1", b="2", c="3")
    orders.bad = {"b"}
    with pytest.raises(AirflowException, match=r"'b.csv': ValueError: b"):
        orders.execute_group(orders.group(), build_context())
    orders.bad = set()
    assert orders.execute_group(orders.group(), build_context(try_number=2))["counts"]["reused"] == 2
    assert orders.ran == ["a", "b", "c", "b"]


def test_the_commit_says_what_the_pipeline_dropped(orders, build_context):
    orders.commit(a="1", b="2")
    orders.bad = {"b"}
    made = orders.execute_group(orders.group(orders.pipeline(on_failure="drop")), build_context())
    assert (made["state"], made["counts"]["failed"]) == ("partial", 1)
    assert orders.ran == ["a", "b"]


def test_there_are_at_most_as_many_batches_as_airflow_maps(orders, build_context, monkeypatch):
    orders.commit(**{f"f{number}": "1" for number in range(5)})
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    plan = next(one for one in orders.group(batch_size=1).tasks if one.task_id.endswith("plan"))
    assert [batch["count"] for batch in plan.execute(build_context())] == [3, 2]


def test_a_dag_with_a_group_can_be_serialized_the_same_way_each_time(orders):
    heads = [versioned_asset("orders@main")]
    first, second = (DagSerialization.to_dict(orders.group(wakes_on=heads, retries=1)) for _ in range(2))
    assert first == second
    assert "pipeline check" in json.dumps(first)
    DagSerialization.from_dict(first)


def test_an_output_on_another_branch_is_made_from_main(store, orders, build_context):
    orders.commit(a="1")
    with DAG("check", schedule=None):
        pipeline = orders.pipeline(output="checked@dev")
        VersionedDatumOperator(task_id="task", pipeline=pipeline, store=store.url).execute(build_context())
    assert store.snapshot("checked@dev").read("a") == b"1"


def test_a_wake_up_is_done_when_the_run_has_read_the_commit(store, orders, build_context):
    orders.commit(a="1")
    heads = [versioned_asset("orders@main", store=store.url)]
    operator = orders.operator(wakes_on=heads)
    orders.bad = {"a"}
    with pytest.raises(AirflowException):
        operator.execute(build_context())
    (subscription,) = store.subscriptions("orders@main", prefix="airflow")
    assert [due.key for due in subscription.due()] == ["*"]
    orders.bad = set()
    operator.execute(build_context(try_number=2))
    assert subscription.due() == []
    orders.commit(b="2")
    subscription.collect()
    assert [due.key for due in subscription.due()] == ["*"]
    operator.execute(build_context(run_id="two"))
    assert subscription.due() == []


def test_airflow_offers_a_function_of_a_datum_as_a_task(store, build_context):
    assert task.datum is datum_task
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")

    def check(datum, out):
        out.write(datum["orders"].path, datum["orders"].read())

    how = {"inputs": vio.glob("orders@main", "/*.csv"), "output": "checked@main", "store": store.url}
    with DAG("check", schedule=None):
        declare = datum_task(pipeline_options={"code_version": "1"}, **how)(check)
        made = declare().operator.execute(build_context())
        with pytest.raises(ValueError, match=r"call check\(\) without arguments"):
            declare(1)
    assert made["counts"]["run"] == 1
    assert store.commit("checked@main").metadata["pipeline"] == "check"
