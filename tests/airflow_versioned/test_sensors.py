"""The commit sensor: what it finds, what it waits for, and that its trigger fires once."""

import asyncio

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_versioned import VersionedCommitSensor
from airflow_versioned.sensors import CommitSensorTrigger


@pytest.fixture
def sensor(tmp_path):
    def build(**options):
        with DAG("check", schedule=None):
            return VersionedCommitSensor(
                task_id="task", ref="orders@main", store=str(tmp_path / "store"), poke_interval=0.05, **options
            )

    return build


def write(store, *paths):
    with store.transaction("orders@main") as tx:
        for path in paths:
            tx.write(path, b"1" if tx.base is None else tx.base.id.encode())
    return tx.commit


def waits(sensor, context):
    try:
        sensor.execute(context)
    except TaskDeferred as deferred:
        return deferred
    return None


def test_it_returns_the_head_at_once_or_defers(store, sensor, build_context):
    assert waits(sensor(), build_context()).method_name == "resume"
    commit = write(store, "a.csv")
    assert sensor().execute(build_context())["commit"] == commit.id


@pytest.mark.parametrize(
    ("wanted", "is_there"),
    [
        ({"after": "main"}, False),
        ({"after": "main~1"}, True),
        ({"path": "raw/*.csv"}, True),
        ({"path": "raw/*.json"}, False),
        ({"path": "raw/*.csv", "after": "main~1"}, False),
        ({"path": "a.csv", "after": "main~1"}, True),
        ({"path": "a.csv", "after": "orders@main~1"}, True),
    ],
)
def test_it_waits_for_a_path_after_a_commit(store, sensor, build_context, wanted, is_there):
    write(store, "raw/x.csv")
    write(store, "a.csv")
    assert (waits(sensor(**wanted), build_context()) is None) is is_there


def test_without_deferring_it_looks_from_the_worker(store, sensor, build_context):
    waiting = sensor(path="a.csv", deferrable=False)
    assert not waiting.poke(build_context()).is_done
    commit = write(store, "a.csv")
    assert waiting.poke(build_context()).xcom_value["commit"] == commit.id


def test_its_trigger_fires_once_when_the_file_is_there(store, sensor, build_context):
    trigger = waits(sensor(path="a.csv"), build_context()).trigger
    path, arguments = trigger.serialize()
    assert path == "airflow_versioned.sensors.CommitSensorTrigger"

    async def events():
        running = CommitSensorTrigger(**arguments).run()
        first = asyncio.ensure_future(anext(running))
        await asyncio.sleep(0.3)
        assert not first.done()
        commit = await asyncio.to_thread(write, store, "a.csv")
        found = [(await asyncio.wait_for(first, 20)).payload["commit"]]
        found += [event.payload["commit"] async for event in running]
        return found, commit.id

    found, commit = asyncio.run(events())
    assert found == [commit]


def test_a_repo_that_is_missing_is_made(store, build_context, tmp_path):
    with DAG("check", schedule=None):
        made = VersionedCommitSensor(task_id="task", ref="new@main", store=str(tmp_path / "store"))
    assert waits(made, build_context()) is not None
    assert "new" in [repo.name for repo in store.repos()]
