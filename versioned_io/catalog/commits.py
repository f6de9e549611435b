"""Commits in the catalog: found by ID, by name, by place in history."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from versioned_io.catalog.repos import TAG_STAYS, BranchRow, branch_names, find_branch, find_repo_id, is_tag
from versioned_io.catalog.tables import branches, commits, journal, provenance, repos, segments, tags
from versioned_io.catalog.values import Commit, CommitState, CommitStats, RunInfo
from versioned_io.errors import CommitNotFoundError, RefNotFoundError, RefSyntaxError
from versioned_io.identifiers import CommitId, LineageId, PackName, is_id
from versioned_io.pages.schema import PageRef
from versioned_io.refs import BranchRef, Ref

_LOG_BATCH = 200
_SHOWN = 5
_SEPARATOR: Final = ","
_PREFIX = re.compile(r"[0-9a-f]{4,31}")


# In the same statement: a second one for what most commits have none or one of takes as long as this one.
_SOURCES: Final = (
    select(func.aggregate_strings(provenance.c.input_id, _SEPARATOR))
    .where(provenance.c.commit_id == commits.c.id)
    .scalar_subquery()
    .label("sources")
)
_COMMIT: Final = select(commits, repos.c.name.label("repo"), _SOURCES).join(repos, repos.c.id == commits.c.repo_id)
_HEAD: Final = (
    select(
        branches.c.id.label("of_branch"),
        branches.c.repo_id.label("of_repo"),
        branches.c.epoch.label("set_by"),
        commits,
        repos.c.name.label("repo"),
        _SOURCES,
    )
    .join(repos, repos.c.id == branches.c.repo_id)
    .outerjoin(commits, commits.c.id == branches.c.head_id)
    .where(repos.c.name == bindparam("in_repo"), branches.c.name == bindparam("named"))
)
_COMMIT_BY_ID: Final = _COMMIT.where(commits.c.id == bindparam("commit"))
_EXISTS: Final = select(commits.c.id).where(commits.c.id == bindparam("commit"))


def get_commit(connection: Connection, commit_id: str) -> Commit:
    """Return the commit *commit_id*.

    Raises:
        CommitNotFoundError: There is none.

    Cost: 1 SELECT.
    """
    row = connection.execute(_COMMIT_BY_ID, {"commit": commit_id}).one_or_none()
    if row is None:
        raise CommitNotFoundError(commit_id)
    return _to_commit(row)


def find_head(connection: Connection, ref: BranchRef) -> tuple[BranchRow, Commit | None]:
    """Return a branch and the commit that it points at now, if it has one.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such repo or branch; the error names those that exist.

    Cost: 1 SELECT; three more to say what exists instead.
    """
    row = connection.execute(_HEAD, {"in_repo": ref.repo, "named": ref.branch}).one_or_none()
    if row is None:
        found = find_branch(connection, ref)
        return found, None if found.head is None else get_commit(connection, found.head)
    commit = None if row.id is None else _to_commit(row)
    return BranchRow(row.of_branch, row.of_repo, ref, None if commit is None else commit.id, row.set_by), commit


def get_commits(connection: Connection, commit_ids: Sequence[str]) -> dict[CommitId, Commit]:
    """Return the commits of *commit_ids* that exist, by ID.

    Cost: 1 SELECT for each 500 IDs.
    """
    found: dict[CommitId, Commit] = {}
    for start in range(0, len(commit_ids), 500):
        batch = _load(connection, _COMMIT.where(commits.c.id.in_(commit_ids[start : start + 500])))
        found |= {commit.id: commit for commit in batch}
    return found


def commits_of_lineage(connection: Connection, lineage_id: str) -> list[Commit]:
    """Return the commit set of a lineage ID, oldest first.

    Cost: 1 SELECT, in time proportional to the set.
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
        reason = TAG_STAYS if is_tag(connection, repo_id, ref.name) else ""
        raise RefNotFoundError(ref.repo, ref.name, branch_names(connection, repo_id), reason)
    newest, name = head.head_id, ref.name
    query = select(journal).where(journal.c.repo == ref.repo).order_by(journal.c.sequence.desc())
    for entry in connection.execute(query):
        is_renaming = entry.action == "rename_branch" and json.loads(entry.details)["to"] == name
        if entry.action == "lost" and entry.name in ("", name) and entry.at > at:
            reason = (
                f"entry {entry.sequence} of the journal is lost, so nobody knows where the branch pointed before it"
            )
            raise RefNotFoundError(ref.repo, ref.place, reason=reason)
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

    Cost: 2 SELECTs, whatever the length of history.
    """
    row = connection.execute(select(commits.c.segment_id, commits.c.number).where(commits.c.id == newest)).one_or_none()
    if row is None:
        raise CommitNotFoundError(newest)
    query = _COMMIT.where(commits.c.segment_id == row.segment_id, commits.c.number <= row.number)
    return _load(connection, query.order_by(commits.c.number.desc()).limit(limit))


def _load(connection: Connection, query: Select[tuple[object, ...]]) -> list[Commit]:
    return [_to_commit(row) for row in connection.execute(query)]


def _to_commit(row: Row[tuple[object, ...]]) -> Commit:
    fields = row._mapping  # noqa: SLF001 (SQLAlchemy's public way to read a row by name)
    run, root, sources = fields["run"], fields["root"], fields["sources"]
    return Commit(
        id=CommitId(fields["id"]),
        lineage_id=LineageId(fields["lineage_id"]),
        repo=fields["repo"],
        branch=fields["branch"],
        number=fields["number"],
        parent=fields["parent_id"],
        provenance=() if sources is None else tuple(sorted(map(CommitId, sources.split(_SEPARATOR)))),
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
    return connection.execute(_EXISTS, {"commit": commit_id}).one_or_none() is not None


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
