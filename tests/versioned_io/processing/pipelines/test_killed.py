"""A run that is killed between any two durable steps is finished by the next one, which repeats no indexed datum."""

import shutil
import subprocess
import sys
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.processing.pipelines.die_in_run import declare, later_clock
from versioned_io.catalog.tables import results

DATUMS = 5
STEPS = 60
"""More than one run has."""


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A store in which a run is due that deletes, changes and adds datums."""
    place = tmp_path_factory.mktemp("begun") / "s"
    with vio.create_store(place) as store:
        for repo in ("images", "edges"):
            store.create_repo(repo)
        with store.transaction("images@main") as tx:
            for number in range(DATUMS):
                tx.write(f"{number}", f"{number}".encode())
        store.pipeline(declare(place.parent / "before")).run()
        with store.transaction("images@main") as tx:
            tx.delete("0")
            for number in range(1, 2 * DATUMS):
                tx.write(f"{number}", f"new {number}".encode())
    return place


def indexed(store):
    with store._backend.catalog.read() as connection:
        return connection.execute(results.select()).all()


def die(place, evaluated, step):
    command = [sys.executable, "-m", "tests.versioned_io.processing.pipelines.die_in_run"]
    return subprocess.run([*command, place, evaluated, str(step)], capture_output=True, text=True, check=False)


def check_finished(begun, tmp_path, step):
    """Kill a run at *step*, finish it, and compare; return whether it was killed."""
    place, evaluated = tmp_path / "s", tmp_path / "evaluated"
    shutil.copytree(begun, place)
    evaluated.touch()
    done = die(place, evaluated, step)
    assert done.returncode in {0, -9}, done.stderr
    first = evaluated.read_text().split()
    with vio.open_store(place, clock=later_clock) as store:
        store.gc(grace=timedelta(0))
        there = len(indexed(store)) - DATUMS
        run = store.pipeline(declare(evaluated)).run()
        again = evaluated.read_text().split()[len(first) :]
        assert len(again) == 2 * DATUMS - 1 - there
        assert len(set(again)) == len(again)
        assert run.state == "succeeded"
        made = {one.path: store.snapshot("edges@main").read(one.path) for one in store.snapshot("edges@main").walk()}
        assert made == {f"made/{number}": f"new {number}".encode() * 2 for number in range(1, 2 * DATUMS)}
        assert [one.number for one in store.log("edges@main")] == [2, 1]
        assert store.pipeline(declare(evaluated)).plan().is_empty
        assert store.fsck().is_clean
    return done.returncode == -9


@pytest.mark.parametrize("step", range(2, STEPS, 7))
def test_the_next_run_finishes_it(begun, tmp_path, step):
    check_finished(begun, tmp_path, step)


@pytest.mark.soak
def test_at_every_step(begun, tmp_path):
    step = 1
    while check_finished(begun, tmp_path / str(step), step):
        step += 1
    assert step > DATUMS
