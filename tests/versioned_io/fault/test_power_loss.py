"""A machine that loses power forgets what was not synced; what was acknowledged was."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.model.identifiers import CommitId

ROOT = Path(__file__).parents[3]

WORK = """
import itertools, json, sys
import versioned_io as vio

url, life = sys.argv[1:]
with vio.open_or_create_store(url) as store:
    for repo in ("data", "other"):
        if repo not in {one.name for one in store.repos()}:
            store.create_repo(repo)
    print(json.dumps(["repos"]), flush=True)
    for number in itertools.count(1):
        size = 10 + number % 7 * 90_000
        with store.transaction("data@main") as tx:
            tx.write(f"{life}/{number}", b"%d" % number * size)
            tx.branch("other@main").write(f"{life}/{number}", b"%d" % number * size)
        print(json.dumps(["commit", tx.commit.id, f"{life}/{number}", number, size]), flush=True)
        if number % 3 == 0:
            tag = store.create_tag(f"data@{life}-{number}", at="data@main")
            print(json.dumps(["tag", f"{life}-{number}", tag.id]), flush=True)
"""


def work_until_killed(url, life, acknowledgements):
    """Return what a writer acknowledged before it was killed in the middle of what it did next."""
    command = [sys.executable, "-c", WORK, str(url), life]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
        told = [victim.stdout.readline() for _ in range(acknowledgements)]
        victim.send_signal(signal.SIGKILL)
        told += [line for line in victim.stdout if line.endswith("\n")]
    return [json.loads(line) for line in told]


def lose_power(disk, how):
    (disk / ".lose-power").write_text(how)


def check(url, told):
    with vio.open_store(url) as store:
        for kind, *facts in told:
            if kind == "commit":
                commit_id, path, number, size = facts
                assert store.snapshot(f"data@{commit_id}").read(path) == b"%d" % number * size
                assert store.snapshot("other@main").read(path) == b"%d" % number * size
            elif kind == "tag":
                name, commit_id = facts
                assert store.commit(f"data@{name}").id == CommitId(commit_id)
        assert store.fsck().is_clean


@pytest.mark.parametrize("how", ["all", "1", "2", "3"])
def test_what_was_acknowledged_is_there_after_a_loss_of_power(forgetful, how):
    url, told = forgetful / "store", []
    for life in range(1, 4):
        told += work_until_killed(url, f"life-{life}", life * 4)
        lose_power(forgetful, how)
        check(url, told)


def test_a_store_is_there_as_soon_as_it_was_made(forgetful):
    vio.create_store(forgetful / "store").close()
    lose_power(forgetful, "all")
    with vio.open_store(forgetful / "store") as store:
        store.create_repo("data")
    lose_power(forgetful, "all")
    with vio.open_store(forgetful / "store") as store:
        assert [repo.name for repo in store.repos()] == ["data"]


def test_the_file_system_forgets_what_was_not_synced(forgetful):
    """So the tests above could fail."""
    (forgetful / "kept").write_bytes(b"synced")
    with (forgetful / "kept").open("rb") as file:
        os.fsync(file.fileno())
    descriptor = os.open(forgetful, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    (forgetful / "kept").write_bytes(b"written later")
    (forgetful / "lost").write_bytes(b"never synced")
    lose_power(forgetful, "all")
    assert [path.name for path in forgetful.iterdir()] == ["kept"]
    assert (forgetful / "kept").read_bytes() == b"synced"
