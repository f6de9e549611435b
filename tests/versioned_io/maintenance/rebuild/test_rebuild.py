"""A lost catalog is made again from the packs alone, and says the same as before."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import versioned_io as vio
from tests.versioned_io.fault.forging import Forger
from versioned_io.catalog.collection import list_packs
from versioned_io.catalog.journal import entries_of
from versioned_io.errors import FormatError, InvalidInputError, RefNotFoundError, StorageError, StoreNotFoundError
from versioned_io.model.identifiers import PackName
from versioned_io.model.journal import Action
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer
from versioned_io.storage.packs.writer import PackWriter

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "s"


def told(store):
    """Everything that a store says of itself, apart from subscriptions."""
    found = {}
    for repo in store.repos():
        refs = [f"{repo.name}@{branch.name}" for branch in repo.branches]
        found[repo.name] = (
            repo.description,
            repo.created_at,
            [(branch.name, branch.head, branch.number) for branch in repo.branches],
            store.tags(repo.name),
            {ref: list(store.log(ref)) for ref in refs},
            {ref: store.reflog(ref) for ref in refs},
        )
        for ref in refs:
            snapshot = store.snapshot(ref)
            if not snapshot.is_empty:
                found[ref] = {file.path: (snapshot.read(file.path), file) for file in snapshot.walk()}
                found[ref, "upstream"] = store.upstream(ref)
                found[ref, "downstream"] = store.downstream(ref)
    return found


def packs_of(store):
    with store._backend.catalog.read() as connection:
        return list_packs(connection)


def lose_catalog(place):
    for file in Path(place).glob("catalog.db*"):
        file.unlink()


def rebuilt(place):
    """Return what the store said before its catalog was lost, and what it says after it was rebuilt."""
    with vio.open_store(place) as store:
        before = told(store)
    lose_catalog(place)
    report = vio.rebuild_store(place)
    assert (report.damaged, report.uncertain) == ((), ())
    with vio.open_store(place) as store:
        assert store.fsck().is_clean
        after = told(store)
    return before, after


def grow(store, write):
    store.create_repo("r", description="what it holds")
    store.create_repo("models")
    store.create_repo("empty")
    for number in range(4):
        write(store, "r@main", {"a": b"%d" % number, f"d/{number}": b"x" * number}, message=f"commit {number}")
    store.create_tag("r@v1", at="r@main~1")
    store.create_tag("r@gone", at="r@main")
    store.delete_tag("r@gone")
    store.create_branch("r@dev", at="r@main~2")
    write(store, "r@dev", {"dev": b"1"}, metadata={"k": [1, None]}, author="me")
    store.create_branch("r@old", at="r@main")
    write(store, "r@old", {"old": b"1"})
    store.delete_branch("r@old")
    store.create_branch("r@later", at="r@v1")
    store.rename_branch("r@later", "renamed")
    write(store, "r@renamed", {"after": b"renaming"})
    store.merge("r@dev", "r@main")
    write(store, "r@main", {"wrong": b"1"})
    store.reset("r@main", "r@main~1")
    write(store, "r@main", {"right": b"1"})
    store.protect_branch("r@dev")
    store.set_retention("r@renamed", keep_last=3)
    with store.run("train", code_version="1", params={"depth": 3}):
        store.snapshot("r@main").read("a")
        write(store, "models@main", {"model": b"m"}, idempotency_key="once")


def test_everything_but_subscriptions_comes_back(place, write):
    with vio.create_store(place) as store:
        grow(store, write)
    before, after = rebuilt(place)
    assert after == before


def test_the_filters_of_touched_paths_come_back(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"d/a": b"1", "e/b": b"1"})
        with store.transaction("r@main") as tx:
            tx.delete("d/")
        before = [commit.touched for commit in store.log("r@main")]
    assert None not in before
    lose_catalog(place)
    vio.rebuild_store(place)
    with vio.open_store(place) as store:
        assert [commit.touched for commit in store.log("r@main")] == before


def test_work_goes_on_after_a_rebuild(place, write, files_of):
    with vio.create_store(place) as store:
        grow(store, write)
        model = store.commit("models@main")
    rebuilt(place)
    with vio.open_store(place) as store:
        assert write(store, "models@main", {"model": b"other"}, idempotency_key="once") == model
        assert write(store, "r@main", {"copy": b"x" * 3}).stats.bytes_stored < 3000
        with pytest.raises(InvalidInputError, match="protected"):
            store.delete_branch("r@dev")
        store.create_branch("r@next", at="r@main")
        assert store.reflog("r@next")[0].sequence > store.reflog("r@main")[-1].sequence
        assert store.gc(**NOW).forgotten == 2
    before, after = rebuilt(place)
    assert after == before


def test_it_comes_back_after_compaction_collection_and_purging_too(place, write):
    with vio.create_store(place) as store:
        grow(store, write)
        for number in range(10):
            write(store, "r@main", {"secret": b"secret %d" % number})
        store.compact()
        store.gc(**NOW)
        assert store.purge("r", "secret").gone
    before, after = rebuilt(place)
    assert after == before


def test_an_attempt_that_lost_its_race_does_not_come_back(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        late = store.transaction("r@main")
        late.write("late", b"1")
        from versioned_io.versioning.transactions import publish

        original = publish._commit_drafts
        calls = []

        def overtaken(*arguments):
            if not calls:
                calls.append(1)
                write(store, "r@main", {"first": b"1"})
            original(*arguments)

        publish._commit_drafts = overtaken
        try:
            late.finish()
        finally:
            publish._commit_drafts = original
        assert [commit.number for commit in store.log("r@main")] == [2, 1]
    before, after = rebuilt(place)
    assert after == before


@pytest.mark.parametrize("beacon", ["there", "lost"])
def test_a_tip_that_can_not_be_told_from_an_attempt_is_named_and_a_beacon_tells_it(place, write, beacon):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        died = place.parent / "died"
        shutil.copytree(place, died)
        taken = write(store, "r@main", {"a": b"2"})
    with vio.open_store(died) as other:
        attempt = write(other, "r@main", {"a": b"3"})
    # As if the second writer had stored its record and died before the catalog knew it.
    for pack in (died / "packs").rglob("*.pack"):
        target = place / pack.relative_to(died)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(pack, target)
    lose_catalog(place)
    if beacon == "lost":
        for file in (place / "beacons").glob("commit-*"):
            file.unlink()
    report = vio.rebuild_store(place)
    assert report.unconfirmed == 1
    if beacon == "lost":
        assert len(report.uncertain) == 1
        assert taken.id in report.uncertain[0]
        assert attempt.id in report.uncertain[0]
        return
    assert report.uncertain == ()
    with vio.open_store(place) as store:
        assert store.commit("r@main") == taken


def flipped(data, at):
    damaged = bytearray(data)
    damaged[at] ^= 1
    return bytes(damaged)


HARMS = {
    "the trailer is cut": lambda data, frames: data[:-10],
    "the trailer is flipped": lambda data, frames: flipped(data, len(data) - 20),
    "the footer is cut": lambda data, frames: data[: frames[-1].offset + frames[-1].stored_size + 30],
    "the footer is flipped": lambda data, frames: flipped(data, frames[-1].offset + frames[-1].stored_size + 30),
    "all after the last frame is cut": lambda data, frames: data[: frames[-1].offset + frames[-1].stored_size],
    "something was added": lambda data, frames: data + b"x",
    "the head is flipped": lambda data, frames: flipped(data, 3),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_pack_whose_end_or_beginning_is_lost_costs_no_commit(place, write, harm):
    with vio.create_store(place) as store:
        grow(store, write)
        before = told(store)
        packs = sorted((place / "packs").rglob("*.pack"))
        footers = {pack: read_footer(store._backend.objects, pack.stem) for pack in packs}
    for pack in packs:
        pack.write_bytes(HARMS[harm](pack.read_bytes(), footers[pack].frames))
    lose_catalog(place)
    report = vio.rebuild_store(place)
    # The first bytes of a pack matter to nobody but fsck.
    assert {line.split()[1].rstrip(":") for line in report.damaged} == (
        set() if "head" in harm else {pack.stem for pack in packs}
    )
    assert report.uncertain == ()
    with vio.open_store(place) as store:
        assert told(store) == before
        assert {problem.where for problem in store.fsck().problems if problem.kind == "pack"} == {
            pack.stem for pack in packs
        }
        write(store, "r@main", {"next": b"1"})


def test_of_a_pack_with_a_damaged_record_the_rest_counts(place, write):
    """Two commits of one transaction lie in one pack; the record of the first is damaged, and named."""
    with vio.create_store(place) as store:
        for name in ("one", "two"):
            store.create_repo(name)
        with store.transaction("one@main") as tx:
            tx.write("a", b"1")
            tx.branch("two@main").write("a", b"1" * 5000)
        commit = store.commit("two@main")
        footer = read_footer(store._backend.objects, PackName(commit.root.pack.hex()))
        first = next(frame for frame in footer.frames if frame.kind is FrameKind.COMMIT)
        pack = next((place / "packs").rglob(f"{footer.name}.pack"))
    for data in (flipped(pack.read_bytes(), first.offset + 30), flipped(pack.read_bytes(), first.offset + 9)):
        pack.write_bytes(data)
        lose_catalog(place)
        report = vio.rebuild_store(place)
        assert len(report.damaged) == 1
        assert pack.stem in report.damaged[0]
        with vio.open_store(place) as store:
            assert list(store.log("one@main")) == []
            assert store.commit("two@main") == commit
            assert store.snapshot("two@main").read("a") == b"1" * 5000
            assert pack.stem in {row.name for row in packs_of(store)}


def test_a_store_out_of_reach_is_not_rebuilt_as_if_its_packs_were_damaged(place, write, monkeypatch):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})

    def fail(*_):
        raise StorageError("the network is gone: try again")

    lose_catalog(place)
    with monkeypatch.context() as patched:
        patched.setattr(LocalObjects, "get_range", fail)
        with pytest.raises(StorageError):
            vio.rebuild_store(place)
    assert vio.rebuild_store(place).commits == 1


def test_a_catalog_that_holds_something_is_left_alone(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    with pytest.raises(InvalidInputError, match="move it away"):
        vio.rebuild_store(place)
    with pytest.raises(StoreNotFoundError):
        vio.rebuild_store(place.parent / "nothing")


def test_without_a_catalog_the_store_says_what_to_run(place):
    vio.create_store(place).close()
    lose_catalog(place)
    with pytest.raises(FormatError, match="rebuild"):
        vio.open_store(place)
    assert vio.rebuild_store(place).repos == 0
    with vio.open_store(place) as store:
        store.create_repo("r")


def test_it_can_be_rebuilt_in_postgresql(place, write, postgres_url):
    with vio.create_store(place) as store:
        grow(store, write)
        before = told(store)
    report = vio.rebuild_store(place, catalog=postgres_url)
    assert (report.uncertain, report.is_owner) == ((), False)  # the one in SQLite is still there
    assert vio.adopt_store(place, catalog=postgres_url)
    with vio.open_store(place, catalog=postgres_url) as store:
        assert told(store) == before
        store.create_repo("next")
        write(store, "r@main", {"next": b"1"})
        assert store.fsck().is_clean


def test_objects_that_are_no_packs_of_ours_are_passed_over(place, write):
    with vio.create_store(place) as store:
        grow(store, write)
        store._backend.objects.put("packs/aa/readme.txt", [b"hello"])
        orphan = PackWriter(store._backend.objects)
        orphan.append_block(b"nobody knows me", [])
        orphan.close()
    before, after = rebuilt(place)
    assert after == before


# Entries of the journal that are lost


def lose_entry(place, repo, action):
    """Delete the pack with the newest entry of this kind, and the catalog; return the entry."""
    with vio.open_store(place) as store, store._backend.catalog.read() as connection:
        found = [pair for pair in entries_of(connection, repo) if pair[0].entry.action == action]
    recorded, pack = found[-1]
    next((place / "packs").rglob(f"{pack}.pack")).unlink()
    lose_catalog(place)
    return recorded


def test_a_repo_whose_first_entry_is_lost_is_found_by_its_commits(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r", description="gone")
        store.create_repo("made")
        write(store, "r@main", {"a": b"1"})
        head = write(store, "r@main", {"a": b"2"})
        with store.run("train"):
            store.snapshot("r@main").read("a")
            write(store, "made@main", {"m": b"m"})
    lost = lose_entry(place, "r", Action.CREATE_REPO)
    for _ in range(2):
        report = vio.rebuild_store(place)
        (text,) = report.uncertain
        assert f"entry {lost.sequence} of the journal of 'r' is missing" in text
        assert "'main' follows its commits" in text
        with vio.open_store(place) as store:
            assert store.commit("r@main") == head
            assert head.id in {commit.id for commit in store.upstream("made@main").commits}
            assert [entry.entry.action for entry in store.reflog("r@main")] == [Action.LOST]
            with pytest.raises(RefNotFoundError, match=r"entry \d+ of the journal is lost"):
                store.commit("r@main@{2020-01-01}")
            assert store.fsck().is_clean
            # What comes after it never takes its number.
            dev = f"r@dev{len(store.branches('r'))}"
            store.create_branch(dev, at="r@main")
            assert store.reflog(dev)[0].sequence > lost.sequence
        lose_catalog(place)


def test_what_came_before_a_lost_entry_still_counts(place, write):
    with vio.create_store(place) as store:
        grow(store, write)
        before = told(store)
    lost = lose_entry(place, "r", Action.DELETE_TAG)
    report = vio.rebuild_store(place)
    assert report.uncertain == (
        f"entry {lost.sequence} of the journal of 'r' is missing: its effect on a name is unknown",
    )
    with vio.open_store(place) as store:
        after = told(store)
        gone = store.tags("r").pop("gone")
        assert gone in {commit.id for commit in store.log("r@main")}
    assert after["r"][3].keys() == before["r"][3].keys() | {"gone"}
    assert after["r"][2] == before["r"][2]
    assert after["r@main"] == before["r@main"]
    assert after["models@main"] == before["models@main"]


def test_where_a_branch_was_moved_to_is_found_by_its_commits(place, write):
    with vio.create_store(place) as store:
        grow(store, write)
        before = told(store)
    lose_entry(place, "r", Action.MOVE_BRANCH)
    assert len(vio.rebuild_store(place).uncertain) == 1
    with vio.open_store(place) as store:
        after = told(store)
    assert after["r"][:5] == before["r"][:5]


@pytest.mark.parametrize(
    "action", [Action.CREATE_BRANCH, Action.RENAME_BRANCH, Action.DELETE_BRANCH, Action.PROTECT_BRANCH]
)
def test_a_lost_entry_is_told_and_costs_no_commit(place, write, action):
    with vio.create_store(place) as store:
        grow(store, write)
        heads = {branch.name: branch.head for branch in store.branches("r")}
    lost = lose_entry(place, "r", action)
    report = vio.rebuild_store(place)
    assert any(f"entry {lost.sequence} of the journal of 'r'" in text for text in report.uncertain)
    with vio.open_store(place) as store:
        assert heads.items() <= {branch.name: branch.head for branch in store.branches("r")}.items()
        assert store.fsck().is_clean
        write(store, "r@main", {"next": b"1"})
    lose_catalog(place)
    assert vio.rebuild_store(place).uncertain == report.uncertain


def test_a_repo_without_commits_whose_first_entry_is_lost_has_its_branch(place):
    with vio.create_store(place) as store:
        store.create_repo("r")
        store.protect_branch("r@main")
    lose_entry(place, "r", Action.CREATE_REPO)
    (text,) = vio.rebuild_store(place).uncertain
    assert "the branch 'main' is assumed, without a commit; the repo's description is unknown" in text
    with vio.open_store(place) as store:
        assert [branch.name for branch in store.branches("r")] == ["main"]
        with pytest.raises(InvalidInputError, match="protected"):
            store.delete_branch("r@main")


def test_rebuilding_and_deleting_a_branch_whose_entry_is_lost_keeps_it_deleted(place, write):
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        store.create_branch("r@dev", at="r@main")
        write(store, "r@dev", {"b": b"1"})
        write(store, "r@main", {"c": b"1"})
    lose_entry(place, "r", Action.CREATE_BRANCH)
    assert len(vio.rebuild_store(place).uncertain) == 1
    with vio.open_store(place) as store:
        assert [commit.number for commit in store.log("r@dev")] == [2, 1]
        store.delete_branch("r@dev")
    lose_catalog(place)
    vio.rebuild_store(place)
    with vio.open_store(place) as store:
        assert [branch.name for branch in store.branches("r")] == ["main"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("forged", "kept"),
    [
        ((0, {"parent": 0}), [4, 3, 2]),
        ((0, {"parent": 3}), [4, 3, 2]),
        ((0, {"number": 2**62}), [4, 3, 2]),
        ((1, {"parent": 1}), [4, 3]),
        ((1, {"number": 2**62}), [4, 3]),
        ((2, {"parent": 3}), [4]),
        ((3, {"parent": 3}), [3, 2, 1]),
        ((3, {"number": 1}), [3, 2, 1]),
        ((0, {"merged": 3}), [4, 3, 2, 1]),
        ((0, {"provenance": [3]}), [4, 3, 2, 1]),
    ],
    ids=str,
)
def test_a_record_that_contradicts_its_parents_counts_as_lost(tmp_path, write, forged, kept):
    with vio.create_store(tmp_path / "base") as store:
        store.create_repo("r")
        commits = [write(store, "r@main", {"a": b"%d" % number}).id for number in range(4)]
    number, fields = forged
    changed = {
        name: [commits[one] for one in value] if name == "provenance" else value if name == "number" else commits[value]
        for name, value in fields.items()
    }
    forger = Forger(tmp_path / "base")
    [target] = [
        (name, at)
        for name, frames in forger.packs.items()
        for at, frame in enumerate(frames)
        if frame.kind is FrameKind.COMMIT and json.loads(frame.payload)["id"] == commits[number]
    ]

    def change(payload, _around):
        return json.dumps(json.loads(payload) | changed, sort_keys=True, separators=(",", ":")).encode()

    place = tmp_path / "s"
    forger.forge(place, target, change, renames=False)
    with vio.open_store(place) as store:
        assert any(commits[number] in problem.where for problem in store.fsck().problems)
    lose_catalog(place)
    report = vio.rebuild_store(place)
    is_contradiction = len(kept) < 4
    assert [commits[number] in damage for damage in report.damaged] == [True] * is_contradiction
    with vio.open_store(place) as store:
        assert [commit.number for commit in store.log("r@main")] == kept
        assert store.snapshot("r@main").read("a") == b"%d" % (kept[0] - 1)
        write(store, "r@main", {"b": b"later"})
