"""The catalog's side of fsck: queries for rows that contradict each other, and the few repairs that fsck may make."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import DELETED
from versioned_io.catalog.tables import (
    branches,
    chunks,
    commits,
    confirmations,
    input_files,
    journal,
    metadata,
    packs,
    provenance,
    repos,
    segments,
    tags,
)
from versioned_io.catalog.upserts import upsert
from versioned_io.model.identifiers import PackName

_STREAMED = 10_000


class IndexRow(NamedTuple):
    """A row of the chunk index; see `ChunkRef`."""

    digest: bytes
    pack: str
    offset: int
    stored: int
    inner: int
    size: int


class NamedHead(NamedTuple):
    """A branch or tag, the commit ID that it points at, and that ID again if the commit exists."""

    name: str
    wanted: str | None
    there: str | None


def pack_rows(connection: Connection) -> dict[PackName, tuple[int, str]]:
    """Return (size in bytes, state) of every pack with a row, deleted ones included. Cost: 1 SELECT."""
    query = select(packs.c.name, packs.c.size_bytes, packs.c.state)
    return {PackName(row.name): (row.size_bytes, row.state) for row in connection.execute(query)}


def named_heads(connection: Connection) -> list[NamedHead]:
    """Return all branches and tags with the commits that they point at. Cost: 2 SELECTs."""
    found: list[NamedHead] = []
    for table, head in ((branches, branches.c.head_id), (tags, tags.c.commit_id)):
        query = (
            select(repos.c.name, table.c.name, head, commits.c.id)
            .select_from(table)
            .outerjoin(repos, repos.c.id == table.c.repo_id)
            .outerjoin(commits, commits.c.id == head)
        )
        found += [NamedHead(f"{repo}@{name}", wanted, there) for repo, name, wanted, there in connection.execute(query)]
    return found


def broken_links(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield (commit, problem) for each commit whose number, parent and segment do not form one chain.

    Cost: 1 SELECT, in time proportional to all commits. The database returns the broken ones only.
    """
    parent, same = commits.alias("parent"), commits.c.number == segments.c.first_number
    continues = and_(parent.c.segment_id == commits.c.segment_id, parent.c.number == commits.c.number - 1)
    forks = and_(parent.c.segment_id == segments.c.parent_id, parent.c.number == commits.c.number - 1)
    begins = and_(commits.c.parent_id.is_(None), segments.c.parent_id.is_(None), commits.c.number == 1)
    fits: ColumnElement[bool] = or_(and_(~same, continues), and_(same, forks), and_(same, begins))
    query = (
        select(commits.c.id, commits.c.number, commits.c.parent_id, segments.c.id.label("run"), parent.c.number)
        .outerjoin(segments, segments.c.id == commits.c.segment_id)
        .outerjoin(parent, parent.c.id == commits.c.parent_id)
        # A comparison with NULL is neither true nor false; such a row is broken as well.
        .where(or_(~fits, fits.is_(None)))
    )
    for commit_id, number, wanted, run, parent_number in connection.execute(query):
        if run is None:
            yield commit_id, "its segment of history is missing"
        elif wanted is not None and parent_number is None:
            yield commit_id, f"its parent {wanted} is missing"
        else:
            before = "no parent" if wanted is None else f"its parent {wanted}, number {parent_number}"
            yield commit_id, f"its number {number} and its segment do not follow on {before}"


def dangling_sources(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield (commit, problem) for provenance and input files that name a missing commit. Cost: 8 SELECTs."""
    columns = (
        (provenance, provenance.c.commit_id),
        (provenance, provenance.c.input_id),
        (input_files, input_files.c.commit_id),
        (input_files, input_files.c.input_id),
        (input_files, input_files.c.written_by),
        (input_files, input_files.c.confirmed_by),
        (confirmations, confirmations.c.commit_id),
        (confirmations, confirmations.c.written_by),
    )
    for table, column in columns:
        query = (
            select(table.c.commit_id, column)
            .outerjoin(commits, commits.c.id == column)
            .where(commits.c.id.is_(None), column.is_not(None))
        )
        for commit_id, missing in connection.execute(query.distinct()):
            yield commit_id, f"{table.name}.{column.name} names the commit {missing}, which is missing"


def misdated_confirmations(connection: Connection) -> Iterator[str]:
    """Yield each commit whose confirmations have another order than itself. Cost: 1 SELECT."""
    query = select(confirmations.c.commit_id).join(commits, commits.c.id == confirmations.c.commit_id)
    yield from connection.execute(query.where(confirmations.c.order != commits.c.order).distinct()).scalars()


def dangling_references(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield (row, problem) for each row with a dangling foreign key, except for links that other checks report.

    Cost: 1 SELECT for each foreign key.
    """
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            if table.name in _LINKED and key.column.table.name in {"commits", "segments"}:
                continue
            there = key.column.table.alias("there")
            wanted = key.parent
            query = select(*table.primary_key.columns, wanted.label("wanted")).select_from(table)
            missing = query.outerjoin(there, there.c[key.column.name] == wanted).where(
                wanted.is_not(None), there.c[key.column.name].is_(None)
            )
            for row in connection.execute(missing):
                where = f"{table.name} {', '.join(map(str, row[:-1]))}"
                yield where, f"its {wanted.name} is {row[-1]!r}, and {key.column.table.name} has no such row"


_LINKED: Final = {"commits", "segments", "branches", "tags", "provenance", "input_files"}
"""The tables whose links to commits and segments have checks of their own, with better messages."""


def record_places(connection: Connection) -> Iterator[tuple[str, PackName]]:
    """Yield (record, pack) for every commit and journal entry: a description, and the pack its row names."""
    for commit_id, pack in connection.execute(select(commits.c.id, commits.c.pack)):
        yield f"the record of commit {commit_id}", PackName(pack)
    # An entry that a rebuild recorded as lost has no pack.
    for sequence, pack in connection.execute(select(journal.c.sequence, journal.c.pack).where(journal.c.pack != "")):
        yield f"entry {sequence} of the journal", PackName(pack)


def index_batches(connection: Connection) -> Iterator[list[IndexRow]]:
    """Yield all rows of the chunk index in batches. Cost: 1 SELECT, streamed."""
    columns = (chunks.c.digest, chunks.c.pack, chunks.c.offset, chunks.c.stored, chunks.c.inner, chunks.c.size)
    for rows in connection.execute(select(*columns), execution_options={"yield_per": _STREAMED}).partitions():
        yield [IndexRow(*row) for row in rows]


def remove_places(connection: Connection, places: Sequence[IndexRow]) -> int:
    """Delete these rows of the chunk index unless they have changed meanwhile; return how many were deleted.

    The next writer of such a content stores it again. Cost: 1 DELETE each.
    """
    removed = 0
    for digest, pack, offset, stored, inner, size in places:
        place = (chunks.c.offset == offset, chunks.c.stored == stored, chunks.c.inner == inner, chunks.c.size == size)
        wrong = delete(chunks).where(chunks.c.digest == digest, chunks.c.pack == pack, *place)
        removed += connection.execute(wrong).rowcount
    return removed


def enter_packs(connection: Connection, sizes: Mapping[PackName, int], now: datetime) -> list[PackName]:
    """Insert packs that have no row, as live, and return them. Cost: 1 INSERT each."""
    entered: list[PackName] = []
    for name, size in sorted(sizes.items()):
        row = {"name": name, "size_bytes": size, "state": LIVE, "created_at": now}
        # A pack that was marked as deleted meanwhile stays deleted.
        made = upsert(connection, packs).values(row).on_conflict_do_nothing().returning(packs.c.name)
        entered += connection.execute(made).scalars()
    return entered


def revive_deleted(connection: Connection, sizes: Mapping[PackName, int]) -> list[PackName]:
    """Mark deleted packs as live again, with their sizes in bytes, and return those that were deleted.

    Only for packs whose objects exist and that a kept commit references. Cost: 1 UPDATE each.
    """
    revived: list[PackName] = []
    for name, size in sorted(sizes.items()):
        wrong = update(packs).where(packs.c.name == name, packs.c.state == DELETED)
        live = wrong.values(state=LIVE, condemned_at=None, size_bytes=size).returning(packs.c.name)
        revived += connection.execute(live).scalars()
    return revived


def correct_size(connection: Connection, name: PackName, wrong: int, right: int) -> bool:
    """Correct the size of a pack, unless it has changed meanwhile. Cost: 1 UPDATE."""
    corrected = update(packs).where(packs.c.name == name, packs.c.size_bytes == wrong).values(size_bytes=right)
    return connection.execute(corrected).rowcount == 1
