"""On a store with a broken or lost pack each operation does its work or refuses, and all that was whole stays whole."""

import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import IntegrityError, VersionedError
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import read_footer

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


def copy_by_reference(store, write):
    del write
    with store.transaction("o@main") as tx:
        tx.copy("r@main:large", to="large")
        tx.copy("r@main:d", to="d")


OPERATIONS = {
    "stats": lambda store, _: store.stats(exact=True),
    "stats of a repo": lambda store, _: store.stats("r"),
    "compact": lambda store, _: store.compact(small_bytes=1 << 30),
    "compact dry": lambda store, _: store.compact(small_bytes=1 << 30, dry_run=True),
    "gc": lambda store, _: store.gc(**NOW),
    "gc dry": lambda store, _: store.gc(**NOW, dry_run=True),
    "purge": lambda store, _: store.purge("r", "small/3"),
    "purge dry": lambda store, _: store.purge("r", "small/3", dry_run=True),
    "purge large": lambda store, _: store.purge("r", "large"),
    "squash": lambda store, _: store.squash("r@main", since="r@main~4"),
    "drop": lambda store, _: store.drop("r@main"),
    "copy": copy_by_reference,
    "merge": lambda store, _: store.merge("r@dev", into="r@main"),
    "revert": lambda store, _: store.revert("r@main", on="r@main"),
    "write": lambda store, write: write(store, "r@main", {"new": b"new" * 99}),
}
TAKES_AWAY = {"purge": "small/3", "purge large": "large"}

HARMS = {
    "gone": None,
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "its last byte cut off": lambda data: data[:-1],
    "its end cut off": lambda data: data[:-50],
    "its end garbled": lambda data: data[:-40] + random.Random(1).randbytes(40),
    "its footer garbled": lambda data: data[:-200] + random.Random(1).randbytes(200),
}
NEEDS_ENDS = {"compact", "purge", "purge dry", "purge large", "stats", "stats of a repo"}
"""What reads the footers of packs; everything else only needs frames that are whole."""

NOTES = (
    "damages",
    "chunks",
    "packs.mark_epoch",
    "packs.live_bytes",
    "commits.mark_epoch",
    "maintenance",
    "properties",
)
"""What a refused operation may note, since it is true whatever becomes of the operation.

Of a store that was copied whole: its new address, at the first write there (docs/design/0009). Of a damage that was
met: its place, and that nobody may refer to those contents any more. Of a mark that ended before something else was
refused: which commits it has walked and which packs it has found. The next mark starts from there, so a refusal doesn't
throw away hours of walking (docs/design/0010-maintenance.md, "Rounds").
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A closed store, the names of four of its packs, and what its commits hold: {(commit, path): bytes}."""
    place, dice = tmp_path_factory.mktemp("whole") / "s", random.Random(3)
    with vio.create_store(place) as store:
        store.create_repo("r")
        store.create_repo("o")
        write(store, "r@main", {"large": dice.randbytes(9_000_000), "d/one": b"1" * 300})
        for number in range(10):
            write(store, "r@main", {f"small/{number}": dice.randbytes(3000), "d/one": b"%d" % number * 300})
        write(store, "o@main", {"x": b"x" * 100})
        store.create_branch("r@dev", at="r@main~3")
        write(store, "r@dev", {"dev": b"dev" * 100})
        names = {
            "with data alone": store.snapshot("r@main").row("large").chunks[0].pack.hex(),
            "of an old commit": store.commit("r@main~9").root.pack.hex(),
            "of the newest commit": store.commit("r@main").root.pack.hex(),
            "of another repo": store.commit("o@main").root.pack.hex(),
        }
        truth = readable(store, [commit.id for ref in ("r@main", "r@dev", "o@main") for commit in store.log(ref)])
    assert len(set(names.values())) == 4
    return place, names, truth


def write(store, branch, files):
    with store.transaction(branch) as tx:
        for path, data in files.items():
            tx.write(path, data)


def readable(store, commits):
    """Return every file of *commits* that can be read; the large one, which all have, of the first of them alone."""
    found = {}
    for commit in commits:
        try:
            snapshot = store.snapshot(f"{store.commit(commit).repo}@{commit}")
            paths = [file.path for file in snapshot.walk()]
        except VersionedError:
            continue
        for path in paths:
            if path == "large" and commit != commits[0]:
                continue
            try:
                found[commit, path] = snapshot.read(path)
            except IntegrityError:
                continue
    return found


def open_copy(whole, tmp_path, name):
    """Return the place of a copy of the whole store, and in it the pack *name*."""
    place = tmp_path / "copy"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole[0], place)
    [pack] = place.rglob(f"{whole[1][name]}.pack")
    return place, pack


def damage(pack, harm):
    if HARMS[harm] is None:
        pack.unlink()
    else:
        pack.write_bytes(HARMS[harm](pack.read_bytes()))


def refusal_of(work, store):
    """Do the work, and return what was said if the store's damage was in the way."""
    try:
        work(store, write)
    except IntegrityError as error:
        return str(error)
    return None


PACKS = ("with data alone", "of an old commit", "of the newest commit", "of another repo")
ALWAYS = {
    ("gone", "with data alone"),
    ("gone", "of the newest commit"),
    ("half", "of an old commit"),
    ("its end garbled", "of the newest commit"),
}
CASES = [
    pytest.param(harm, name, marks=[] if (harm, name) in ALWAYS else [pytest.mark.soak])
    for harm in HARMS
    for name in PACKS
]


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "name"), CASES)
def test_each_operation_works_or_refuses_and_nothing_that_is_whole_gets_lost(whole, tmp_path, dump, name, harm):
    _, names, truth = whole
    commits = list(dict.fromkeys(commit for commit, _ in truth))
    refused = set()
    for operation, work in OPERATIONS.items():
        place, pack = open_copy(whole, tmp_path, name)
        original = pack.read_bytes()
        damage(pack, harm)
        with vio.open_store(place) as store:
            before, state = readable(store, commits), dump(store, without=NOTES)
            newest = store.commit("r@main").id
            refusal = refusal_of(work, store)
            if refusal is not None:
                refused.add(operation)
                assert names[name] in refusal
                assert "fsck" in refusal
                assert dump(store, without=NOTES) == state
        gone = TAKES_AWAY.get(operation)
        expected = {
            (commit, path): data
            for (commit, path), data in before.items()
            if operation in refused or (path != gone and (operation, commit) != ("drop", newest))
        }
        with vio.open_store(place) as store:
            assert expected.items() <= readable(store, commits).items(), operation
        pack.write_bytes(original)  # brought back from a backup
        with vio.open_store(place) as store:
            assert store.fsck().is_clean
    if harm in {"its last byte cut off", "its end cut off", "its end garbled", "its footer garbled"}:
        assert refused <= NEEDS_ENDS
    assert "purge" in refused or harm == "gone"


@pytest.mark.parametrize("harm", ["its last byte cut off", "its end cut off", "its end garbled"])
def test_a_catalog_rebuilt_from_packs_with_broken_ends_reads_all_as_before(whole, tmp_path, harm):
    _, _, truth = whole
    place, _ = open_copy(whole, tmp_path, "of another repo")
    packs = list(place.rglob("*.pack"))
    for pack in packs:
        damage(pack, harm)
    for file in Path(place).glob("catalog.db*"):
        file.unlink()
    report = vio.rebuild_store(place)
    assert len(report.damaged) == len(packs)
    with vio.open_store(place) as store:
        assert readable(store, list(dict.fromkeys(commit for commit, _ in truth))) == truth


@pytest.mark.parametrize("back", range(0, 11, 2))
def test_a_catalog_rebuilt_without_one_commit_reads_all_others_and_says_which_is_missing(whole, tmp_path, back):
    _, _, truth = whole
    place, _ = open_copy(whole, tmp_path, "of another repo")
    with vio.open_store(place) as store:
        newest, lost = store.commit("r@main"), store.commit(f"r@main~{back}")
        kinds = {frame.kind for frame in read_footer(store._backend.objects, lost.root.pack.hex()).frames}
        assert FrameKind.COMMIT in kinds
    [pack] = place.rglob(f"{lost.root.pack.hex()}.pack")
    pack.unlink()
    with vio.open_store(place) as store:
        before = readable(store, list(dict.fromkeys(commit for commit, _ in truth)))
    for file in Path(place).glob("catalog.db*"):
        file.unlink()
    report = vio.rebuild_store(place)
    with vio.open_store(place) as store:
        # What lay in the pack is lost; no file that could still be read is.
        assert readable(store, list(dict.fromkeys(commit for commit, _ in truth))) == before
        if back:
            assert store.commit("r@main") == newest
    # Of a newest commit nothing tells that there was one.
    named = [sentence for sentence in report.uncertain if lost.id in sentence and "is missing" in sentence]
    assert bool(named) == bool(back)
