"""The relay's own work, without the tasks around it."""

import time
from datetime import timedelta

import pytest
from airflow.sdk.definitions._internal.contextmanager import _CURRENT_CONTEXT

from airflow_versioned import versioned_asset
from airflow_versioned.relay import Renewal, describe_unmatched, request_again
from versioned_io.errors import InvalidInputError

HOW = {"redeliver_after_s": 300.0, "is_listening": lambda _: True, "most_keys": 100}


@pytest.fixture
def orders(tmp_path):
    return versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store")).declared


@pytest.fixture
def relay(store, orders):
    """A relay whose consumer has done everything."""
    with store.transaction("orders@main") as tx:
        for key in ("a", "b"):
            tx.write(f"{key}.csv", key.encode())
    relay = orders.relay_of(store, "airflow")
    check = relay.subscribe("check")
    relay.confirm(relay.collect(owner="run", **HOW), redeliver_after_s=300.0)
    for key in ("a", "b"):
        check.complete(check.claim(key, owner="check/1"))
    return relay


@pytest.fixture
def in_task(build_context):
    """Return a function that makes a context the running task's, until the test ends."""
    entered = []

    def enter(**options):
        entered.append(build_context(**options))
        _CURRENT_CONTEXT.append(entered[-1])

    yield enter
    for context in entered:
        _CURRENT_CONTEXT.remove(context)


def test_a_run_that_somebody_started_with_keys_announces_them_again_once(relay, orders, in_task):
    in_task(run_type="manual", conf={"keys": ["b"]})
    request_again(orders, "beginning")
    request_again(orders, "beginning")  # a retry
    assert relay.collect(owner="run 2", **HOW).keys == ["b"]
    assert [due.key for due in relay.subscribe("check").due()] == ["b"]


def test_a_retry_after_the_events_were_sent_requests_nothing_and_a_cleared_run_does(
    relay, orders, in_task, task_states
):
    facts = {"run_type": "manual", "conf": {"keys": ["b"]}, "task_states": task_states}
    in_task(**facts)
    request_again(orders, "beginning")
    relay.confirm(relay.collect(owner="run 2", **HOW), redeliver_after_s=300.0)
    check = relay.subscribe("check")
    check.complete(check.claim("b", owner="check/2"))
    in_task(**facts, try_number=2)
    request_again(orders, "beginning")
    assert relay.collect(owner="run 2", **HOW) is None
    in_task(**facts, try_number=3, clear_number=1)
    request_again(orders, "beginning")
    assert relay.collect(owner="run 2", **HOW).keys == ["b"]


def test_a_commit_that_the_template_does_not_match_is_named(store, orders):
    assert describe_unmatched(store, orders) == ""
    with store.transaction("orders@main") as tx:
        tx.write("2026/a.parquet", b"1")
    said = describe_unmatched(store, orders)
    assert f"{tx.commit.id}, changed 1 files, such as '2026/a.parquet', and the template '{{date}}.csv'" in said
    with store.transaction("orders@main") as tx:
        tx.write("b.csv", b"1")
    assert describe_unmatched(store, orders) == ""


def test_a_relay_without_work_survives_that_the_commit_before_has_expired(store, orders):
    for content in (b"1", b"2"):
        with store.transaction("orders@main") as tx:
            tx.write("2026/a.parquet", content)
    store.set_retention("orders@main", keep_last=1)
    assert store.gc(grace=timedelta(0), expire=timedelta(0)).forgotten == 1
    assert describe_unmatched(store, orders) == ""


def test_materialize_of_a_key_processes_it_again(relay, orders, in_task):
    in_task(run_type="asset_materialization", partition_key="a")
    request_again(orders, "beginning")
    assert relay.collect(owner="run 2", **HOW).keys == ["a"]


def test_a_wake_up_repeats_nothing(relay, orders, in_task):
    in_task(conf={"keys": ["b"]})
    request_again(orders, "beginning")
    assert relay.collect(owner="run 2", **HOW) is None


def test_an_announcement_that_the_api_server_keeps_waiting_stays_its_tasks(relay, store, orders, monkeypatch):
    monkeypatch.setattr("airflow_versioned.relay.RENEW_EVERY_S", 0.01)
    monkeypatch.setattr("airflow_versioned.relay.MAX_RENEWALS", 1)
    with store.transaction("orders@main") as tx:
        tx.write("c.csv", b"c")
    announcement = relay.collect(owner="run 2", lease_s=0.5, **HOW)
    renewal = Renewal(orders.address.locate(), orders, announcement)
    renewal.start()
    renewal.join()
    time.sleep(0.6)
    assert relay.collect(owner="run 3", **HOW) is None


def test_a_renewal_that_fails_is_a_line_in_the_tasks_log(relay, store, orders, monkeypatch, caplog):
    monkeypatch.setattr("airflow_versioned.relay.RENEW_EVERY_S", 0.01)
    monkeypatch.setattr("airflow_versioned.relay.MAX_RENEWALS", 1)
    with store.transaction("orders@main") as tx:
        tx.write("c.csv", b"c")
    announcement = relay.collect(owner="run 2", **HOW)
    store.delete_branch("orders@main", force=True)
    renewal = Renewal(orders.address.locate(), orders, announcement)
    renewal.start()
    renewal.join()
    assert "was not renewed" in caplog.text


def test_a_key_without_a_file_is_refused_by_name(relay, orders, in_task):
    in_task(run_type="manual", conf={"keys": ["z"]})
    with pytest.raises(InvalidInputError, match="has no file of 'z'"):
        request_again(orders, "beginning")
