"""After any history a run leaves what computing from nothing gives, and runs no datum whose result is known."""

import random

import pytest

from tests.versioned_io.processing.pipelines.histories import GLOBS, INPUTS, play
from versioned_io.processing.datums import datum_plan, exact_outputs
from versioned_io.processing.running import committing, evaluation_loop

HISTORIES = 36
ON_FAILURE = ["refuse", "keep", "drop"]


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_the_output_is_what_computing_from_nothing_gives(seed):
    play("memory://", seed, INPUTS[list(INPUTS)[seed % len(INPUTS)]], ON_FAILURE[seed // len(INPUTS) % 3], steps=5)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_long_histories_on_disk(part, tmp_path):
    for seed in range(10_000 + part * 50, 10_050 + part * 50):
        spec = INPUTS[list(INPUTS)[seed % len(INPUTS)]]
        play(tmp_path / str(seed), seed, spec, random.Random(seed).choice(ON_FAILURE), steps=12)


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

    real = datum_plan.read_fingerprints
    monkeypatch.setattr(datum_plan, "read_fingerprints", lambda *asked: EqualKeys(real(*asked)))


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


@pytest.mark.parametrize("plant", [forget_the_gone, skip_by_key, ask_no_index, delete_what_was_handed_over])
def test_a_planted_fault_is_noticed(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        _play_some()


def _play_some():
    for seed in range(40):
        play("memory://", seed, GLOBS["files"], "drop", steps=6)
