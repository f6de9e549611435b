"""What a check asks of the catalog: whether its rows fit each other; and the few repairs that it may make."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from versioned_io.catalog.chunk_index import LIVE
from versioned_io.catalog.collection import DELETED
from versioned_io.catalog.tables import (
    branches,
    chunks,
    commits,
    input_files,
    journal,
    packs,
    provenance,
    repos,
    segments,
    tags,
)
from versioned_io.identifiers import PackName

_STREAMED = 10_000

Place: TypeAlias = tuple[bytes, str, int, int, int, int]
"""Where the index says that a content is: digest, pack, offset, stored, inner, size."""


def pack_rows(connection: Connection) -> dict[PackName, tuple[int, str]]:
    """Return (size in bytes, state) of every pack that the catalog knows, deleted ones too. Cost: 1 SELECT."""
    query = select(packs.c.name, packs.c.size_bytes, packs.c.state)
    return {PackName(row.name): (row.size_bytes, row.state) for row in connection.execute(query)}


def named_heads(connection: Connection) -> list[tuple[str, str | None, str | None]]:
    """Return (name, what it points at, the commit that there is) for every branch and tag. Cost: 2 SELECTs."""
    found: list[tuple[str, str | None, str | None]] = []
    for table, head in ((branches, branches.c.head_id), (tags, tags.c.commit_id)):
        query = (
            select(repos.c.name, table.c.name, head, commits.c.id)
            .select_from(table)
            .outerjoin(repos, repos.c.id == table.c.repo_id)
            .outerjoin(commits, commits.c.id == head)
        )
        found += [(f"{repo}@{name}", wanted, there) for repo, name, wanted, there in connection.execute(query)]
    return found


def broken_links(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield (commit, what is wrong) wherever numbers, parents and segments do not make one chain.

    Cost: 1 SELECT, which the database answers with what is broken only; time proportional to all commits.
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
        # What compares with NULL is neither true nor false, and does not fit.
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
    """Yield (commit, what is wrong) for provenance and input files of commits that are not there. Cost: 5 SELECTs."""
    columns = (
        (provenance, provenance.c.commit_id),
        (provenance, provenance.c.input_id),
        (input_files, input_files.c.commit_id),
        (input_files, input_files.c.input_id),
        (input_files, input_files.c.written_by),
    )
    for table, column in columns:
        query = (
            select(table.c.commit_id, column).outerjoin(commits, commits.c.id == column).where(commits.c.id.is_(None))
        )
        for commit_id, missing in connection.execute(query.distinct()):
            yield commit_id, f"{table.name}.{column.name} tells of the commit {missing}, which is missing"


def record_places(connection: Connection) -> Iterator[tuple[str, PackName]]:
    """Yield (what, pack) for every pack that a commit or an entry of the journal says its record is in."""
    for commit_id, pack in connection.execute(select(commits.c.id, commits.c.pack)):
        yield f"the record of commit {commit_id}", PackName(pack)
    # Of an entry that a rebuild found to be lost, no pack is known.
    for sequence, pack in connection.execute(select(journal.c.sequence, journal.c.pack).where(journal.c.pack != "")):
        yield f"entry {sequence} of the journal", PackName(pack)


def index_batches(connection: Connection) -> Iterator[list[Place]]:
    """Yield all places of contents in batches. Cost: 1 SELECT, streamed."""
    columns = (chunks.c.digest, chunks.c.pack, chunks.c.offset, chunks.c.stored, chunks.c.inner, chunks.c.size)
    for rows in connection.execute(select(*columns), execution_options={"yield_per": _STREAMED}).partitions():
        yield [(digest, pack, offset, stored, inner, size) for digest, pack, offset, stored, inner, size in rows]


def remove_places(connection: Connection, places: Sequence[Place]) -> int:
    """Remove these places of contents, unless they say something else by now; return how many there were.

    The contents are stored again when somebody writes them again. Cost: 1 DELETE each.
    """
    removed = 0
    for digest, pack, offset, stored, inner, size in places:
        place = (chunks.c.offset == offset, chunks.c.stored == stored, chunks.c.inner == inner, chunks.c.size == size)
        wrong = delete(chunks).where(chunks.c.digest == digest, chunks.c.pack == pack, *place)
        removed += connection.execute(wrong).rowcount
    return removed


def enter_packs(connection: Connection, sizes: Mapping[PackName, int], now: datetime) -> list[PackName]:
    """Note those of the packs as live that the catalog has no row of, and return them. Cost: 1 INSERT each."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    entered: list[PackName] = []
    for name, size in sorted(sizes.items()):
        row = {"name": name, "size_bytes": size, "state": LIVE, "created_at": now}
        # One that was noted as deleted meanwhile stays so.
        made = dialect.insert(packs).values(row).on_conflict_do_nothing().returning(packs.c.name)
        entered += connection.execute(made).scalars()
    return entered


def revive_deleted(connection: Connection, sizes: Mapping[PackName, int]) -> list[PackName]:
    """Note those of the packs as live that are noted as deleted, with their sizes in bytes, and return them.

    Only for packs whose objects are there and that something kept leads to. Cost: 1 UPDATE each.
    """
    revived: list[PackName] = []
    for name, size in sorted(sizes.items()):
        wrong = update(packs).where(packs.c.name == name, packs.c.state == DELETED)
        live = wrong.values(state=LIVE, condemned_at=None, size_bytes=size).returning(packs.c.name)
        revived += connection.execute(live).scalars()
    return revived


def correct_size(connection: Connection, name: PackName, wrong: int, right: int) -> bool:
    """Correct the size of a pack, unless it changed meanwhile. Cost: 1 UPDATE."""
    corrected = update(packs).where(packs.c.name == name, packs.c.size_bytes == wrong).values(size_bytes=right)
    return connection.execute(corrected).rowcount == 1
