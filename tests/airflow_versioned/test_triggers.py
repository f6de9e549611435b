"""When the watcher fires: at once for news, and again for what nobody answered."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import pytest

from airflow_versioned.triggers import LONGEST_PAUSE_S, REPEAT_AFTER_S, Alarm, CommitTrigger
from versioned_io import BranchState


def state(head, *waiting, subscribers=True):
    return BranchState(SimpleNamespace(id=head), frozenset((item,) for item in waiting), subscribers)


def test_an_empty_branch_wakes_nobody():
    assert not Alarm().rings(BranchState(None), 0.0)


def test_after_a_restart_it_fires_for_what_still_waits():
    assert Alarm().rings(state("c1", "relay"), 0.0)


def test_after_a_restart_it_is_silent_when_everything_was_taken():
    assert not Alarm().rings(state("c1"), 0.0)


def test_a_branch_that_nobody_subscribes_to_yet_is_told_of_once():
    alarm = Alarm()
    assert alarm.rings(state("c1", subscribers=False), 0.0)
    assert not alarm.rings(state("c1", subscribers=False), 1000.0)


def test_a_new_head_fires_even_when_the_subscriptions_have_seen_it():
    alarm = Alarm()
    alarm.rings(state("c1"), 0.0)
    assert alarm.rings(state("c2"), 1.0)


def test_the_relays_progress_is_no_reason_to_fire():
    alarm = Alarm()
    alarm.rings(state("c1"), 0.0)
    assert alarm.rings(state("c2", "relay is behind"), 100.0)
    assert not alarm.rings(state("c2", "a", "b"), 102.0)
    assert not alarm.rings(state("c2", "b"), 104.0)


def test_what_begins_to_wait_later_fires_at_once():
    alarm = Alarm()
    alarm.rings(state("c1"), 0.0)
    assert alarm.rings(state("c1", "a was overtaken"), 100.0)


def test_what_nobody_answers_is_repeated_with_growing_pauses():
    alarm = Alarm()
    now, fired = 0.0, []
    while now < 20_000:
        if alarm.rings(state("c1", "a"), now):
            fired.append(now)
        now += 10.0
    pauses = [later - earlier for earlier, later in pairwise(fired)]
    assert fired[0] == 0.0
    assert pauses[0] == REPEAT_AFTER_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


def test_it_can_be_rebuilt_from_what_it_serialises():
    trigger = CommitTrigger("orders@main", store="/data", poll_interval_s=0.5)
    path, arguments = trigger.serialize()
    assert path == "airflow_versioned.triggers.CommitTrigger"
    assert CommitTrigger(**arguments).serialize() == (path, arguments)


def test_a_store_out_of_reach_neither_ends_it_nor_makes_it_raise(tmp_path):
    async def wait_for_an_event():
        await anext(CommitTrigger("orders@main", store=str(tmp_path / "none"), poll_interval_s=0.01).run())

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(wait_for_an_event(), 0.5))
