"""Commits drive partition runs through the four real Airflow components; one Airflow serves the whole module."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
import sqlalchemy

import versioned_io as vio
from airflow_versioned import push_events
from devservers.airflow_server import AirflowServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
REPOS = ["orders", "quality", "labels", "items", "results", "many", "shot", "sales", "photographs", "drawings"]
DAYS = [f"2026-01-{day:02}" for day in range(1, 13)]
TOLERANCE = 1.5  # for a machine that does other work, too
SETTLE_S = 8.0  # longer than a watcher's poll, a relay run and a partition run together, so a run too many would show


class Lab:
    """The store that the tests commit to, and the Airflow that is to notice."""

    def __init__(self, airflow, store, journal):
        self.airflow = airflow
        self.api = airflow.api
        self.store = store
        self._journal = journal

    def journal(self, consumer):
        lines = map(json.loads, self._journal.read_text().splitlines())
        return [line for line in lines if line["consumer"] == consumer]

    def flag(self, name):
        """Return a file that tells a DAG to misbehave once; the DAG deletes it."""
        flag = self._journal.with_name(name)
        flag.touch()
        return flag

    def commit(self, ref, files, **options):
        with self.store.transaction(ref, **options) as tx:
            for path, content in files.items():
                tx.write(path, content.encode())
        return tx.commit

    def new_runs(self, dag_id, before, count, **options):
        """Wait for *count* more runs than *before*, and return all that are new."""
        options.setdefault("settle_s", SETTLE_S)
        return self.api.wait_for_runs(dag_id, before + count, **options)[before:]

    def rest(self):
        """Wait until the consumers of the items and their consumers have no run under way."""
        for dag_id in (self.relay_of("items"), "copy_items", self.relay_of("results"), "use_results"):
            self.api.wait_for_runs(dag_id, 0)

    def relay_of(self, repo):
        """Return the DAG ID of the repo's relay, which ends in a digest."""
        found = self.api.request("GET", f"/api/v2/dags?dag_id_pattern=relay.{repo}.main.&limit=100")["dags"]
        (dag_id,) = [one["dag_id"] for one in found]
        return dag_id

    def count(self, dag_id):
        return len(self.api.runs(dag_id))

    def states(self, runs, task_id):
        return Counter(self.api.task_states(run.dag_id, run.run_id)[task_id] for run in runs)

    def wait(self, condition, timeout_s=240.0):
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "not in time"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(ROOT / "example_projects" / "airflow_only" / "dags", dags)
    shutil.copytree(ROOT / "example_projects" / "write_audit_publish" / "dags", dags, dirs_exist_ok=True)
    edges = ROOT / "example_projects" / "edges"
    shutil.copytree(edges / "airflow_dags", dags, dirs_exist_ok=True)
    for module in ("edges.py", "sobel.py"):  # above the DAGs, as in the example
        shutil.copy(edges / module, home)
    shutil.copytree(Path(__file__).parent / "dags", dags, dirs_exist_ok=True)
    journal = home / "journal.jsonl"
    journal.touch()
    env = {
        "AIRFLOW_CONN_VERSIONED_DEFAULT": json.dumps({"conn_type": "versioned", "host": str(home / "store")}),
        "VERSIONED_TEST_JOURNAL": str(journal),
    }
    settings = {
        "workers.min_heartbeat_interval": "1",
        # What a killed scheduler had begun is begun again by the next one, by default 5 minutes later.
        "scheduler.orphaned_tasks_check_interval": "10",
    }
    config = home / "airflow" / "config"
    config.mkdir(parents=True)
    (config / "airflow_local_settings.py").write_text("import versioned_io.store\n")  # docs/airflow.md, "Faster tasks"
    with vio.create_store(home / "store") as store:
        for repo in REPOS:
            store.create_repo(repo)
        add_photographs(store, "camera.png", "coins.png", "moon.png")
        script = {**os.environ, "VERSIONED_STORE": str(home / "store")}
        subprocess.run([sys.executable, home / "edges.py"], env=script, check=True)
        with AirflowServer(home / "airflow", dags, env=env, settings=settings) as airflow:
            for dag_id in ("check_orders", "relay.orders.main.date", "copy_items", "use_labels", "train", "pictures"):
                airflow.api.wait_for_dag(dag_id)
            yield Lab(airflow, store, journal)


def orders(amount):
    return f"customer,amount\nada,{amount}\n,2.5\n"


def test_twelve_new_files_run_twelve_partitions_under_one_lineage_id(lab):
    commit = lab.commit("orders@main", {f"{day}.csv": orders(day[-2:]) for day in DAYS})
    runs = lab.new_runs("check_orders", 0, 12)
    assert sorted(run.partition_key for run in runs) == DAYS
    assert lab.states(runs, "check") == {"success": 12}
    reports = list(lab.store.log("quality@main"))
    assert len(reports) == 12
    assert {report.lineage_id for report in reports} == {commit.lineage_id}
    assert all(report.provenance == (commit.id,) for report in reports)
    assert {report.run.partition_key for report in reports} == set(DAYS)
    assert all(report.run.orchestrator == "airflow" and report.run.job == "check_orders" for report in reports)
    assert len(lab.store.lineage(commit.lineage_id)) == 13


def test_the_events_carry_commit_and_lineage(lab):
    (commit,) = lab.store.log("orders@main", limit=1)
    events = lab.api.asset_events("versioned://orders/main/{date}.csv")
    assert sorted(event.partition_key for event in events) == DAYS
    assert all(event.extra["commit"] == commit.id for event in events)
    assert all(event.extra["lineage_id"] == commit.lineage_id for event in events)
    made = lab.api.asset_events("versioned://quality/main/{date}.json")
    written = {report.run.partition_key: report.id for report in lab.store.log("quality@main")}
    assert {event.partition_key: event.extra["commit"] for event in made} == written


def test_another_consumer_gets_every_partition_too(lab):
    runs = lab.new_runs("audit", 0, 12)
    assert lab.states(runs, "audit") == {"success": 12}
    assert sorted(line["key"] for line in lab.journal("audit")) == DAYS


def test_an_unpartitioned_consumer_of_the_head_works_once(lab):
    lab.wait(lambda: lab.journal("train"))
    assert [line["key"] for line in lab.journal("train")] == ["*"]


def test_one_changed_file_runs_one_partition(lab):
    before = lab.count("check_orders")
    commit = lab.commit("orders@main", {"2026-01-05.csv": orders(99)})
    (run,) = lab.new_runs("check_orders", before, 1)
    assert run.partition_key == "2026-01-05"
    (report,) = lab.store.log("quality@main", limit=1)
    assert report.lineage_id == commit.lineage_id
    assert json.loads(lab.store.snapshot("quality@main").read("2026-01-05.json"))["total"] == 101.5
    assert len(lab.journal("train")) == 2


def test_a_pushed_commit_is_announced_before_the_call_returns_and_runs_its_partition_once(lab, caplog):
    before = {dag_id: lab.count(dag_id) for dag_id in ("check_orders", "audit")}
    token = lab.api.request("GET", "/auth/token")["access_token"]
    with vio.open_store(lab.store.url) as pushed:
        push_events(pushed, lab.api.url, token=token)
        with pushed.transaction("orders@main") as tx:
            tx.write("2026-01-04.csv", orders(44).encode())
        (relay,) = pushed.subscriptions("orders@main", prefix="airflow:(relay):")
        noted = relay.find("2026-01-04")
    assert (noted.commit, noted.announced_at is not None) == (tx.commit.id, True), caplog.text
    for dag_id, count in before.items():
        (run,) = lab.new_runs(dag_id, count, 1)
        assert (run.partition_key, run.state) == ("2026-01-04", "success")


def test_the_same_bytes_run_nothing(lab):
    before = {dag_id: lab.count(dag_id) for dag_id in ("check_orders", "audit", "train")}
    head = lab.commit("orders@main", {"2026-01-05.csv": orders(99)})
    assert head.number == 3
    time.sleep(SETTLE_S)
    assert {dag_id: lab.count(dag_id) for dag_id in before} == before


def test_a_person_may_run_a_partition_again(lab):
    before = lab.count("audit")
    run_id = lab.api.trigger("audit", partition_key="2026-01-07")
    assert lab.api.wait_for_run("audit", run_id).state == "success"
    assert [line["key"] for line in lab.journal("audit") if line["run"] == run_id] == ["2026-01-07"]
    assert lab.count("audit") == before + 1


def test_keys_that_the_relay_is_started_for_are_processed_again_by_every_consumer(lab):
    before = {dag_id: lab.count(dag_id) for dag_id in ("audit", "check_orders")}
    keys = ["2026-01-02", "2026-01-03"]
    lab.api.trigger("relay.orders.main.date", conf={"keys": keys})
    for dag_id, count in before.items():
        runs = lab.new_runs(dag_id, count, len(keys))
        assert sorted(run.partition_key for run in runs) == keys
        assert lab.states(runs, dag_id.split("_")[0]) == {"success": len(keys)}


def test_a_cleared_run_does_its_work_again(lab):
    run = next(run for run in lab.api.runs("audit") if run.partition_key == "2026-01-09")
    body = {"dry_run": False, "dag_run_id": run.run_id, "only_failed": False}
    lab.api.request("POST", "/api/v2/dags/audit/clearTaskInstances", body)
    lab.wait(lambda: len([line for line in lab.journal("audit") if line["run"] == run.run_id]) == 2)
    assert lab.api.wait_for_run("audit", run.run_id).state == "success"


def test_a_key_that_the_template_can_not_produce_fails_with_a_clear_sentence(lab):
    run_id = lab.api.trigger("audit", partition_key="no/date")
    assert lab.api.wait_for_run("audit", run_id).state == "failed"
    assert "is not a partition key of" in lab.api.task_log("audit", run_id, "audit")


COMMITS = 10
"""Of a burst: more than the runs that a consumer may have at once, each of another partition."""


def test_a_burst_from_three_writers_brings_every_partition_up_to_date_and_does_nothing_twice(lab):
    def write(writer):
        for number in range(COMMITS):
            if number % 3 == writer:
                lab.commit("items@main", {f"item{number % 7}-{writer}.txt": f"{number} by {writer}"})

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    begin = time.monotonic()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    committed = time.monotonic()
    snapshot = lab.store.snapshot("items@main")
    wanted = {info.path: snapshot.read(info.path).decode().upper() for info in snapshot.walk()}

    def results():
        if next(lab.store.log("results@main", limit=1), None) is None:
            return {}
        found = lab.store.snapshot("results@main")
        return {info.path: found.read(info.path).decode() for info in found.walk()}

    lab.wait(lambda: results() == wanted)
    print(
        f"{COMMITS} commits in {committed - begin:.1f} s; "
        f"all partitions up to date {time.monotonic() - committed:.1f} s later"
    )
    lab.new_runs("copy_items", 0, 1)
    done = Counter((line["key"], line["commit"]) for line in lab.journal("copy_items"))
    assert set(done.values()) == {1}
    assert results() == wanted


def test_a_chain_keeps_the_lineage_id_and_does_nothing_twice(lab):
    lab.new_runs("use_results", 0, 1)
    done = Counter((line["key"], line["commit"]) for line in lab.journal("use_results"))
    assert set(done.values()) == {1}
    lineage = {(commit.lineage_id) for commit in lab.store.log("items@main")}
    assert {line["lineage_id"] for line in lab.journal("use_results")} <= lineage


def test_commits_while_the_triggerer_is_down_are_delivered_after_it(lab):
    before = lab.count("copy_items")
    lab.airflow.stop_components("triggerer")
    for number in range(3):
        lab.commit("items@main", {f"late{number}.txt": "while nobody looked"})
    lab.airflow.start_components("triggerer")
    runs = lab.new_runs("copy_items", before, 3)
    assert sorted(run.partition_key for run in runs) == [f"late{number}" for number in range(3)]
    assert lab.states(runs, "copy") == {"success": 3}


def test_a_killed_triggerer_and_scheduler_lose_nothing(lab):
    lab.rest()
    before = lab.count("copy_items")
    lab.commit("items@main", {"crash.txt": "just before the crash"})
    lab.airflow.stop_components("triggerer", "scheduler", crash=True)
    lab.airflow.start_components("triggerer", "scheduler")
    lab.new_runs("copy_items", before, 1)
    assert [line["key"] for line in lab.journal("copy_items")].count("crash") == 1
    assert lab.store.snapshot("results@main").read("crash.txt") == b"JUST BEFORE THE CRASH"


def test_new_data_for_a_partition_at_work_runs_it_once_more_afterwards(lab):
    lab.commit("items@main", {"busy.txt": "slow first"})
    lab.wait(lambda: [line for line in lab.journal("copy_items") if line["key"] == "busy"])
    lab.commit("items@main", {"busy.txt": "second"})
    lab.wait(lambda: lab.store.snapshot("results@main").exists("busy.txt"))
    lab.wait(lambda: lab.store.snapshot("results@main").read("busy.txt") == b"SECOND")
    seen = [line["content"] for line in lab.journal("copy_items") if line["key"] == "busy"]
    assert seen == [["slow first"], ["second"]]


def test_a_failed_partition_stays_due_is_not_retried_by_itself_and_recovers_with_new_data(lab):
    before = lab.count("copy_items")
    lab.commit("items@main", {"spoilt.txt": "bad"})
    (run,) = lab.new_runs("copy_items", before, 1)
    assert run.state == "failed"
    subscriptions = lab.store.subscriptions("items@main", prefix="airflow:copy_items:")
    assert [due.key for due in subscriptions[0].due()] == ["spoilt"]
    lab.commit("items@main", {"spoilt.txt": "good"})
    lab.new_runs("copy_items", before, 2)
    assert lab.store.snapshot("results@main").read("spoilt.txt") == b"GOOD"
    assert subscriptions[0].due() == []


def test_a_partition_whose_worker_was_killed_is_taken_over_by_the_run_for_new_data(lab):
    before = lab.count("copy_items")
    lab.commit("items@main", {"shot.txt": "kill"})
    (run,) = lab.new_runs("copy_items", before, 1)
    assert run.state == "failed"
    lab.commit("items@main", {"shot.txt": "alive"})  # the dead run's lease would hold for an hour
    lab.new_runs("copy_items", before, 2)
    assert lab.store.snapshot("results@main").read("shot.txt") == b"ALIVE"


def test_the_operator_commits_once_and_its_event_carries_the_commit(lab, tmp_path):
    source = tmp_path / "cat.txt"
    source.write_text("a cat")
    run_id = lab.api.trigger("label", conf={"source": str(source)})
    assert lab.api.wait_for_run("label", run_id).state == "success"
    (commit,) = lab.store.log("labels@main")
    assert lab.api.xcom("label", run_id, "commit")["lineage_id"] == commit.lineage_id
    assert commit.run.run_id == run_id
    runs = lab.new_runs("use_labels", 0, 1)
    assert runs[0].partition_key == "cat"
    assert [line["lineage_id"] for line in lab.journal("use_labels")] == [commit.lineage_id]
    events = lab.api.asset_events("versioned://labels/main/{name}.txt")
    assert {(event.partition_key, event.extra["commit"]) for event in events} == {("cat", commit.id)}


def test_the_operator_skips_when_nothing_changed(lab, tmp_path):
    source = tmp_path / "cat.txt"
    source.write_text("a cat")
    before = len(lab.api.asset_events("versioned://labels/main/{name}.txt"))
    run_id = lab.api.trigger("label", conf={"source": str(source)})
    lab.api.wait_for_run("label", run_id)
    assert lab.api.task_states("label", run_id) == {"commit": "skipped"}
    assert len(lab.api.asset_events("versioned://labels/main/{name}.txt")) == before


def test_a_tasks_own_announcement_is_noted_so_the_relay_does_not_repeat_it(lab, tmp_path):
    (tmp_path / "cow.txt").write_text("a cow")
    run_id = lab.api.trigger("label", conf={"source": str(tmp_path / "cow.txt")})
    assert lab.api.wait_for_run("label", run_id).state == "success"
    (relay,) = lab.store.subscriptions("labels@main", prefix="airflow:(relay):")
    lab.wait(lambda: [due for due in relay.due() if due.key == "cow" and due.announced_at])
    time.sleep(SETTLE_S)
    events = lab.api.asset_events("versioned://labels/main/{name}.txt")
    assert [event.partition_key for event in events].count("cow") == 1


def test_more_keys_than_one_task_announces_are_announced(lab):
    lab.commit("many@main", {f"{number:03}.txt": "x" for number in range(105)})

    def announced():
        found = lab.store.subscriptions("many@main", prefix="airflow:(relay):")
        return [due.key for relay in found for due in relay.due() if due.announced_at]

    lab.wait(lambda: len(announced()) == 105)


def test_a_consumer_without_catch_up_begins_with_what_wakes_it(lab):
    lab.api.request("PATCH", "/api/v2/dags/late", {"is_paused": False})
    lab.commit("orders@main", {"2026-01-11.csv": orders(7), "2026-01-12.csv": orders(7)})
    runs = lab.new_runs("late", 0, 2)
    assert lab.states(runs, "late") == {"success": 2}
    assert sorted(line["key"] for line in lab.journal("late")) == ["2026-01-11", "2026-01-12"]


def test_a_wake_up_that_a_paused_consumer_missed_is_repeated_for_it_alone(lab):
    before, others = lab.count("use_labels"), lab.count("count_labels")
    lab.api.request("PATCH", "/api/v2/dags/use_labels", {"is_paused": True})
    lab.commit("labels@main", {"dog.txt": "a dog"})
    relay = lab.store.subscriptions("labels@main", prefix="airflow:(relay):")[0]
    lab.wait(lambda: [due for due in relay.due() if due.key == "dog" and due.announced_at])
    lab.api.request("PATCH", "/api/v2/dags/use_labels", {"is_paused": False})
    lab.wait(lambda: [line for line in lab.journal("use_labels") if line["key"] == "dog"])
    runs = lab.new_runs("use_labels", before, 1)
    assert lab.states(runs, "use_labels")["success"] == 1
    assert all(run.run_id.startswith("wake_up__") for run in runs)
    assert [line["key"] for line in lab.journal("use_labels")].count("dog") == 1
    assert lab.count("count_labels") == others + 1


def test_a_sensor_a_versioned_task_and_a_merge_work_together(lab):
    lab.store.create_repo("drafts")
    lab.commit("drafts@main", {"start.txt": "start"})
    lab.store.create_branch("drafts@next", at="drafts@main")
    run_id = lab.api.trigger("publish")
    lab.wait(lambda: lab.api.task_states("publish", run_id)["wait"] == "deferred")
    lab.commit("drafts@next", {"go.txt": "go"})
    assert lab.api.wait_for_run("publish", run_id).state == "success"
    assert lab.store.snapshot("drafts@main").read("shout.txt") == b"GO"
    merged = lab.store.commit("drafts@main")
    assert lab.api.xcom("publish", run_id, "merge")["commit"] == merged.id
    assert "commit number 3 of drafts@next" in lab.api.task_log("publish", run_id, "shout")
    echoed = lab.store.commit("drafts@next")
    assert lab.store.snapshot("drafts@next").read("echo.txt") == b"go GO"
    assert (echoed.run.job, echoed.run.run_id, echoed.run.params["task"]) == ("publish", run_id, "echo")
    read = [use.file.path for use in lab.store.upstream(f"drafts@{echoed.id}").files if use.consumer == echoed.id]
    assert sorted(read) == ["go.txt", "shout.txt"]
    assert f"{echoed.id}" in lab.api.task_log("publish", run_id, "echo")


def test_refused_data_is_never_published_and_a_cleared_run_publishes_what_was_corrected(lab, tmp_path):
    def clear(**options):
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, **options}
        lab.api.request("POST", "/api/v2/dags/publish_sales/clearTaskInstances", body)
        lab.wait(lambda: lab.api.task_states("publish_sales", run_id)["publish.close_branch"] != "success")
        return lab.api.wait_for_run("publish_sales", run_id).state

    def branches():
        return [branch.name for branch in lab.store.branches("sales")]

    sales = tmp_path / "sales"
    sales.mkdir()
    (sales / "a.csv").write_text("customer,amount\nada,1\n")
    run_id = lab.api.trigger("publish_sales", conf={"directory": str(sales)})
    assert lab.api.wait_for_run("publish_sales", run_id).state == "success"
    published = lab.store.commit("sales@main")
    assert (published.run.params["task"], branches()) == ("publish.write", ["main"])

    (sales / "b.csv").write_text("customer,amount\n,2\n")
    run_id = lab.api.trigger("publish_sales", conf={"directory": str(sales)})
    assert lab.api.wait_for_run("publish_sales", run_id).state == "failed"
    states = lab.api.task_states("publish_sales", run_id)
    assert (states["publish.check"], states["publish.merge"]) == ("failed", "upstream_failed")
    assert states["publish.close_branch"] == "success"
    assert lab.store.commit("sales@main").id == published.id
    (kept,) = set(branches()) - {"main"}
    assert lab.store.snapshot(f"sales@{kept}").exists("b.csv")

    assert clear(task_ids=["publish.check"], include_downstream=True) == "failed"  # its branch holds the same files
    assert set(branches()) == {"main", kept}
    (sales / "b.csv").unlink()
    (sales / "c.csv").write_text("customer,amount\nbob,2\n")
    assert clear() == "success"
    assert sorted(info.path for info in lab.store.snapshot("sales@main").walk()) == ["a.csv", "c.csv"]
    assert branches() == ["main"]


def test_a_worker_that_dies_while_it_announces_delays_the_branch_by_a_minute_at_most(lab):
    flag = lab.flag("kill-announcer")
    lab.commit("shot@main", {"1.txt": "x"})

    def announced():
        found = lab.store.subscriptions("shot@main", prefix="airflow:(relay):")
        return [due.key for relay in found for due in relay.due() if due.announced_at]

    lab.wait(lambda: not flag.exists())
    died = time.monotonic()
    lab.wait(announced, timeout_s=120)
    print(f"announced {time.monotonic() - died:.0f} s after the worker's death")
    assert time.monotonic() - died < 60 * TOLERANCE


def add_photographs(store, *names):
    with store.transaction("photographs@main") as tx:
        for name in names:
            tx.write(name, (resources.files("skimage") / "data" / name).read_bytes())
    return tx.commit


def test_one_new_photograph_is_one_datum_and_what_a_script_has_evaluated_is_not_repeated(lab):
    first, *_ = lab.new_runs("pictures", 0, 1, settle_s=0)  # a wake-up that is read late comes again
    assert set(lab.api.task_states("pictures", first.run_id).values()) == {"success", "skipped"}
    assert len(list(lab.store.log("edges@main"))) == 1  # the script's, before Airflow began
    added = add_photographs(lab.store, "rocket.jpg")
    lab.wait(lambda: lab.store.commit("montage@main").lineage_id == added.lineage_id)
    run_id = lab.store.commit("montage@main").run.run_id
    for task_id, repo, counts in (("edges.commit", "edges", (1, 3)), ("montage", "montage", (1, 0))):
        found = lab.api.xcom("pictures", run_id, task_id)["counts"]
        assert (found["run"], found["skipped"]) == counts
        made = lab.store.commit(f"{repo}@main")
        assert (made.lineage_id, made.run.run_id) == (added.lineage_id, run_id)
    assert [commit.stats.added for commit in lab.store.log("edges@main")] == [1, 3]


def test_a_killed_worker_of_a_pipeline_is_retried_without_repeating_what_was_stored(lab):
    lab.commit("drawings@main", {f"{name}.txt": name for name in "abcd"})
    flag = lab.flag("kill-measure")
    run_id = lab.api.trigger("measure")
    assert lab.api.wait_for_run("measure", run_id).state == "success"
    assert not flag.exists()
    ran = Counter(line["key"] for line in lab.journal("measure"))
    assert ran.keys() == set("abcd")
    assert ran["a"] == ran["b"] == 1  # their results were stored before the kill
    assert [info.path for info in lab.store.snapshot("measures@main").walk()] == ["a", "b", "c", "d"]


def test_the_triggers_stay_the_same_while_files_are_parsed_again(lab):
    engine = sqlalchemy.create_engine(lab.airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])

    def triggers():
        with engine.connect() as connection:
            return sorted(connection.execute(sqlalchemy.text("select id from trigger")).scalars())

    before = triggers()
    assert len(before) == 7  # one for each branch that is watched, however many DAGs name it
    time.sleep(12)  # two rounds of parsing
    assert triggers() == before
    engine.dispose()
