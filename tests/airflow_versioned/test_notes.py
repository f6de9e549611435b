"""A task's own events: noted in the store when Airflow has them, so that the relay does not repeat them."""

import pytest

from airflow_versioned import versioned_asset
from airflow_versioned.notes import ANNOUNCING_TASK_S, TaskListener, describe_outlets

listener = TaskListener()


@pytest.fixture
def orders(store, tmp_path):
    return versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store"))


@pytest.fixture
def relay(store, orders):
    return orders.declared.relay_of(store, "airflow")


def collect(relay):
    return relay.collect(owner="relay", redeliver_after_s=300.0, is_listening=lambda _: True, most_keys=100)


def commit(store, *keys):
    with store.transaction("orders@main") as tx:
        for key in keys:
            tx.write(f"{key}.csv", b"1")
    return tx.commit


@pytest.fixture
def announcing(store, orders, relay, build_context):
    """Return a task that has made a commit of two keys, on a branch with a relay, and is about to end."""
    assert collect(relay) is None
    context = build_context(outlets=[orders])
    describe_outlets(context, store, commit(store, "a", "b"))
    return context["ti"]


def test_while_the_task_runs_the_relay_leaves_its_keys_alone(relay, announcing):
    assert collect(relay) is None


def test_when_the_task_has_succeeded_its_keys_are_announced(relay, announcing):
    listener.on_task_instance_success(announcing)
    (own,) = relay.subscriptions()
    assert [(due.key, due.announced_at is not None) for due in own.due()] == [("a", True), ("b", True)]
    assert collect(relay) is None


@pytest.mark.parametrize("end", [listener.on_task_instance_failed, listener.on_task_instance_skipped])
def test_when_the_task_has_not_succeeded_the_relay_announces_its_keys_at_once(relay, announcing, end):
    end(announcing)
    assert collect(relay).keys == ["a", "b"]


def test_a_killed_task_holds_its_keys_for_a_short_time_only():
    assert ANNOUNCING_TASK_S <= 20


def test_a_branch_that_nobody_relays_gets_no_subscription(store, orders, build_context):
    context = build_context(outlets=[orders])
    describe_outlets(context, store, commit(store, "a"))
    listener.on_task_instance_success(context["ti"])
    assert store.subscriptions("orders@main") == []


def test_a_store_out_of_reach_at_the_end_of_the_task_is_logged(relay, announcing, monkeypatch, caplog):
    def refuse(address):
        raise ConnectionError("no route")

    monkeypatch.setattr("airflow_versioned.connections.StoreAddress.locate", refuse)
    listener.on_task_instance_success(announcing)
    assert "the relay announces it again" in caplog.text


def test_a_branch_of_the_same_name_in_another_store_gets_no_event_of_this_commit(store, build_context, tmp_path):
    other = versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "other"))
    context = build_context(outlets=[other])
    describe_outlets(context, store, commit(store, "a"))
    assert context["outlet_events"][other].partition_keys == set()


def test_a_key_whose_last_file_was_deleted_is_not_announced(store, orders, build_context):
    commit(store, "a", "b")
    with store.transaction("orders@main") as tx:
        tx.delete("a.csv")
        tx.write("b.csv", b"2")
    context = build_context(outlets=[orders])
    describe_outlets(context, store, tx.commit)
    assert context["outlet_events"][orders].partition_keys == {"b"}
