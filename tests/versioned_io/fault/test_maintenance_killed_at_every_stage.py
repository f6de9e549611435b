"""A collection, compaction or purge that is killed at any stage leaves a whole store, and the next one finishes it."""

import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

import versioned_io as vio
from versioned_io.catalog.collection import list_packs
from versioned_io.catalog.tables import leases
from versioned_io.errors import PathNotFoundError
from versioned_io.model.places import pack_key
from versioned_io.storage.packs.reader import iterate_frames

pytestmark = [pytest.mark.slow, pytest.mark.soak]

ROOT = Path(__file__).parents[3]
SCRIPT = "tests.versioned_io.fault.die_in_maintenance"
NOW = {"grace": timedelta(0), "expire": timedelta(0)}
SECRET = b"PERSONAL DATA " * 20
COMMITS = 9  # with what makes the names, more small packs than compaction leaves alone


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A store with something for each: small packs, a commit that nothing leads to, a file to purge."""
    location = tmp_path_factory.mktemp("upkeep") / "base"
    with vio.create_store(location) as store:
        store.create_repo("data")
        for number in range(COMMITS):
            with store.transaction("data@main") as tx:
                tx.write(f"kept/{number}", b"kept %d" % number)
                if number == 3:
                    tx.write("secret", SECRET)
                if number == 6:
                    tx.delete("secret")
        store.create_branch("data@dev", at="data@main")
        with store.transaction("data@dev") as tx:
            tx.write("large", bytes(range(256)) * 40_000)
            tx.write("noise", SECRET[::-1])
        store.delete_branch("data@dev")
        # A large orphan and a condemned pack, for the stages of deletion.
        store.gc(grace=timedelta(days=1), expire=timedelta(0))
    return location


def killed_at_every_stage(base, out, work):
    command = [sys.executable, "-m", SCRIPT, base, out, work]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    notes = sorted(out.glob("*.stage"), key=lambda note: int(note.stem))
    stages = [(note.read_text(), out / note.stem) for note in notes]
    assert len(stages) > 10
    return [*stages, ("alive", out / "alive")]


def contents(store, *, without_secret):
    found = []
    for commit in store.log("data@main"):
        snapshot = store.snapshot(f"data@{commit.id}")
        files = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
        if without_secret:
            files.pop("secret", None)
        found.append((commit.id, files))
    return found


def end_leases(store):
    """Let the time pass after which the process that was killed counts as dead: its lease keeps its packs till then."""
    with store._backend.catalog.write() as connection:
        connection.execute(update(leases).values(renewed_at=store._backend.clock() - timedelta(hours=3)))


def check_no_garbage(store, stage):
    with store._backend.catalog.read() as connection:
        known = {pack_key(row.name) for row in list_packs(connection)}
    assert {info.key for info in store._backend.objects.list("packs/")} == known, stage
    assert store.gc(**NOW).deleted == 0, stage


def stored(store):
    objects = store._backend.objects
    names = [info.key.rpartition("/")[2].removesuffix(".pack") for info in objects.list("packs/")]
    return b"".join(bytes(payload) for name in names for _, _, payload in iterate_frames(objects, name))


@pytest.mark.parametrize("work", ["gc", "compact", "maintain"])
def test_every_stage_leaves_all_that_was_there_and_the_next_run_finishes(base, tmp_path, work):
    with vio.open_store(base) as store:
        wanted = contents(store, without_secret=False)
    for stage, location in killed_at_every_stage(base, tmp_path, work):
        with vio.open_store(location) as store:
            assert store.fsck().problems == (), stage
            assert contents(store, without_secret=False) == wanted, stage
            store.compact()
            end_leases(store)
            store.gc(**NOW)
            check_no_garbage(store, stage)
            assert store.fsck().problems == (), stage
            assert contents(store, without_secret=False) == wanted, stage
            with store.transaction("data@main") as tx:
                tx.write("next", b"next")


def test_every_stage_of_a_purge_leaves_the_rest_and_the_next_purge_proves_that_it_is_gone(base, tmp_path):
    with vio.open_store(base) as store:
        wanted = contents(store, without_secret=True)
        assert SECRET in stored(store)
    for stage, location in killed_at_every_stage(base, tmp_path, "purge"):
        with vio.open_store(location) as store:
            assert store.fsck().problems == (), stage
            assert contents(store, without_secret=True) == wanted, stage
            with suppress(PathNotFoundError):  # the one that was killed was done but for its report
                assert store.purge("data", "secret").gone, stage
            assert SECRET not in stored(store), stage
            assert contents(store, without_secret=False) == wanted, stage
            assert store.fsck().problems == (), stage
