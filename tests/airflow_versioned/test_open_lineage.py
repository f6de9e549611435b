"""Every task's inputs and outputs reach OpenLineage with the commit as their version, in the provider's own classes."""

import json
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from airflow.sdk import DAG, Asset

import versioned_io as vio
from airflow_versioned import VersionedCommitOperator, VersionedHook, VersionedMergeOperator, versioned_asset
from airflow_versioned.notes import TaskListener
from airflow_versioned.open_lineage import convert_asset, name_namespace

extractors = pytest.importorskip("airflow.providers.openlineage.extractors.manager", reason="make set-up installs it")
listener = TaskListener()


@pytest.fixture
def read(store):
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")
    return tx.commit


@pytest.fixture
def run(monkeypatch, store, build_context):
    """Return a function that runs work as a task, and returns what OpenLineage's provider extracts at its end."""
    from airflow.sdk import lineage

    monkeypatch.setenv("AIRFLOW_CONN_VERSIONED_DEFAULT", json.dumps({"conn_type": "versioned", "host": store.url}))
    monkeypatch.delenv("VERSIONED_STORE", raising=False)
    collector = lineage.HookLineageCollector()
    monkeypatch.setattr(lineage, "get_hook_lineage_collector", lambda: collector)
    monkeypatch.setattr("airflow.providers.common.compat.lineage.hook.get_hook_lineage_collector", lambda: collector)
    monkeypatch.setattr(extractors, "_is_hook_lineage_collector_created", lambda: True)

    def run(work, end=listener.on_task_instance_success, **options):
        context = build_context(**options)
        context["ti"].get_template_context = lambda: context
        listener.on_task_instance_running(context["ti"])
        try:
            work(context)
        finally:
            end(context["ti"])
        found = extractors.ExtractorManager().get_hook_lineage()
        return found and SimpleNamespace(inputs=facts(found.inputs), outputs=facts(found.outputs))

    yield run
    vio.withdraw_run()
    vio.offer_settings(None)


def facts(datasets):
    return {(one.namespace, one.name): one.facets["version"].datasetVersion for one in datasets}


def at(store, name):
    return (f"versioned+file://{store.url}", name)


def test_what_a_hook_reads_and_commits(store, run, read):
    def work(context):
        with VersionedHook().run(context) as opened:
            opened.snapshot("orders@main").read("a.csv")
            with opened.transaction("quality@main") as tx:
                tx.write("a.json", b"{}")

    found = run(work)
    assert found.inputs == {at(store, "orders@main"): read.id}
    assert found.outputs == {at(store, "quality@main"): store.commit("quality@main").id}


def test_what_fsspec_reads_and_commits(store, run, read):
    def work(context):
        with fsspec.open("versioned://orders@main/a.csv") as file:
            content = file.read()
        with fsspec.open("versioned://quality@main/a.txt", "wb") as file:
            file.write(content)

    found = run(work)
    assert found.inputs == {at(store, "orders@main"): read.id}
    assert found.outputs == {at(store, "quality@main"): store.commit("quality@main").id}


def test_what_a_claimed_partition_reads_and_makes(store, run, read):
    orders = versioned_asset("orders@main", partitions="{date}.csv")

    def work(context):
        with orders.work(context, key="a", force=True) as claimed:
            claimed.snapshot.read("a.csv")
            with claimed.transaction("quality@main") as tx:
                tx.write("a.json", b"{}")

    found = run(work, partition_key="a")
    assert found.inputs == {at(store, "orders@main"): read.id}
    assert found.outputs == {at(store, "quality@main"): store.commit("quality@main").id}


def test_what_the_operators_commit_and_merge(store, run, read, tmp_path):
    (tmp_path / "b.csv").write_text("2")
    store.create_branch("orders@dev", at="orders@main")
    with DAG("check", schedule=None):
        commit = VersionedCommitOperator(task_id="task", ref="orders@dev", source=str(tmp_path / "b.csv"))
        merge = VersionedMergeOperator(task_id="merge", source="orders@dev", into="orders@main")
    found = run(commit.execute)
    made = store.commit("orders@dev")
    assert found.outputs == {at(store, "orders@dev"): made.id}
    found = run(merge.execute)
    assert (found.inputs, found.outputs[at(store, "orders@main")]) == ({at(store, "orders@dev"): made.id}, made.id)


def test_a_task_that_fails_reports_what_it_has_read(store, run, read):
    def work(context):
        VersionedHook().get_store().snapshot("orders@main").read("a.csv")

    assert run(work, end=listener.on_task_instance_failed).inputs == {at(store, "orders@main"): read.id}


def test_a_store_out_of_reach_fails_no_task(store, run, read, caplog):
    def work(context):
        VersionedHook().get_store().snapshot("orders@main").read("a.csv")
        Path(store.url).rename(f"{store.url}-moved")

    assert run(work) is None
    assert "can't report the datasets" in caplog.text


def test_a_store_out_of_reach_hides_no_other(store, run, read, tmp_path, caplog):
    lost = tmp_path / "lost"
    vio.create_store(lost).close()

    def work(context):
        VersionedHook(store=str(lost)).get_store().close()
        VersionedHook().get_store().snapshot("orders@main").read("a.csv")
        lost.rename(tmp_path / "moved")

    assert run(work).inputs == {at(store, "orders@main"): read.id}
    assert "can't report the datasets in" in caplog.text


def test_a_task_that_uses_no_store_reports_nothing(run):
    assert run(lambda context: None) is None


def test_an_asset_that_is_only_declared_is_no_dataset_and_the_lineage_id_is_a_tag():
    assert convert_asset(versioned_asset("orders@main"), None) is None
    extra = {"store": "s3://bucket/store", "commit": "c" * 32, "lineage_id": "1" * 32}
    found = convert_asset(Asset(uri="versioned://orders/runs%2Fa", extra=extra), None)
    assert (found.namespace, found.name) == ("versioned+s3://bucket/store", "orders@runs/a")
    assert [(tag.key, tag.value) for tag in found.facets["tags"].tags] == [("lineage_id", "1" * 32)]
    assert name_namespace("/data/store") == "versioned+file:///data/store"


def test_airflow_finds_the_converter():
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    assert ProvidersManagerTaskRuntime().asset_to_openlineage_converters["versioned"] is convert_asset
