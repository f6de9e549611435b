"""The commit point: branches move to commits that are durable in their packs, all at once or not at all.

Each statement is built once, with bound parameters: building one takes as long as running it.

Source: docs/design/0002-commit-protocol.md, "The commit point".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, bindparam, func, insert, select, update

from versioned_io.catalog.chunk_index import insert_chunks, insert_packs, refuse_condemned
from versioned_io.catalog.noting import note_made
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.catalog.tables import branches, commits, confirmations, input_files, provenance, segments
from versioned_io.errors import HeadMovedError, RefNotFoundError
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.commits import Commit, Confirmation, InputFile
from versioned_io.model.damages import Healed
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.places import PackInfo

if TYPE_CHECKING:
    import pyarrow as pa


_LOCKED_HEAD: Final = (
    select(branches.c.head_id, branches.c.epoch).where(branches.c.id == bindparam("branch")).with_for_update()
)
_HELD_TREE: Final = (
    select(commits.c.segment_id, commits.c.number, commits.c.generation)
    .where(commits.c.id == bindparam("commit"))
    .with_for_update(read=True)
)
_LOCKED_SEGMENT: Final = select(segments.c.id).where(segments.c.id == bindparam("segment")).with_for_update()
_LAST_NUMBER: Final = select(func.max(commits.c.number)).where(commits.c.segment_id == bindparam("segment"))
_MOVE_HEAD: Final = update(branches).where(branches.c.id == bindparam("branch")).values(head_id=bindparam("head"))
_BEGIN_SEGMENT: Final = insert(segments).returning(segments.c.id)
_INSERT_COMMIT: Final = insert(commits)
_INSERT_PROVENANCE: Final = insert(provenance)
_INSERT_INPUTS: Final = insert(input_files)
_INSERT_CONFIRMATIONS: Final = insert(confirmations)


@dataclass(frozen=True, slots=True)
class Publication:
    """One commit that is durable in its pack, and the branch that will point at it."""

    branch: BranchRow
    commit: Commit
    pack: PackName
    inputs: tuple[InputFile, ...]
    reused_packs: frozenset[PackName]
    parent_generation: int = 0
    """The generation of the parent's tree, whose pages the commit's tree shares."""
    confirmed: tuple[Confirmation, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The packs that a transaction wrote, and the chunks in them, as `ChunkPlacer.new_chunks` returns them.

    Attributes:
        healed: Contents that are damaged in other packs, with their repaired copies in packs of this store.
    """

    packs: Sequence[PackInfo]
    chunks: "pa.Table"
    healed: Sequence[Healed] = ()


@dataclass(frozen=True, slots=True)
class HeldTree:
    """A locked commit: its tree can't be rewritten before the transaction ends."""

    segment_id: int
    number: int
    generation: int


def publish(
    connection: Connection,
    publications: Sequence[Publication],
    content: StoredContent,
    now: datetime,
    *,
    held: Mapping[CommitId, HeldTree] | None = None,
) -> None:
    """Move every branch to its new commit, or raise and leave the catalog as it was.

    This is the commit point. Everything that the commits refer to is already durable. Once the catalog transaction
    around this call ends, every reader sees all of them. Of several writers that start from the same head, exactly
    one succeeds.

    Args:
        held: The locked trees of the heads. The caller has locked them and the branches since it read the heads in
            this transaction. None locks them and compares the heads now.

    Raises:
        HeadMovedError: A branch points at another commit than `BranchRow.head`, or that commit's tree was rewritten.
            Rebase on it and try again.
        RefNotFoundError: A branch was deleted meanwhile. Create it, or commit to another one.
        PackCondemnedError: A pack that the commits refer to is being collected. Begin the transaction again.

    Cost: 4 SELECTs, 1 UPDATE and 1 to 5 INSERTs a commit, 1 INSERT for all packs and one for all chunks.

    Source: docs/design/0002-commit-protocol.md, "The commit point".
    """
    # All writers and housekeeping lock in the order of `versioned_io.catalog.row_locks`, so that none deadlock.
    ordered = sorted(publications, key=lambda publication: publication.branch.id)
    parents = held
    if parents is None:
        for publication in ordered:
            _lock_head(connection, publication.branch)
        parents = hold_trees(connection, [one.commit.parent for one in ordered if one.commit.parent is not None])
    for publication in ordered:
        _refuse_moved_tree(parents, publication)
    refuse_condemned(connection, frozenset[PackName]().union(*(one.reused_packs for one in ordered)))
    insert_packs(connection, content.packs, now)
    if content.healed:
        from versioned_io.catalog.damages import enter_healed

        enter_healed(connection, content.healed, now)
    insert_chunks(connection, content.chunks)
    for publication in ordered:
        _insert_commit(connection, publication, parents)
    for publication in ordered:
        connection.execute(_MOVE_HEAD, {"branch": publication.branch.id, "head": publication.commit.id})


def insert_beside(connection: Connection, publication: Publication, packs: Sequence[PackInfo], now: datetime) -> None:
    """Insert a commit without moving a branch; the caller moves one to it in the same catalog transaction.

    Cost: 4 SELECTs, 2 to 5 INSERTs.
    """
    parent = publication.commit.parent
    held = hold_trees(connection, [] if parent is None else [parent])
    insert_packs(connection, packs, now)
    _insert_commit(connection, publication, held)


def _lock_head(connection: Connection, branch: BranchRow) -> None:
    """Lock the branch until the transaction ends, or raise if its head isn't the expected one.

    On SQLite a writing transaction already holds the whole catalog.
    """
    found = connection.execute(_LOCKED_HEAD, {"branch": branch.id}).one_or_none()
    if found is None:
        raise RefNotFoundError(branch.ref.repo, branch.ref.branch, reason="the branch was deleted meanwhile")
    if (found.head_id, found.epoch) != (branch.head, branch.epoch):
        raise HeadMovedError(str(branch.ref), branch.head, found.head_id)


def hold_trees(connection: Connection, commit_ids: Iterable[CommitId]) -> dict[CommitId, HeldTree]:
    """Lock the commits, so that nobody can rewrite their trees before the transaction ends, and return them.

    Cost: 1 SELECT for each.
    """
    found: dict[CommitId, HeldTree] = {}
    # Ascending, as `versioned_io.catalog.row_locks` says.
    for commit_id in sorted(set(commit_ids)):
        found[commit_id] = HeldTree(*connection.execute(_HELD_TREE, {"commit": commit_id}).one())
    return found


def _refuse_moved_tree(parents: Mapping[CommitId, HeldTree], publication: Publication) -> None:
    """Raise when the parent's tree was rewritten: its old pages, which the new commit shares, may be garbage."""
    parent = publication.commit.parent
    if parent is not None and parents[parent].generation != publication.parent_generation:
        raise HeadMovedError(str(publication.branch.ref), parent, f"{parent}, whose tree was rewritten")


def _insert_commit(connection: Connection, publication: Publication, parents: Mapping[CommitId, HeldTree]) -> None:
    commit = publication.commit
    segment_id = _continue_segment(connection, commit, parents)
    insert_commit_row(connection, commit, publication.pack, repo_id=publication.branch.repo_id, segment_id=segment_id)
    insert_sources(connection, commit.id, commit.provenance, publication.inputs)
    insert_confirmations(connection, commit, publication.confirmed)
    note_made(connection, Beacon(BeaconKind.COMMIT, commit.id))


def insert_commit_row(connection: Connection, commit: Commit, pack: PackName, *, repo_id: int, segment_id: int) -> None:
    """Insert *commit*, whose record is in *pack*, without its sources. Cost: 1 INSERT."""
    values = {
        "id": commit.id,
        "lineage_id": commit.lineage_id,
        "repo_id": repo_id,
        "branch": commit.branch,
        "segment_id": segment_id,
        "number": commit.number,
        "parent_id": commit.parent,
        "message": commit.message,
        "author": commit.author,
        "metadata": json.dumps(dict(commit.metadata)),
        "created_at": commit.created_at,
        "run": None if commit.run is None else json.dumps(asdict(commit.run)),
        "stats": json.dumps(asdict(commit.stats)),
        "root": None if commit.root is None else json.dumps(commit.root.to_json()),
        "pack": pack,
        "state": commit.state.value,
        "epoch": commit.epoch,
        "generation": commit.generation,
        "merged_id": commit.merged,
        "touched": commit.touched,
        "order": commit.order,
        "inputs_are_complete": commit.inputs_are_complete,
    }
    connection.execute(_INSERT_COMMIT, values)


def insert_sources(
    connection: Connection, commit_id: CommitId, made_from: Sequence[CommitId], files: Sequence[InputFile]
) -> None:
    """Insert the commits and the versions of files that a commit was made from. Cost: at most 2 INSERTs."""
    if made_from:
        connection.execute(_INSERT_PROVENANCE, [{"commit_id": commit_id, "input_id": one} for one in made_from])
    if files:
        rows = [
            {
                "commit_id": commit_id,
                "input_id": file.commit,
                "path": file.path,
                "output": file.output,
                "digest": bytes.fromhex(file.digest),
                "written_by": file.written_by,
                "confirmed_by": file.confirmed_by,
            }
            for file in files
        ]
        connection.execute(_INSERT_INPUTS, rows)


def insert_confirmations(connection: Connection, commit: Commit, confirmed: Sequence[Confirmation]) -> None:
    """Insert the files that a commit's run wrote again with the same bytes. Cost: at most 1 INSERT."""
    if confirmed:
        own = {"commit_id": commit.id, "order": commit.order}
        connection.execute(_INSERT_CONFIRMATIONS, [{**own, **one._asdict()} for one in confirmed])


def _continue_segment(connection: Connection, commit: Commit, parents: Mapping[CommitId, HeldTree]) -> int:
    """Return the segment of *commit*: its parent's, or a new one if another child already continues that segment."""
    parent_segment: int | None = None
    if commit.parent is not None:
        parent = parents[commit.parent]
        parent_segment = parent.segment_id
        if connection.dialect.name != "sqlite":  # its writers hold the whole catalog
            connection.execute(_LOCKED_SEGMENT, {"segment": parent_segment})
        if connection.execute(_LAST_NUMBER, {"segment": parent_segment}).scalar_one() == parent.number:
            return parent_segment
    begun = {"parent_id": parent_segment, "first_number": commit.number}
    return int(connection.execute(_BEGIN_SEGMENT, begun).scalar_one())
