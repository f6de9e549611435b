"""A lost page of an old commit is made again where that can be; where it can't, housekeeping goes on around it."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

import versioned_io as vio
from tests.versioned_io.conftest import commit_files
from versioned_io.errors import IntegrityError, RefNotFoundError
from versioned_io.model.places import pack_key, pack_name

NOW = {"grace": timedelta(0), "expire": timedelta(0)}
FILES = {name: random.Random(name).randbytes(3_000) for name in "abc"}


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "s") as opened:
        opened.create_repo("r")
        yield opened


def pack_of(store, ref):
    return Path(store.url) / pack_key(pack_name(store.commit(ref).root.pack))


def commit_one_by_one(store):
    """Commit {a}, then {b}, then {c}, and return the commits."""
    return [commit_files(store, "r@main", {name: data}).id for name, data in FILES.items()]


def contents(store, commit):
    snapshot = store.snapshot(f"r@{commit}")
    return {file.path: snapshot.read(file.path) for file in snapshot.walk()}


def reopened(store):
    store.close()
    return vio.open_store(store.url)


@pytest.mark.parametrize("lost", [0, 1])
def test_the_page_of_a_commit_is_made_again_from_its_child_and_maintain_goes_on(store, lost):
    commits = commit_one_by_one(store)
    pack_of(store, f"r@{commits[lost]}").unlink()
    commit_files(store, "r@main", FILES)
    with reopened(store) as again:
        report = again.maintain(full=True)
        assert report.problems == () or [one.split(":")[0] for one in report.problems] == ["verify"]
        for number, commit in enumerate(commits):
            assert contents(again, commit) == {name: FILES[name] for name in "abc"[: number + 1]}
        again.compact()
        again.gc(**NOW)
        again.gc(**NOW)
        assert again.fsck().is_clean
        assert again.maintain(full=True).problems == ()


def versions(count=3, seed=7):
    dice = random.Random(seed)
    return [dice.randbytes(3_000) for _ in range(count)]


@pytest.fixture
def lossy(store):
    """A store of which the page and the data of the second of three versions of a file are lost for good."""
    store.create_repo("other")
    for data in versions():
        commit_files(store, "r@main", {"x": data})
    commits = [commit.id for commit in store.log("r@main")][::-1]
    pack = pack_of(store, f"r@{commits[1]}")
    kept = pack.read_bytes()
    pack.unlink()
    with reopened(store) as again:
        yield again, commits, pack, kept


def test_what_cant_be_made_again_stops_no_housekeeping_and_is_named(lossy):
    store, commits, _, _ = lossy
    report = store.maintain(full=True)
    assert any(commits[1] in one and "squash" in one for one in report.problems)
    before = {commit: contents(store, commit) for commit in (commits[0], commits[2])}
    # Garbage of another branch comes and goes.
    store.create_branch("r@dev", at="r@main")
    for number in range(12):
        commit_files(store, "r@dev", {"y": b"%d" % number * 2_000})
        commit_files(store, "other@main", {"z": b"%d" % number * 2_000})
    merged = [step.did["packs"] for step in store.maintain(full=True).steps if step.name == "merge"]
    assert merged[0] >= 24  # what came after the damage
    store.delete_branch("r@dev")
    found = store.gc(**NOW)
    assert found.unreadable == (commits[1],)
    assert found.deleted + store.gc(**NOW).deleted
    store.compact()
    found = store.gc(**NOW)
    assert found.unreadable == (commits[1],)
    for commit, data in before.items():
        assert contents(store, commit) == data
    assert contents(store, store.commit("r@main").id) == {"x": versions()[2]}
    with pytest.raises(IntegrityError, match="squash"):
        contents(store, commits[1])


def test_a_pack_that_comes_back_from_a_backup_is_whole_again(lossy):
    store, commits, pack, kept = lossy
    store.maintain(full=True)
    store.gc(**NOW)
    store.compact()
    store.gc(**NOW)
    pack.write_bytes(kept)
    with reopened(store) as again:
        assert contents(again, commits[1]) == {"x": versions()[1]}
        assert again.gc(**NOW).unreadable == ()
        assert again.fsck().is_clean
        assert again.maintain(full=True).problems == ()


def test_the_lost_file_written_again_heals_the_old_commit(lossy):
    store, commits, _, _ = lossy
    store.maintain(full=True)
    commit_files(store, "r@main", {"x": versions()[1], "another": b"1"})
    assert any("can be rebuilt" in one for one in store.fsck().healable)
    assert any("pages rebuilt" in one for one in store.fsck(repair=True).repaired)
    assert contents(store, commits[1]) == {"x": versions()[1]}
    store.maintain(full=True)
    store.gc(**NOW)
    store.gc(**NOW)
    assert store.fsck().is_clean
    assert store.maintain(full=True).problems == ()


@pytest.mark.parametrize("way", ["squash", "drop"])
def test_without_the_commit_everything_is_sound(lossy, way):
    store, commits, _, _ = lossy
    store.maintain(full=True)
    if way == "squash":
        store.squash("r@main", since=f"r@{commits[0]}")
    else:
        store.drop("r@main")
        store.drop("r@main")
    store.gc(**NOW)
    store.fsck(repair=True)
    assert store.gc(**NOW).unreadable == ()
    assert store.fsck().is_clean
    assert store.maintain(full=True).problems == ()


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_a_damaged_pack_that_was_healed_is_no_problem_and_is_named_until_it_is_deleted(store, tmp_path):
    data = random.Random(5).randbytes(300_000)
    commit_files(store, "r@main", {"x": data})
    pack = Path(store.url) / pack_key(pack_name(store.snapshot("r@main").row("x").chunks[0].pack))
    flip(pack, 1_000)
    assert not store.fsck().is_clean
    healing = commit_files(store, "r@main", {"x": data})
    assert healing.stats.healed == 2  # a chunk, and the page that leads to it
    store.maintain(full=True)
    report = store.fsck()
    assert (report.is_clean, {one.where for one in report.leaving}) == (True, {pack.stem})
    made = store.backup(tmp_path / "backup")
    assert (made.damaged, made.leaving) == ((), (pack.stem,))
    store.gc(**NOW)
    store.gc(**NOW)
    assert (store.fsck().problems, store.fsck().leaving) == ((), ())


def test_the_first_commit_after_a_purge_counts_no_purged_file_as_deleted(store):
    commit_files(store, "r@main", {"secret": b"1", "rest": b"2"})
    store.purge("r", "secret")
    commit = commit_files(store, "r@main", {"new": b"3"})
    assert (commit.stats.added, commit.stats.deleted, commit.stats.files) == (1, 0, 2)


def test_a_full_run_says_that_it_was_asked_for(store):
    commit_files(store, "r@main", {"x": b"1"})
    store.maintain(full=True)
    whys = {step.name: step.why for step in store.maintain(full=True).steps}
    assert {whys[name] for name in ("forget", "full mark", "orphans", "verify")} == {"asked for"}


def test_a_deleted_branch_is_named_with_the_command_that_brings_it_back(store):
    head = commit_files(store, "r@main", {"x": b"1"}).id
    store.delete_branch("r@main", force=True)
    for use in (lambda: store.snapshot("r@main"), lambda: commit_files(store, "r@main", {"y": b"2"})):
        with pytest.raises(RefNotFoundError, match=f"versioned branch create r@main --at r@{head}"):
            use()
    store.create_branch("r@main", at=f"r@{head}")
    assert contents(store, head) == {"x": b"1"}
