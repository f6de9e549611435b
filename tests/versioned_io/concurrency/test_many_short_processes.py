"""Hundreds of short processes on one store, each of which must end as it should: no crash, no hang, no lost commit."""

import os
import subprocess
import sys
import textwrap

import pytest

import versioned_io as vio
from tests.versioned_io.concurrency.forks import Child

STEPS = 500
AT_ONCE = 4

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture(params=["directory", "s3"])
def at(request, tmp_path):
    if request.param == "directory":
        return {"url": str(tmp_path / "s")}
    url, options = request.getfixturevalue("s3_place")
    return {"url": url, "catalog": f"sqlite:///{tmp_path}/catalog.db", "storage_options": options}


def step(store, at, number):
    """Do what a short task does: read something, commit something, in one of several ways."""
    if number % 3 == 1:
        store = vio.open_store(**at)
    with store.run(f"step-{number}"):
        assert len(store.snapshot("r@main").read("first")) == 1000
        with store.transaction("r@main") as tx:
            tx.write(f"steps/{number:03}", os.urandom(500))
    if number % 3 == 2:
        assert store.snapshot("r@main").exists(f"steps/{number:03}")


class NewProgram:
    """A step in a process that inherits nothing."""

    def __init__(self, at, number):
        script = f"""
            import versioned_io as vio
            with vio.open_store(**{at!r}) as store, store.transaction("r@main") as tx:
                assert len(tx.read("first")) == 1000
                tx.write("steps/{number:03}", b"x")
        """
        self._process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])

    def join(self):
        return self._process.wait(120)


def run_steps(at, count):
    """Run *count* steps, a few at once, and return their exit codes by number, those that are not 0."""
    codes, running = {}, {}
    with vio.create_store(**at) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("first", b"1" * 1000)
        for number in range(count):
            if len(running) == AT_ONCE:
                oldest = min(running)
                codes[oldest] = running.pop(oldest).join()
            new = number % 20 == 19
            running[number] = NewProgram(at, number) if new else Child(lambda n=number: step(store, at, n))
            if number % 10 == 0:
                with store.transaction("r@main") as tx:
                    tx.write("parent", str(number).encode())
        codes |= {number: child.join() for number, child in running.items()}
    with vio.open_store(**at) as store:
        assert [file.path for file in store.snapshot("r@main").walk("steps")] == [f"steps/{n:03}" for n in range(count)]
        assert store.fsck().is_clean
    assert len(codes) == count
    return {number: code for number, code in codes.items() if code}


def test_a_few_short_processes_all_end_well(at):
    assert run_steps(at, 8) == {}


@pytest.mark.soak
def test_five_hundred_short_processes_all_end_well(at):
    assert run_steps(at, STEPS) == {}
