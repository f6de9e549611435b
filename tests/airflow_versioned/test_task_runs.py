"""What a task reads in any way is the provenance of what it commits in any way; Airflow's listener sees to it."""

import json
import multiprocessing
import threading
from types import SimpleNamespace

import fsspec
import pytest

import versioned_io as vio
from airflow_versioned import VersionedHook, versioned_asset
from airflow_versioned.notes import TaskListener
from versioned_io.platform.ambient import process_settings

listener = TaskListener()
LINEAGE = "0199" * 8


@pytest.fixture
def location(tmp_path, store, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_VERSIONED_DEFAULT", json.dumps({"conn_type": "versioned", "host": store.url}))
    monkeypatch.delenv("VERSIONED_STORE", raising=False)
    return store.url


@pytest.fixture
def begin(build_context, location):
    """Return a function that begins a task, as Airflow does, and another that ends it."""

    def begin(**options):
        context = build_context(**options)
        context["ti"].get_template_context = lambda: context
        listener.on_task_instance_running(context["ti"])
        return context

    yield begin
    vio.withdraw_run()
    vio.offer_settings(None)


@pytest.fixture
def read(store):
    """The commit that the tests read from."""
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")
        tx.write("b.csv", b"2")
    return tx.commit


def inputs_of(commit, store):
    return sorted(use.file.path for use in store.upstream(f"{commit.repo}@{commit.id}").files)


def test_reads_and_commits_of_a_plain_store_belong_to_the_task(store, begin, read):
    context = begin(partition_key="a", conf={"lineage_id": LINEAGE})
    with VersionedHook().get_store() as opened:
        opened.snapshot("orders@main").read("a.csv")
        with opened.transaction("quality@main") as tx:
            tx.write("a.json", b"{}")
    listener.on_task_instance_success(context["ti"])
    assert (tx.commit.provenance, inputs_of(tx.commit, store)) == ((read.id,), ["a.csv"])
    made_by = tx.commit.run
    assert (made_by.orchestrator, made_by.job, made_by.partition_key) == ("airflow", "check", "a")
    assert tx.commit.lineage_id == LINEAGE
    assert vio.current_run() is None
    assert process_settings.find() is None


def test_fsspec_finds_the_connections_store_and_its_reads_are_provenance(store, begin, read):
    context = begin()
    with fsspec.open("versioned://orders@main/a.csv") as file:
        content = file.read()
    with fsspec.open("versioned://quality@main/a.txt", "wb") as file:
        file.write(content * 2)
    listener.on_task_instance_success(context["ti"])
    made = store.commit("quality@main")
    assert store.snapshot("quality@main").read("a.txt") == b"11"
    assert (made.provenance, made.lineage_id, made.run.job) == ((read.id,), read.lineage_id, "check")


def test_what_is_read_in_a_thread_or_a_child_process_counts(store, begin, read):
    context = begin()
    thread = threading.Thread(target=lambda: store.snapshot("orders@main").read("a.csv"))
    thread.start()
    thread.join()
    child = multiprocessing.get_context("fork").Process(target=lambda: store.snapshot("orders@main").read("b.csv"))
    child.start()
    child.join()
    with store.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    listener.on_task_instance_success(context["ti"])
    assert child.exitcode == 0
    assert inputs_of(tx.commit, store) == ["a.csv", "b.csv"]


def test_reads_before_a_block_count_for_it_and_those_of_another_block_do_not(store, begin, read, build_context):
    orders = versioned_asset("orders@main", partitions="{date}.csv")
    with store.transaction("quality@main") as tx:
        tx.write("rates", b"1")
    begin()
    store.snapshot("quality@main").read("rates")
    made = {}
    for key in ("a", "b"):
        with orders.work(build_context(partition_key=key), key=key, force=True) as work:
            work.snapshot.read(f"{key}.csv")
            with work.transaction("quality@main") as tx:
                tx.write(f"{key}.json", b"{}")
        made[key] = inputs_of(tx.commit, store)
    assert made == {"a": ["a.csv", "rates"], "b": ["b.csv", "rates"]}


def test_what_a_block_reads_is_an_input_of_what_the_task_commits_after_it(store, begin, read):
    context = begin()
    with VersionedHook().run(context) as opened:
        opened.snapshot("orders@main").read("a.csv")
    store.snapshot("orders@main").read("b.csv")
    with store.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    assert (inputs_of(tx.commit, store), tx.commit.lineage_id) == (["a.csv", "b.csv"], read.lineage_id)
    with VersionedHook().run(context) as opened, opened.transaction("quality@main") as other:
        other.write("b.json", b"{}")
    assert inputs_of(other.commit, store) == ["b.csv"]


def test_each_task_of_a_process_has_a_run_of_its_own(store, begin, read):
    made = []
    for end in (listener.on_task_instance_failed, listener.on_task_instance_skipped):
        context = begin(run_id=f"run {len(made)}")
        if not made:
            store.snapshot("orders@main").read("a.csv")
        with store.transaction("quality@main") as tx:
            tx.write(f"{len(made)}.json", b"{}")
        made.append(tx.commit)
        end(context["ti"])
    assert [(commit.run.run_id, len(commit.provenance)) for commit in made] == [("run 0", 1), ("run 1", 0)]


def test_a_commit_of_a_plain_store_is_a_line_in_the_log(store, begin, caplog):
    context = begin()
    with store.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    with caplog.at_level("INFO"):
        listener.on_task_instance_success(context["ti"])
    assert tx.commit.id in caplog.text


def test_a_task_that_uses_no_store_makes_no_run(begin):
    context = begin()
    assert vio.withdraw_run() is None
    listener.on_task_instance_success(context["ti"])


def test_what_is_no_task_of_this_process_is_left_alone():
    listener.on_task_instance_running(SimpleNamespace(dag_id="other"))
    assert vio.current_run() is None
