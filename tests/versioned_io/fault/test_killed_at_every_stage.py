"""A process that is killed at any stage of a commit leaves the old heads or the new ones, and nothing in between."""

import subprocess
import sys
from pathlib import Path

import pytest

import versioned_io as vio

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SCRIPT = "tests.versioned_io.fault.die_at_every_stage"
SMALL, LARGE = 1_000, 9 * 1024 * 1024  # a large commit stores its data and its pages in packs of their own
OLD = {"data": {"changed.txt": b"old", "deleted.txt": b"old"}, "other": {"file.txt": b"old"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    location = tmp_path_factory.mktemp("killed") / "base"
    with vio.create_store(location) as store:
        for repo, files in OLD.items():
            store.create_repo(repo)
            with store.transaction(f"{repo}@main", message="old") as transaction:
                for path, content in files.items():
                    transaction.write(path, content)
        store.subscription("work", "data@main", partitions="{name}.txt").collect()
    return location


@pytest.fixture(scope="module", params=[(SMALL, 0), (LARGE, 0), (SMALL, 2)], ids=["small", "large", "overtaken"])
def killed(request, base, tmp_path_factory):
    """The stores that were left, one for each stage, and the one whose process lived."""
    out = tmp_path_factory.mktemp("stages")
    done = subprocess.run(
        [sys.executable, "-m", SCRIPT, base, out, *map(str, request.param)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def content_of(store, repo):
    snapshot = store.snapshot(f"{repo}@main")
    return {info.path: snapshot.read(info.path) for info in snapshot.walk() if not info.path.startswith("race-")}


def state_of(store):
    """Return whether the store is as before or after the transaction, having checked that it is one of them, whole."""
    found = {repo: content_of(store, repo) for repo in OLD}
    numbers = {
        repo: [commit.number for commit in store.log(f"{repo}@main") if commit.message != "race"] for repo in OLD
    }
    races = sum(commit.message == "race" for commit in store.log("data@main"))
    due = {key.key for key in store.subscription("work", "data@main", partitions="{name}.txt").due()}
    if found == OLD:
        assert numbers == {"data": [1], "other": [1]}
        assert due == {"changed", "deleted"}
        return "old"
    assert set(found["data"]) == {"changed.txt", "added.bin"}
    assert found["data"]["changed.txt"] == b"new"
    assert found["other"] == {"file.txt": b"new"}
    assert numbers == {"data": [2 + races, 1], "other": [2, 1]}
    assert due == {"deleted"}
    heads = {store.commit(f"{repo}@main").lineage_id for repo in OLD}
    assert len(heads) == 1
    return "new"


def stages_of(killed):
    notes = sorted(killed.glob("*.stage"), key=lambda note: int(note.stem))
    return [(note.read_text(), killed / note.stem) for note in notes]


def test_every_stage_leaves_the_old_heads_or_the_new_ones_and_a_sound_store(killed):
    states = []
    for stage, location in stages_of(killed):
        with vio.open_store(location) as store:
            states.append(state_of(store))
            assert store.fsck().problems == (), stage
    assert states == sorted(states, reverse=True), "once the new heads were seen, the old ones came back"
    assert set(states) == {"old", "new"}


def test_the_stages_are_those_of_the_protocol(killed, request):
    names = [stage for stage, _ in stages_of(killed)]
    puts = [name for name in names if "PUT" in name]
    large = "large" in request.node.callspec.id
    assert puts == ["before PUT packs", "after PUT packs"] * (2 if large else 1)
    assert "before COMMIT" in names
    assert names.index("before COMMIT") > names.index(puts[-1])
    assert any(name.startswith("after UPDATE branches") for name in names)
    assert {"before os.link", "before os.remove"} < set(names)
    assert len(names) > 20


def test_work_goes_on_in_whatever_was_left(killed):
    for stage, location in stages_of(killed):
        with vio.open_store(location) as store:
            with store.transaction("data@main") as transaction:
                transaction.write("next.txt", b"next")
            assert content_of(store, "data")["next.txt"] == b"next", stage
            assert store.fsck().problems == (), stage


def test_the_transaction_that_lived_is_the_new_state(killed):
    with vio.open_store(killed / "alive") as store:
        assert state_of(store) == "new"
