"""The command ``due`` shows the waiting keys of each consumer and why it does not run, and requests keys again."""

import json

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.interfaces.cli.app import app

HOW = {"redeliver_after_s": 300.0, "is_listening": lambda _: True, "most_keys": 100}


@pytest.fixture
def run(tmp_path):
    def run(*arguments, code=0):
        environment = {"VERSIONED_STORE": str(tmp_path / "store"), "COLUMNS": "200"}
        done = CliRunner().invoke(app, ["due", *arguments], env=environment)
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done.output

    return run


@pytest.fixture
def store(tmp_path):
    """A store in which the consumer ``check`` has a key in work, one announced and one done."""
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("orders")
        relay = store.relay("airflow", "orders@main", partitions="{date}.csv")
        check = relay.subscribe("check")
        with store.transaction("orders@main") as tx:
            for key in "abc":
                tx.write(f"{key}.csv", b"x")
        relay.confirm(relay.collect(owner="relay", **HOW), redeliver_after_s=300.0)
        check.claim("a", owner="check/run 1")
        check.complete(check.claim("b", owner="check/run 2"))
        yield store


def test_it_lists_due_keys_their_holders_and_the_reason(store, run):
    lines = run("orders@main").splitlines()
    assert lines[0] == (
        "orders@main check ({date}.csv, airflow): "
        "1 key announced, and 'check' has not claimed it; 1 key claimed by check/run 1"
    )
    assert [line.split()[:2] for line in lines[2:4]] == [["a", "claimed"], ["c", "announced"]]
    assert "check/run 1" in lines[2]
    assert lines[-1].startswith("orders@main the relay ({date}.csv, airflow): the relay has announced everything")


def test_the_json_has_every_fact(store, run):
    found = {one["consumer"]: one for one in json.loads(run("--json"))["subscriptions"]}
    assert found["check"]["due_count"] == 2
    assert {one["key"]: (one["state"], one["owner"]) for one in found["check"]["keys"]} == {
        "a": ("claimed", "check/run 1"),
        "c": ("announced", None),
    }
    assert found["check"]["keys"][0]["claimed_until"] > found["check"]["keys"][0]["requested_at"]
    assert found[None]["keys"] == []


def test_one_key_is_explained_also_when_it_is_done_or_was_never_asked_for(store, run):
    assert "check/run 2 has settled the newest request" in run("orders@main", "--key", "b", "-c", "check")
    (status,) = json.loads(run("--key", "b", "--json", "-c", "check"))["subscriptions"]
    assert [(one["state"], one["done_by"]) for one in status["keys"]] == [("done", "check/run 2")]
    assert "no commit has touched it since" in run("orders@main", "--key", "z", "-c", "check")


def test_keys_are_requested_again(store, run):
    assert run("orders@main", "--again", "b", "--again", "c") == "check: 1 requested again, 1 waiting already\n"
    again = json.loads(run("orders@main", "--again-all", "--json"))["repeated"]
    assert [(one["consumer"], one["requested"], one["waiting"]) for one in again] == [("check", ["a"], ["b", "c"])]


def test_what_is_missing_is_named_with_the_flag_that_helps(store, run):
    assert "no consumer or subscription 'nope'" in run("orders@main", "-c", "nope", code=3)
    assert "name the branch" in run("--again", "a", code=2)
    assert "no file of 'z'" in run("orders@main", "--again", "z", code=2)
    assert "nope" in run("orders@nope", code=3)


def test_without_a_consumer_the_relay_says_so(tmp_path, run):
    with vio.create_store(tmp_path / "store") as store:
        assert run() == "no subscription: no consumer has asked for changes yet\n"
        store.create_repo("orders")
        with store.transaction("orders@main") as tx:
            tx.write("a.csv", b"x")
        relay = store.relay("airflow", "orders@main", partitions="{date}.csv")
        relay.confirm(relay.collect(owner="relay", **HOW), redeliver_after_s=300.0)
    assert "no consumer is known, since none has run yet" in run()
    assert "no subscription of orders@main" in run("orders@main", "--again", "a", code=3)


def test_a_part_of_the_keys_is_not_said_to_be_all(store, run):
    with store.transaction("orders@main") as tx:
        for number in range(30):
            tx.write(f"{number:02}.csv", b"x")
    store.relay("airflow", "orders@main", partitions="{date}.csv").subscribe("check").collect()
    assert "(the oldest 20 of 32 due keys)" in run("orders@main", "-c", "check")
    assert "the oldest" not in run("orders@main", "-c", "check", "--all")
    assert "the oldest" not in run("orders@main", "-c", "check", "--key", "07")
