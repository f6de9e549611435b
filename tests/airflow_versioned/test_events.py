"""What events carry, and that Airflow's task runner sends what was put into its accessors."""

from airflow.sdk.execution_time.task_runner import _serialize_outlet_events

from airflow_versioned import versioned_asset
from airflow_versioned.events import emit_events, event_extra, read_extra

ORDERS = versioned_asset("orders@main", partitions="{date}.csv")


def sent(context):
    events = _serialize_outlet_events(context["outlet_events"])
    return sorted((event["partition_key"], event["extra"], event["dest_asset_key"]["uri"]) for event in events)


def test_each_key_is_sent_with_the_extra_of_its_own_commit(build_context):
    context = build_context(outlets=[ORDERS])
    emit_events(context, ORDERS, [({"commit": "1"}, ["a", "b"]), ({"commit": "2"}, ["c"])])
    uri = ORDERS.uri
    assert sent(context) == [("a", {"commit": "1"}, uri), ("b", {"commit": "1"}, uri), ("c", {"commit": "2"}, uri)]


def test_the_extra_of_a_commit_names_it(store):
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")
    facts = event_extra(tx.commit)
    assert facts == {
        "repo": "orders",
        "branch": "main",
        "commit": tx.commit.id,
        "lineage_id": tx.commit.lineage_id,
        "number": 1,
    }
    assert read_extra(facts) == facts
    assert read_extra({"from_trigger": True, "payload": facts}) == facts


def test_an_event_of_another_origin_says_nothing():
    assert read_extra(None) == {}
    assert read_extra({"from_rest_api": True, "payload": "text"}) == {}
