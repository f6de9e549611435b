"""A schedule that maintains a store, with Dagster's own executor and instance."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedStoreResource, build_maintenance_schedule
from versioned_io.catalog import upkeep
from versioned_io.model.places import pack_key


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        for number in range(3):
            with store.transaction("r@main") as tx:
                tx.write("a", b"%d" % number)
        yield store


def run(schedule, instance, **options):
    return schedule.job.execute_in_process(instance=instance, **options)


@pytest.fixture
def instance():
    with dg.instance_for_test() as found:
        yield found


def test_a_tick_requests_a_run_that_maintains_the_store(store, instance):
    schedule = build_maintenance_schedule(store.url, "0 3 * * *")
    definitions = dg.Definitions(schedules=[schedule])
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 1, 1, 3, tzinfo=UTC))
    found = definitions.get_repository_def().get_schedule_def(schedule.name)
    [request] = found.evaluate_tick(context).run_requests
    result = run(schedule, instance, tags=request.tags)
    assert result.success
    assert result.dagster_run.tags["versioned/maintenance"] == "versioned_maintenance"
    assert store.maintenance_status().last_run is not None
    assert store.maintenance_status().backlog.commits == 0


def test_the_op_is_in_a_pool_that_can_be_limited_to_one(store):
    schedule = build_maintenance_schedule(store.url)
    [node] = schedule.job.graph.node_defs
    assert node.pools == {"versioned_maintenance"}
    assert schedule.cron_schedule == "17 * * * *"


def test_a_store_that_another_process_maintains_is_left_to_it(store, instance):
    with store._backend.catalog.write() as connection:
        upkeep.take_lease(connection, "0" * 32, store._backend.clock())
    assert run(build_maintenance_schedule(store.url), instance).success
    assert store.maintenance_status().last_run is None


def test_a_resource_says_where_the_store_is(store, instance):
    resource = VersionedStoreResource(store=store.url)
    assert run(build_maintenance_schedule(resource, budget=timedelta(seconds=30)), instance).success
    assert store.maintenance_status().last_run is not None


def test_damage_fails_the_run(store, instance):
    key = pack_key(store.commit("r@main").root.pack.hex())
    data = bytearray(store._backend.objects.get(key))
    data[60] ^= 1
    store._backend.objects.delete([key])
    store._backend.objects.put(key, [data])
    result = run(build_maintenance_schedule(store.url), instance, raise_on_error=False)
    assert not result.success


def test_a_store_that_is_not_there_is_not_made(tmp_path, instance):
    result = run(build_maintenance_schedule(str(tmp_path / "nowhere")), instance, raise_on_error=False)
    assert not result.success
    assert not (tmp_path / "nowhere").exists()


def test_a_name_that_dagster_refuses_is_refused(store):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="letters"):
        build_maintenance_schedule(store.url, name="a-b")
