"""Updates of the catalog after chunks, trees, records or journal entries moved to other packs."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from versioned_io.catalog.collection import live_roots
from versioned_io.catalog.tables import chunks, commits, journal, repos
from versioned_io.model.commits import CommitState, RunInfo, parse_root
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import FrameRef, PageRef, pack_name

_BATCH = 500


@dataclass(frozen=True, slots=True)
class MovedBlock:
    """A block of chunks that moved to another frame."""

    old: FrameRef
    new: FrameRef


@dataclass(frozen=True, slots=True)
class NewTree:
    """A commit whose tree was written again, and the pack with its new record.

    Attributes:
        generation: The generation of the old tree; a tree of another generation is not replaced.
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


class TreeGeneration(NamedTuple):
    """The tree of a commit whose data is kept, and the number of times that it was rewritten."""

    commit: CommitId
    generation: int
    root: PageRef | None


def live_generations(connection: Connection) -> Iterator[TreeGeneration]:
    """Yield the tree of every commit whose data is kept. Cost: 1 SELECT."""
    query = select(commits.c.id, commits.c.generation, commits.c.root).where(commits.c.state == CommitState.LIVE.value)
    for row in connection.execute(query):
        yield TreeGeneration(row.id, row.generation, parse_root(row.root))


class KeptTree(NamedTuple):
    """The tree of a commit whose data is kept, and the commit's parent."""

    id: CommitId
    parent: CommitId | None
    root: PageRef | None


def kept_trees(connection: Connection) -> Iterator[KeptTree]:
    """Yield the tree of every commit whose data is kept, in the order of history. Cost: 1 SELECT."""
    query = select(commits.c.id, commits.c.parent_id, commits.c.root)
    kept = query.where(commits.c.state == CommitState.LIVE.value).order_by(commits.c.segment_id, commits.c.number)
    for row in connection.execute(kept):
        yield KeptTree(row.id, row.parent_id, parse_root(row.root))


def live_trees(connection: Connection) -> Iterator[tuple[CommitId, PageRef | None]]:
    """Yield every commit whose data is kept, with its tree. Cost: 1 SELECT."""
    return live_roots(connection)


def commits_of_repo(connection: Connection, repo_id: int) -> Iterator[CommitId]:
    """Yield the commits of a repo whose data is kept. Cost: 1 SELECT."""
    own = (commits.c.repo_id == repo_id) & (commits.c.state == CommitState.LIVE.value)
    yield from connection.execute(select(commits.c.id).where(own)).scalars()


def packs_of(connection: Connection, commit_ids: Sequence[CommitId]) -> dict[CommitId, PackName]:
    """Return the pack with the record of each commit. Cost: 1 SELECT for each 500."""
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
    """Delete contents from the chunk index, so that the next writer stores them again. Cost: 1 DELETE for each 500."""
    for start in range(0, len(digests), _BATCH):
        connection.execute(delete(chunks).where(chunks.c.digest.in_(digests[start : start + _BATCH])))


def move_chunks(connection: Connection, blocks: Sequence[MovedBlock]) -> None:
    """Record the new places of chunks whose row still has the old place. Cost: 1 UPDATE a block."""
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


def move_trees(connection: Connection, trees: Sequence[NewTree], *, keeps_round: bool = False) -> None:
    """Record the new trees and records of commits; skip a tree that another process has rewritten meanwhile.

    Args:
        keeps_round: Whether every pack that the new trees reference has a round, no later than the commit's. Otherwise
            the commits lose their round and are walked again: see `versioned_io.catalog.rounds`.

    Cost: 1 UPDATE for each.
    """
    if not trees:
        return
    current = (commits.c.id == bindparam("of_id")) & (commits.c.generation == bindparam("of_generation"))
    moved = (
        update(commits)
        .where(current)
        .values(root=bindparam("new_root"), generation=bindparam("new_generation"), pack=bindparam("new_pack"))
    )
    connection.execute(
        moved if keeps_round else moved.values(mark_epoch=None),
        [
            {
                "of_id": tree.commit,
                "of_generation": tree.generation,
                "new_root": None if tree.root is None else json.dumps(tree.root.to_json()),
                "new_generation": tree.generation + 1,
                "new_pack": tree.pack,
            }
            for tree in sorted(trees, key=lambda tree: tree.commit)
        ],
    )


def move_records(connection: Connection, records: Mapping[CommitId, MovedRecord], *, keeps_round: bool = False) -> None:
    """Record the new packs of commit records that have not moved meanwhile. Cost: 1 UPDATE for each.

    Args:
        keeps_round: As for `move_trees`.
    """
    if not records:
        return
    current = (commits.c.id == bindparam("of_id")) & (commits.c.pack == bindparam("old_pack"))
    moved = update(commits).where(current).values(pack=bindparam("new_pack"))
    connection.execute(
        moved if keeps_round else moved.values(mark_epoch=None),
        [{"of_id": commit_id, "old_pack": one.old, "new_pack": one.new} for commit_id, one in sorted(records.items())],
    )


def move_journal(connection: Connection, moved: Mapping[int, PackName]) -> None:
    """Record the new packs of journal entries. Cost: 1 UPDATE for each."""
    for sequence, pack in moved.items():
        connection.execute(update(journal).where(journal.c.sequence == sequence).values(pack=pack))


class RecordedRun(NamedTuple):
    """A commit, the name of its repo, and its recorded run."""

    commit: CommitId
    repo: str
    run: RunInfo


def recorded_runs(connection: Connection) -> Iterator[RecordedRun]:
    """Yield every commit with a recorded run. Cost: 1 SELECT."""
    query = select(commits.c.id, repos.c.name, commits.c.run).join(repos, commits.c.repo_id == repos.c.id)
    for row in connection.execute(query.where(commits.c.run.is_not(None)).order_by(commits.c.id)):
        yield RecordedRun(CommitId(row.id), row.name, RunInfo(**json.loads(row.run)))


def rewrite_runs(connection: Connection, runs: Mapping[CommitId, RunInfo]) -> None:
    """Replace the recorded runs of commits. Cost: 1 UPDATE for each."""
    for commit_id, run in sorted(runs.items()):
        connection.execute(update(commits).where(commits.c.id == commit_id).values(run=json.dumps(asdict(run))))


def _batches(names: Collection[PackName]) -> Iterator[list[PackName]]:
    ordered = sorted(names)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
