"""After any history a run leaves what computing from nothing gives, and runs no datum whose result is known."""

import random
import uuid
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.processing.pipelines.histories import GLOBS, INPUTS, Clock, History, play
from versioned_io.processing.datums import datum_plan, exact_outputs
from versioned_io.processing.running import committing, evaluation_loop

OF_EACH_INPUT = 4
"""Short histories of each input: of the 1,000 that would be wanted here, so many take 20 s of CPU time."""
ON_FAILURE = ["refuse", "keep", "drop"]


@pytest.mark.parametrize("kind", INPUTS)
def test_the_output_is_what_computing_from_nothing_gives(kind):
    first = 1000 * list(INPUTS).index(kind)
    played = [
        play("memory://", first + number, INPUTS[kind], ON_FAILURE[number % 3], steps=4, is_checked=not number)
        for number in range(OF_EACH_INPUT)
    ]
    assert sum(one.partial_plans for one in played) > 0


def kill_many_times(kills):
    """Kill runs at one durable step after the other, with gc without grace after each, and finish each."""
    clock = Clock()
    with vio.create_store(f"memory://{uuid.uuid4().hex}", clock=clock) as store:
        history = History(store, clock, kills, GLOBS["files"], "drop")
        for number in range(kills):
            history.edit("images", [b"0", b"1", b"%d" % number])
            history.kill(1 + number % 12)
            store.gc(grace=timedelta(0))
            history.check()
        assert store.fsck().is_clean
    return history.kills


def test_of_twenty_killed_runs_none_repeats_what_was_indexed():
    assert kill_many_times(20) > 15


@pytest.mark.soak
def test_of_two_hundred_killed_runs_none_repeats_what_was_indexed():
    assert kill_many_times(200) > 150


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_histories_in_memory_and_on_disk(part, tmp_path):
    for seed in range(20_000 + part * 500, 20_500 + part * 500):
        is_on_disk = seed % 10 == 0
        spec = INPUTS[list(INPUTS)[seed % len(INPUTS)]]
        place = tmp_path / str(seed) if is_on_disk else "memory://"
        play(place, seed, spec, random.Random(seed).choice(ON_FAILURE), steps=12 if is_on_disk else 5)


def forget_the_gone(monkeypatch):
    real = datum_plan.DatumPlan
    monkeypatch.setattr(datum_plan, "DatumPlan", lambda *facts: real(*facts[:6], (), *facts[7:]))


def skip_by_key(monkeypatch):
    class EqualKeys(dict):
        def get(self, place):
            return Anything() if place in self else None

    class Anything:
        def __eq__(self, _other):
            return True

        __hash__ = None

    for name in ("read_fingerprints", "find_fingerprints"):
        real = getattr(datum_plan, name)
        monkeypatch.setattr(datum_plan, name, lambda *asked, real=real: EqualKeys(real(*asked)))


def ask_no_index(monkeypatch):
    monkeypatch.setattr(datum_plan, "find_results", lambda *_: {})
    monkeypatch.setattr(evaluation_loop, "claim", lambda _backend, wanted, _owner: set(wanted))


def delete_what_was_handed_over(monkeypatch):
    real = exact_outputs.change_outputs

    def change(backend, output, new, old):
        old = list(old)
        found = real(backend, output, new, old)
        freed = {path for facts in old for path in facts.outputs}
        kept = {path: row for path, row in found.writes.items() if path not in freed}
        return exact_outputs.OutputChange(kept, sorted(freed))

    monkeypatch.setattr(committing, "change_outputs", change)


def forget_the_failed(monkeypatch):
    monkeypatch.setattr(datum_plan, "files_of_datums", lambda _: {})


PLANTS = [forget_the_gone, skip_by_key, ask_no_index, delete_what_was_handed_over, forget_the_failed]


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_noticed(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        _play_some()


def _play_some():
    for seed in range(40):
        play("memory://", seed, GLOBS["files"], "drop", steps=6, is_checked=False)
