"""What was acknowledged can be read: bytes that were damaged are stored anew when they are written again."""

import random
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.catalog.tables import chunks, damages
from versioned_io.errors import IntegrityError
from versioned_io.formats import load_object, save_object
from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.filesystem.filesystem import VersionedFileSystem
from versioned_io.model.places import pack_key, pack_name
from versioned_io.storage.objects.cached import past_cache
from versioned_io.storage.packs.frames import CONTENT_KINDS, FrameKind
from versioned_io.storage.packs.reader import read_footer

NOW = {"grace": timedelta(0), "expire": timedelta(0)}
LARGE = random.Random(1).randbytes(300_000)
FILES = {"d/large": LARGE, "d/small": b"small" * 40, "other": b"other" * 300}


@pytest.fixture
def place(tmp_path):
    """The place of a closed store of one commit."""
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        store.create_repo("q")
        commit(store, "r@main", FILES)
    return tmp_path / "s"


def commit(store, branch, files, **options):
    with store.transaction(branch, **options) as tx:
        for path, data in files.items():
            tx.write(path, data)
    return tx


def pack_of(store, ref):
    """Return the path of the pack with the tree of a commit."""
    return Path(store.url) / pack_key(pack_name(store.commit(ref).root.pack))


def frames_of(store, ref):
    """Return (kind, offset, size) of each frame of that pack."""
    footer = read_footer(store._backend.objects, pack_of(store, ref).stem)
    return [(frame.kind, frame.offset, frame.stored_size) for frame in footer.frames]


def flip(pack, at):
    data = bytearray(pack.read_bytes())
    data[at] ^= 0x10
    pack.write_bytes(data)


def flip_content(place, path="d/large", ref="r@main"):
    """Flip one bit of a file's first chunk."""
    with vio.open_store(place) as store:
        chunk = store.snapshot(ref).row(path).chunks[0]
        flip(Path(store.url) / pack_key(pack_name(chunk.pack)), chunk.offset + chunk.stored - 9)


def read_all(store, ref):
    snapshot = store.snapshot(ref)
    return dict(snapshot.read_many([file.path for file in snapshot.walk()]))


@pytest.mark.parametrize("target", ["r@main:d/large", "r@main:another", "q@main:elsewhere"])
def test_bytes_that_are_committed_again_over_a_flipped_bit_can_be_read_at_once_and_in_all_old_commits(place, target):
    flip_content(place)
    branch, path = target.split(":")
    with vio.open_store(place) as store:
        with pytest.raises(IntegrityError):
            store.snapshot("r@main").read("d/large")
        old = store.commit("r@main")
        tx = commit(store, branch, {path: LARGE})
        assert tx.changed
        assert store.snapshot(branch).read(path) == LARGE
    with vio.open_store(place) as store:
        assert store.snapshot(branch).read(path) == LARGE
        assert read_all(store, f"r@{old.id}") == FILES


@pytest.mark.parametrize("target", ["r@main:d/large", "r@main:another", "q@main:elsewhere"])
def test_nobody_has_to_find_a_damage_before_it_is_healed(place, target):
    flip_content(place)
    branch, path = target.split(":")
    with vio.open_store(place) as store:
        old = store.commit("r@main")
        commit(store, branch, {path: LARGE})
    with vio.open_store(place) as store:
        assert store.snapshot(branch).read(path) == LARGE
        assert read_all(store, f"r@{old.id}") == FILES


def test_a_commit_that_only_heals_has_the_same_tree_and_its_head_is_read_without_sql(place, monkeypatch):
    flip_content(place)
    with vio.open_store(place) as store:
        before = store.commit("r@main")
        tx = commit(store, "r@main", {"d/large": LARGE}, empty="refuse")
        assert tx.changed
        assert tx.commit.tree_digest == before.tree_digest
        assert (tx.commit.stats.added, tx.commit.stats.modified, tx.commit.stats.deleted) == (0, 0, 0)
        assert store.diff("r@main~1", "r@main").num_rows == 0
        again = commit(store, "r@main", {"d/large": LARGE})
        assert not again.changed
    with vio.open_store(place) as store:
        snapshot = store.snapshot("r@main")
        with store._backend.catalog.write() as connection:
            connection.execute(damages.delete())
        assert snapshot.read("d/large") == LARGE
        assert {row.commit.hex() for row in snapshot.rows()} == {before.id}


def everything(store):
    """Return the files of every commit of every repo."""
    return {
        one.id: read_all(store, f"{repo.name}@{one.id}")
        for repo in store.repos()
        for branch in repo.branches
        if branch.head is not None
        for one in store.log(f"{repo.name}@{branch.name}")
    }


def test_after_rewriting_the_same_files_everything_reads_whichever_frame_was_flipped(place, tmp_path):
    with vio.open_store(place) as store:
        commit(store, "r@main", {"d/small": b"changed" * 40})
        commit(store, "r@main", {"d/small": FILES["d/small"], "late": b"late" * 99})
        truth = everything(store)
        spots = [
            (pack_of(store, ref).relative_to(place), kind, offset + share * (size - 1) // 4)
            for ref in ("r@main", "r@main~1", "r@main~2")
            for kind, offset, size in frames_of(store, ref)
            for share in (0, 2, 4)
            if kind in CONTENT_KINDS | {FrameKind.PAGE}
        ]
    assert len({kind for _, kind, _ in spots}) == 2
    for number, (pack, _, at) in enumerate(spots):
        copy = tmp_path / str(number)
        shutil.copytree(place, copy)
        flip(copy / pack, at)
        rewrite_history(copy)
        with vio.open_store(copy) as store:
            for commit_id, files in truth.items():
                assert read_all(store, f"r@{commit_id}") == files, (pack, at)
        shutil.rmtree(copy)


def rewrite_history(place):
    """Write again what each commit wrote, as its author would."""
    with vio.open_store(place) as store:
        for files in (FILES, {**FILES, "d/small": b"changed" * 40}, {**FILES, "late": b"late" * 99}):
            with store.transaction("r@main") as tx:
                tx.delete("/")
                for path, data in files.items():
                    tx.write(path, data)


def test_after_rewriting_the_same_files_everything_reads_whichever_pack_was_lost(place, tmp_path):
    with vio.open_store(place) as store:
        commit(store, "r@main", {"d/small": b"changed" * 40})
        commit(store, "r@main", {"d/small": FILES["d/small"], "late": b"late" * 99})
        truth = everything(store)
        packs = [pack_of(store, ref).relative_to(place) for ref in ("r@main", "r@main~1", "r@main~2")]
    for number, pack in enumerate(packs):
        copy = tmp_path / str(number)
        shutil.copytree(place, copy)
        (copy / pack).unlink()
        rewrite_history(copy)
        with vio.open_store(copy) as store:
            for commit_id, files in truth.items():
                assert read_all(store, f"r@{commit_id}") == files, pack


def test_a_lost_pack_is_healed_for_another_process(place):
    with vio.open_store(place) as store:
        pack_of(store, "r@main").unlink()
        tx = commit(store, "r@main", FILES)
        assert tx.changed
    code = (
        "import sys, versioned_io as vio\n"
        "with vio.open_store(sys.argv[1]) as store:\n"
        "    for ref in ('r@main', 'r@main~1'):\n"
        "        print(len(store.snapshot(ref).read('d/large')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["300000", "300000"]


def test_a_damage_that_one_reader_met_is_known_to_every_process(place):
    flip_content(place)
    with vio.open_store(place) as store:
        digest = store.snapshot("r@main").row("d/large").chunks[0].digest
        with pytest.raises(IntegrityError):
            store.snapshot("r@main").read("d/large")
        with store._backend.catalog.read() as connection:
            assert connection.execute(select(damages.c.digest, damages.c.new_pack)).all() == [(digest, None)]
            assert not connection.execute(select(chunks).where(chunks.c.digest == digest)).all()


def test_what_is_garbled_on_the_wire_only_is_no_damage(place):
    with vio.open_store(place) as store:
        objects = store._backend.objects
        fetch, garbled = objects.get_ranges, []

        def garble_once(key, ranges):
            found = fetch(key, ranges)
            if not garbled:
                garbled.append(key)
                data = bytearray(found[0])
                data[-1] ^= 1
                found[0] = memoryview(bytes(data))
            return found

        object.__setattr__(objects, "get_ranges", garble_once)
        assert store.snapshot("r@main").read("d/large") == LARGE
        assert garbled
        with store._backend.catalog.read() as connection:
            assert not connection.execute(select(damages)).all()


def test_a_page_that_other_trees_share_is_healed_in_a_tree_of_several_pages(tmp_path):
    files = {f"d/{number:05}": b"%d" % number for number in range(1500)}
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit(store, "r@main", files)
        commit(store, "r@main", {"d/01499": b"new"})
        root = store.commit("r@main~1").root
        assert root.level == 1
        pages = [(offset, size) for kind, offset, size in frames_of(store, "r@main~1") if kind is FrameKind.PAGE]
        assert len(pages) > 2
        pack = pack_of(store, "r@main~1").relative_to(tmp_path / "s")
    for number, (offset, size) in enumerate(pages):
        copy = tmp_path / str(number)
        shutil.copytree(tmp_path / "s", copy)
        flip(copy / pack, offset + size // 2)
        with vio.open_store(copy) as store:
            commit(store, "r@main", files)
        with vio.open_store(copy) as store:
            assert read_all(store, "r@main") == files
            old = store.log("r@main")
            commits = [one.id for one in old]
            assert read_all(store, f"r@{commits[-1]}") == files
            assert read_all(store, f"r@{commits[-2]}") == {**files, "d/01499": b"new"}


def test_gc_keeps_what_an_old_commit_is_read_from_when_the_commit_that_healed_it_is_gone(place):
    flip_content(place)
    with vio.open_store(place) as store:
        commit(store, "q@main", {"x": LARGE})
        store.delete_branch("q@main", force=True)
        store.gc(**NOW)
        store.gc(**NOW)
    with vio.open_store(place) as store:
        assert read_all(store, "r@main") == FILES


@pytest.mark.parametrize(("harm", "more"), [("flip", 12), ("flip", 0), ("lose", 0)])
def test_compaction_leads_trees_away_from_damaged_packs_and_gc_takes_these_away(place, harm, more):
    with vio.open_store(place) as store:
        bad = pack_of(store, "r@main")
    if harm == "flip":
        flip_content(place)
    else:
        bad.unlink()
    with vio.open_store(place) as store:
        commit(store, "r@main", FILES)
        old = store.commit("r@main~1")
        if harm == "lose":
            return  # the record is lost with its pack, which fsck and rebuild say
        for number in range(more):  # with some there is something to merge as well
            commit(store, "q@main", {"x": b"%d" % number})
        store.compact()
        store.gc(**NOW)
        store.gc(**NOW)
        assert not bad.exists()
        assert store.fsck().is_clean
        with store._backend.catalog.read() as connection:
            assert not connection.execute(select(damages)).all()
    with vio.open_store(place) as store:
        assert read_all(store, "r@main") == read_all(store, f"r@{old.id}") == FILES


@pytest.mark.parametrize("compacted", [False, True])
def test_a_rebuilt_catalog_knows_what_was_healed(place, compacted):
    flip_content(place)
    with vio.open_store(place) as store:
        commit(store, "q@main", {"x": LARGE})
        if compacted:
            for number in range(12):  # so that there is something to merge
                commit(store, "q@main", {"n": b"%d" % number})
            store.compact()
        old = store.commit("r@main")
    for path in place.glob("catalog.db*"):
        path.unlink()
    vio.rebuild_store(place)
    with vio.open_store(place) as store:
        assert read_all(store, f"r@{old.id}") == FILES
        assert store.snapshot("q@main").read("x") == LARGE
        assert not commit(store, "q@main", {"x": LARGE}).changed


def test_copying_damaged_bytes_by_reference_says_so(place):
    flip_content(place)
    with (
        vio.open_store(place) as store,
        pytest.raises(IntegrityError, match="damaged"),
        store.transaction("q@main") as tx,
    ):
        tx.copy("r@main:d/large", to="copy")
    with vio.open_store(place) as store:
        commit(store, "q@main", {"x": LARGE})
        with store.transaction("q@main") as tx:
            tx.copy("r@main:d/large", to="copy")
    with vio.open_store(place) as store:
        assert store.snapshot("q@main").read("copy") == LARGE


def test_appending_to_a_damaged_file_says_so(place):
    big = random.Random(5).randbytes(3_000_000)
    with vio.open_store(place) as store:
        commit(store, "r@main", {"big": big})
    flip_content(place, "big")
    with (
        vio.open_store(place) as store,
        pytest.raises(IntegrityError, match="damaged"),
        store.transaction("r@main") as tx,
    ):
        tx.write("big", b"more", append=True)


def test_a_part_of_a_large_file_is_healed_by_any_file_that_has_it(place):
    big = random.Random(5).randbytes(3_000_000)
    with vio.open_store(place) as store:
        commit(store, "r@main", {"big": big})
    flip_content(place, "big")
    with vio.open_store(place) as store:
        commit(store, "q@main", {"prefix": big[:2_000_000]})
    with vio.open_store(place) as store:
        assert store.snapshot("r@main").read("big") == big
        with store.snapshot("r@main").open("big") as file:
            assert file.read(1000) == big[:1000]


def test_a_checkout_writes_what_was_healed(place, tmp_path):
    flip_content(place, "d/small")
    with vio.open_store(place) as store:
        commit(store, "q@main", {"x": FILES["d/small"]})
    with vio.open_store(place) as store:
        with pytest.raises(IntegrityError):
            store.snapshot("r@main").read("other")
        commit(store, "q@main", {"y": FILES["other"], "z": LARGE})
    with vio.open_store(place) as store:
        assert store.snapshot("r@main").checkout(tmp_path / "out") == 3
        assert (tmp_path / "out/other").read_bytes() == FILES["other"]
        assert read_all(store, "r@main") == FILES


def harm_tree(place, harm, ref="r@main"):
    """Flip a bit of the content or of the root page of a commit of one pack, or lose the pack."""
    with vio.open_store(place) as store:
        pack, root = pack_of(store, ref), store.commit(ref).root
    if harm == "content":
        flip_content(place, ref=ref)
    elif harm == "page":
        flip(pack, root.offset + root.stored_size // 2)
    else:
        pack.unlink()


HARMS = ["content", "page", "pack"]


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_system_writes_over_a_damage(tmp_path, harm):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit(store, "r@main", {"d/large": LARGE})
    harm_tree(tmp_path / "s", harm)
    files = VersionedFileSystem(store=str(tmp_path / "s"), skip_instance_cache=True)
    with files.open("r@main/d/large", "wb") as file:
        file.write(LARGE)
    with vio.open_store(tmp_path / "s") as store:
        assert store.snapshot("r@main").read("d/large") == LARGE
        assert store.snapshot("r@main~1").read("d/large") == LARGE


@pytest.mark.parametrize("harm", HARMS)
def test_the_command_line_puts_over_a_damage(tmp_path, harm):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit(store, "r@main", {"d/large": LARGE})
    harm_tree(tmp_path / "s", harm)
    (tmp_path / "large").write_bytes(LARGE)
    call = ["put", "r@main:d/large", str(tmp_path / "large"), "--store", str(tmp_path / "s")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    with vio.open_store(tmp_path / "s") as store:
        assert store.snapshot("r@main").read("d/large") == LARGE
        assert store.snapshot("r@main~1").read("d/large") == LARGE


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("first", [{"k": "small"}, {"k": list(range(30_000))}])
def test_an_object_is_saved_again_over_a_damage(tmp_path, harm, first):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            save_object(tx, "d/large", first)
    if harm != "content":
        harm_tree(tmp_path / "s", harm)
    else:
        with vio.open_store(tmp_path / "s") as store:
            path = next(store.snapshot("r@main").walk()).path
        flip_content(tmp_path / "s", path)
    with vio.open_store(tmp_path / "s") as store:
        with store.transaction("r@main") as tx:
            save_object(tx, "d/large", first)
        assert tx.changed
    with vio.open_store(tmp_path / "s") as store:
        assert load_object(store.snapshot("r@main"), "d/large") == first
        assert load_object(store.snapshot("r@main~1"), "d/large") == first


def test_a_branch_with_a_damaged_page_can_be_written_from_scratch(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit(store, "r@main", FILES)
    harm_tree(tmp_path / "s", "page")
    with vio.open_store(tmp_path / "s") as store:
        with pytest.raises(IntegrityError, match="damaged"):
            commit(store, "r@main", {"other": b"alone"})
        with store.transaction("r@main") as tx:
            tx.delete("/")
            tx.write("other", b"alone")
        assert read_all(store, "r@main") == {"other": b"alone"}


@pytest.mark.parametrize("target", ["r@main:d/large", "r@main:another", "q@main:elsewhere"])
def test_after_a_repair_the_same_bytes_heal_what_the_check_found(place, target):
    flip_content(place)
    branch, path = target.split(":")
    with vio.open_store(place) as store:
        assert not store.fsck(repair=True).is_clean
    with vio.open_store(place) as store:
        old = store.commit("r@main")
        assert commit(store, branch, {path: LARGE}).changed
    with vio.open_store(place) as store:
        assert store.snapshot(branch).read(path) == LARGE
        assert read_all(store, f"r@{old.id}") == FILES


def test_a_check_says_from_where_a_content_can_be_healed_and_a_repair_heals_it(place):
    with vio.open_store(place) as store:
        with store._backend.catalog.write() as connection:
            connection.execute(chunks.delete())  # so that the same bytes are stored twice
        commit(store, "q@main", {"x": LARGE})
        copy = store.snapshot("q@main").row("x").chunks[0].pack.hex()
    flip_content(place)
    with vio.open_store(place) as store:
        assert any(copy in one for one in store.fsck().healable)
        assert any(copy in one for one in store.fsck(repair=True).repaired)
    with vio.open_store(place) as store:
        assert read_all(store, "r@main") == FILES


def test_a_repair_finds_a_damaged_page_in_other_trees(tmp_path):
    files = {f"d/{number:05}": b"%d" % number for number in range(1500)}
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit(store, "r@main", files)
        commit(store, "r@main", {"d/00000": b"new"})
        commit(store, "r@main", {"d/00000": b"0", "e": b"e"})
        pack = pack_of(store, "r@main~2")
        offset, size = next((at, size) for kind, at, size in frames_of(store, "r@main~2") if kind is FrameKind.PAGE)
    flip(pack, offset + size // 2)
    with vio.open_store(tmp_path / "s") as store, pytest.raises(IntegrityError):
        read_all(store, "r@main~2")
    with vio.open_store(tmp_path / "s") as store:
        store.fsck(repair=True)
    with vio.open_store(tmp_path / "s") as store:
        assert read_all(store, "r@main~2") == files


def test_maintenance_finds_a_damage_and_leads_trees_to_where_it_was_healed(place):
    flip_content(place)
    with vio.open_store(place) as store:
        assert [one for _ in range(6) for one in store.maintain(full=True).problems]  # a part of the packs each time
        with store._backend.catalog.read() as connection:
            assert connection.execute(select(damages)).all()
        commit(store, "q@main", {"x": LARGE})
        done = store.maintain(full=True)
        assert ("healed", {"trees": 1}) in [(step.name, dict(step.did)) for step in done.steps]
        with store._backend.catalog.write() as connection:
            connection.execute(damages.delete())
    with vio.open_store(place) as store:
        assert read_all(store, "r@main") == FILES


def replace_pack(objects, name, harm):
    """Flip a bit at the beginning of the first frame of a pack, or at that of the given page, or lose it."""
    key = pack_key(name)
    data = bytearray(objects.get(key))
    objects.delete([key])
    if harm is not None:
        data[harm + 40] ^= 1
        objects.put(key, [bytes(data)])


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("cached", [False, True])
def test_an_s3_store_with_postgresql_is_healed_past_its_cache(s3_place, postgres_url, tmp_path, harm, cached):
    url, options = s3_place
    cache = tmp_path / "cache" if cached else None

    def opened(how=vio.open_store):
        return how(url, catalog=postgres_url, storage_options=options, cache=cache)

    with opened(vio.create_store) as store:
        store.create_repo("r")
        store.create_repo("q")
        commit(store, "r@main", FILES)
        assert read_all(store, "r@main") == FILES  # the cache has it all
        root, chunk = store.commit("r@main").root, store.snapshot("r@main").row("d/large").chunks[0]
        place = {"content": chunk.offset, "page": root.offset, "pack": None}[harm]
        replace_pack(past_cache(store._backend.objects), pack_name(root.pack), place)
    with opened() as store:
        assert commit(store, "r@main", FILES).changed
        commit(store, "q@main", {"x": LARGE})
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    with opened() as store:
        for ref in ("r@main", "r@main~1"):
            assert read_all(store, ref) == FILES
        assert store.snapshot("q@main").read("x") == LARGE
