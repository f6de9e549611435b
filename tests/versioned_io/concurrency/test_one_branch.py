"""Several processes that commit to one branch at once: all land, in one line, and none undoes another."""

import subprocess
import sys

import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError

pytestmark = pytest.mark.slow

WRITERS = 8
COMMITS = 8
FEW_WRITERS = 4  # where what matters is that they collide, not how many there are

DISJOINT = """
import sys
import versioned_io as vio
location, catalog, writer, commits = sys.argv[1], sys.argv[2] or None, sys.argv[3], int(sys.argv[4])
with vio.open_store(location, catalog=catalog) as store:
    for number in range(commits):
        with store.transaction("data@main", message=f"{writer}/{number}") as transaction:
            transaction.write(f"{writer}/{number}.txt", f"{writer} {number}".encode())
"""

COUNTER = """
import sys
import versioned_io as vio
from versioned_io.errors import ConflictError
location, catalog, commits = sys.argv[1], sys.argv[2] or None, int(sys.argv[4])
with vio.open_store(location, catalog=catalog) as store:
    for _ in range(commits):
        while True:
            try:
                with store.transaction("data@main") as transaction:
                    transaction.write("counter.txt", b"%d" % (int(transaction.read("counter.txt")) + 1))
                break
            except ConflictError as error:
                assert error.paths == ("counter.txt",)
"""


SEVERAL = """
import sys
import versioned_io as vio
location, catalog, writer, commits = sys.argv[1], sys.argv[2] or None, sys.argv[3], int(sys.argv[4])
with vio.open_store(location, catalog=catalog) as store:
    for number in range(commits):
        # Half of them name the branches the other way round, and all bring the same new chunks.
        branches = ["data@main", "other@main"][:: 1 if number % 2 else -1]
        with store.transaction(branches[0]) as transaction:
            for branch in branches:
                for part in range(5):
                    transaction.branch(branch).write(f"{writer}/{number}/{part}", b"shared %d %d" % (number, part))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """The location of a store and the URL of its catalog, empty for SQLite."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        for name in ("data", "other"):
            store.create_repo(name)
        with store.transaction("data@main") as transaction:
            transaction.write("counter.txt", b"0")
    return tmp_path / "store", catalog


@pytest.fixture
def store(place):
    location, catalog = place
    with vio.open_store(location, catalog=catalog) as opened:
        yield opened


@pytest.fixture
def run_writers(popen):
    def run_writers(script, place, *, writers, commits):
        location, catalog = place
        processes = [
            popen(
                [sys.executable, "-c", script, location, catalog or "", f"w{number}", str(commits)],
                stderr=subprocess.PIPE,
            )
            for number in range(writers)
        ]
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors.decode()

    return run_writers


def check_line(store, ref="data@main"):
    """The history is one line without holes, and the store is sound."""
    commits = list(store.log(ref))
    assert [commit.number for commit in commits] == list(range(len(commits), 0, -1))
    assert [commit.parent for commit in commits[:-1]] == [commit.id for commit in commits[1:]]
    assert commits[-1].parent is None
    assert store.fsck().problems == ()
    return commits


def content_of(store, ref):
    snapshot = store.snapshot(ref)
    return {info.path: snapshot.read(info.path) for info in snapshot.walk()}


def test_disjoint_commits_of_many_processes_all_land(place, store, run_writers):
    run_writers(DISJOINT, place, writers=WRITERS, commits=COMMITS)
    commits = check_line(store)
    assert len(commits) == 1 + WRITERS * COMMITS
    wanted = {f"w{writer}/{n}.txt": f"w{writer} {n}".encode() for writer in range(WRITERS) for n in range(COMMITS)}
    assert content_of(store, "data@main") == {**wanted, "counter.txt": b"0"}
    # Each writer's own commits are in its own order, and each added exactly its one file.
    messages = [commit.message for commit in reversed(commits[:-1])]
    for writer in range(WRITERS):
        own = [message for message in messages if message.startswith(f"w{writer}/")]
        assert own == [f"w{writer}/{number}" for number in range(COMMITS)]
    assert {(commit.stats.added, commit.stats.deleted) for commit in commits} == {(1, 0)}


def test_writers_of_one_file_that_retry_on_conflict_lose_no_update(place, store, run_writers):
    run_writers(COUNTER, place, writers=FEW_WRITERS, commits=5)
    assert len(check_line(store)) == 1 + FEW_WRITERS * 5
    assert store.snapshot("data@main").read("counter.txt") == b"%d" % (FEW_WRITERS * 5)


def test_transactions_over_two_branches_neither_wait_for_each_other_for_ever_nor_land_by_half(
    place, store, run_writers
):
    run_writers(SEVERAL, place, writers=FEW_WRITERS, commits=6)
    data, other = check_line(store), check_line(store, "other@main")
    assert [commit.lineage_id for commit in data[:-1]] == [commit.lineage_id for commit in other]
    assert len(other) == FEW_WRITERS * 6
    files = content_of(store, "other@main")
    assert len(files) == FEW_WRITERS * 6 * 5
    assert content_of(store, "data@main") == {**files, "counter.txt": b"0"}


def test_a_second_writer_of_one_path_is_told_the_path_and_who_won(store):
    first = store.transaction("data@main")
    first.write("a.txt", b"first")
    with store.transaction("data@main") as second:
        second.write("a.txt", b"second")
    with pytest.raises(ConflictError) as caught:
        first.finish()
    assert caught.value.paths == ("a.txt",)
    assert caught.value.winner == second.commit.id
    assert store.snapshot("data@main").read("a.txt") == b"second"
