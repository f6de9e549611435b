"""Sixteen processes on one branch, on their own paths and on the same ones, with upkeep going on: nothing is lost."""

import random
import subprocess
import sys

import pytest

import versioned_io as vio

pytestmark = pytest.mark.slow

WRITERS = 16
COMMITS = 4
"""Of each writer: it changes a path that all change in every second one, and its own path in each."""

WRITER = """
import random, sys
import versioned_io as vio
from versioned_io.errors import ConflictError, PackCondemnedError
location, catalog, writer, commits = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()  # all begin at once
with vio.open_store(location, catalog=catalog) as store:
    for number in range(commits):
        name = f"{writer}/{number}"
        # Everybody's counters: each is changed by the writers of one half, and every writer changes both in turn.
        shared = f"counter-{(writer + number // 2) % 2}"
        while True:
            try:
                with store.transaction("data@main", message=name) as tx:
                    tx.write(f"own/{name}", random.Random(name).randbytes(2000))
                    tx.write(f"last/{writer}", name.encode())
                    if number % 2:
                        tx.write(shared, b"%d" % (int(tx.read(shared)) + 1))
                break
            except PackCondemnedError:
                continue
            except ConflictError as error:
                assert error.paths == (shared,), error.paths
    print("done", flush=True)
"""

KEEPER = """
import os, sys
from datetime import timedelta
import versioned_io as vio
location, catalog, stop = sys.argv[1], sys.argv[2] or None, sys.argv[3]
rounds = 0
with vio.open_store(location, catalog=catalog) as store:
    while not rounds or not os.path.exists(stop):
        store.compact(small_bytes=1 << 20)
        store.gc(grace=timedelta(seconds=1), expire=timedelta(0))
        rounds += 1
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def place(request, tmp_path):
    """The location of a store and the URL of its catalog, empty for SQLite."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("data")
        with store.transaction("data@main", message="begin") as tx:
            for number in range(2):
                tx.write(f"counter-{number}", b"0")
    return tmp_path / "store", catalog


@pytest.fixture
def start(popen):
    def start(script, place, *arguments):
        location, catalog = place
        command = [sys.executable, "-c", script, location, catalog or "", *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return popen(command, text=True, **pipes)

    return start


def finish(process):
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors


def test_sixteen_writers_beside_gc_and_compaction_lose_nothing_and_do_nothing_twice(place, tmp_path, start):
    location, catalog = place
    stop = tmp_path / "stop"
    writers = [start(WRITER, place, number, COMMITS) for number in range(WRITERS)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    keeper = start(KEEPER, place, stop)
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        finish(writer)
    stop.touch()
    finish(keeper)
    names = {f"{writer}/{number}" for writer in range(WRITERS) for number in range(COMMITS)}
    with vio.open_store(location, catalog=catalog) as store:
        log = list(store.log("data@main"))
        # Linear, without holes, and each commit once, in its writer's own order.
        assert [commit.number for commit in log] == list(range(len(names) + 1, 0, -1))
        assert [commit.parent for commit in log] == [*(commit.id for commit in log[1:]), None]
        messages = [commit.message for commit in reversed(log)]
        assert sorted(messages) == sorted({*names, "begin"})
        for writer in range(WRITERS):
            own = [message for message in messages if message.startswith(f"{writer}/")]
            assert own == [f"{writer}/{number}" for number in range(COMMITS)]
        snapshot = store.snapshot("data@main")
        files = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
        counters = [int(files.pop(f"counter-{number}")) for number in range(2)]
        assert sum(counters) == WRITERS * COMMITS // 2
        assert min(counters) > 0
        lasts = {f"last/{writer}": b"%d/%d" % (writer, COMMITS - 1) for writer in range(WRITERS)}
        assert files.keys() == {*lasts, *(f"own/{name}" for name in names)}
        assert files.items() >= lasts.items()
        assert all(files[f"own/{name}"] == random.Random(name).randbytes(2000) for name in names)
        assert store.fsck().problems == ()
