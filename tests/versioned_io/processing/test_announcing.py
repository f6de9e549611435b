"""Who waits for a wake-up: the protocol of relay and consumers, against a real store, without any orchestrator."""

import itertools
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.processing.shifted_clock import ShiftedClock
from versioned_io import AnnouncedCommit, Announcement
from versioned_io.errors import CommitNotFoundError, InvalidInputError
from versioned_io.processing.announcing import ANNOUNCING_S, name_subscription

MAX_KEYS_PER_TASK = 100

DEPLOYMENT = "airflow"
RUN_NUMBERS = itertools.count()


@pytest.fixture
def clock():
    return ShiftedClock()


@pytest.fixture
def store(tmp_path, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("orders")
        yield store


@pytest.fixture
def orders(store):
    return store.relay(DEPLOYMENT, "orders@main", partitions="{date}.csv")


@pytest.fixture
def watch(store):
    return store.watch("orders@main", relay=DEPLOYMENT, redeliver_after_s=300)


def commit(store, *keys, content=b"x", **options):
    with store.transaction("orders@main", **options) as tx:
        for key in keys:
            tx.write(f"{key}.csv", content)
    return tx.commit


def collect(orders, **options):
    options = {"redeliver_after_s": 300.0, "is_listening": lambda consumer: True, "owner": "relay/1"} | options
    return orders.collect(most_keys=MAX_KEYS_PER_TASK, **options)


def relay(orders, **options):
    """Announce everything that waits, as the tasks of one run do, and return the keys that everybody hears of."""
    keys = []
    while announcement := collect(orders, **options):
        orders.confirm(announcement, redeliver_after_s=300.0)
        keys += keys_of(announcement)
    return keys


def keys_of(announcement):
    return [key for commit in announcement.commits for key in commit.keys] if announcement else []


def missed_of(announcement):
    return [(one.consumer, one.key) for one in announcement.missed] if announcement else []


def consume(orders, key, consumer="check"):
    subscription = orders.subscribe(consumer)
    subscription.collect()
    orders.adopt(subscription)
    due = subscription.claim(key, owner=f"{consumer}/{next(RUN_NUMBERS)}")
    if due is not None:
        subscription.complete(due)
    return due


def test_every_affected_key_is_announced_once(orders, store):
    commit(store, "a", "b")
    assert relay(orders) == ["a", "b"]
    assert relay(orders) == []
    commit(store, "b", content=b"y")
    assert relay(orders) == ["b"]


def test_an_announcement_that_was_not_confirmed_is_made_again(orders, store):
    commit(store, "a")
    assert keys_of(collect(orders)) == ["a"]
    assert relay(orders) == ["a"]


def test_keys_are_announced_with_their_own_commits_oldest_first(orders, store):
    first = commit(store, "b", "a")
    second = commit(store, "c")
    announcement = collect(orders)
    assert announcement.commits == (
        AnnouncedCommit(first.id, first.lineage_id, 1, ("a", "b")),
        AnnouncedCommit(second.id, second.lineage_id, 2, ("c",)),
    )


def test_many_keys_become_several_announcements_each_when_its_announcer_asks(orders, store):
    commit(store, *(f"{number:04}" for number in range(2 * MAX_KEYS_PER_TASK + 1)))
    found = []
    while announcement := collect(orders):
        found.append((len(announcement.keys), announcement.left))
        orders.confirm(announcement, redeliver_after_s=300.0)
    assert found == [(MAX_KEYS_PER_TASK, MAX_KEYS_PER_TASK + 1), (MAX_KEYS_PER_TASK, 1), (1, 0)]


def test_nobody_announces_what_another_announces_until_that_one_is_dead(orders, store, clock):
    commit(store, *(f"{number:04}" for number in range(MAX_KEYS_PER_TASK + 2)))
    first = collect(orders)
    second = collect(orders, owner="relay/2")
    assert (keys_of(second), second.left) == (["0100", "0101"], 0)
    assert collect(orders, owner="relay/3") is None
    assert keys_of(collect(orders)) == keys_of(first)  # a retry of the first
    clock.ahead += timedelta(seconds=ANNOUNCING_S + 1)
    assert keys_of(collect(orders, owner="relay/3")) == keys_of(first)


def test_an_announcer_that_is_slow_renews_its_lease_on_what_it_still_holds(orders, store, clock):
    commit(store, *(f"{number:04}" for number in range(MAX_KEYS_PER_TASK)))
    first = collect(orders)
    clock.ahead += timedelta(seconds=ANNOUNCING_S - 1)
    orders.renew(first)
    clock.ahead += timedelta(seconds=ANNOUNCING_S - 1)
    assert collect(orders, owner="relay/2") is None
    clock.ahead += timedelta(seconds=2)
    assert keys_of(collect(orders, owner="relay/2")) == keys_of(first)
    orders.renew(first)  # too late: they are another's
    clock.ahead += timedelta(seconds=ANNOUNCING_S + 1)
    assert keys_of(collect(orders, owner="relay/3")) == keys_of(first)


def test_the_watch_does_not_ring_for_what_is_being_announced_and_rings_when_the_announcer_is_dead(
    orders, store, watch, clock
):
    commit(store, "a")
    relay(orders, consumers=("check",))
    commit(store, "a", "b", content=b"y")
    collect(orders)
    assert watch.look().waiting == frozenset()
    clock.ahead += timedelta(seconds=ANNOUNCING_S + 1)
    assert len(watch.look().waiting) == 4  # two keys, for the relay and for its consumer


def test_an_announcement_goes_through_json(orders, store):
    commit(store, "a")
    announcement = collect(orders)
    assert Announcement.from_json(announcement.to_json()) == announcement


def test_what_a_task_announced_is_not_repeated(orders, store):
    relay(orders)
    made = commit(store, "a", "b")
    announcement = orders.announce(made, ["a"], owner="task", lease_s=10)
    assert keys_of(collect(orders)) == ["b"]
    orders.confirm(announcement, redeliver_after_s=300.0)
    assert relay(orders) == ["b"]
    assert relay(orders) == []


def test_what_a_task_was_to_announce_is_announced_by_the_relay_when_the_task_failed(orders, store):
    relay(orders)
    announcement = orders.announce(commit(store, "a"), ["a"], owner="task", lease_s=10)
    assert collect(orders) is None
    orders.withdraw(announcement)
    assert relay(orders) == ["a"]


def test_what_a_task_was_to_announce_is_announced_by_the_relay_when_the_task_died(orders, store, clock):
    relay(orders)
    orders.announce(commit(store, "a"), ["a"], owner="task", lease_s=10)
    clock.ahead += timedelta(seconds=11)
    assert relay(orders) == ["a"]


def test_a_task_has_nothing_to_note_where_there_is_no_relay(orders, store):
    assert orders.announce(commit(store, "a"), ["a"], owner="task", lease_s=10) is None
    assert orders.subscriptions() == []
    orders.subscribe("check")
    assert orders.announce(commit(store, "a"), ["a"], owner="task", lease_s=10) is None


def test_an_older_event_does_not_silence_a_newer_commit(orders, store):
    relay(orders)
    announcement = orders.announce(commit(store, "a"), ["a"], owner="task", lease_s=10)
    commit(store, "a", content=b"y")
    orders.confirm(announcement, redeliver_after_s=300.0)
    assert relay(orders) == ["a"]


def test_a_key_that_was_overtaken_at_work_is_announced_again_to_its_consumer(orders, store):
    commit(store, "a")
    relay(orders)
    subscription = orders.subscribe("check")
    subscription.collect()
    due = subscription.claim("a", owner="check/1")
    commit(store, "a", content=b"y")
    assert relay(orders) == ["a"]  # its run is skipped, since check/1 is still at work
    subscription.complete(due)
    assert missed_of(collect(orders)) == [("check", "a")]


def test_a_confirmation_leaves_alone_what_was_overtaken_after_the_announcement(orders, store):
    commit(store, "a")
    relay(orders)
    subscription = orders.subscribe("check")
    subscription.collect()
    due = subscription.claim("a", owner="check/1")
    commit(store, "a", content=b"y")
    announcement = collect(orders)
    subscription.complete(due)  # after the announcement's run was skipped, since check/1 was still at work
    orders.confirm(announcement, redeliver_after_s=300.0)
    assert missed_of(collect(orders)) == [("check", "a")]


def test_a_missed_wake_up_is_repeated_for_its_consumer_alone_under_one_name_until_it_is_confirmed(orders, store):
    commit(store, "a")
    relay(orders, consumers=("check", "audit"))
    consume(orders, "a", "audit")
    while not (missed := collect(orders, redeliver_after_s=0.0)):
        pass
    assert (keys_of(missed), missed_of(missed)) == ([], [("check", "a")])
    assert collect(orders, redeliver_after_s=0.0).missed == missed.missed
    orders.confirm(missed, redeliver_after_s=0.0)
    while not (later := collect(orders, redeliver_after_s=0.0)):
        pass
    assert later.missed[0].attempt != missed.missed[0].attempt


def test_a_late_consumer_that_wants_everything_gets_it_without_waking_others(orders, store):
    commit(store, "a", "b")
    relay(orders, consumers=("check",))
    late = collect(orders, consumers=("late",))
    assert (keys_of(late), missed_of(late)) == ([], [("late", "a"), ("late", "b")])


def test_a_new_consumer_begins_where_it_wants(orders, store):
    first = commit(store, "a")
    commit(store, "b")
    starts = {"one": "beginning", "two": first.id, "three": "head"}
    for consumer, start in starts.items():
        orders.subscribe(consumer, start=start).collect()
    commit(store, "c")
    found = {}
    for consumer in starts:
        subscription = orders.subscribe(consumer, start="head")  # it exists, and stays where it is
        subscription.collect()
        found[consumer] = [due.key for due in subscription.due()]
    assert found == {"one": ["a", "b", "c"], "two": ["b", "c"], "three": ["c"]}


def test_a_start_that_is_none_is_refused_and_subscribes_nobody(orders, store):
    store.create_repo("others")
    with store.transaction("others@main") as tx:
        tx.write("a.csv", b"x")
    for start, error in (
        ("middle", InvalidInputError),
        ("0" * 32, CommitNotFoundError),
        (tx.commit.id, InvalidInputError),
    ):
        with pytest.raises(error):
            orders.subscribe("check", start=start)
    assert orders.subscriptions() == []


def test_each_consumer_gets_every_key(orders, store):
    commit(store, "a")
    relay(orders)
    assert consume(orders, "a", "check") is not None
    assert consume(orders, "a", "check") is None
    assert consume(orders, "a", "audit") is not None


def test_a_new_consumer_does_not_have_everything_announced_again(orders, store, watch):
    commit(store, "a", "b")
    relay(orders)
    consume(orders, "a")
    assert watch.look().waiting == frozenset()
    assert relay(orders) == []


def test_a_consumer_that_was_there_before_the_confirmation_learns_of_it(orders, store, watch):
    commit(store, "a", "b")
    announcement = collect(orders)
    consume(orders, "a")
    orders.confirm(announcement, redeliver_after_s=300.0)
    assert watch.look().waiting == frozenset()


def test_data_that_a_consumer_saw_before_the_relay_is_still_announced(orders, store):
    commit(store, "a")
    relay(orders)
    commit(store, "b")
    consume(orders, "a")
    assert relay(orders) == ["b"]


def test_a_named_consumer_is_owed_everything_before_its_first_run(orders, store):
    commit(store, "a")
    relay(orders, consumers=("check",))
    (_, check) = orders.subscriptions()
    assert [due.key for due in check.due()] == ["a"]
    assert check.due()[0].announced_at is not None


def test_a_wake_up_that_nobody_answered_is_repeated(orders, store):
    commit(store, "a")
    relay(orders, consumers=("check",))
    assert collect(orders) is None
    while not (again := collect(orders, redeliver_after_s=0.0)):
        pass  # the pause before the first repetition is as long as the first announcement took
    assert missed_of(again) == [("check", "a")]


def test_nothing_is_repeated_for_a_consumer_that_is_paused(orders, store):
    commit(store, "a")
    relay(orders, consumers=("check",))
    while not collect(orders, redeliver_after_s=0.0):
        pass
    asked = []
    options = {"redeliver_after_s": 0.0, "is_listening": asked.append}
    assert collect(orders, **options) is None
    assert asked == ["check"]
    commit(store, "b")
    assert keys_of(collect(orders, **options)) == ["b"]


def test_a_claimed_key_is_not_announced_again(orders, store):
    commit(store, "a")
    relay(orders)
    subscription = orders.subscribe("check")
    subscription.collect()
    subscription.release(subscription.claim("a", owner="check/1"))
    assert collect(orders, redeliver_after_s=0.0) is None


def hold_while_newer_data_comes(orders, store):
    commit(store, "a", "b")
    relay(orders)
    subscription = orders.subscribe("check")
    subscription.collect()
    orders.adopt(subscription)
    due = subscription.claim("a", owner="check/1")
    subscription.claim("b", owner="check/2")
    commit(store, "a", content=b"y")
    relay(orders)
    return subscription, due


def test_a_key_with_newer_data_that_a_dead_run_holds_is_freed_and_announced_to_its_consumer(orders, store, watch):
    subscription, _ = hold_while_newer_data_comes(orders, store)
    assert watch.look().waiting == frozenset()
    (found,) = watch.overtaken()
    assert (found.key, found.owner) == ("a", "check/1")
    watch.free(found)
    assert watch.overtaken() == []
    assert watch.look().waiting
    assert missed_of(collect(orders)) == [("check", "a")]
    assert subscription.claim("a", owner="check/3", repeat=False).number == 2


def test_a_key_that_its_owner_completed_meanwhile_is_not_freed_from_the_next(orders, store, watch):
    subscription, due = hold_while_newer_data_comes(orders, store)
    (found,) = watch.overtaken()
    subscription.complete(due)
    assert subscription.claim("a", owner="check/1") is not None
    watch.free(found)
    assert subscription.claim("a", owner="check/3") is None


def test_a_request_that_failed_in_one_run_is_claimed_again_only_by_that_run_or_on_request(orders, store):
    commit(store, "a")
    subscription = orders.subscribe("check")
    subscription.collect()
    subscription.release(subscription.claim("a", owner="check/1"))
    assert subscription.claim("a", owner="check/2", repeat=False) is None
    assert subscription.claim("a", owner="check/1", repeat=False) is not None
    subscription.release(subscription.find("a"))
    commit(store, "a", content=b"y")
    subscription.collect()
    assert subscription.claim("a", owner="check/2", repeat=False) is not None
    subscription.release(subscription.find("a"))
    assert subscription.claim("a", owner="check/3") is not None


def test_two_deployments_do_not_see_each_other(orders, store):
    commit(store, "a")
    relay(orders)
    staging = store.relay("staging", "orders@main", partitions="{date}.csv")
    assert keys_of(collect(staging)) == ["a"]


def test_the_watch_of_an_empty_branch_has_no_head(store, watch):
    assert watch.look().head is None


def test_the_watch_tells_of_a_branch_without_subscriptions(store, watch):
    head = commit(store, "a")
    state = watch.look()
    assert not state.has_subscribers
    assert state.head == head


def test_the_watch_waits_for_the_relay_until_it_has_confirmed(orders, store, watch):
    commit(store, "a")
    relay(orders)
    assert watch.look().waiting == frozenset()
    commit(store, "b")
    assert watch.look().waiting
    orders.withdraw(collect(orders))
    assert watch.look().waiting
    relay(orders)
    assert watch.look().waiting == frozenset()


def test_an_unpartitioned_consumer_is_woken_by_the_watchers_event_alone(store, watch):
    whole = store.relay(DEPLOYMENT, "orders@main")
    commit(store, "a")
    consume(whole, "*", "train")
    assert watch.look().waiting == frozenset()
    commit(store, "b")
    state = watch.look()
    assert state.waiting
    assert watch.look(announced=state).waiting == frozenset()
    assert consume(whole, "*", "train") is not None


def test_a_subscription_is_named_after_deployment_consumer_and_template():
    assert name_subscription("airflow", "check", "{a}/{b}", None) == "airflow:check:{a}/{b}"
    assert name_subscription("airflow", "check", "{a}/{b}", "{b}|{a}") == "airflow:check:{a}/{b} as {b}|{a}"
    assert name_subscription("airflow", None, None, None) == "airflow:(relay):*"


def test_no_two_subscriptions_have_one_name():
    alike = [
        ("a:b", "c", "{x}", None),
        ("a", "b:c", "{x}", None),
        ("a", "b", "{x} as {y}", None),
        ("a", "b", "{x}", "{y}"),
        ("a", "(relay)", "{x}", None),
        ("a", None, "{x}", None),
    ]
    assert len({name_subscription(*one) for one in alike}) == len(alike)


def test_a_long_name_stays_unique():
    names = {name_subscription("airflow", "d" * 250, f"{{a}}/{ending}", None) for ending in "xyz"}
    assert len(names) == 3
    assert all(len(name) <= 250 for name in names)


def test_a_subscription_says_who_it_is_for_and_who_announces_to_them(orders, store):
    orders.subscribe("check:2")
    relay(orders)
    own, check = store.subscriptions("orders@main", prefix="airflow:")
    assert [(one.relay, one.consumer) for one in (own, check)] == [("airflow", None), ("airflow", "check:2")]
    plain = store.subscription("mine", "orders@main")
    assert (plain.relay, plain.consumer) == (None, None)


def test_a_subscription_of_the_same_name_that_nobody_announces_for_is_taken_over(orders, store):
    """Its catalog may be older than the columns, and its name too long to be taken apart."""
    name = name_subscription("airflow", "check", "{date}.csv", None)
    store.subscription(name, "orders@main", partitions="{date}.csv")
    assert orders.subscribe("check").consumer == "check"
    assert [one.consumer for one in orders.subscriptions()] == ["check"]


@pytest.mark.parametrize("name", ["", 3, "a\0b"])
def test_names_that_nobody_can_have_are_refused(orders, store, name):
    with pytest.raises(InvalidInputError):
        orders.subscribe(name)
    with pytest.raises(InvalidInputError):
        store.relay(name, "orders@main")
    with pytest.raises(InvalidInputError):
        store.watch("orders@main", relay=name, redeliver_after_s=1)


def test_a_look_at_a_branch_where_nothing_happens_is_three_selects(orders, store, watch, count_statements):
    commit(store, "a", "b")
    relay(orders, consumers=("check", "audit"))
    watch.look()
    with count_statements(store) as statements:
        watch.look()
    assert len(statements) == 3


def test_collecting_where_nothing_happens_is_one_select(orders, store, count_statements):
    commit(store, "a")
    subscription = orders.subscribe("check")
    subscription.collect()
    with count_statements(store) as statements:
        assert subscription.collect() == 0
    assert len(statements) == 1


def test_a_small_commit_does_not_wait_for_the_rest_of_a_large_one(store):
    relay = store.relay("airflow", "orders@main", partitions="{date}.csv")
    how = {"redeliver_after_s": 300.0, "is_listening": lambda _: True, "most_keys": 10}
    commit(store, *(f"{number:02}" for number in range(30)))
    assert relay.collect(owner="first", **how).left == 20
    commit(store, "small")
    commit(store, "another")
    found = relay.collect(owner="second", **how)
    assert [len(one.keys) for one in found.commits] == [8, 1, 1]
    assert {"small", "another"} < set(found.keys)
