"""What the catalog must say when things have moved to other packs."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from versioned_io.catalog.collection import live_roots
from versioned_io.catalog.tables import chunks, commits, journal
from versioned_io.catalog.values import CommitState
from versioned_io.identifiers import CommitId, PackName
from versioned_io.packs.frames import FrameRef, pack_name
from versioned_io.pages.schema import PageRef

_BATCH = 500


@dataclass(frozen=True, slots=True)
class MovedBlock:
    """A block of chunks that lies somewhere else now."""

    old: FrameRef
    new: FrameRef


@dataclass(frozen=True, slots=True)
class NewTree:
    """A commit whose tree was written again, and the pack with its new record.

    Attributes:
        generation: Of the tree that it had; only that one is replaced.
    """

    commit: CommitId
    generation: int
    root: PageRef | None
    pack: PackName


@dataclass(frozen=True, slots=True)
class MovedRecord:
    """A commit record that was copied to another pack."""

    old: PackName
    new: PackName


def live_generations(connection: Connection) -> Iterator[tuple[CommitId, int, PageRef | None]]:
    """Yield every commit whose data is kept, with its tree and how often that was written again. Cost: 1 SELECT."""
    query = select(commits.c.id, commits.c.generation, commits.c.root).where(commits.c.state == CommitState.LIVE.value)
    for row in connection.execute(query):
        yield row.id, row.generation, None if row.root is None else PageRef.from_json(json.loads(row.root))


def hold_commits(connection: Connection, commit_ids: Collection[CommitId]) -> None:
    """Let no commit be made on these until the transaction ends. Cost: 1 SELECT for each 500."""
    ordered = sorted(commit_ids)
    for start in range(0, len(ordered), _BATCH):
        held = select(commits.c.id).where(commits.c.id.in_(ordered[start : start + _BATCH])).order_by(commits.c.id)
        connection.execute(held.with_for_update(key_share=True)).all()


def live_trees(connection: Connection) -> Iterator[tuple[CommitId, PageRef | None]]:
    """Yield every commit whose data is kept, with its tree. Cost: 1 SELECT."""
    return live_roots(connection)


def commits_of_repo(connection: Connection, repo_id: int) -> Iterator[CommitId]:
    """Yield the commits of a repo whose data is kept. Cost: 1 SELECT."""
    own = (commits.c.repo_id == repo_id) & (commits.c.state == CommitState.LIVE.value)
    yield from connection.execute(select(commits.c.id).where(own)).scalars()


def packs_of(connection: Connection, commit_ids: Sequence[CommitId]) -> dict[CommitId, PackName]:
    """Return which pack holds the record of each commit. Cost: 1 SELECT for each 500."""
    found: dict[CommitId, PackName] = {}
    for start in range(0, len(commit_ids), _BATCH):
        query = select(commits.c.id, commits.c.pack).where(commits.c.id.in_(commit_ids[start : start + _BATCH]))
        found |= {CommitId(row.id): PackName(row.pack) for row in connection.execute(query)}
    return found


def records_in(connection: Connection, names: Collection[PackName]) -> dict[PackName, list[CommitId]]:
    """Return the commits whose records lie in the packs, by pack. Cost: 1 SELECT for each 500 packs."""
    found: dict[PackName, list[CommitId]] = {}
    for batch in _batches(names):
        for row in connection.execute(select(commits.c.id, commits.c.pack).where(commits.c.pack.in_(batch))):
            found.setdefault(PackName(row.pack), []).append(CommitId(row.id))
    return found


def entries_in(connection: Connection, names: Collection[PackName]) -> dict[PackName, set[int]]:
    """Return the journal's entries that lie in the packs, by pack. Cost: 1 SELECT for each 500 packs."""
    found: dict[PackName, set[int]] = {}
    for batch in _batches(names):
        for row in connection.execute(select(journal.c.sequence, journal.c.pack).where(journal.c.pack.in_(batch))):
            found.setdefault(PackName(row.pack), set()).add(row.sequence)
    return found


def forget_chunks(connection: Connection, digests: Sequence[bytes]) -> None:
    """Forget where these contents are, so that they are stored again when they come again. Cost: 1 DELETE for 500."""
    for start in range(0, len(digests), _BATCH):
        connection.execute(delete(chunks).where(chunks.c.digest.in_(digests[start : start + _BATCH])))


def move_chunks(connection: Connection, blocks: Sequence[MovedBlock]) -> None:
    """Note where chunks lie now, of those that the catalog still knows at their old place. Cost: 1 UPDATE a block."""
    if not blocks:
        return
    moved = update(chunks).where(chunks.c.pack == bindparam("old_pack"), chunks.c.offset == bindparam("old_offset"))
    connection.execute(
        moved.values(pack=bindparam("new_pack"), offset=bindparam("new_offset"), stored=bindparam("new_stored")),
        [
            {
                "old_pack": pack_name(block.old.pack),
                "old_offset": block.old.offset,
                "new_pack": pack_name(block.new.pack),
                "new_offset": block.new.offset,
                "new_stored": block.new.stored_size,
            }
            for block in blocks
        ],
    )


def move_trees(connection: Connection, trees: Sequence[NewTree]) -> None:
    """Give commits their new trees and records; a tree that somebody else has written again meanwhile stays as it is.

    Cost: 1 UPDATE for each.
    """
    for tree in trees:
        current = (commits.c.id == tree.commit) & (commits.c.generation == tree.generation)
        root = None if tree.root is None else json.dumps(tree.root.to_json())
        connection.execute(
            update(commits).where(current).values(root=root, generation=tree.generation + 1, pack=tree.pack)
        )


def move_records(connection: Connection, records: Mapping[CommitId, MovedRecord]) -> None:
    """Note where commit records lie now, of those that are still where they were. Cost: 1 UPDATE for each."""
    for commit_id, moved in records.items():
        current = (commits.c.id == commit_id) & (commits.c.pack == moved.old)
        connection.execute(update(commits).where(current).values(pack=moved.new))


def move_journal(connection: Connection, moved: Mapping[int, PackName]) -> None:
    """Note where entries of the journal lie now. Cost: 1 UPDATE for each."""
    for sequence, pack in moved.items():
        connection.execute(update(journal).where(journal.c.sequence == sequence).values(pack=pack))


def _batches(names: Collection[PackName]) -> Iterator[list[PackName]]:
    ordered = sorted(names)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
