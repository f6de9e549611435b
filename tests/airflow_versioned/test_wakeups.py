"""Who waits for a wake-up: the protocol of relay and consumers, against a real store, without any Airflow process."""

import itertools

import pytest

from airflow_versioned import versioned_asset
from airflow_versioned.connections import StoreAddress
from airflow_versioned.wakeups import (
    MAX_KEYS_PER_TASK,
    RELAY,
    AnnouncedCommit,
    Announcement,
    Watch,
    adopt_announcements,
    collect_announcements,
    confirm_announcement,
    name_subscription,
    open_subscription,
)

DEPLOYMENT = "airflow"
RUN_NUMBERS = itertools.count()


@pytest.fixture
def orders(tmp_path):
    return versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store"))


@pytest.fixture
def watch(tmp_path):
    watch = Watch(StoreAddress(url=str(tmp_path / "store")), "orders@main", redeliver_after_s=300)
    yield watch
    watch.close()


def commit(store, *keys, content=b"x", **options):
    with store.transaction("orders@main", **options) as tx:
        for key in keys:
            tx.write(f"{key}.csv", content)
    return tx.commit


def collect(orders, store, deployment=DEPLOYMENT, **options):
    options = {"redeliver_after_s": 300.0, "is_listening": lambda consumer: True} | options
    return collect_announcements(orders, store, deployment, **options)


def relay(orders, store, **options):
    announcements = collect(orders, store, **options)
    for announcement in announcements:
        confirm_announcement(orders, store, DEPLOYMENT, announcement)
    return keys_of(announcements)


def keys_of(announcements):
    return [key for announcement in announcements for commit in announcement.commits for key in commit.keys]


def consume(orders, store, key, consumer="check"):
    subscription = open_subscription(orders, store, DEPLOYMENT, consumer)
    subscription.collect()
    adopt_announcements(orders, store, DEPLOYMENT, subscription)
    due = subscription.claim(key, owner=f"{consumer}/{next(RUN_NUMBERS)}")
    if due is not None:
        subscription.complete(due)
    return due


def test_every_affected_key_is_announced_once(orders, store):
    commit(store, "a", "b")
    assert relay(orders, store) == ["a", "b"]
    assert relay(orders, store) == []
    commit(store, "b", content=b"y")
    assert relay(orders, store) == ["b"]


def test_an_announcement_that_was_not_confirmed_is_made_again(orders, store):
    commit(store, "a")
    assert keys_of(collect(orders, store)) == ["a"]
    assert relay(orders, store) == ["a"]


def test_keys_are_announced_with_their_own_commits_oldest_first(orders, store):
    first = commit(store, "b", "a")
    second = commit(store, "c")
    (announcement,) = collect(orders, store)
    assert announcement.commits == (
        AnnouncedCommit(first.id, first.lineage_id, 1, ("a", "b")),
        AnnouncedCommit(second.id, second.lineage_id, 2, ("c",)),
    )


def test_many_keys_become_several_tasks(orders, store):
    commit(store, *(f"{number:04}" for number in range(2 * MAX_KEYS_PER_TASK + 1)))
    assert [len(announcement.numbers) for announcement in collect(orders, store)] == [MAX_KEYS_PER_TASK] * 2 + [1]


def test_an_announcement_goes_through_json(orders, store):
    commit(store, "a")
    (announcement,) = collect(orders, store)
    assert Announcement.from_json(announcement.to_json()) == announcement


def test_what_a_tasks_own_event_said_is_not_repeated(orders, store):
    number = commit(store, "a", "b").number
    assert relay(orders, store, seen={"a": number}) == ["b"]
    assert relay(orders, store) == []


def test_an_older_event_does_not_silence_a_newer_commit(orders, store):
    number = commit(store, "a").number
    commit(store, "a", content=b"y")
    assert relay(orders, store, seen={"a": number}) == ["a"]


def test_a_key_that_was_overtaken_at_work_is_announced_again_whatever_events_there_are(orders, store):
    commit(store, "a")
    relay(orders, store)
    subscription = open_subscription(orders, store, DEPLOYMENT, "check")
    subscription.collect()
    due = subscription.claim("a", owner="check/1")
    number = commit(store, "a", content=b"y").number
    assert relay(orders, store) == ["a"]  # its run is skipped, since check/1 is still at work
    subscription.complete(due)
    assert relay(orders, store, seen={"a": number}) == ["a"]


def test_a_confirmation_leaves_alone_what_was_overtaken_after_the_announcement(orders, store):
    commit(store, "a")
    relay(orders, store)
    subscription = open_subscription(orders, store, DEPLOYMENT, "check")
    subscription.collect()
    due = subscription.claim("a", owner="check/1")
    commit(store, "a", content=b"y")
    (announcement,) = collect(orders, store)
    subscription.complete(due)  # after the announcement's run was skipped, since check/1 was still at work
    confirm_announcement(orders, store, DEPLOYMENT, announcement)
    assert relay(orders, store) == ["a"]


def test_each_consumer_gets_every_key(orders, store):
    commit(store, "a")
    relay(orders, store)
    assert consume(orders, store, "a", "check") is not None
    assert consume(orders, store, "a", "check") is None
    assert consume(orders, store, "a", "audit") is not None


def test_a_new_consumer_does_not_have_everything_announced_again(orders, store, watch):
    commit(store, "a", "b")
    relay(orders, store)
    consume(orders, store, "a")
    assert watch.look().waiting == frozenset()
    assert relay(orders, store) == []


def test_a_consumer_that_was_there_before_the_confirmation_learns_of_it(orders, store, watch):
    commit(store, "a", "b")
    (announcement,) = collect(orders, store)
    consume(orders, store, "a")
    confirm_announcement(orders, store, DEPLOYMENT, announcement)
    assert watch.look().waiting == frozenset()


def test_data_that_a_consumer_saw_before_the_relay_is_still_announced(orders, store):
    commit(store, "a")
    relay(orders, store)
    commit(store, "b")
    consume(orders, store, "a")
    assert relay(orders, store) == ["b"]


def test_a_named_consumer_is_owed_everything_before_its_first_run(orders, store):
    commit(store, "a")
    relay(orders, store, consumers=("check",))
    (_, check) = store.subscriptions("orders@main", prefix="airflow:")
    assert [due.key for due in check.due()] == ["a"]
    assert check.due()[0].announced_at is not None


def test_a_wake_up_that_nobody_answered_is_repeated(orders, store):
    commit(store, "a")
    relay(orders, store, consumers=("check",))
    assert collect(orders, store) == []
    while not (again := collect(orders, store, redeliver_after_s=0.0)):
        pass  # the pause before the first repetition is as long as the first announcement took
    assert keys_of(again) == ["a"]


def test_nothing_is_repeated_for_a_consumer_that_is_paused(orders, store):
    commit(store, "a")
    relay(orders, store, consumers=("check",))
    while not keys_of(collect(orders, store, redeliver_after_s=0.0)):
        pass
    asked = []
    options = {"redeliver_after_s": 0.0, "is_listening": asked.append}
    assert collect(orders, store, **options) == []
    assert asked == ["check"]
    commit(store, "b")
    assert keys_of(collect(orders, store, **options)) == ["b"]


def test_a_claimed_key_is_not_announced_again(orders, store):
    commit(store, "a")
    relay(orders, store)
    subscription = open_subscription(orders, store, DEPLOYMENT, "check")
    subscription.collect()
    subscription.release(subscription.claim("a", owner="check/1"))
    assert collect(orders, store, redeliver_after_s=0.0) == []


def test_two_deployments_do_not_see_each_other(orders, store):
    commit(store, "a")
    relay(orders, store)
    assert keys_of(collect(orders, store, "staging")) == ["a"]


def test_the_watch_of_an_empty_branch_has_no_head(store, watch):
    assert watch.look().head is None


def test_the_watch_tells_of_a_branch_without_subscriptions(store, watch):
    head = commit(store, "a")
    state = watch.look()
    assert not state.has_subscribers
    assert state.payload == {
        "repo": "orders",
        "branch": "main",
        "commit": head.id,
        "lineage_id": head.lineage_id,
        "number": 1,
    }


def test_the_watch_waits_for_the_relay_until_it_has_confirmed(orders, store, watch):
    commit(store, "a")
    relay(orders, store)
    assert watch.look().waiting == frozenset()
    commit(store, "b")
    assert watch.look().waiting
    collect(orders, store)
    assert watch.look().waiting
    relay(orders, store)
    assert watch.look().waiting == frozenset()


def test_an_unpartitioned_consumer_is_woken_by_the_watchers_event_alone(orders, store, watch):
    commit(store, "a")
    consume(orders.head, store, "*", "train")
    assert watch.look().waiting == frozenset()
    commit(store, "b")
    state = watch.look()
    assert state.waiting
    assert watch.look(announced=state).waiting == frozenset()
    assert consume(orders.head, store, "*", "train") is not None


def test_a_subscription_is_named_after_deployment_consumer_and_template(orders):
    assert name_subscription("airflow", "check", "{a}/{b}", None) == "airflow:check:{a}/{b}"
    assert name_subscription("airflow", "check", "{a}/{b}", "{b}|{a}") == "airflow:check:{a}/{b} as {b}|{a}"
    assert name_subscription("airflow", RELAY, None, None) == "airflow:(relay):*"


def test_a_long_name_stays_unique():
    names = {name_subscription("airflow", "d" * 250, f"{{a}}/{ending}", None) for ending in "xyz"}
    assert len(names) == 3
    assert all(len(name) <= 250 for name in names)
