"""Whatever one value is changed to, in the catalog or in a record, fsck names it or is right to be clean."""

import contextlib
import json
import shutil
import sqlite3
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.catalog.tables import metadata
from versioned_io.errors import VersionedError
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.walking import walk_frames
from versioned_io.storage.packs.writer import PackWriter

WRONG = ("x", b"\xff\x00")
MORE = (None, -7, 1.5, "", "01a2294a0000700080000000000000ff", "[]", '{"x": 1}')
OF_PIPELINES = {"results", "failures", "claims", "disagreements", "datum_states", "datum_uses"}
"""Tables of an index, which fsck does not check: a run reads the results themselves, and makes lost ones again."""
TABLES = [table.name for table in metadata.sorted_tables if table.name not in OF_PIPELINES]
HARMLESS = {
    # What may be anything: nobody but the catalog knows, and each value is one that there might be.
    ("subscriptions", "name"),
    ("subscriptions", "sequence"),
    ("subscriptions", "partitions"),
    ("subscriptions", "key_template"),
    ("subscriptions", "relay"),
    ("subscriptions", "consumer"),
    ("subscriptions", "created_at"),
    ("subscriptions", "cursor_id"),
    *(("due_keys", name) for name in ("key", "sequence", "requested_at", "announced_at", "owner", "claimed_sequence")),
    *(("due_keys", name) for name in ("claimed_until", "done_sequence", "done_commit_id", "done_by")),
    ("idempotency_keys", "created_at"),
    ("idempotency_keys", "key"),
    ("packs", "created_at"),
    ("packs", "condemned_at"),
    ("commits", "touched"),
    ("commits", "mark_epoch"),
    ("properties", "value"),
    ("properties", "name"),
    ("repos", "id"),
    ("segments", "id"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A closed store with a row in nearly every table."""
    place = tmp_path_factory.mktemp("whole") / "s"
    with vio.create_store(place) as store:
        store.create_repo("r", description="what it holds")
        store.create_repo("other")
        for number in range(3):
            with store.transaction("r@main", idempotency_key=f"k{number}") as tx:
                tx.write("a", b"%d" % number)
                tx.write(f"d/{number}", b"x" * number)
        store.create_branch("r@dev", at="r@main~1")
        with store.transaction("r@dev") as tx:
            tx.write("dev", b"1")
        store.create_tag("r@v1", at="r@main~1")
        store.set_retention("r@dev", keep_last=2)
        with store.run("job"):
            store.snapshot("r@main").read("a")
            with store.transaction("other@main") as tx:
                tx.write("made", b"1")
        following = store.subscription("follower", "r@main", partitions="d/{number}", key="{number}")
        following.collect()
        assert store.fsck().is_clean
    return place


def fsck_of(place):
    """Return the problems that fsck names; an error of ours is one, too."""
    try:
        with vio.open_store(place) as store:
            return [f"{problem.kind}: {problem.found}" for problem in store.fsck().problems]
    except VersionedError as error:
        return [str(error)]


@pytest.mark.parametrize("table", TABLES)
def test_one_value_of_the_catalog_is_changed_by_hand(whole, tmp_path, table):
    change_each(whole, tmp_path, table, WRONG)


@pytest.mark.soak
@pytest.mark.parametrize("table", TABLES)
def test_one_value_of_the_catalog_is_changed_by_hand_to_more(whole, tmp_path, table):
    change_each(whole, tmp_path, table, MORE)


def change_each(whole, tmp_path, table, values):
    place = tmp_path / "s"
    shutil.copytree(whole, place)
    original = (place / "catalog.db").read_bytes()
    unnoticed = []
    for column in metadata.tables[table].columns:
        for value in values:
            (place / "catalog.db").write_bytes(original)
            with contextlib.closing(sqlite3.connect(place / "catalog.db")) as connection, connection:
                changed = f'UPDATE "{table}" SET "{column.name}" = ? WHERE rowid = (SELECT max(rowid) FROM "{table}")'
                try:
                    before = connection.execute(f'SELECT "{column.name}" FROM "{table}" ORDER BY rowid DESC').fetchone()
                    if before is None or before[0] == value or connection.execute(changed, [value]).rowcount != 1:
                        continue
                    after = connection.execute(f'SELECT "{column.name}" FROM "{table}" ORDER BY rowid DESC').fetchone()
                except sqlite3.IntegrityError:
                    continue  # SQLite itself refuses it
            if before != after and not fsck_of(place) and (table, column.name) not in HARMLESS:
                unnoticed.append((column.name, before[0], after[0]))
    assert unnoticed == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE commits SET state = 'forgotten' WHERE id = (SELECT head_id FROM branches WHERE name = 'dev')",
        "UPDATE branches SET head_id = (SELECT parent_id FROM commits WHERE id = head_id) WHERE id = 1",
        "DELETE FROM branches WHERE name = 'dev'",
        "DELETE FROM tags",
        "DELETE FROM journal WHERE action = 'create_tag'",
        "DELETE FROM journal WHERE action = 'create_branch'",
        "DELETE FROM journal",
        "UPDATE branches SET is_protected = 1 WHERE name = 'dev'",
        "UPDATE branches SET retention = NULL WHERE name = 'dev'",
        "UPDATE repos SET description = 'forged' WHERE name = 'r'",
        "INSERT INTO tags SELECT repo_id, 'forged', commit_id, created_at FROM tags",
    ],
)
def test_names_that_the_packs_do_not_tell_of_are_found(whole, tmp_path, statement):
    place = tmp_path / "s"
    shutil.copytree(whole, place)
    with contextlib.closing(sqlite3.connect(place / "catalog.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0
    assert fsck_of(place)


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE commits SET "order" = "order" + 1 WHERE id = (SELECT head_id FROM branches WHERE name = 'dev')""",
        """UPDATE commits SET "order" = "order" - 1 WHERE parent_id IS NOT NULL""",
        """UPDATE commits SET "order" = 0""",
        """UPDATE confirmations SET "order" = "order" + 1""",
    ],
)
def test_an_order_that_the_records_do_not_tell_is_found(whole, tmp_path, statement):
    place = tmp_path / "s"
    shutil.copytree(whole, place)
    with vio.open_store(place) as store, store.run("checks"), store.transaction("r@main") as tx:
        tx.write("a", b"2")  # equal bytes, confirmed
        tx.write("b", b"new")
    assert not fsck_of(place)
    with contextlib.closing(sqlite3.connect(place / "catalog.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0
    assert any(problem.startswith("lineage: ") for problem in fsck_of(place))


def forged(place, change):
    """Put packs into the store whose records and entries are *change*d, with right checksums; yield each."""
    objects = open_objects(place)
    for path in sorted((place / "packs").rglob("*.pack")):
        for frame, payload in walk_frames(path.stem, path.read_bytes()):
            if frame.kind in {FrameKind.COMMIT, FrameKind.JOURNAL}:
                for document in change(json.loads(bytes(payload))):
                    pack = PackWriter(objects)
                    pack.append(frame.kind, json.dumps(document).encode())
                    yield pack.close().name


def test_malformed_records_end_neither_fsck_nor_gc_nor_a_rebuild(whole, tmp_path):
    place = tmp_path / "s"
    shutil.copytree(whole, place)

    def change(document):
        for name in document:
            for value in (None, [], "x", -1, {"x": 1}):
                if document[name] != value:
                    yield {**document, name: value}

    names = set(list(forged(place, change))[::7])
    assert len(names) > 50
    with vio.open_store(place) as store:
        before = {branch.name: branch.head for branch in store.branches("r")}
        for call in (store.fsck, lambda: store.gc(grace=timedelta(0)), lambda: store.compact(small_bytes=1 << 20)):
            with contextlib.suppress(VersionedError):
                call()
    for file in place.glob("catalog.db*"):
        file.unlink()
    report = vio.rebuild_store(place)
    assert len(report.damaged) > 100
    with vio.open_store(place) as store:
        heads = {branch.head for branch in store.branches("r")}
        assert (
            set(before.values()) <= {commit.id for head in heads if head for commit in store.log(f"r@{head}")} | heads
        )
        with contextlib.suppress(VersionedError):
            store.fsck()
