"""Commits in the catalog: look-ups by ID, by name and by position in history."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.dates import settle_dates
from versioned_io.catalog.plain import AnyConnection, one_row, only_row, rows
from versioned_io.catalog.repo_rows import (
    RECORDED_NAME_OF,
    TAG_STAYS,
    BranchRow,
    branch_names,
    find_branch,
    find_repo_id,
    find_tag,
    how_to_restore,
    is_tag,
)
from versioned_io.catalog.values import as_bytes, as_time
from versioned_io.errors import CommitNotFoundError, IntegrityError, NotFoundError, RefNotFoundError, RefSyntaxError
from versioned_io.errors.root import counted
from versioned_io.model.commits import Commit, CommitState, CommitStats, RunInfo, parse_root
from versioned_io.model.identifiers import CommitId, LineageId, is_id
from versioned_io.model.journal import Action
from versioned_io.model.refs import BranchRef, Ref
from versioned_io.model.repo_kinds import RepoKind

_LOG_BATCH = 200
_SHOWN = 5
_PREFIX = re.compile(r"[0-9a-f]{4,31}")
_KEEP_HEADS: Final = {"protect_branch", "set_retention", "set_trigger"}
"""The actions of the journal that name a branch and leave it where it is."""


# The sources are read in the same statement. Most commits have none or one, and a second statement doubles the time.
_OF_COMMIT: Final = (
    *("id", "lineage_id", "branch", "number", "parent_id", "message", "author", "metadata", "created_at"),
    *("run", "stats", "root", "merged_id", "epoch", "generation", "state", "touched", "order", "inputs_are_complete"),
)
_FIELDS: Final = (*_OF_COMMIT, "repo", "recorded_name", "sources")
"""The names of `_COLUMNS`, in their order."""
_SOURCES: Final = "(SELECT group_concat(p.input_id, ',') FROM provenance p WHERE p.commit_id = c.id)"
_COLUMNS: Final = ", ".join([*(f'c."{name}"' for name in _OF_COMMIT), "r.name", "r.recorded_name", _SOURCES])
_COMMIT: Final = f"SELECT {_COLUMNS} FROM commits c JOIN repos r ON r.id = c.repo_id"  # noqa: S608 (constants)
_HEAD: Final = f"""SELECT b.id, b.repo_id, b.epoch, r.recorded_name, r.kind, {_COLUMNS}
    FROM branches b JOIN repos r ON r.id = b.repo_id LEFT JOIN commits c ON c.id = b.head_id
    WHERE r.name = :repo AND b.name = :branch"""  # noqa: S608 (constants)
_COMMIT_BY_ID: Final = f"{_COMMIT} WHERE c.id = :commit"
_PLACE_OF: Final = "SELECT segment_id, number FROM commits WHERE id = :commit"
_NEWEST_FIRST: Final = 'ORDER BY c."order" DESC, c.id DESC LIMIT 1'


def get_commit(connection: AnyConnection, commit_id: str) -> Commit:
    """Return the commit *commit_id*.

    Raises:
        CommitNotFoundError: There is none.

    Cost: 1 SELECT.
    """
    row = one_row(rows(connection, _COMMIT_BY_ID, commit=commit_id))
    if row is None:
        raise CommitNotFoundError(commit_id)
    return _to_commit(row)


def find_head(connection: AnyConnection, ref: BranchRef) -> tuple[BranchRow, Commit | None]:
    """Return a branch and the commit that it points at now, if it has one.

    Raises:
        RepoNotFoundError, RefNotFoundError: There is no such repo or branch; the error names those that exist.

    Cost: 1 SELECT; three more to list the names that exist.
    """
    row = one_row(rows(connection, _HEAD, repo=ref.repo, branch=ref.branch))
    if row is None:
        found = find_branch(connection, ref)
        return found, None if found.head is None else get_commit(connection, found.head)
    branch_id, repo_id, set_by, recorded, kind, *columns = row
    commit = None if columns[0] is None else _to_commit(columns)
    head = None if commit is None else commit.id
    return BranchRow(branch_id, repo_id, ref, head, set_by, 0, recorded or "", RepoKind(kind)), commit


def get_commits(connection: AnyConnection, commit_ids: Sequence[str]) -> dict[CommitId, Commit]:
    """Return the commits of *commit_ids* that exist, by ID.

    Cost: 1 SELECT for each 500 IDs.
    """
    found: dict[CommitId, Commit] = {}
    for start in range(0, len(commit_ids), 500):
        batch = _load(connection, f"{_COMMIT} WHERE c.id IN :commits", commits=list(commit_ids[start : start + 500]))
        found |= {commit.id: commit for commit in batch}
    return found


def find_commit_with(connection: AnyConnection, repo: str, text: str) -> CommitId | None:
    """Return the newest live commit of a repo of any kind whose metadata contains *text*, or None.

    Cost: 1 SELECT, which reads the repo's commits.
    """
    query = f"""SELECT c.id FROM commits c JOIN repos r ON r.id = c.repo_id
        WHERE r.name = :repo AND c.state = 'live' AND c.metadata LIKE :pattern {_NEWEST_FIRST}"""  # noqa: S608 (constants)
    found = one_row(rows(connection, query, repo=repo, pattern=f"%{text}%"))
    return None if found is None else CommitId(found[0])


def commits_of_lineage(connection: AnyConnection, lineage_id: str) -> list[Commit]:
    """Return the commit set of a lineage ID, oldest first, without commits of system repos.

    Cost: 1 SELECT, in time proportional to the set.
    """
    own = f"{_COMMIT} WHERE c.lineage_id = :lineage AND r.kind = 'user'"
    return _load(connection, f'{own} ORDER BY c."order", c.id', lineage=lineage_id)


def ids_of_lineage(connection: AnyConnection, lineage_id: str) -> list[CommitId]:
    """Return the IDs of the commit set of a lineage ID, sorted.

    Cost: 1 SELECT, by an index.
    """
    query = "SELECT id FROM commits WHERE lineage_id = :lineage ORDER BY id"
    return [CommitId(commit) for (commit,) in rows(connection, query, lineage=lineage_id)]


def repos_of_lineage(connection: AnyConnection, lineage_id: str) -> list[str]:
    """Return the repos of the commits of a lineage ID, and of the commits that these were made from, sorted.

    Cost: 1 SELECT, by an index.
    """
    query = """SELECT r.name FROM commits c JOIN repos r ON r.id = c.repo_id WHERE c.lineage_id = :lineage
        UNION SELECT r.name FROM commits c JOIN provenance p ON p.commit_id = c.id
        JOIN commits s ON s.id = p.input_id JOIN repos r ON r.id = s.repo_id WHERE c.lineage_id = :lineage"""
    return sorted(repo for (repo,) in rows(connection, query, lineage=lineage_id))


def resolve_watched(catalog: Catalog, ref: Ref, now: datetime) -> Commit | None:
    """Return the commit that *ref* names, as `resolve_ref` does, and detect a catalog that was rolled back.

    Raises:
        CatalogOlderError: The catalog lacks the commit at which this handle last saw the name, or lacks an
            acknowledged write. It is older than the packs. Add the missing rows with `recover_store`.
        RepoNotFoundError, RefNotFoundError: As `resolve_ref`.

    Cost: The cost of `resolve_ref`, and 1 SELECT if the name has moved since this handle last saw it. If there is no
        such ref, 1 LIST and 1 SELECT more.
    """
    with catalog.ask() as connection:
        try:
            commit = resolve_ref(connection, ref, now)
        except NotFoundError:
            catalog.refuse_older(connection)
            raise
        if ref.at is None and not ref.ancestor and commit is not None:
            catalog.note_seen(connection, f"{ref.repo}@{ref.name}", commit.id)
        return commit


def resolve_ref(connection: AnyConnection, ref: Ref, now: datetime) -> Commit | None:
    """Return the commit that *ref* names, or None for a branch that has no commit yet.

    Branches are searched first, then tags, then commit IDs and lineage IDs if the name has their form. A lineage ID
    means the newest commit of the repo that carries it. If the repo has none, it means the newest of the repo's
    commits that a commit of that lineage was made from. The newest is the last in the order of commits, whatever its
    date.

    Raises:
        RepoNotFoundError, RefNotFoundError: The repo or the ref does not exist, or its history is shorter.

    Cost: 2 to 6 SELECTs, independent of the length of history, and 1 for each fork that ``~n`` crosses.
    """
    repo_id = find_repo_id(connection, ref.repo)
    if ref.at is not None:
        commit = get_commit(connection, head_at(connection, repo_id, ref, ref.at, now))
        return _ancestor(connection, ref, commit) if ref.ancestor else commit
    commit_id, exists = _named_commit(connection, repo_id, ref.name)
    if commit_id is None and not exists:
        reason = how_to_restore(connection, BranchRef(ref.repo, ref.name))
        raise RefNotFoundError(ref.repo, ref.name, branch_names(connection, repo_id), reason)
    if commit_id is None:
        if ref.ancestor:
            raise RefNotFoundError(ref.repo, f"{ref.name}~{ref.ancestor}", reason="the branch has no commit yet")
        return None
    commit = get_commit(connection, commit_id)
    return _ancestor(connection, ref, commit) if ref.ancestor else commit


def _named_commit(connection: AnyConnection, repo_id: int, name: str) -> tuple[str | None, bool]:
    branch = _head_of(connection, repo_id, name)
    if branch is not None:
        return branch[0], True
    tag = find_tag(connection, repo_id, name)
    if tag is not None:
        return tag, False
    if not is_id(name):
        return _by_prefix(connection, repo_id, name), False
    own = "SELECT c.id FROM commits c WHERE c.repo_id = :repo_id AND"
    found = one_row(rows(connection, f"{own} c.id = :name", repo_id=repo_id, name=name))
    if found is None:
        newest = f"{own} c.lineage_id = :name {_NEWEST_FIRST}"
        found = one_row(rows(connection, newest, repo_id=repo_id, name=name))
    return found[0] if found is not None else _newest_input_of_lineage(connection, repo_id, name), False


def _head_of(connection: AnyConnection, repo_id: int, name: str) -> tuple[str | None] | None:
    """Return the head of a branch, which may have none; None if there is no such branch."""
    query = "SELECT head_id FROM branches WHERE repo_id = :repo_id AND name = :name"
    found = one_row(rows(connection, query, repo_id=repo_id, name=name))
    return None if found is None else (found[0],)


def _by_prefix(connection: AnyConnection, repo_id: int, prefix: str) -> str | None:
    """Return the repo's commit whose ID begins with *prefix*, or else the newest whose lineage ID does."""
    if _PREFIX.fullmatch(prefix) is None:
        return None
    for column in ("c.id", "c.lineage_id"):
        query = f"""SELECT DISTINCT {column} FROM commits c
            WHERE c.repo_id = :repo_id AND {column} >= :prefix AND {column} < :end
            ORDER BY {column} LIMIT :limit"""  # noqa: S608 (one of two constants)
        asked = rows(connection, query, repo_id=repo_id, prefix=prefix, end=f"{prefix}g", limit=_SHOWN)
        found = [one for (one,) in asked]
        if len(found) > 1:
            raise RefSyntaxError(prefix, f"several IDs begin with it: {', '.join(found)}")
        if found:
            newest = f"SELECT c.id FROM commits c WHERE c.repo_id = :repo_id AND {column} = :found {_NEWEST_FIRST}"  # noqa: S608 (as above)
            return str(only_row(rows(connection, newest, repo_id=repo_id, found=found[0]))[0])
    return None


class _BranchEntry(NamedTuple):
    """A row of the journal about the place of a branch."""

    sequence: int
    name: str
    action: str
    old_id: str | None
    at: datetime
    details: str


def _new_name(entry: _BranchEntry) -> str:
    """Return the new name of a renamed branch.

    Raises:
        IntegrityError: The row is malformed. Run fsck.
    """
    try:
        return str(json.loads(entry.details)["to"])
    except (TypeError, ValueError, LookupError) as error:
        msg = f"the catalog's row of entry {entry.sequence} of the journal is malformed ({error!r}); run fsck"
        raise IntegrityError(msg) from error


def head_at(connection: AnyConnection, repo_id: int, ref: Ref, at: datetime, now: datetime) -> CommitId:
    """Return the head of a branch at a given time: from the journal if the branch was moved, else from its history.

    `settle_dates` corrects the dates along the branch. So one commit or entry with a wrong date doesn't change the
    answer for the others.

    Raises:
        RefNotFoundError: The branch does not exist, did not exist yet, or had no commit yet.

    Cost: 3 SELECTs, and 2 for each fork of the history. They read the date of every commit, about 2 us each.
    """
    head = _head_of(connection, repo_id, ref.name)
    if head is None:
        own = BranchRef(ref.repo, ref.name)
        reason = TAG_STAYS if is_tag(connection, repo_id, ref.name) else how_to_restore(connection, own)
        raise RefNotFoundError(ref.repo, ref.name, branch_names(connection, repo_id), reason)
    newest, name = head[0], ref.name
    latest = max(now, at)
    query = f"""SELECT j.sequence, j.name, j.action, j.old_id, j.at, j.details FROM journal j
        WHERE j.repo = {RECORDED_NAME_OF} ORDER BY j.sequence DESC"""  # noqa: S608 (a constant)
    found = rows(connection, query, repo=ref.repo)
    entries = [
        _BranchEntry(number, of, action, old, as_time(entered), more)
        for number, of, action, old, entered, more in found
    ]
    times = settle_dates([entry.at for entry in reversed(entries)], latest)
    for entry, entered in zip(entries, reversed(times), strict=True):
        is_renaming = entry.action == "rename_branch" and _new_name(entry) == name
        if entry.action == "lost" and entry.name in ("", name) and entered > at:
            reason = f"entry {entry.sequence} of the journal is lost, so the branch's head before it is unknown"
            raise RefNotFoundError(ref.repo, ref.place, reason=reason)
        if not (entry.name == name or is_renaming) or entry.action in _KEEP_HEADS:
            continue
        name = entry.name
        if entered <= at:
            break
        if entry.action in {"create_branch", "create_repo"}:
            raise RefNotFoundError(ref.repo, ref.place, reason="the branch did not exist yet")
        newest = entry.old_id
    commit_id = None if newest is None else _newest_before(connection, newest, at, latest)
    if commit_id is None:
        raise RefNotFoundError(ref.repo, ref.place, reason="the branch had no commit yet")
    return commit_id


def _newest_before(connection: AnyConnection, newest: str, at: datetime, latest: datetime) -> CommitId | None:
    """Return the newest commit in the history of *newest* that was made at *at* or earlier.

    Args:
        latest: A later date comes from a wrong clock.
    """
    segment, of_newest = only_row(rows(connection, _PLACE_OF, commit=newest))
    limit = of_newest
    dates: list[datetime] = []
    while segment is not None:
        query = "SELECT created_at FROM commits WHERE segment_id = :segment AND number <= :limit ORDER BY number DESC"
        dates += [as_time(at) for (at,) in rows(connection, query, segment=segment, limit=limit)]
        segment, first = _segment(connection, segment, below=limit + 1)
        limit = first - 1
    number = bisect_right(settle_dates(dates[::-1], latest), at)
    return ancestor_at(connection, CommitId(newest), number + of_newest - len(dates)) if number else None


def _newest_input_of_lineage(connection: AnyConnection, repo_id: int, lineage_id: str) -> str | None:
    query = f"""SELECT c.id FROM commits c JOIN provenance p ON p.input_id = c.id
        JOIN commits consumer ON consumer.id = p.commit_id
        WHERE c.repo_id = :repo_id AND consumer.lineage_id = :lineage {_NEWEST_FIRST}"""  # noqa: S608 (a constant)
    found = one_row(rows(connection, query, repo_id=repo_id, lineage=lineage_id))
    return None if found is None else str(found[0])


def _ancestor(connection: AnyConnection, ref: Ref, commit: Commit) -> Commit:
    found = ancestor_at(connection, commit.id, commit.number - ref.ancestor)
    if found is None:
        raise RefNotFoundError(
            ref.repo, f"{ref.name}~{ref.ancestor}", reason=f"its history has only {counted(commit.number, 'commit')}"
        )
    return get_commit(connection, found)


def ancestor_at(connection: AnyConnection, commit_id: CommitId, number: int) -> CommitId | None:
    """Return the commit number *number* in the history of a commit, itself included, or None.

    Cost: 2 SELECTs, and 1 for each fork between them.
    """
    segment, of_commit = only_row(rows(connection, _PLACE_OF, commit=commit_id))
    if not 1 <= number <= of_commit:
        return None
    first = of_commit + 1
    while True:
        parent, first = _segment(connection, segment, below=first)
        if number >= first:
            query = "SELECT id FROM commits WHERE segment_id = :segment AND number = :number"
            return CommitId(only_row(rows(connection, query, segment=segment, number=number))[0])
        segment = parent


def _segment(connection: AnyConnection, segment: int, *, below: int) -> tuple[int | None, int]:
    """Return the segment that a segment of history begins at, if any, and the number of its first commit.

    Raises:
        IntegrityError: The first number is not lower than *below*, so the history never ends. Run fsck.
    """
    query = "SELECT parent_id, first_number FROM segments WHERE id = :segment"
    parent, first = only_row(rows(connection, query, segment=segment))
    if not isinstance(first, int) or first >= below:
        msg = f"the segments of history in the catalog contradict each other ({segment} begins at {first!r}); run fsck"
        raise IntegrityError(msg)
    return parent, first


def history_batch(
    connection: AnyConnection, newest: CommitId, limit: int = _LOG_BATCH, *, after: Commit | None = None
) -> list[Commit]:
    """Return *newest* and the commits before it in its segment of history, newest first, at most *limit*.

    Args:
        after: The commit whose parent is *newest*, to notice a history that never ends.

    Raises:
        CommitNotFoundError: The commit does not exist.
        IntegrityError: The rows of the history contradict each other. Run fsck.

    Cost: 2 SELECTs, independent of the length of history.
    """
    row = one_row(rows(connection, _PLACE_OF, commit=newest))
    if row is None:
        raise CommitNotFoundError(newest)
    segment, number = row
    query = f"{_COMMIT} WHERE c.segment_id = :segment AND c.number <= :number ORDER BY c.number DESC LIMIT :limit"
    found = _load(connection, query, segment=segment, number=number, limit=limit)
    _require_end(newest, number, None if after is None else after.number, bool(found))
    return found


def _require_end(newest: CommitId, number: object, younger: int | None, is_found: object) -> None:
    """Raise unless a walk through history comes to an end: each commit has a lower number than its child."""
    if not is_found or not isinstance(number, int) or number < 1 or (younger is not None and number >= younger):
        msg = f"the catalog's rows of commit {newest} and its history contradict each other; run fsck"
        raise IntegrityError(msg)


class HistoryStep(NamedTuple):
    """The few fields of a commit that a walk through history needs."""

    id: CommitId
    parent: CommitId | None
    touched: bytes | None
    number: int


def walk_history(catalog: Catalog, head: Commit | None, limit: int | None = None) -> Iterator[Commit]:
    """Yield *head* and the commits before it, newest first, at most *limit*.

    Cost: 3 SELECTs for each 200 commits, run as the caller iterates.
    """
    left = limit
    newest = None if head is None else head.id
    after: Commit | None = None
    while newest is not None and (left is None or left > 0):
        with catalog.ask() as connection:
            most = _LOG_BATCH if left is None else min(left, _LOG_BATCH)
            batch = history_batch(connection, newest, most, after=after)
        yield from batch
        after = batch[-1]
        left = None if left is None else left - len(batch)
        newest = batch[-1].parent


def history_steps(
    connection: AnyConnection, newest: CommitId, limit: int, *, after: HistoryStep | None = None
) -> list[HistoryStep]:
    """Return the commits of `history_batch` as steps. Cost: 2 SELECTs, and 3 us a commit instead of 80."""
    row = one_row(rows(connection, _PLACE_OF, commit=newest))
    if row is None:
        raise CommitNotFoundError(newest)
    segment, number = row
    query = """SELECT id, parent_id, touched, number FROM commits WHERE segment_id = :segment AND number <= :number
        ORDER BY number DESC LIMIT :limit"""
    found = rows(connection, query, segment=segment, number=number, limit=limit)
    _require_end(newest, number, None if after is None else after.number, found)
    return [HistoryStep(commit, parent, as_bytes(touched), at) for commit, parent, touched, at in found]


def squashes_of(connection: AnyConnection, repo: str) -> list[tuple[CommitId, CommitId]]:
    """Return (head before, head after) of every squash in the repo, oldest first.

    Cost: 1 SELECT.
    """
    query = f"""SELECT j.old_id, j.new_id FROM journal j
        WHERE j.repo = {RECORDED_NAME_OF} AND j.action = :action ORDER BY j.sequence"""  # noqa: S608 (a constant)
    found = rows(connection, query, repo=repo, action=Action.SQUASH.value)
    return [(CommitId(before), CommitId(after)) for before, after in found]


def _load(connection: AnyConnection, query: str, **values: object) -> list[Commit]:
    return [_to_commit(row) for row in rows(connection, query, **values)]


def _to_commit(row: Sequence[Any]) -> Commit:
    """Return the commit of a row.

    Raises:
        IntegrityError: The row is malformed.
    """
    fields = dict(zip(_FIELDS, row, strict=True))
    run, sources = fields["run"], fields["sources"]
    try:
        return Commit(
            id=CommitId(fields["id"]),
            lineage_id=LineageId(fields["lineage_id"]),
            repo=fields["repo"],
            branch=fields["branch"],
            number=fields["number"],
            parent=fields["parent_id"],
            provenance=() if sources is None else tuple(sorted(map(CommitId, sources.split(",")))),
            message=fields["message"],
            author=fields["author"],
            metadata=json.loads(fields["metadata"]),
            created_at=as_time(fields["created_at"]),
            run=None if run is None else RunInfo(**json.loads(run)),
            stats=CommitStats(**json.loads(fields["stats"])),
            root=parse_root(fields["root"]),
            merged=fields["merged_id"],
            epoch=fields["epoch"],
            generation=fields["generation"],
            state=CommitState(fields["state"]),
            touched=as_bytes(fields["touched"]),
            order=fields["order"],
            inputs_are_complete=bool(fields["inputs_are_complete"]),
            recorded_repo=fields["recorded_name"] or "",
        )
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"the catalog's row of commit {fields['id']} is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error


def commit_exists(connection: AnyConnection, commit_id: CommitId) -> bool:
    """Return whether a commit was published. A writer calls this after the reply to its COMMIT was lost.

    Cost: 1 SELECT.
    """
    return bool(rows(connection, "SELECT id FROM commits WHERE id = :commit", commit=commit_id))


def heads(connection: AnyConnection) -> Iterator[CommitId]:
    """Yield every commit that a branch or a tag points at.

    Cost: 2 SELECTs.
    """
    for query in ("SELECT head_id FROM branches WHERE head_id IS NOT NULL", "SELECT commit_id FROM tags"):
        yield from (CommitId(head) for (head,) in rows(connection, query))
