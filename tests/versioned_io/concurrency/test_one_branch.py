"""Several processes that commit to one branch at once: all land, in one line, and none undoes another."""

import subprocess
import sys

import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError

WRITERS, COMMITS = 6, 10

DISJOINT = """
import sys
import versioned_io as vio
location, writer, commits = sys.argv[1], sys.argv[2], int(sys.argv[3])
with vio.open_store(location) as store:
    for number in range(commits):
        with store.transaction("data@main", message=f"{writer}/{number}") as transaction:
            transaction.write(f"{writer}/{number}.txt", f"{writer} {number}".encode())
"""

COUNTER = """
import sys
import versioned_io as vio
from versioned_io.errors import ConflictError
location, commits = sys.argv[1], int(sys.argv[3])
with vio.open_store(location) as store:
    for _ in range(commits):
        while True:
            try:
                with store.transaction("data@main") as transaction:
                    transaction.write("counter.txt", b"%d" % (int(transaction.read("counter.txt")) + 1))
                break
            except ConflictError as error:
                assert error.paths == ("counter.txt",)
"""


@pytest.fixture
def location(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("data")
        with store.transaction("data@main") as transaction:
            transaction.write("counter.txt", b"0")
    return tmp_path / "store"


def run_writers(script, location):
    writers = [
        subprocess.Popen([sys.executable, "-c", script, location, f"w{number}", str(COMMITS)], stderr=subprocess.PIPE)
        for number in range(WRITERS)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=200)
        assert writer.returncode == 0, errors.decode()


def check_line(store):
    """The history is one line without holes, and the store is sound."""
    commits = list(store.log("data@main"))
    assert [commit.number for commit in commits] == list(range(len(commits), 0, -1))
    assert [commit.parent for commit in commits[:-1]] == [commit.id for commit in commits[1:]]
    assert store.fsck().problems == ()
    return commits


def test_disjoint_commits_of_many_processes_all_land(location):
    run_writers(DISJOINT, location)
    with vio.open_store(location) as store:
        commits = check_line(store)
        assert len(commits) == 1 + WRITERS * COMMITS
        snapshot = store.snapshot("data@main")
        found = {info.path: snapshot.read(info.path).decode() for info in snapshot.walk()}
    wanted = {f"w{writer}/{n}.txt": f"w{writer} {n}" for writer in range(WRITERS) for n in range(COMMITS)}
    assert found == {**wanted, "counter.txt": "0"}


def test_writers_of_one_file_that_retry_on_conflict_lose_no_update(location):
    run_writers(COUNTER, location)
    with vio.open_store(location) as store:
        check_line(store)
        assert store.snapshot("data@main").read("counter.txt") == b"%d" % (WRITERS * COMMITS)


def test_a_second_writer_of_one_path_is_told_the_path_and_who_won(location):
    with vio.open_store(location) as store:
        first = store.transaction("data@main")
        first.write("a.txt", b"first")
        with store.transaction("data@main") as second:
            second.write("a.txt", b"second")
        with pytest.raises(ConflictError) as caught:
            first.finish()
        assert caught.value.paths == ("a.txt",)
        assert caught.value.winner == second.commit.id
        assert store.snapshot("data@main").read("a.txt") == b"second"
