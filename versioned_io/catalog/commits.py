"""Commits in the catalog: look-ups by ID, by name and by position in history."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.plain import AnyConnection, one_row, only_row, rows
from versioned_io.catalog.repo_rows import (
    RECORDED_NAME_OF,
    BranchRow,
    find_branch,
)
from versioned_io.catalog.values import as_bytes, as_time
from versioned_io.errors import CommitNotFoundError, IntegrityError
from versioned_io.model.commits import Commit, CommitState, CommitStats, RunInfo, parse_root
from versioned_io.model.identifiers import CommitId, LineageId
from versioned_io.model.journal import Action
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import RepoKind

_LOG_BATCH = 200


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
PLACE_OF: Final = "SELECT segment_id, number FROM commits WHERE id = :commit"
NEWEST_FIRST: Final = 'ORDER BY c."order" DESC, c.id DESC LIMIT 1'


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
        WHERE r.name = :repo AND c.state = 'live' AND c.metadata LIKE :pattern {NEWEST_FIRST}"""  # noqa: S608 (constants)
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


def ancestor_at(connection: AnyConnection, commit_id: CommitId, number: int) -> CommitId | None:
    """Return the commit number *number* in the history of a commit, itself included, or None.

    Cost: 2 SELECTs, and 1 for each fork between them.
    """
    segment, of_commit = only_row(rows(connection, PLACE_OF, commit=commit_id))
    if not 1 <= number <= of_commit:
        return None
    first = of_commit + 1
    while True:
        parent, first = segment_before(connection, segment, below=first)
        if number >= first:
            query = "SELECT id FROM commits WHERE segment_id = :segment AND number = :number"
            return CommitId(only_row(rows(connection, query, segment=segment, number=number))[0])
        segment = parent


def segment_before(connection: AnyConnection, segment: int, *, below: int) -> tuple[int | None, int]:
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
    row = one_row(rows(connection, PLACE_OF, commit=newest))
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
    row = one_row(rows(connection, PLACE_OF, commit=newest))
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
