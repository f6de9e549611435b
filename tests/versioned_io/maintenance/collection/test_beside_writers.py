"""Processes that commit, collect, compact and read at once: nothing is lost, and what is read is what was written."""

import subprocess
import sys

import pytest

import versioned_io as vio

pytestmark = pytest.mark.slow

WRITERS = 4
COMMITS = 25

WRITER = """
import random, sys
import versioned_io as vio
from versioned_io.errors import PackCondemnedError
location, catalog, writer, commits = sys.argv[1], sys.argv[2] or None, sys.argv[3], int(sys.argv[4])
dice = random.Random(writer)
with vio.open_store(location, catalog=catalog) as store:
    for number in range(commits):
        while True:
            try:
                with store.transaction("data@main", message=f"{writer}/{number}") as tx:
                    tx.write(f"{writer}/{number}.bin", random.Random(f"{writer}/{number}").randbytes(3000))
                    # Contents that come and go, and that other writers bring as well.
                    tx.write(f"{writer}/shared", random.Random(dice.randrange(5)).randbytes(200_000))
                break
            except PackCondemnedError:
                continue
"""

KEEPER = """
import os, sys
from datetime import timedelta
import versioned_io as vio
location, catalog, stop = sys.argv[1], sys.argv[2] or None, sys.argv[3]
with vio.open_store(location, catalog=catalog) as store:
    store.set_retention("data@main", keep_last=30)
    while not os.path.exists(stop):
        store.gc(grace=timedelta(seconds=1), expire=timedelta(0))
        store.compact(small_bytes=1 << 20)
"""

READER = """
import os, random, sys
import versioned_io as vio
location, catalog, stop = sys.argv[1], sys.argv[2] or None, sys.argv[3]
read = 0
with vio.open_store(location, catalog=catalog) as store:
    while not read or not os.path.exists(stop):
        snapshot = store.snapshot("data@main")
        for file in list(snapshot.walk())[:20] if not snapshot.is_empty else []:
            data = snapshot.read(file.path)
            name = file.path.removesuffix(".bin")
            if name != file.path:
                assert data == random.Random(name).randbytes(3000), file.path
                read += 1
assert read
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("data")
    return tmp_path / "store", catalog


@pytest.fixture
def start(popen):
    def start(script, place, *arguments):
        location, catalog = place
        command = [sys.executable, "-c", script, location, catalog or "", *map(str, arguments)]
        return popen(command, stderr=subprocess.PIPE)

    return start


def finish(process):
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors.decode()


def test_nothing_is_lost_while_garbage_is_collected_and_packs_are_rewritten(place, start):
    location, catalog = place
    stop = location.parent / "stop"
    keepers = [start(KEEPER, place, stop) for _ in range(2)]
    readers = [start(READER, place, stop)]
    writers = [start(WRITER, place, f"w{number}", COMMITS) for number in range(WRITERS)]
    for process in writers:
        finish(process)
    stop.touch()
    for process in [*readers, *keepers]:
        finish(process)
    with vio.open_store(location, catalog=catalog) as store:
        commits = list(store.log("data@main"))
        assert [commit.number for commit in commits] == list(range(WRITERS * COMMITS, 0, -1))
        messages = {commit.message for commit in commits}
        assert messages == {f"w{writer}/{number}" for writer in range(WRITERS) for number in range(COMMITS)}
        snapshot = store.snapshot("data@main")
        names = {file.path for file in snapshot.walk()}
        assert {f"w{writer}/{number}.bin" for writer in range(WRITERS) for number in range(COMMITS)} < names
        assert store.fsck().problems == ()
