"""Every damage is found and named; nothing is found where there is none."""

import contextlib
import json
import random
import sqlite3
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text, update

import versioned_io as vio
from tests.versioned_io.storage.packs.test_walking import of_headers
from versioned_io.catalog.tables import commits, packs
from versioned_io.errors import StorageError, VersionedError
from versioned_io.maintenance.fsck.check import check_store
from versioned_io.model.places import pack_key
from versioned_io.storage.chunks.cutting import digest_of
from versioned_io.storage.packs.footer import TRAILER_SIZE, decode_trailer
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.walking import walk_frames
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.storage.pages.build import build_tree
from versioned_io.storage.pages.schema import ROWS


@pytest.fixture
def place(tmp_path, write):
    """A closed store whose packs hold every kind of frame."""
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        store.create_repo("other")
        write(store, "r@main", {"large": random.Random(1).randbytes(700_000), "small": b"s" * 50, "d/x": b"x"})
        write(store, "r@main", {f"many/{number:04}": b"%d" % number for number in range(1500)})
        store.create_branch("r@dev", at="r@main~1")
        write(store, "r@dev", {"small": b"dev"})
        store.create_tag("r@v1", at="r@main~1")
        with store.run("job"):
            store.snapshot("r@main").read("small")
            write(store, "other@main", {"made": b"1"})
        report = store.fsck()
        assert report.is_clean
        assert (report.commits, report.files) == (4, 3 + 1500 + 1 + 1)
        assert report.bytes_checked > 700_000
    return tmp_path / "s"


def packs_of(place):
    return sorted((place / "packs").rglob("*.pack"))


def check(place):
    with vio.open_store(place) as store:
        return store.fsck()


def read_everything(place):
    """Read every file of every commit that a name leads to, and return what was read or, where that failed, None."""
    found = {}
    with vio.open_store(place) as store:
        for ref in ("r@main", "r@dev", "r@v1", "other@main"):
            try:
                snapshot = store.snapshot(ref)
                for file in snapshot.walk():
                    if file.path.startswith("many/") and not file.path.endswith("00"):
                        continue  # they lie in one block, and 1,500 reads for each flip say no more than 15
                    found[ref, file.path] = None
                    found[ref, file.path] = snapshot.read(file.path)
            except VersionedError:
                found[ref, "damaged"] = None
    return found


def test_a_flipped_bit_anywhere_is_found_and_never_returned_as_data(place):
    dice = random.Random(2)
    truth = read_everything(place)
    for pack in packs_of(place):
        original = pack.read_bytes()
        for at in {0, len(original) // 2, len(original) - 1, *(dice.randrange(len(original)) for _ in range(9))}:
            damaged = bytearray(original)
            damaged[at] ^= 1 << dice.randrange(8)
            pack.write_bytes(damaged)
            report = check(place)
            assert pack.stem in {problem.where for problem in report.problems if problem.kind == "pack"}, f"byte {at}"
            assert {problem.kind for problem in report.problems} <= {
                "pack",
                "commit",
                "page",
                "file",
                "journal",
                "index",
            }
            for where, data in read_everything(place).items():
                assert data is None or data == truth[where]
        pack.write_bytes(original)
    assert check(place).is_clean


@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "longer", "another pack"])
def test_a_pack_that_is_not_what_it_was_is_found(place, harm):
    for pack in packs_of(place):
        original = pack.read_bytes()
        if harm == "gone":
            pack.unlink()
        elif harm == "another pack":
            pack.write_bytes(next(other for other in packs_of(place) if other != pack).read_bytes())
        else:
            pack.write_bytes({"empty": b"", "cut": original[:-10], "longer": original + b"x"}[harm])
        assert not check(place).is_clean
        pack.write_bytes(original)
    assert check(place).is_clean


def test_damage_is_found_by_the_process_that_wrote_the_data_too(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1" * 1000})
        assert store.snapshot("r@main").read("a") == b"1" * 1000
        assert store.fsck().is_clean
        [pack] = [pack for pack in packs_of(Path(store.url)) if pack.stem == store.commit("r@main").root.pack.hex()]
        data = pack.read_bytes()
        pack.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        assert not store.fsck().is_clean


def test_damage_of_what_this_process_holds_in_memory_is_found(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("large", random.Random(4).randbytes(9_000_000))  # so that the data has a pack of its own
            tx.write("a", b"1" * 1000)
            tx.write("b", b"2" * 1000)
        snapshot = store.snapshot("r@main")
        assert snapshot.read("a") == b"1" * 1000
        [chunk] = snapshot.row("a").chunks
        assert chunk.pack != tx.commit.root.pack
        [pack] = [pack for pack in packs_of(tmp_path / "s") if pack.stem == chunk.pack.hex()]
        data = bytearray(pack.read_bytes())
        data[chunk.offset + 30] ^= 1
        pack.write_bytes(data)
        assert snapshot.read("a") == b"1" * 1000  # from memory
        # The last piece of the large file is small, so it lies with the small files.
        damaged = {problem.where for problem in store.fsck().problems if problem.kind == "file"}
        assert damaged == {f"{tx.commit}:{path}" for path in ("a", "b", "large")}


class Sink:
    def __init__(self, pack):
        self.pack = pack

    def put_page(self, payload):
        return self.pack.append(FrameKind.PAGE, payload)


@pytest.mark.parametrize(
    ("lie", "kind", "found"),
    [
        (None, None, None),
        ("bytes of a chunk", "file", "holds bytes that don't match its digest"),
        ("digest of a file", "file", "do not match its digest"),
        ("size of a file", "page", "another size than its chunks make up"),
        ("digest of a page", "page", "its contents have the digest"),
        ("number of files", "page", "it holds 1 files of 4 bytes, not 2 of 4"),
    ],
)
def test_what_was_stored_wrong_but_whole_is_found(tmp_path, write, lie, kind, found):
    """Every checksum is right, but the content is not what its name says: a bug of a writer, or a forger."""
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit = write(store, "r@main", {"a": b"true"})
        pack = PackWriter(store._backend.objects)
        digest = digest_of(b"true")
        block = pack.append_block(b"lies" if lie == "bytes of a chunk" else b"true", [(digest, 0, 4)])
        row = {
            "path": "a",
            "size": 5 if lie == "size of a file" else 4,
            "digest": digest_of(b"lies") if lie == "digest of a file" else digest,
            "chunks": [
                {
                    "digest": digest,
                    "pack": block.pack,
                    "offset": block.offset,
                    "stored": block.stored_size,
                    "inner": 0,
                    "size": 4,
                }
            ],
            "attributes": None,
            "commit": bytes.fromhex(commit.id),
        }
        root = build_tree(pa.Table.from_pylist([row], schema=ROWS), sink=Sink(pack))
        pack.close()
        if lie == "digest of a page":
            root = replace(root, digest=bytes(32))
        elif lie == "number of files":
            root = replace(root, files=2)
        with store._backend.catalog.write() as connection:
            connection.execute(update(commits).values(root=json.dumps(root.to_json())))
        # The record tells of the root that was there first; that is not what this is about.
        # Nor that the pack was never entered into the catalog.
        problems = [problem for problem in store.fsck().problems if problem.kind not in {"commit", "pack"}]
        assert [(problem.kind, found in problem.found) for problem in problems] == ([(kind, True)] if kind else [])


@pytest.mark.parametrize(
    "paths",
    [
        ["../up"],
        ["a", "b/../../up"],
        ["/root"],
        ["a//b"],
        ["a/"],
        ["."],
        ["e\u0301"],
        ["a\x1b[2J"],
        ["a\x85"],
        ["x" * 1025],
        ["a", "a/b"],
        ["a", "a-b", "a/b"],
        ["d/a", "d/a.b/c", "d/a/b/c"],
        ["d/a", *(f"d/a-{number:04}" for number in range(5000)), "d/a/b"],
    ],
    ids=lambda paths: ascii(paths[0])[:12] + ascii(paths[-1])[:12],
)
def test_a_path_that_breaks_a_rule_is_found_though_every_digest_is_right(tmp_path, write, paths):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        commit = write(store, "r@main", {"a": b"true"})
        row = store.snapshot("r@main").row("a")
        pack = PackWriter(store._backend.objects)
        chunks = [asdict(chunk) for chunk in row.chunks]
        fields = {"size": 4, "digest": row.digest, "chunks": chunks, "attributes": None, "commit": row.commit}
        rows = pa.Table.from_pylist([{"path": path, **fields} for path in paths], schema=ROWS)
        root = build_tree(rows, sink=Sink(pack))
        pack.close()
        with store._backend.catalog.write() as connection:
            connection.execute(update(commits).values(root=json.dumps(root.to_json())))
        problems = [problem for problem in store.fsck().problems if problem.kind not in {"commit", "pack"}]
        assert {problem.kind for problem in problems} == {"page"}
        assert all(str(commit) == problem.where for problem in problems)


def test_each_damage_is_named_with_where_it_is(place):
    with vio.open_store(place) as store:
        first, second = store.commit("r@v1"), store.commit("r@main")
        pack = (
            store._backend.objects.url
            + "/"
            + next(item.key for item in store._backend.objects.list("packs/") if second.root.pack.hex() in item.key)
        )
    path = Path(pack)
    data = bytearray(path.read_bytes())
    data[second.root.offset + 30] ^= 1
    path.write_bytes(data)
    problems = check(place).problems
    assert {problem.kind for problem in problems} == {"pack", "page"}
    assert {problem.where for problem in problems} == {str(second), second.root.pack.hex()}
    assert any(f"byte {second.root.offset} of pack {second.root.pack.hex()}" in problem.found for problem in problems)
    assert str(first) not in {problem.where for problem in problems}


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE commits SET message = 'forged' WHERE number = 2", "no record that matches its row"),
        ("UPDATE commits SET lineage_id = '00000000000000000000000000000000'", "no record that matches"),
        ("UPDATE commits SET metadata = '{\"forged\": 1}' WHERE number = 1", "no record that matches"),
        ("UPDATE input_files SET path = 'forged'", "no record that matches"),
        ("DELETE FROM input_files", "no record that matches"),
        ("DELETE FROM provenance", "no record that matches"),
    ],
)
def test_a_catalog_that_says_something_else_than_the_records_is_found(place, statement, found):
    with vio.open_store(place) as store, store._backend.catalog.write() as connection:
        assert connection.execute(text(statement)).rowcount > 0
    problems = check(place).problems
    assert problems
    assert all(problem.kind == "commit" and found in problem.found for problem in problems)


def test_a_copy_of_content_that_is_stored_in_two_places_is_checked_in_both(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        data = random.Random(3).randbytes(5000)
        # Neither knows of the other, so both store it.
        one, two = store.transaction("r@main"), store.transaction("r@main")
        one.write("one", data)
        two.write("two", data)
        two._data.placer.flush()
        one.finish()
        two.finish()
        rows = {path: store.snapshot("r@main").row(path) for path in ("one", "two")}
        places = {chunk.pack.hex(): chunk for row in rows.values() for chunk in row.chunks}
        assert len(places) == 2
    for name, chunk in places.items():
        [pack] = [pack for pack in packs_of(tmp_path / "s") if pack.stem == name]
        original = pack.read_bytes()
        damaged = bytearray(original)
        damaged[chunk.offset + 100] ^= 1
        pack.write_bytes(damaged)
        assert "file" in {problem.kind for problem in check(tmp_path / "s").problems}
        pack.write_bytes(original)
    assert check(tmp_path / "s").is_clean


def test_an_empty_store_is_sound(store):
    assert store.fsck() == type(store.fsck())((), 0, 0, 0, 0)
    store.create_repo("r")
    assert store.fsck().is_clean


def names_in(report):
    return {(problem.kind, problem.where) for problem in report.problems}


def change_catalog(place, *statements):
    """Change rows behind the library's back, as a broken disk or a wrong restore does."""
    with contextlib.closing(sqlite3.connect(place / "catalog.db")) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0


def name_of(place, query):
    with contextlib.closing(sqlite3.connect(place / "catalog.db")) as connection:
        return connection.execute(query).fetchone()[0]


def test_a_pack_without_a_row_that_nothing_leads_to_is_told_of_and_no_damage(place):
    with vio.open_store(place) as store:
        pack = PackWriter(store._backend.objects)
        pack.append(FrameKind.PAGE, b"of a writer that died")
        name = pack.close().name
        report = store.fsck()
    assert report.is_clean
    assert report.orphans == (name,)


@pytest.mark.parametrize("state", ["gone", "deleted"])
def test_a_pack_that_commits_lead_to_without_a_row_is_a_damage(place, state):
    pack = name_of(place, "SELECT pack FROM commits WHERE number = 2 AND branch = 'main'")
    change_catalog(place, f"UPDATE packs SET state = 'deleted' WHERE name = '{pack}'")
    if state == "gone":
        change_catalog(place, f"DELETE FROM packs WHERE name = '{pack}'")
    report = check(place)
    assert ("pack", pack) in names_in(report)
    assert any("the record of commit" in problem.found for problem in report.problems)
    assert any("references it" in problem.found for problem in report.problems)


def test_a_pack_that_commits_lead_to_is_entered_again_on_demand_and_no_garbage_till_then(place):
    truth = read_everything(place)
    lost = name_of(place, "SELECT pack FROM commits WHERE number = 1 AND branch = 'main'")
    journal = name_of(place, "SELECT pack FROM journal")
    change_catalog(place, f"DELETE FROM packs WHERE name IN ('{lost}', '{journal}')")
    with vio.open_store(place) as store:
        assert store.fsck().orphans == ()
        store.gc(grace=timedelta(0), expire=timedelta(0))
        assert {pack.stem for pack in packs_of(place)} >= {lost, journal}
        assert set(store.fsck(repair=True).repaired) == {
            f"pack {name}, which commits reference, was entered in the catalog again" for name in (lost, journal)
        }
        assert store.fsck().is_clean
        store.compact(small_bytes=1 << 20)
        store.gc(grace=timedelta(0))
        assert store.fsck().is_clean
    assert read_everything(place) == truth


def test_a_lost_end_is_named_with_what_is_still_whole(place):
    pack = next(pack for pack in packs_of(place) if len(pack.read_bytes()) > 700_000)
    original, truth = pack.read_bytes(), read_everything(place)
    pack.write_bytes(original[:-10])
    found = [problem.found for problem in check(place).problems if problem.kind == "pack"]
    assert len(found) == 2
    assert "its last bytes are not a trailer" in found[0]
    assert f"it is {len(original) - 10} bytes long" in found[1]
    assert read_everything(place) == truth
    [offset, size] = decode_trailer(bytes.fromhex(pack.stem), original[-TRAILER_SIZE:])
    frames = len(list(walk_frames(pack.stem, original))) - 1
    pack.write_bytes(original[: offset + size - 1])
    found = [problem.found for problem in check(place).problems if problem.kind == "pack"]
    assert any(f"{frames} of its frames are intact" in one for one in found)
    assert read_everything(place) == truth
    damaged = bytearray(original[:offset])
    damaged[100] ^= 1
    pack.write_bytes(damaged)
    found = [problem.found for problem in check(place).problems if problem.kind == "pack"]
    assert any("no frame is intact from byte 32 to" in one for one in found)


def test_a_pack_full_of_what_only_looks_like_frames_ends_neither_fsck_nor_a_rebuild(place):
    pack = next(pack for pack in packs_of(place) if len(pack.read_bytes()) > 700_000)
    original = pack.read_bytes()
    [offset, _] = decode_trailer(bytes.fromhex(pack.stem), original[-TRAILER_SIZE:])
    pack.write_bytes(original[:offset] + of_headers(offset, 10_000))
    found = [problem.found for problem in check(place).problems if problem.kind == "pack"]
    assert any("too many bytes only look like frames" in one for one in found)
    assert any("of its frames are intact" in one for one in found)
    for file in place.glob("catalog.db*"):
        file.unlink()
    assert any("too many bytes only look like frames" in one for one in vio.rebuild_store(place).damaged)


def test_a_wrong_size_is_found_and_put_right_only_when_that_is_asked_for(place):
    pack = name_of(place, "SELECT name FROM packs")
    size = name_of(place, "SELECT size_bytes FROM packs")
    change_catalog(place, f"UPDATE packs SET size_bytes = 7 WHERE name = '{pack}'")
    for _ in range(2):
        report = check(place)
        assert names_in(report) == {("pack", pack)}
        assert "the catalog says 7" in report.problems[0].found
        assert report.repaired == ()
    with vio.open_store(place) as store:
        assert store.fsck(repair=True).repaired == (f"the size of pack {pack} was corrected from 7 to {size} bytes",)
        assert store.fsck().is_clean


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "any", catalog=catalog) as store:
        store.create_repo("r")
        write(store, "r@main", {"large": random.Random(6).randbytes(9_000_000), "small": b"s" * 50})
        write(store, "r@main", {"small": b"t" * 50})
        yield store


def set_state(store, name, state):
    with store._backend.catalog.write() as connection:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        connection.execute(update(packs).where(packs.c.name == name).values(state=state, condemned_at=at))


@pytest.mark.parametrize("which", ["pages and a record", "data"])
def test_a_pack_wrongly_noted_as_deleted_is_found_kept_by_gc_and_made_live_only_on_demand(any_store, write, which):
    head = any_store.commit("r@main")
    [chunk] = any_store.snapshot("r@main").row("large").chunks[:1]
    name = (head.root.pack if "pages" in which else chunk.pack).hex()
    assert (head.root.pack == chunk.pack) is False
    set_state(any_store, name, "deleted")
    for _ in range(2):
        report = any_store.fsck()
        assert names_in(report) == {("pack", name)}
        assert all("says deleted" in problem.found for problem in report.problems)
        assert report.repaired == ()
        # What is led to is not taken away, whatever its row says.
        assert any_store.gc(grace=timedelta(0), expire=timedelta(0)).deleted == 0
    repaired = any_store.fsck(repair=True).repaired
    assert repaired == (f"pack {name}, which commits reference, was set live again",)
    assert any_store.fsck().is_clean
    # New commits may refer to it again.
    any_store.create_repo("other")
    with any_store.transaction("other@main") as tx:
        tx.copy("r@main:large", to="large")
    assert any_store.gc(grace=timedelta(0), expire=timedelta(0)).deleted == 0
    assert any_store.snapshot("other@main").read("large") == any_store.snapshot("r@main~1").read("large")


def test_a_pack_noted_as_deleted_that_is_gone_is_not_brought_back_by_a_repair(any_store):
    [chunk] = any_store.snapshot("r@main").row("large").chunks[:1]
    set_state(any_store, chunk.pack.hex(), "deleted")
    any_store._backend.objects.delete([pack_key(chunk.pack.hex())])
    report = any_store.fsck(repair=True)
    assert not [done for done in report.repaired if "live" in done]
    assert {kind for kind, _ in names_in(report)} >= {"pack", "file"}


def test_a_deleted_pack_that_nothing_leads_to_stays_deleted(any_store, write):
    objects = any_store._backend.objects
    write(any_store, "r@main", {"other": random.Random(7).randbytes(9_000_000)})
    key = pack_key(any_store.snapshot("r@main").row("other").chunks[0].pack.hex())
    data = objects.get(key)
    any_store.reset("r@main", "r@main~1")
    assert any_store.gc(grace=timedelta(0), expire=timedelta(0)).deleted >= 1
    objects.put(key, [data])  # as if the collector had died before it deleted the object
    report = any_store.fsck(repair=True)
    assert (report.is_clean, report.repaired) == (True, ())
    assert any_store.gc(grace=timedelta(0), expire=timedelta(0)).deleted == 1
    assert key not in {item.key for item in objects.list("packs/")}


def test_a_condemned_pack_that_commits_lead_to_is_no_damage_but_told_and_made_live_on_demand_or_by_gc(any_store):
    [chunk] = any_store.snapshot("r@main").row("large").chunks[:1]
    name = chunk.pack.hex()
    for cure in (lambda: any_store.fsck(repair=True), lambda: any_store.gc(grace=timedelta(0))):
        set_state(any_store, name, "condemned")
        for _ in range(2):
            report = any_store.fsck()
            assert (report.is_clean, report.condemned, report.repaired) == (True, (name,), ())
        cure()
        assert any_store.fsck().condemned == ()
        assert any_store.snapshot("r@main").read("small") == b"t" * 50


@pytest.mark.parametrize("column", ["offset", "stored", "inner", "size"])
def test_a_place_of_the_index_that_holds_no_such_content_is_found_and_removed_on_demand(place, write, column):
    change_catalog(place, f"UPDATE chunks SET {column} = {column} + 1 WHERE size = 50")
    before = len(packs_of(place))
    assert {problem.kind for problem in check(place).problems} == {"index"}
    with vio.open_store(place) as store:
        assert store.fsck(repair=True).repaired == ("removed from the index: 1 place without the content",)
        assert store.fsck().is_clean
        # Who writes the content again stores it again.
        write(store, "r@main", {"again": b"s" * 50})
        assert store.snapshot("r@main").read("again") == b"s" * 50
        assert store.fsck().is_clean
    assert len(packs_of(place)) == before + 1


def test_after_the_repair_content_of_a_lost_pack_is_stored_again(tmp_path, write):
    content = {"large": random.Random(5).randbytes(9_000_000), "small": b"s" * 50}  # so that the pages lie elsewhere
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        head = write(store, "r@main", content)
        data_packs = {chunk.pack.hex() for path in content for chunk in store.snapshot("r@main").row(path).chunks}
    assert head.root.pack.hex() not in data_packs
    for pack in packs_of(tmp_path / "s"):
        if pack.stem in data_packs:
            pack.unlink()
    with vio.open_store(tmp_path / "s") as store:
        report = store.fsck(repair=True)
        lost = {("pack", name) for name in data_packs} | {("index", name) for name in data_packs}
        assert names_in(report) == lost | {("file", f"{head}:{path}") for path in content}
        assert len(report.repaired) == 1
        gone = write(store, "r@main", dict.fromkeys(content))
        new = write(store, "r@main", content)
        assert store.snapshot("r@main").read("small") == content["small"]
        assert store.snapshot("r@main").read("large") == content["large"]
        # Old commits read the content where it is now; the index is right, and no name was moved.
        report = store.fsck()
        assert (new.parent, gone.parent) == (gone.id, head.id)
        assert (report.is_clean, {one.where for one in report.leaving}) == (True, data_packs)
        assert store.snapshot(f"r@{head.id}").read("large") == content["large"]


@pytest.mark.parametrize(
    ("statement", "kind", "found"),
    [
        ("UPDATE branches SET head_id = 'gone' WHERE name = 'dev'", "head", "points at the commit gone"),
        ("UPDATE tags SET commit_id = 'gone'", "head", "points at the commit gone"),
        ("UPDATE commits SET number = 7 WHERE branch = 'dev'", "history", "do not follow on"),
        ("UPDATE commits SET segment_id = 99 WHERE branch = 'dev'", "history", "its segment of history is missing"),
        ("UPDATE commits SET parent_id = 'gone' WHERE branch = 'dev'", "history", "its parent gone is missing"),
        ("UPDATE commits SET parent_id = NULL WHERE branch = 'dev'", "history", "do not follow on no parent"),
        ("UPDATE segments SET first_number = 9 WHERE parent_id IS NOT NULL", "history", "do not follow on"),
        ("UPDATE segments SET parent_id = NULL WHERE parent_id IS NOT NULL", "history", "do not follow on"),
        ("DELETE FROM commits WHERE number = 1 AND branch = 'main'", "history", "is missing"),
        ("UPDATE provenance SET input_id = 'gone'", "lineage", "provenance.input_id names the commit gone"),
        ("UPDATE provenance SET commit_id = 'gone'", "lineage", "provenance.commit_id names the commit gone"),
        ("UPDATE input_files SET written_by = 'gone'", "lineage", "written_by names the commit gone"),
        ("UPDATE journal SET name = 'forged'", "journal", "no entry that matches its row"),
    ],
)
def test_rows_of_the_catalog_that_do_not_fit_each_other_are_found(place, statement, kind, found):
    change_catalog(place, statement)
    problems = check(place).problems
    assert any(problem.kind == kind and found in problem.found for problem in problems), problems


def test_a_store_that_is_out_of_reach_is_not_taken_for_damaged(place):
    class Unreachable:
        def __init__(self, objects, method):
            self.objects, self.method = objects, method

        def __getattr__(self, name):
            if name != self.method:
                return getattr(self.objects, name)
            raise StorageError("the network is gone: try again")

    with vio.open_store(place) as store:
        for method in ("get", "get_ranges", "list"):
            backend = replace(store._backend, objects=Unreachable(store._backend.objects, method))
            with pytest.raises(StorageError):
                check_store(backend, repair=True)
        assert store.fsck().is_clean


def test_progress_is_told_of_every_stage(place):
    told = []
    with vio.open_store(place) as store:
        store.fsck(progress=lambda *step: told.append(step))
    assert {stage for stage, _ in told} == {"packs", "commits", "pages", "index"}
    assert ("packs", len(packs_of(place))) in told
