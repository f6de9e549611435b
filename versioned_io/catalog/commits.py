"""Commits in the catalog: found by ID, by name, by place in history; and published, which is the commit point."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa
from sqlalchemy import Connection, Row, Select, func, insert, select, update

from versioned_io.catalog.chunk_index import insert_chunks, insert_packs, refuse_condemned
from versioned_io.catalog.repos import BranchRow, branch_names, find_repo_id
from versioned_io.catalog.tables import branches, commits, input_files, journal, provenance, repos, segments, tags
from versioned_io.catalog.values import Commit, CommitState, CommitStats, InputFile, RunInfo
from versioned_io.errors import CommitNotFoundError, HeadMovedError, RefNotFoundError, RefSyntaxError
from versioned_io.identifiers import CommitId, LineageId, PackName, is_id
from versioned_io.packs.writer import PackInfo
from versioned_io.pages.schema import PageRef
from versioned_io.refs import Ref

_LOG_BATCH = 200
_SHOWN = 5
_PREFIX = re.compile(r"[0-9a-f]{4,31}")


@dataclass(frozen=True, slots=True)
class Publication:
    """One commit that is durable in its pack and waits for its branch to take it."""

    branch: BranchRow
    commit: Commit
    pack: PackName
    inputs: tuple[InputFile, ...]
    reused_packs: frozenset[PackName]
    parent_generation: int = 0
    """Of the tree that the commit's pages were built on, whose pages it shares."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The packs that a transaction wrote, and the chunks in them, as `DataWriter.new_chunks` returns them."""

    packs: Sequence[PackInfo]
    chunks: pa.Table


def publish(connection: Connection, publications: Sequence[Publication], content: StoredContent, now: datetime) -> None:
    """Move every branch to its new commit, or raise and leave the catalog as it was.

    This is the commit point: all that the commits refer to is already durable, and once the catalog
    transaction around this call ends, every reader sees all of them. Of several writers that start
    from the same head, exactly one succeeds.

    Raises:
        HeadMovedError: A branch points at another commit than `BranchRow.head`, or that one's tree lies elsewhere.
            Rebase on it and try again.
        RefNotFoundError: A branch was deleted meanwhile.
        PackCondemnedError: A pack that the commits refer to is being collected; begin the transaction again.

    Cost: 4 SELECTs, 1 UPDATE and 1 to 4 INSERTs a commit, 1 INSERT for all packs and one for all chunks.

    Source: docs/design/0002-commit-protocol.md, "The commit point".
    """
    # One order for all writers, so that two transactions over the same branches can't wait for each other.
    ordered = sorted(publications, key=lambda publication: publication.branch.id)
    for publication in ordered:
        _lock_head(connection, publication.branch)
        refuse_condemned(connection, publication.reused_packs)
    parents = hold_trees(connection, [one.commit.parent for one in ordered if one.commit.parent is not None])
    for publication in ordered:
        _refuse_moved_tree(parents, publication)
    insert_packs(connection, content.packs, now)
    insert_chunks(connection, content.chunks)
    for publication in ordered:
        _insert_commit(connection, publication, parents)
    for publication in ordered:
        moved = update(branches).where(branches.c.id == publication.branch.id).values(head_id=publication.commit.id)
        connection.execute(moved)


def insert_beside(connection: Connection, publication: Publication, packs: Sequence[PackInfo], now: datetime) -> None:
    """Enter a commit that no branch leads to yet; who calls this moves one there in the same catalog transaction.

    Cost: 4 SELECTs, 2 to 5 INSERTs.
    """
    parent = publication.commit.parent
    held = hold_trees(connection, [] if parent is None else [parent])
    insert_packs(connection, packs, now)
    _insert_commit(connection, publication, held)


def _lock_head(connection: Connection, branch: BranchRow) -> None:
    """Hold the branch until the transaction ends (SQLite holds everything already), if its head is the expected one."""
    found = connection.execute(
        select(branches.c.head_id, branches.c.epoch).where(branches.c.id == branch.id).with_for_update()
    ).one_or_none()
    if found is None:
        raise RefNotFoundError(branch.ref.repo, branch.ref.branch, reason="the branch was deleted meanwhile")
    if (found.head_id, found.epoch) != (branch.head, branch.epoch):
        raise HeadMovedError(str(branch.ref), branch.head, found.head_id)


@dataclass(frozen=True, slots=True)
class HeldTree:
    """A commit whose tree stays where it is until the transaction ends."""

    segment_id: int
    number: int
    generation: int


def hold_trees(connection: Connection, commit_ids: Iterable[CommitId]) -> dict[CommitId, HeldTree]:
    """Return the commits, whose trees nobody can write again before the transaction ends.

    Cost: 1 SELECT for each.
    """
    found: dict[CommitId, HeldTree] = {}
    # In the order in which compaction holds them, so that neither waits for the other for ever.
    for commit_id in sorted(set(commit_ids)):
        query = select(commits.c.segment_id, commits.c.number, commits.c.generation).where(commits.c.id == commit_id)
        found[commit_id] = HeldTree(*connection.execute(query.with_for_update(read=True)).one())
    return found


def _refuse_moved_tree(parents: Mapping[CommitId, HeldTree], publication: Publication) -> None:
    """Raise when the parent's tree was written again: its old pages, which the new commit shares, may be garbage."""
    parent = publication.commit.parent
    if parent is not None and parents[parent].generation != publication.parent_generation:
        raise HeadMovedError(str(publication.branch.ref), parent, f"{parent}, whose tree was written again")


def _insert_commit(connection: Connection, publication: Publication, parents: Mapping[CommitId, HeldTree]) -> None:
    commit = publication.commit
    connection.execute(
        insert(commits).values(
            id=commit.id,
            lineage_id=commit.lineage_id,
            repo_id=publication.branch.repo_id,
            branch=commit.branch,
            segment_id=_continue_segment(connection, commit, parents),
            number=commit.number,
            parent_id=commit.parent,
            message=commit.message,
            author=commit.author,
            metadata=json.dumps(dict(commit.metadata)),
            created_at=commit.created_at,
            run=None if commit.run is None else json.dumps(asdict(commit.run)),
            stats=json.dumps(asdict(commit.stats)),
            root=None if commit.root is None else json.dumps(commit.root.to_json()),
            pack=publication.pack,
            epoch=commit.epoch,
            generation=commit.generation,
            merged_id=commit.merged,
            touched=commit.touched,
        )
    )
    if commit.provenance:
        connection.execute(
            insert(provenance), [{"commit_id": commit.id, "input_id": source} for source in commit.provenance]
        )
    if publication.inputs:
        connection.execute(
            insert(input_files),
            [
                {
                    "commit_id": commit.id,
                    "input_id": source.commit,
                    "path": source.path,
                    "output": source.output,
                    "digest": bytes.fromhex(source.digest),
                    "written_by": source.written_by,
                }
                for source in publication.inputs
            ],
        )


def _continue_segment(connection: Connection, commit: Commit, parents: Mapping[CommitId, HeldTree]) -> int:
    """Return the segment of *commit*: its parent's, unless another child has continued that one already."""
    parent_segment: int | None = None
    if commit.parent is not None:
        parent = parents[commit.parent]
        parent_segment = parent.segment_id
        connection.execute(select(segments.c.id).where(segments.c.id == parent_segment).with_for_update())
        last = connection.execute(
            select(func.max(commits.c.number)).where(commits.c.segment_id == parent_segment)
        ).scalar_one()
        if last == parent.number:
            return parent_segment
    begun = insert(segments).values(parent_id=parent_segment, first_number=commit.number).returning(segments.c.id)
    return int(connection.execute(begun).scalar_one())


_COMMIT = select(commits, repos.c.name.label("repo")).join(repos, repos.c.id == commits.c.repo_id)


def get_commit(connection: Connection, commit_id: str) -> Commit:
    """Return the commit *commit_id*.

    Raises:
        CommitNotFoundError: There is none.

    Cost: 2 SELECTs.
    """
    found = _load(connection, _COMMIT.where(commits.c.id == commit_id))
    if not found:
        raise CommitNotFoundError(commit_id)
    return found[0]


def get_commits(connection: Connection, commit_ids: Sequence[str]) -> dict[CommitId, Commit]:
    """Return the commits of *commit_ids* that exist, by ID.

    Cost: 2 SELECTs for each 500 IDs.
    """
    found: dict[CommitId, Commit] = {}
    for start in range(0, len(commit_ids), 500):
        batch = _load(connection, _COMMIT.where(commits.c.id.in_(commit_ids[start : start + 500])))
        found |= {commit.id: commit for commit in batch}
    return found


def commits_of_lineage(connection: Connection, lineage_id: str) -> list[Commit]:
    """Return the commit set of a lineage ID, oldest first.

    Cost: 2 SELECTs, in time proportional to the set.
    """
    return _load(
        connection, _COMMIT.where(commits.c.lineage_id == lineage_id).order_by(commits.c.created_at, commits.c.id)
    )


def resolve_ref(connection: Connection, ref: Ref) -> Commit | None:
    """Return the commit that *ref* names, or None for a branch that has no commit yet.

    A name is looked for among branches, then tags, then, if it has the form of an ID, commits and
    lineage IDs; a lineage ID means the newest commit of the repo that carries it, or, where the repo
    took no part in it, the newest that any commit of that lineage was made from.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such repo or ref, or history is not that long.

    Cost: 2 to 6 SELECTs, whatever the length of history; one more for each fork that ``~n`` crosses.
    """
    repo_id = find_repo_id(connection, ref.repo)
    if ref.at is not None:
        commit = get_commit(connection, head_at(connection, repo_id, ref, ref.at))
        return _ancestor(connection, ref, commit) if ref.ancestor else commit
    commit_id, exists = _named_commit(connection, repo_id, ref.name)
    if commit_id is None and not exists:
        raise RefNotFoundError(ref.repo, ref.name, branch_names(connection, repo_id))
    if commit_id is None:
        if ref.ancestor:
            raise RefNotFoundError(ref.repo, f"{ref.name}~{ref.ancestor}", reason="the branch has no commit yet")
        return None
    commit = get_commit(connection, commit_id)
    return _ancestor(connection, ref, commit) if ref.ancestor else commit


def _named_commit(connection: Connection, repo_id: int, name: str) -> tuple[str | None, bool]:
    branch = connection.execute(
        select(branches.c.head_id).where(branches.c.repo_id == repo_id, branches.c.name == name)
    ).one_or_none()
    if branch is not None:
        return branch.head_id, True
    tag = connection.execute(
        select(tags.c.commit_id).where(tags.c.repo_id == repo_id, tags.c.name == name)
    ).scalar_one_or_none()
    if tag is not None:
        return tag, False
    if not is_id(name):
        return _by_prefix(connection, repo_id, name), False
    own = select(commits.c.id).where(commits.c.repo_id == repo_id)
    found = connection.execute(own.where(commits.c.id == name)).scalar_one_or_none()
    if found is None:
        newest = (
            own.where(commits.c.lineage_id == name).order_by(commits.c.created_at.desc(), commits.c.id.desc()).limit(1)
        )
        found = connection.execute(newest).scalar_one_or_none()
    if found is None:
        found = _newest_input_of_lineage(connection, repo_id, name)
    return found, False


def _by_prefix(connection: Connection, repo_id: int, prefix: str) -> str | None:
    """Return the only commit of the repo whose ID, or else whose lineage ID, begins with *prefix*."""
    if _PREFIX.fullmatch(prefix) is None:
        return None
    for column in (commits.c.id, commits.c.lineage_id):
        begins = (column >= prefix) & (column < f"{prefix}g")
        query = select(column).where(commits.c.repo_id == repo_id, begins).distinct().order_by(column).limit(_SHOWN)
        found = list(connection.execute(query).scalars())
        if len(found) > 1:
            raise RefSyntaxError(prefix, f"several IDs begin with it: {', '.join(found)}")
        if found:
            newest = select(commits.c.id).where(commits.c.repo_id == repo_id, column == found[0])
            return str(connection.execute(newest.order_by(commits.c.number.desc()).limit(1)).scalar_one())
    return None


def head_at(connection: Connection, repo_id: int, ref: Ref, at: datetime) -> CommitId:
    """Return the commit that a branch pointed at at a time: by the journal where it was moved, else by its history.

    Raises:
        RefNotFoundError: There is no such branch, it did not exist yet, or it had no commit yet.

    Cost: 2 SELECTs, and 1 or 2 for each fork that lies between.
    """
    head = connection.execute(
        select(branches.c.head_id).where(branches.c.repo_id == repo_id, branches.c.name == ref.name)
    ).one_or_none()
    if head is None:
        raise RefNotFoundError(ref.repo, ref.name, branch_names(connection, repo_id))
    newest, name = head.head_id, ref.name
    query = select(journal).where(journal.c.repo == ref.repo).order_by(journal.c.sequence.desc())
    for entry in connection.execute(query):
        is_renaming = entry.action == "rename_branch" and json.loads(entry.details)["to"] == name
        if not (entry.name == name or is_renaming) or entry.action in {"protect_branch", "set_retention"}:
            continue
        name = entry.name
        if entry.at <= at:
            break
        if entry.action in {"create_branch", "create_repo"}:
            raise RefNotFoundError(ref.repo, ref.place, reason="the branch did not exist yet")
        newest = entry.old_id
    found = None if newest is None else _newest_before(connection, newest, at)
    if found is None:
        raise RefNotFoundError(ref.repo, ref.place, reason="the branch had no commit yet")
    return found


def _newest_before(connection: Connection, newest: str, at: datetime) -> CommitId | None:
    """Return the newest commit of the history up to *newest* that was made at *at* or before."""
    start = connection.execute(select(commits.c.segment_id, commits.c.number).where(commits.c.id == newest)).one()
    segment, limit = start.segment_id, start.number
    while segment is not None:
        own = (commits.c.segment_id == segment) & (commits.c.number <= limit) & (commits.c.created_at <= at)
        found = connection.execute(
            select(commits.c.id).where(own).order_by(commits.c.number.desc()).limit(1)
        ).scalar_one_or_none()
        if found is not None:
            return CommitId(found)
        row = connection.execute(select(segments).where(segments.c.id == segment)).one()
        segment, limit = row.parent_id, row.first_number - 1
    return None


def _newest_input_of_lineage(connection: Connection, repo_id: int, lineage_id: str) -> str | None:
    source, consumer = commits.alias("source"), commits.alias("consumer")
    query = (
        select(source.c.id)
        .join(provenance, provenance.c.input_id == source.c.id)
        .join(consumer, consumer.c.id == provenance.c.commit_id)
        .where(source.c.repo_id == repo_id, consumer.c.lineage_id == lineage_id)
        .order_by(source.c.created_at.desc(), source.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def _ancestor(connection: Connection, ref: Ref, commit: Commit) -> Commit:
    found = ancestor_at(connection, commit.id, commit.number - ref.ancestor)
    if found is None:
        raise RefNotFoundError(
            ref.repo, f"{ref.name}~{ref.ancestor}", reason=f"its history has only {commit.number} commits"
        )
    return get_commit(connection, found)


def ancestor_at(connection: Connection, commit_id: CommitId, number: int) -> CommitId | None:
    """Return the commit of that number that a commit stands on, or that it is; None when there is none.

    Cost: 2 SELECTs, and 1 for each branching between them.
    """
    query = select(commits.c.segment_id, commits.c.number).where(commits.c.id == commit_id)
    start = connection.execute(query).one()
    if not 1 <= number <= start.number:
        return None
    segment = start.segment_id
    while True:
        row = connection.execute(select(segments).where(segments.c.id == segment)).one()
        if number >= row.first_number:
            found = select(commits.c.id).where(commits.c.segment_id == segment, commits.c.number == number)
            return CommitId(connection.execute(found).scalar_one())
        segment = row.parent_id


def history_batch(connection: Connection, newest: CommitId, limit: int = _LOG_BATCH) -> list[Commit]:
    """Return *newest* and the commits before it, newest first: at most *limit*, or fewer at the end of a segment.

    Cost: 3 SELECTs, whatever the length of history.
    """
    row = connection.execute(select(commits.c.segment_id, commits.c.number).where(commits.c.id == newest)).one_or_none()
    if row is None:
        raise CommitNotFoundError(newest)
    query = _COMMIT.where(commits.c.segment_id == row.segment_id, commits.c.number <= row.number)
    return _load(connection, query.order_by(commits.c.number.desc()).limit(limit))


def _load(connection: Connection, query: Select[tuple[object, ...]]) -> list[Commit]:
    rows = connection.execute(query).all()
    if not rows:
        return []
    sources = _provenance_of(connection, [row.id for row in rows])
    return [_to_commit(row, tuple(sources.get(row.id, ()))) for row in rows]


def _provenance_of(connection: Connection, commit_ids: Sequence[str]) -> dict[str, list[CommitId]]:
    found: dict[str, list[CommitId]] = {}
    for start in range(0, len(commit_ids), 500):
        batch = provenance.c.commit_id.in_(commit_ids[start : start + 500])
        for commit_id, source in connection.execute(select(provenance).where(batch).order_by(provenance.c.input_id)):
            found.setdefault(commit_id, []).append(CommitId(source))
    return found


def _to_commit(row: Row[tuple[object, ...]], sources: tuple[CommitId, ...]) -> Commit:
    fields = row._mapping  # noqa: SLF001 (SQLAlchemy's public way to read a row by name)
    run, root = fields["run"], fields["root"]
    return Commit(
        id=CommitId(fields["id"]),
        lineage_id=LineageId(fields["lineage_id"]),
        repo=fields["repo"],
        branch=fields["branch"],
        number=fields["number"],
        parent=fields["parent_id"],
        provenance=sources,
        message=fields["message"],
        author=fields["author"],
        metadata=json.loads(fields["metadata"]),
        created_at=fields["created_at"],
        run=None if run is None else RunInfo(**json.loads(run)),
        stats=CommitStats(**json.loads(fields["stats"])),
        root=None if root is None else PageRef.from_json(json.loads(root)),
        merged=fields["merged_id"],
        epoch=fields["epoch"],
        generation=fields["generation"],
        state=CommitState(fields["state"]),
        touched=fields["touched"],
    )


def commit_exists(connection: Connection, commit_id: CommitId) -> bool:
    """Say whether a commit was published: what a writer asks whose reply was lost.

    Cost: 1 SELECT.
    """
    return connection.execute(select(commits.c.id).where(commits.c.id == commit_id)).one_or_none() is not None


def pack_of(connection: Connection, commit_id: CommitId) -> PackName:
    """Return the pack that holds the record of a commit.

    Cost: 1 SELECT.
    """
    return PackName(connection.execute(select(commits.c.pack).where(commits.c.id == commit_id)).scalar_one())


def heads(connection: Connection) -> Iterator[CommitId]:
    """Yield every commit that a branch or a tag points at.

    Cost: 2 SELECTs.
    """
    yield from connection.execute(select(branches.c.head_id).where(branches.c.head_id.is_not(None))).scalars()
    yield from connection.execute(select(tags.c.commit_id)).scalars()
