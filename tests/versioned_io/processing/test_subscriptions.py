"""Durable cursors, and the keys that are due."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

import versioned_io as vio
from tests.versioned_io.conftest import dump_store
from versioned_io.errors import ClaimLostError, CommitNotFoundError, InvalidInputError, NotFoundError, PartitionKeyError

TEMPLATE = "{year}/{month}.csv"


@pytest.fixture
def timed(tmp_path, clock, write):
    """A store whose clock is moved by hand, with three months in it."""
    with vio.create_store(tmp_path / "timed", clock=clock) as store:
        store.create_repo("weather")
        write(store, "weather@main", {"2012/01.csv": b"1", "2012/02.csv": b"1", "2013/01.csv": b"1"})
        store.create_repo("summary")
        yield store


@pytest.fixture
def subscription(timed):
    return timed.subscription("quality", "weather@main", partitions=TEMPLATE)


def due(subscription):
    return {(key.key, key.number) for key in subscription.due()}


# The cursor


def test_a_subscription_is_made_once_and_found_again(timed):
    made = timed.subscription("s", "weather@main", partitions=TEMPLATE, key="{year}|{month}")
    again = timed.subscription("s", "weather", partitions=TEMPLATE, key="{year}|{month}", start="now")
    assert made.cursor is again.cursor is None
    made.collect()
    assert again.cursor == timed.commit("weather@main").id
    assert repr(made) == "Subscription('s', 'weather@main')"
    before = dump_store(timed)
    for other in ({"partitions": None}, {"partitions": "{x}"}, {"partitions": TEMPLATE}):
        with pytest.raises(InvalidInputError, match="use another name, or the same templates"):
            timed.subscription("s", "weather@main", **other)
    assert dump_store(timed) == before


def test_subscriptions_are_listed_by_the_beginning_of_their_names(timed):
    timed.create_branch("weather@dev", at="weather@main")
    for name in ("b", "a_1", "a%1", "A1", "a1"):
        timed.subscription(name, "weather@main")
    timed.subscription("a-dev", "weather@dev")
    listed = lambda prefix: [found.name for found in timed.subscriptions("weather@main", prefix=prefix)]  # noqa: E731
    assert listed("") == ["A1", "a%1", "a1", "a_1", "b"]
    assert listed("a") == ["a%1", "a1", "a_1"]
    assert listed("a_") == ["a_1"]
    assert listed("a%") == ["a%1"]
    assert listed("c") == []


def test_a_new_one_begins_at_the_beginning_or_now(timed, write):
    early = timed.subscription("early", "weather@main")
    late = timed.subscription("late", "weather@main", start="now")
    write(timed, "weather@main", {"x": b"1"})
    assert [commit.number for commit in early.pending()] == [1, 2]
    assert [commit.number for commit in late.pending()] == [2]
    assert [commit.number for commit in early.pending(limit=1)] == [1]
    assert early.pending(limit=0) == []
    for call in (early.pending, early.due, lambda limit: early.unannounced(redeliver_after_s=1, limit=limit)):
        with pytest.raises(InvalidInputError, match="limit must be a whole number, 0 or more"):
            call(limit=-1)


def test_the_cursor_goes_where_it_is_told(timed, write):
    commits = [timed.commit("weather@main")] + [write(timed, "weather@main", {"x": b"%d" % n}) for n in range(3)]
    subscription = timed.subscription("s", "weather@main")
    assert subscription.is_behind()
    subscription.advance(commits[1])
    assert subscription.pending() == commits[2:]
    subscription.advance(commits[3].id)
    assert subscription.pending() == []
    assert not subscription.is_behind()
    subscription.advance(commits[0])  # back again
    assert subscription.pending() == commits[1:]
    other = write(timed, "summary@main", {"y": b"1"})
    before = dump_store(timed)
    with pytest.raises(InvalidInputError, match="is of repo 'summary': subscription 's' follows weather@main"):
        subscription.advance(other)
    with pytest.raises(CommitNotFoundError):
        subscription.advance("0" * 32)
    assert dump_store(timed) == before


def test_a_cursor_on_another_branch_goes_on_from_what_differs(timed, write):
    timed.create_branch("weather@dev", at="weather@main")
    dev = write(timed, "weather@dev", {"2012/01.csv": b"dev", "2019/01.csv": b"dev"})
    main = write(timed, "weather@main", {"2012/02.csv": b"main"})
    subscription = timed.subscription("s", "weather@main", partitions=TEMPLATE)
    subscription.advance(dev)
    assert subscription.is_behind()
    assert subscription.collect() == 2
    assert due(subscription) == {("2012-01", 2), ("2012-02", 2)}
    assert subscription.cursor == main.id


# Collecting


def test_collecting_makes_exactly_the_changed_keys_due(timed, subscription, write):
    assert subscription.collect() == 3
    assert due(subscription) == {("2012-01", 1), ("2012-02", 1), ("2013-01", 1)}
    assert subscription.collect() == 0
    for key in ("2012-01", "2012-02", "2013-01"):
        subscription.complete(subscription.claim(key, owner="w"))
    assert subscription.due() == []
    write(timed, "weather@main", {"2012/02.csv": b"2"})
    assert subscription.collect() == 1
    assert due(subscription) == {("2012-02", 2)}
    write(timed, "weather@main", {"2012/02.csv": b"2"})
    assert subscription.collect() == 0


def test_what_was_changed_and_changed_back_before_it_was_collected_is_not_due(timed, subscription, write):
    subscription.collect()
    for key in ("2012-01", "2012-02", "2013-01"):
        subscription.complete(subscription.claim(key, owner="w"))
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    write(timed, "weather@main", {"2012/01.csv": b"1"})
    assert subscription.collect() == 0
    assert subscription.due() == []
    assert not subscription.is_behind()


def test_a_key_whose_last_file_is_gone_is_no_longer_due(timed, subscription, write):
    subscription.collect()
    write(timed, "weather@main", {"2012/01.csv": None})
    assert subscription.collect() == 0
    assert due(subscription) == {("2012-02", 1), ("2013-01", 1)}
    assert subscription.claim("2012-01", owner="w") is None
    write(timed, "weather@main", {"2012/01.csv": b"back"})
    assert subscription.collect() == 1
    assert ("2012-01", 3) in due(subscription)


def test_a_key_that_is_withdrawn_while_it_is_claimed_does_not_come_back(timed, subscription, write):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="w")
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    subscription.collect()
    write(timed, "weather@main", {"2012/01.csv": None})
    subscription.collect()
    subscription.complete(claimed)
    assert due(subscription) == {("2012-02", 1), ("2013-01", 1)}


def test_a_template_that_can_not_read_a_path_leaves_the_cursor(timed, write):
    subscription = timed.subscription("s", "weather@main", partitions="{x}-{y}")
    write(timed, "weather@main", {"a-b-c": b"1"})
    before = dump_store(timed)
    with pytest.raises(PartitionKeyError):
        subscription.collect()
    assert dump_store(timed) == before


def test_without_a_template_the_branch_is_the_one_key(timed, write):
    subscription = timed.subscription("s", "weather@main")
    assert subscription.collect() == 1
    assert due(subscription) == {("*", 1)}
    before = dump_store(timed)
    with pytest.raises(PartitionKeyError, match=r"its only key is '\*', not '2012-01'"):
        subscription.claim("2012-01", owner="w", force=True)
    assert dump_store(timed) == before
    subscription.complete(subscription.claim("*", owner="w"))
    write(timed, "weather@main", {"x": b"1"})
    subscription.collect()
    assert due(subscription) == {("*", 2)}


def test_keys_as_long_as_paths_are_due(timed, write):
    subscription = timed.subscription("s", "weather@main", partitions="{key}")
    name = "ü" * 500
    write(timed, "weather@main", {name: b"1"})
    subscription.collect()
    assert name in {key.key for key in subscription.due()}
    assert subscription.claim(name, owner="w").key == name


def test_more_keys_than_a_statement_takes_are_due_at_once(timed, write):
    subscription = timed.subscription("s", "weather@main", partitions="many/{key}")
    write(timed, "weather@main", {f"many/{number}": b"1" for number in range(950)})
    assert subscription.collect() == 950
    assert len(subscription.due()) == 950
    assert len(subscription.due(limit=3)) == 3
    write(timed, "weather@main", {"many/": None})
    subscription.collect()
    assert subscription.due() == []


COLLECTOR = """
import sys
import versioned_io as vio
with vio.open_store(sys.argv[1]) as store:
    subscription = store.subscription("s", "weather@main", partitions="{key}.csv")
    print("ready", flush=True)
    total = 0
    while True:
        line = sys.stdin.readline().strip()
        if line == "stop":
            break
        total += subscription.collect()
        print("collected", flush=True)
    print(total, flush=True)
"""


def test_of_several_processes_that_collect_at_once_each_change_is_recorded_once(new_store, write):
    store = new_store()
    store.create_repo("weather")
    subscription = store.subscription("s", "weather@main", partitions="{key}.csv")
    collectors = [
        subprocess.Popen(
            [sys.executable, "-c", COLLECTOR, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]

    def tell(line):
        for collector in collectors:
            collector.stdin.write(f"{line}\n")
            collector.stdin.flush()

    def hear():
        return [collector.stdout.readline().strip() for collector in collectors]

    assert hear() == ["ready"] * 4
    for number in range(25):
        write(store, "weather@main", {f"{number}-{part}.csv": b"1" for part in range(3)})
        tell("go")  # and the next commit goes on beside it
        if number % 5 == 4:
            assert [hear() for _ in range(5)][-1] == ["collected"] * 4
    tell("stop")
    counts = [int(collector.communicate(timeout=120)[0]) for collector in collectors]
    assert sum(counts) == 75
    assert {(key.key, key.number) for key in subscription.due()} == {
        (f"{number}-{part}", number + 1) for number in range(25) for part in range(3)
    }
    assert subscription.cursor == store.commit("weather@main").id


def test_an_announcement_by_a_clock_of_the_far_future_is_repeated(subscription, clock):
    subscription.collect()
    now = clock.now
    clock.advance(60 * 366 * 86_400)
    subscription.mark_announced(subscription.due())
    clock.now = now
    assert len(subscription.unannounced(redeliver_after_s=300)) == 3


def test_leases_and_announcements_go_by_the_clock_of_the_server_where_there_is_one(
    tmp_path, clock, postgres_url, write
):
    with vio.create_store(tmp_path / "s", catalog=postgres_url, clock=clock) as store:
        store.create_repo("weather")
        write(store, "weather@main", {"2012/01.csv": b"1"})
        subscription = store.subscription("quality", "weather@main", partitions=TEMPLATE)
        subscription.collect()
        for days in (60 * 366, -100 * 366):
            clock.advance(days * 86_400)
            claimed = subscription.claim("2012-01", owner="dead", lease_s=1)
            assert abs(claimed.claimed_until - datetime.now(UTC)) < timedelta(hours=1)
            assert abs(claimed.requested_at - datetime.now(UTC)) < timedelta(hours=1)
        subscription.complete(claimed)


# Claiming


def test_a_key_is_given_to_one_owner_at_a_time(subscription, clock):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="one", lease_s=60)
    assert (claimed.owner, claimed.claimed_until) == ("one", clock.now + timedelta(seconds=60))
    assert subscription.claim("2012-01", owner="two") is None
    assert subscription.claim("2012-01", owner="two", force=True) is None
    clock.advance(59)
    assert subscription.claim("2012-01", owner="two") is None
    clock.advance(1)
    assert subscription.claim("2012-01", owner="two").owner == "two"
    with pytest.raises(ClaimLostError, match="'two' has taken partition key '2012-01' of 'quality' over"):
        subscription.complete(claimed)
    assert len(subscription.due()) == 3


def test_an_owner_that_has_ended_is_no_hindrance(subscription):
    subscription.collect()
    subscription.claim("2012-01", owner="dead")
    assert subscription.claim("2012-01", owner="two", instead_of="other") is None
    assert subscription.claim("2012-01", owner="two", instead_of="dead").owner == "two"


def test_a_lease_that_ran_out_still_counts_while_nobody_else_has_come(subscription, clock):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="one", lease_s=60)
    clock.advance(3600)
    subscription.complete(claimed)
    assert ("2012-01", 1) not in due(subscription)


def test_an_owner_may_claim_again_what_it_holds_and_what_it_has_done(subscription):
    subscription.collect()
    first = subscription.claim("2012-01", owner="one")
    assert subscription.claim("2012-01", owner="one") == first
    subscription.complete(first)
    assert subscription.claim("2012-01", owner="two") is None
    again = subscription.claim("2012-01", owner="one")
    assert (again.key, again.sequence) == (first.key, first.sequence)
    subscription.complete(again)
    subscription.complete(again)


def test_what_is_not_due_is_not_given(subscription):
    assert subscription.claim("2012-01", owner="w") is None
    assert subscription.find("2012-01") is None
    subscription.collect()
    assert subscription.find("2012-01").owner is None
    for key in ("nonsense", "2012", ""):
        with pytest.raises(PartitionKeyError):
            subscription.claim(key, owner="w")
        with pytest.raises(PartitionKeyError):
            subscription.claim(key, owner="w", force=True)


def test_what_is_not_due_is_given_by_force(timed, subscription, write):
    forced = subscription.claim("1999-01", owner="w", force=True)
    assert (forced.commit, forced.sequence) == (timed.commit("weather@main").id, 0)
    assert subscription.due() == []
    subscription.complete(forced)
    subscription.collect()
    subscription.complete(subscription.claim("2012-01", owner="w"))
    head = write(timed, "weather@main", {"x": b"1"})
    again = subscription.claim("2012-01", owner="by hand", force=True)
    assert again.commit == head.id
    subscription.complete(again)
    assert ("2012-01", 2) not in due(subscription)
    assert subscription.find("2012-01").commit == head.id


def test_newer_data_stays_due_when_older_work_is_done(timed, subscription, write):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="one")
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    subscription.collect()
    assert subscription.claim("2012-01", owner="two") is None  # the first is at work
    subscription.complete(claimed)
    assert ("2012-01", 2) in due(subscription)
    assert subscription.claim("2012-01", owner="two").number == 2


def test_a_late_release_leaves_the_newer_claim_of_the_same_owner_alone(timed, subscription, write):
    subscription.collect()
    old = subscription.claim("2012-01", owner="one")
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    subscription.collect()
    new = subscription.claim("2012-01", owner="one")
    subscription.release(old)
    assert subscription.claim("2012-01", owner="two") is None
    subscription.complete(new)
    assert ("2012-01", 2) not in due(subscription)


def test_a_released_key_is_there_for_anybody(subscription):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="one")
    subscription.release(claimed)
    assert ("2012-01", 1) in due(subscription)
    assert subscription.claim("2012-01", owner="two").owner == "two"
    subscription.release(claimed)  # too late: it is another's
    assert subscription.claim("2012-01", owner="three") is None


# Announcing


def unannounced(subscription, after=60):
    return [key.key for key in subscription.unannounced(redeliver_after_s=after)]


def test_a_request_is_announced_until_it_is_claimed(timed, subscription, clock, write):
    subscription.collect()
    assert unannounced(subscription) == ["2012-01", "2012-02", "2013-01"]
    assert len(subscription.unannounced(redeliver_after_s=60, limit=2)) == 2
    subscription.mark_announced(subscription.due())
    assert unannounced(subscription) == []
    clock.advance(61)
    assert unannounced(subscription) == ["2012-01", "2012-02", "2013-01"]
    claimed = subscription.claim("2012-01", owner="w", lease_s=10)
    assert unannounced(subscription) == ["2012-02", "2013-01"]
    clock.advance(3600)
    subscription.release(claimed)
    assert "2012-01" not in unannounced(subscription)  # it was delivered
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    subscription.collect()
    assert "2012-01" in unannounced(subscription)


def test_who_does_not_answer_is_told_less_and_less_often(subscription, clock):
    subscription.collect()
    told = []
    for minute in range(600):
        if unannounced(subscription):
            told.append(minute)
            subscription.mark_announced(subscription.unannounced(redeliver_after_s=60))
        clock.advance(60)
    gaps = [later - sooner for sooner, later in pairwise(told)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 2
    assert gaps[-1] == 61
    assert len(told) < 20


def test_an_announcement_of_an_older_request_does_not_hide_a_newer(timed, subscription, write):
    subscription.collect()
    announced = subscription.due()
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    subscription.collect()
    subscription.mark_announced(announced)
    assert unannounced(subscription) == ["2012-01"]


def test_what_came_while_a_key_was_held_is_announced_when_it_is_free(timed, subscription, write, clock):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="w")
    write(timed, "weather@main", {"2012/01.csv": b"2"})
    subscription.collect()
    assert "2012-01" not in unannounced(subscription)
    subscription.mark_announced(subscription.due())
    clock.advance(30)
    subscription.complete(claimed)
    assert unannounced(subscription) == ["2012-01"]
    assert subscription.find("2012-01").requested_at == clock.now


# Completing with the result


def test_the_result_and_its_completion_are_one(timed, subscription):
    subscription.collect()
    claimed = [subscription.claim(key, owner="w") for key in ("2012-01", "2012-02")]
    with timed.transaction("summary@main", completes=claimed) as tx:
        tx.write("2012", b"done")
        assert len(subscription.due()) == 3
    assert tx.commit.number == 1
    assert due(subscription) == {("2013-01", 1)}


def test_a_result_that_is_the_same_is_a_completion_too(timed, subscription, write):
    write(timed, "summary@main", {"2012": b"same"})
    subscription.collect()
    with timed.transaction("summary@main", completes=[subscription.claim("2012-01", owner="w")]) as tx:
        tx.write("2012", b"same")
    assert not tx.changed
    assert ("2012-01", 1) not in due(subscription)


@pytest.mark.parametrize("how", ["claimed by another", "completed by another"])
def test_a_claim_that_was_lost_leaves_no_commit(timed, subscription, clock, how):
    subscription.collect()
    lost = subscription.claim("2012-01", owner="one", lease_s=10)
    kept = subscription.claim("2012-02", owner="one")
    clock.advance(10)
    other = subscription.claim("2012-01", owner="two")
    if how == "completed by another":
        subscription.complete(other)
    before = dump_store(timed)[0]
    tx = timed.transaction("summary@main", completes=[kept, lost])
    tx.write("2012", b"late")
    tx.branch("weather@main").write("late", b"late")
    with pytest.raises(ClaimLostError) as caught:
        tx.finish()
    assert caught.value.winner == "two"
    assert dump_store(timed)[0] == before
    assert ("2012-02", 1) in due(subscription)


def test_a_transaction_that_is_abandoned_completes_nothing(timed, subscription):
    subscription.collect()
    claimed = subscription.claim("2012-01", owner="w")
    with timed.transaction("summary@main", completes=[claimed]) as tx:
        tx.write("x", b"1")
        tx.abort()
    assert len(subscription.due()) == 3


def test_a_new_one_on_a_branch_whose_old_data_was_let_go_of_has_all_that_is_kept(timed, write, clock):
    for number in range(3):
        write(timed, "weather@main", {"2012/01.csv": b"%d" % (number + 2)})
    timed.set_retention("weather@main", keep_last=1)
    clock.advance(60)
    assert timed.gc(grace=timedelta(0), expire=timedelta(0)).forgotten == 3
    found = timed.subscription("late", "weather@main", partitions=TEMPLATE)
    found.collect()
    head = timed.commit("weather@main").id
    assert {(key.key, key.commit) for key in found.due()} == {
        ("2012-01", head),
        ("2012-02", head),  # its writer can't be read any more
        ("2013-01", head),
    }


def test_what_is_asked_of_one_that_was_deleted_says_so(timed, subscription):
    subscription.collect()
    due = subscription.claim("2012-01", owner="me")
    timed.delete_branch("weather@main", force=True)
    for call in (
        lambda: subscription.cursor,
        subscription.pending,
        subscription.is_behind,
        subscription.collect,
        subscription.due,
        lambda: subscription.complete(due),
    ):
        with pytest.raises(NotFoundError, match="was deleted, alone or with its branch"):
            call()
