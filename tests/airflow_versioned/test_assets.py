"""A branch as Airflow assets: the same in every DAG file, and whole after serialisation."""

import copy
import json
import pickle
import re

import pytest
from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, task
from airflow.serialization.serialized_objects import DagSerialization

from airflow_versioned import CommitTrigger, versioned_asset
from airflow_versioned.relay import name_relay
from versioned_io.errors import InvalidInputError, RefSyntaxError

ORDERS = versioned_asset("orders@main", partitions="{date}.parquet")


def round_trip(dag):
    text = json.dumps(DagSerialization.to_dict(dag))
    return json.loads(text)["dag"], DagSerialization.from_dict(json.loads(text))


def test_name_and_uri_are_the_same_canonical_text():
    assert ORDERS.name == ORDERS.uri == "versioned://orders/main/{date}.parquet"
    assert ORDERS.head.name == ORDERS.head.uri == "versioned://orders/main"


def test_only_the_head_is_watched():
    assert ORDERS.watchers == []
    (watcher,) = ORDERS.head.watchers
    assert isinstance(watcher.trigger, CommitTrigger)
    assert watcher.name == "versioned://orders/main"


def test_every_declaration_of_a_branch_has_one_and_the_same_trigger():
    other = versioned_asset("orders", partitions="{year}-*.parquet", key="{year}")
    triggers = [asset.head.watchers[0].trigger for asset in (ORDERS, other, versioned_asset("orders@main"))]
    assert len({CommitTrigger.hash(*trigger.serialize()) for trigger in triggers}) == 1


def test_assets_with_other_templates_are_other_assets():
    assert versioned_asset("orders", partitions="{date}.csv").uri != ORDERS.uri
    keyed = versioned_asset("orders", partitions="{a}/{b}.csv", key="{a}|{b}")
    assert keyed.uri == "versioned://orders/main/{a}/{b}.csv?key=%7Ba%7D%7C%7Bb%7D"


def test_equal_arguments_make_equal_assets():
    again = versioned_asset("orders@main", partitions="{date}.parquet")
    assert again == ORDERS
    assert hash(again) == hash(ORDERS)
    assert again.head == ORDERS.head
    assert hash(again.head) == hash(ORDERS.head)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda asset: pickle.loads(pickle.dumps(asset))])
def test_a_copy_keeps_what_the_branch_is(make):
    made = make(ORDERS)
    assert made == ORDERS
    assert (made.branch_ref, made.partitions, made.address) == (ORDERS.branch_ref, ORDERS.partitions, ORDERS.address)


def test_a_partitioned_asset_schedules_by_partition_and_a_whole_one_as_itself():
    assert isinstance(ORDERS.schedule, PartitionedAssetTimetable)
    whole = ORDERS.head
    assert whole.schedule is whole
    assert whole.head is whole


def test_a_dag_that_uses_it_in_every_place_survives_serialisation():
    with DAG("uses_it", schedule=ORDERS.schedule, catchup=False) as dag:

        @task(inlets=[ORDERS], outlets=[versioned_asset("quality@main", partitions="{date}.json")])
        def check():
            pass

        check()
    encoded, dag_again = round_trip(dag)
    assert encoded["timetable"]["__var"]["asset_condition"]["uri"] == ORDERS.uri
    (written,) = dag_again.task_dict["check"].outlets
    assert written.uri == "versioned://quality/main/{date}.json"


def test_a_dag_on_the_head_carries_the_watcher():
    with DAG("on_head", schedule=[ORDERS.head]) as dag:

        @task
        def work():
            pass

        work()
    encoded, _ = round_trip(dag)
    (asset,) = encoded["timetable"]["__var"]["asset_condition"]["objects"]
    assert asset["watchers"][0]["trigger"]["classpath"] == "airflow_versioned.triggers.CommitTrigger"


def test_the_relay_wakes_on_the_head_and_a_dead_run_keeps_no_other_and_it_survives_serialisation():
    dag = ORDERS.relay()
    encoded, _ = round_trip(dag)
    assert dag.max_active_runs > 1
    assert encoded["timetable"]["__var"]["asset_condition"]["objects"][0]["uri"] == ORDERS.head.uri
    assert set(dag.task_ids) == {"announce", "confirm", "more.announce_more", "more.confirm_more"}


def test_a_relay_takes_the_dags_own_options():
    dag = versioned_asset("a@b/c", partitions="{x}").relay(tags=["mine"], max_active_tasks=2)
    assert (dag.tags, dag.max_active_tasks) == ({"mine"}, 2)
    assert ORDERS.relay("my_relay").dag_id == "my_relay"


ALIKE = [
    {"ref": "a@b/c", "partitions": "{x}.csv"},
    {"ref": "a@b-c", "partitions": "{x}.csv"},
    {"ref": "a@b-c", "partitions": "{x}.json"},
    {"ref": "a@b-c", "partitions": "{x}.csv", "key": "key {x}"},
    {"ref": "a@b-c", "partitions": "{x}.csv", "conn_id": "archive"},
    {"ref": "a@b-c", "partitions": "{x}.csv", "conn_id": "archive-2"},
    {"ref": "a@b-c", "partitions": "{x}.csv", "store": "/a"},
    {"ref": "a@b-c", "partitions": "{x}.csv", "store": "/b"},
    {"ref": f"{'r' * 100}@{'b' * 100}", "partitions": f"{{{'f' * 100}}}.csv"},
    {"ref": f"{'r' * 100}@{'b' * 100}", "partitions": f"{{{'f' * 99}g}}.csv"},
]


def test_alike_declarations_have_relays_assets_and_watchers_of_their_own():
    assets = [versioned_asset(**one) for one in ALIKE]
    ids = [asset.relay().dag_id for asset in assets]
    assert len(set(ids)) == len({asset.uri for asset in assets}) == len(ALIKE)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,250}", dag_id) for dag_id in ids)
    heads = {asset.head.uri: asset.head.watchers[0] for asset in assets}
    assert len({watcher.name for watcher in heads.values()}) == len(heads)
    assert len({str(watcher.trigger.serialize()) for watcher in heads.values()}) == len(heads)


def test_a_plain_declaration_has_a_plain_relay():
    assert name_relay(versioned_asset("weather@main", partitions="{year}/{month}.csv").declared) == (
        "relay.weather.main.year.month"
    )
    assert name_relay(versioned_asset("a=b@fix/1", partitions="{x}.csv").declared).startswith("relay.a-b.fix-1.x.")


def test_a_store_with_and_without_a_slash_at_its_end_is_one():
    assert versioned_asset("orders", store="/data/").uri == versioned_asset("orders", store="/data").uri


def test_two_connections_to_one_store_have_relays_of_their_own(store):
    def relay(conn_id):
        declared = versioned_asset("orders@main", partitions="{date}.csv", conn_id=conn_id).declared
        return declared.relay_of(store, "airflow")

    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")
    options = {"redeliver_after_s": 300.0, "is_listening": bool, "most_keys": 100}
    found = [relay(conn_id).collect(owner=conn_id, **options).keys for conn_id in ("versioned_default", "archive")]
    assert found == [["a"], ["a"]]


def test_no_secret_is_serialised():
    trigger = ORDERS.head.watchers[0].trigger
    assert set(trigger.serialize()[1]) == {"branch", "connection", "store", "poll_interval_s", "redeliver_after_s"}


def test_a_reference_names_the_same_asset():
    assert Asset.ref(uri=ORDERS.uri).uri == ORDERS.uri


def test_what_is_no_branch_is_refused():
    with pytest.raises(RefSyntaxError, match="only a branch"):
        versioned_asset("orders@main~1")


def test_what_is_no_template_is_refused():
    with pytest.raises(InvalidInputError, match="names no field"):
        versioned_asset("orders", partitions="all.csv")


def test_a_key_without_partitions_is_refused():
    with pytest.raises(ValueError, match="give partitions too"):
        versioned_asset("orders", key="{a}")


def test_a_whole_branch_has_no_relay():
    with pytest.raises(ValueError, match="needs no relay"):
        versioned_asset("orders").relay()


def test_a_relative_store_is_refused():
    with pytest.raises(ValueError, match="make it absolute"):
        versioned_asset("orders", store="./data")
