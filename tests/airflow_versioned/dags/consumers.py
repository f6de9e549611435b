"""Consumers of the example's branch for the end-to-end tests: each writes what it did into a journal."""

import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from airflow.sdk import DAG, ObjectStoragePath, get_current_context, task

import versioned_io as vio
from airflow_versioned import VersionedDatumOperator, versioned_asset

ORDERS = versioned_asset("orders@main", partitions="{date}.csv")
LABELS = versioned_asset("labels@main", partitions="{name}.txt", redeliver_after_s=5)
ITEMS = versioned_asset("items@main", partitions="{item}.txt")
RESULTS = versioned_asset("results@main", partitions="{item}.txt")
JOURNAL = Path(os.environ["VERSIONED_TEST_JOURNAL"])

LABELS.relay()
ITEMS.relay()
RESULTS.relay()


def die_once(context, result=None):
    """Kill the worker of the task that announces, with everything that could tell Airflow of it."""
    flag = JOURNAL.with_name("kill-announcer")
    if context["ti"].task_id == "announce" and flag.exists():
        flag.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


versioned_asset("shot@main", partitions="{number}.txt").relay(default_args={"post_execute": die_once})
MANY = versioned_asset("many@main", partitions="{number}.txt")
MANY.relay()


def note(consumer, work):
    content = [work.snapshot.read(path).decode() for path in work.paths] if work.key != "*" else []
    run = get_current_context()["dag_run"]
    line = {
        "consumer": consumer,
        "key": work.key,
        "commit": work.due.commit,
        "lineage_id": work.lineage_id,
        "content": content,
        "run": run.run_id,
    }
    with JOURNAL.open("a") as file:  # one write below the pipe size is atomic
        file.write(json.dumps(line) + "\n")
    return content


with DAG("audit", schedule=ORDERS.schedule):

    @task
    def audit():
        with ORDERS.work() as work:
            note("audit", work)

    audit()

with DAG("train", schedule=[ORDERS.head], max_active_runs=1):

    @task
    def train():
        with ORDERS.head.work() as work:
            note("train", work)

    train()

with DAG("copy_items", schedule=ITEMS.schedule, max_active_runs=4):

    @task(outlets=[RESULTS])
    def copy():
        with ITEMS.work() as work:
            content = note("copy_items", work)
            if "slow" in content[0]:
                time.sleep(5)
            if "kill" in content[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            if "bad" in content[0]:
                message = "this item can't be copied"
                raise RuntimeError(message)
            with work.transaction("results@main") as tx:
                tx.write(f"{work.key}.txt", "".join(content).upper().encode())

    copy()

with DAG("use_results", schedule=RESULTS.schedule, max_active_runs=4):

    @task
    def use():
        with RESULTS.work() as work:
            note("use_results", work)

    use()

with DAG("label", schedule=None):
    from airflow_versioned import VersionedCommitOperator

    VersionedCommitOperator(
        task_id="commit", ref="labels@main", source="{{ dag_run.conf.source }}", outlets=[LABELS], retries=1
    )

with DAG("use_labels", schedule=LABELS.schedule):

    @task
    def use_labels():
        with LABELS.work() as work:
            note("use_labels", work)

    use_labels()

with DAG("count_labels", schedule=LABELS.schedule):

    @task
    def count_labels():
        with LABELS.work() as work:
            note("count_labels", work)

    count_labels()

with DAG("late", schedule=ORDERS.schedule, is_paused_upon_creation=True, catchup=False):

    @task
    def late():
        with ORDERS.work() as work:
            note("late", work)

    late()

with DAG("publish", schedule=None):
    from airflow_versioned import VersionedCommitSensor, VersionedMergeOperator

    wait = VersionedCommitSensor(task_id="wait", ref="drafts@next", path="go.txt", poke_interval=1)
    merge = VersionedMergeOperator(task_id="merge", source="drafts@next", into="drafts@main")

    @task.versioned(inputs={"text": "drafts@next:go.txt"}, output="drafts@next:shout")
    def shout(text: str):
        return text.upper()

    @task
    def echo():
        """Read and write by paths alone: pandas goes through fsspec, and both find the connection's store."""
        text = ObjectStoragePath("versioned://drafts@next/go.txt").read_text()
        (column,) = pd.read_csv("versioned://drafts@next/shout.txt").columns
        ObjectStoragePath("versioned://drafts@next/echo.txt").write_text(f"{text} {column}")

    wait >> shout() >> echo() >> merge


@vio.pipeline("measure", inputs=vio.glob("drawings@main", "/(*).txt"), output="measures@main", code_version="1")
def measure(datum, out):
    """Measure a drawing so slowly that each result is stored alone, and die once before the last one."""
    name = datum["drawings"].captures[0]
    with JOURNAL.open("a") as file:
        file.write(json.dumps({"consumer": "measure", "key": name}) + "\n")
    time.sleep(0.6)
    flag = JOURNAL.with_name("kill-measure")
    if name == "d" and flag.exists():
        flag.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    out.write(name, str(len(datum["drawings"].read())).encode())


with DAG("measure", schedule=None):
    VersionedDatumOperator(task_id="measure", pipeline=measure, retries=1, retry_delay=timedelta(seconds=1))
