"""A DAG that maintains a store, as Airflow parses it, and its task's work."""

from datetime import timedelta

import pytest

from versioned_io.catalog import upkeep
from versioned_io.model.places import pack_key


@pytest.fixture
def grown(store):
    for number in range(3):
        with store.transaction("orders@main") as tx:
            tx.write("a", b"%d" % number)
    return store


def address_of(store):
    from airflow_versioned.connections import StoreAddress

    return StoreAddress(url=store.url)


def test_the_dag_has_one_task_one_run_at_a_time_and_the_schedule():
    from airflow_versioned import build_maintenance_dag

    dag = build_maintenance_dag("warehouse", "0 3 * * *", default_args={"owner": "data"})
    assert dag.dag_id == "versioned_maintenance.warehouse"
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert [task.task_id for task in dag.tasks] == ["maintain"]
    assert dag.tasks[0].owner == "data"
    assert dag.tasks[0].retries == 2
    assert "0 3 * * *" in str(dag.schedule)


def test_two_stores_have_two_dags():
    from airflow_versioned import build_maintenance_dag

    places = [{}, {"store": "/a"}, {"store": "/b"}, {"conn_id": "my/store"}, {"conn_id": "my-store"}]
    assert len({build_maintenance_dag(**place).dag_id for place in places}) == len(places)


def test_airflow_can_serialize_it():
    from airflow.serialization.serialized_objects import DagSerialization

    from airflow_versioned import build_maintenance_dag

    dag = build_maintenance_dag(store="/data/store", dag_id="upkeep", budget=timedelta(minutes=1))
    assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == "upkeep"


def test_the_task_runs_and_maintains(grown):
    from airflow_versioned import build_maintenance_dag

    dag = build_maintenance_dag(store=grown.url)
    done = dag.tasks[0].python_callable()
    assert done["steps"][:2] == ["forget", "collect"]
    assert grown.maintenance_status().last_run is not None


def test_a_store_that_another_process_maintains_is_skipped(grown):
    from airflow.sdk.exceptions import AirflowSkipException

    from airflow_versioned.maintenance import maintain_store

    with grown._backend.catalog.write() as connection:
        upkeep.take_lease(connection, "0" * 32, grown._backend.clock())
    with pytest.raises(AirflowSkipException, match="another process"):
        maintain_store(address_of(grown), 60.0)


def test_damage_fails_the_task_for_good(grown):
    from airflow.sdk.exceptions import AirflowFailException

    from airflow_versioned.maintenance import maintain_store

    key = pack_key(grown.commit("orders@main").root.pack.hex())
    data = bytearray(grown._backend.objects.get(key))
    data[60] ^= 1
    grown._backend.objects.delete([key])
    grown._backend.objects.put(key, [data])
    with pytest.raises(AirflowFailException, match="run `versioned fsck --repair`"):
        maintain_store(address_of(grown), 60.0)


def test_a_relative_path_is_refused():
    from airflow_versioned import build_maintenance_dag

    with pytest.raises(ValueError, match="relative"):
        build_maintenance_dag(store="data")
