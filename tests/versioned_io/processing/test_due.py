"""`Store.due` reports the waiting keys of each consumer and why it does not run. Keys requested again run once."""

from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.processing.shifted_clock import ShiftedClock
from versioned_io import KeyState
from versioned_io.errors import InvalidInputError, NotFoundError, PartitionKeyError
from versioned_io.processing import subscriptions
from versioned_io.processing.changes import keys_at

TEMPLATE = "{date}.csv"
HOW = {"redeliver_after_s": 300.0, "is_listening": lambda _: True, "most_keys": 100}


@pytest.fixture
def clock():
    return ShiftedClock()


@pytest.fixture
def store(tmp_path, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("orders")
        yield store


@pytest.fixture
def relay(store):
    return store.relay("airflow", "orders@main", partitions=TEMPLATE)


def commit(store, *keys, content=b"x"):
    with store.transaction("orders@main") as tx:
        for key in keys:
            tx.write(f"{key}.csv", content)
    return tx.commit


def announce(relay):
    announcement = relay.collect(owner="relay/1", **HOW)
    relay.confirm(announcement, redeliver_after_s=300.0)
    return announcement


def status_of(store, consumer="check", **options):
    return next(one for one in store.due("orders@main", **options) if one.consumer == consumer)


def states(store, consumer="check", **options):
    return {one.due.key: one.state.value for one in status_of(store, consumer, **options).keys}


def test_each_key_is_shown_with_what_became_of_it(store, relay, clock):
    check = relay.subscribe("check")
    commit(store, "a", "b", "c", "d", "e", "f")
    announce(relay)
    check.claim("a", owner="check/1")
    check.complete(check.claim("b", owner="check/2"))
    check.release(check.claim("c", owner="check/3"))
    check.claim("d", owner="check/4", lease_s=1)
    check.claim("f", owner="check/6")
    clock.ahead += timedelta(seconds=2)
    commit(store, "f", "g", content=b"y")
    relay.collect(owner="relay/2", **HOW)
    assert states(store) == {
        "a": "claimed",
        "c": "unfinished",
        "d": "unfinished",
        "e": "announced",
        "f": "overtaken",
        "g": "waiting",
    }
    assert status_of(store).why == (
        "1 key due and not announced; 1 key announced, and 'check' has not claimed it; 1 key claimed by check/1; "
        "1 key with newer data, while check/6 works on older data; "
        "2 keys claimed by 2 owners and not completed"
    )
    held = next(one.due for one in status_of(store).keys if one.due.key == "a")
    assert (held.owner, held.claimed_until > held.requested_at) == ("check/1", True)
    (done,) = status_of(store, key="b").keys
    assert (done.state, done.due.done_by) == (KeyState.DONE, "check/2")


def test_the_reason_names_what_is_missing(store, relay):
    check = relay.subscribe("check")
    assert status_of(store).why == "the branch has no commit"
    commit(store, "a")
    commit(store, "b")
    assert status_of(store).is_behind
    assert status_of(store).why == "2 new commits are not collected: no relay of 'airflow' has run since"
    announce(relay)
    for key in ("a", "b"):
        check.complete(check.claim(key, owner="check/1"))
    assert status_of(store).why == "nothing is due: everything up to commit #2 is done"
    relay.subscribe("late", start="head")
    assert status_of(store, "late").why == "nothing is due: it began at commit #2, and the branch has nothing newer"
    own = status_of(store, None)
    assert (own.why, own.keys) == ("the relay has announced everything up to commit #2", ())


def test_a_relay_that_is_at_work_is_named(store, relay):
    commit(store, "a")
    relay.collect(owner="relay/7", **HOW)
    (own,) = store.due("orders@main")
    assert own.why == "1 key to announce, and relay/7 is at work on it"


def test_a_subscription_without_a_relay_is_shown_too(store):
    plain = store.subscription("retrain", "orders@main")
    commit(store, "a")
    (status,) = store.due()
    assert status.why == "1 new commit is not collected: its consumer has not called collect() since"
    plain.collect()
    assert store.due()[0].why == "1 key due, and no owner has claimed it"


def test_limits_keys_branches_and_deleted_repos(store, relay):
    relay.subscribe("check")
    commit(store, *"abcde")
    announce(relay)
    limited = status_of(store, limit=2)
    assert ([one.due.key for one in limited.keys], limited.due_count) == (["a", "b"], 5)
    assert status_of(store, key="nope").keys == ()
    with pytest.raises(NotFoundError):
        store.due("orders@nope")
    store.delete_repo("orders", force=True)
    assert store.due() == []


def test_a_key_is_requested_again_once_however_often_one_asks(store, relay):
    check = relay.subscribe("check")
    commit(store, "a", "b")
    announce(relay)
    for key in ("a", "b"):
        check.complete(check.claim(key, owner=f"check/{key}"))
    assert check.request(["b", "b"]).requested == ("b",)
    assert check.request(["a", "b"]).requested == ("a",)
    assert check.request().waiting == ("a", "b")
    # The relay wakes this consumer for them, and no other.
    announcement = relay.collect(owner="relay/2", **HOW)
    assert announcement.commits == ()
    assert [(one.consumer, one.key) for one in announcement.missed] == [("check", "a"), ("check", "b")]
    relay.confirm(announcement, redeliver_after_s=300.0)
    check.complete(check.claim("a", owner="check/again", repeat=False))
    assert [due.key for due in check.due()] == ["b"]


def test_a_key_in_work_is_due_again_after_that_work(store, relay):
    check = relay.subscribe("check")
    commit(store, "a")
    announce(relay)
    old = check.claim("a", owner="check/old code")
    assert check.request(["a"]).requested == ("a",)
    assert check.request(["a"]).waiting == ("a",)
    assert check.claim("a", owner="check/2") is None
    check.complete(old)
    assert check.claim("a", owner="check/2") is not None


def test_failed_work_is_requested_again(store, relay):
    check = relay.subscribe("check")
    commit(store, "a")
    announce(relay)
    check.release(check.claim("a", owner="check/1"))
    assert check.request(["a"]).requested == ("a",)
    assert [one.key for one in relay.collect(owner="relay/2", **HOW).missed] == ["a"]


def test_another_run_of_the_consumer_does_not_hide_a_request_from_the_relay(store, relay):
    late = relay.subscribe("late", start="head")
    commit(store, "a", "b")
    announce(relay)
    for key in ("a", "b"):
        late.complete(late.claim(key, owner=f"late/{key}"))
    late.request(["a"])
    relay.adopt(late)  # as every run of the consumer does
    assert [one.key for one in relay.collect(owner="relay/2", **HOW).missed] == ["a"]


def test_a_consumer_that_began_at_the_head_gets_an_old_key_that_it_asks_for(store, relay):
    commit(store, "a")
    announce(relay)
    late = relay.subscribe("late", start="head")
    assert late.request(["a"]).requested == ("a",)
    relay.adopt(late)
    assert [(one.consumer, one.key) for one in relay.collect(owner="relay/2", **HOW).missed] == [("late", "a")]


def test_what_cannot_be_processed_is_refused_and_nothing_changes(store, relay):
    check = relay.subscribe("check")
    with pytest.raises(InvalidInputError, match="has no commit"):
        check.request()
    commit(store, "a")
    announce(relay)
    with pytest.raises(InvalidInputError, match="has no file of 'b'"):
        check.request(["a", "b"])
    with pytest.raises(PartitionKeyError):
        check.request(["a/b"])
    with pytest.raises(InvalidInputError):
        check.request("a")
    assert [due.sequence for due in check.due()] == [1]


def test_every_consumer_processes_requested_keys_again_and_one_event_wakes_them(store, relay):
    consumers = [relay.subscribe(name) for name in ("check", "report")]
    commit(store, "a", "b")
    announce(relay)
    for one in consumers:
        one.complete(one.claim("a", owner=f"{one.consumer}/1"))
    assert relay.request(["a"]) == ("a",)
    assert relay.request(["a"]) == ()
    announcement = relay.collect(owner="relay/2", **HOW)
    assert ([one.keys for one in announcement.commits], announcement.missed) == ([("a",)], ())
    relay.confirm(announcement, redeliver_after_s=300.0)
    assert [one.claim("a", owner="again", repeat=False).key for one in consumers] == ["a", "a"]
    assert relay.collect(owner="relay/3", **HOW) is None


def test_a_branch_without_partitions_has_one_key(store):
    whole = store.subscription("retrain", "orders@main")
    commit(store, "a")
    whole.collect()
    whole.complete(whole.claim("*", owner="1"))
    assert whole.request().requested == ("*",)
    assert [due.key for due in whole.due()] == ["*"]


def test_a_request_is_made_as_of_a_commit_that_came_meanwhile(store, relay, monkeypatch):
    """Else the older data would be processed last, and a deleted key once more."""
    check = relay.subscribe("check")
    commit(store, "a", "b")
    announce(relay)
    for key in ("a", "b"):
        check.complete(check.claim(key, owner=f"check/{key}"))
    newer = []

    def keys_while_others_work(*arguments):
        found = keys_at(*arguments)
        with store.transaction("orders@main") as tx:
            tx.write("a.csv", b"newer")
            tx.write("c.csv", b"newer")
            tx.delete("b.csv")
        newer.append(tx.commit)
        check.collect()
        check.complete(check.claim("a", owner="check/newer"))
        return found

    monkeypatch.setattr(subscriptions, "keys_at", keys_while_others_work)
    asked = check.request()
    assert (asked.commit, asked.requested, asked.waiting) == (newer[0], ("a",), ("c",))
    assert (check.find("a").commit, check.find("b").is_done) == (newer[0].id, True)


def test_a_request_of_a_subscription_that_was_deleted_is_refused(store, relay, monkeypatch):
    check = relay.subscribe("check")
    commit(store, "a")

    def keys_while_it_is_deleted(*arguments):
        found = keys_at(*arguments)
        with store._backend.catalog.write() as connection:
            connection.exec_driver_sql("DELETE FROM due_keys")
            connection.exec_driver_sql("DELETE FROM subscriptions")
        return found

    monkeypatch.setattr(subscriptions, "keys_at", keys_while_it_is_deleted)
    with pytest.raises(NotFoundError, match="was deleted"):
        check.request()
