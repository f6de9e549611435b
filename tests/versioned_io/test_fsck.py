"""Every damage is found and named; nothing is found where there is none."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text, update

import versioned_io as vio
from versioned_io.catalog.tables import commits
from versioned_io.chunks.cutting import digest_of
from versioned_io.errors import VersionedError
from versioned_io.packs.frames import FrameKind
from versioned_io.packs.writer import PackWriter
from versioned_io.pages.build import build_tree
from versioned_io.pages.schema import ROWS


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
            assert report.problems, f"byte {at} of {pack.name}"
            assert {problem.kind for problem in report.problems} <= {"commit", "page", "file", "journal"}
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
        [pack] = packs_of(Path(store.url))
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
        assert {problem.where for problem in store.fsck().problems} == {f"{tx.commit}:{p}" for p in ("a", "b", "large")}


class Sink:
    def __init__(self, pack):
        self.pack = pack

    def put_page(self, payload):
        return self.pack.append(FrameKind.PAGE, payload)


@pytest.mark.parametrize(
    ("lie", "kind", "found"),
    [
        (None, None, None),
        ("bytes of a chunk", "file", "holds other bytes than its name says"),
        ("digest of a file", "file", "do not make up its digest"),
        ("size of a file", "file", "do not make up its size"),
        ("digest of a page", "page", "its content makes the digest"),
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
        problems = [problem for problem in store.fsck().problems if problem.kind != "commit"]
        assert [(problem.kind, found in problem.found) for problem in problems] == ([(kind, True)] if kind else [])


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
    assert {problem.kind for problem in problems} == {"commit", "page"}
    assert {problem.where for problem in problems} == {str(second)}
    assert any(f"byte {second.root.offset} of pack {second.root.pack.hex()}" in problem.found for problem in problems)
    assert str(first) not in {problem.where for problem in problems}


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE commits SET message = 'forged' WHERE number = 2", "no record that says what the catalog says"),
        ("UPDATE commits SET lineage_id = '00000000000000000000000000000000'", "no record that says"),
        ("UPDATE commits SET metadata = '{\"forged\": 1}' WHERE number = 1", "no record that says"),
        ("UPDATE input_files SET path = 'forged'", "no record that says"),
        ("DELETE FROM input_files", "no record that says"),
        ("DELETE FROM provenance", "no record that says"),
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
        two._data.flush()
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
