"""The commit that a ref names: a branch, a tag, an ID or its beginning, a lineage ID, a date, an ancestor."""

import json
import re
from bisect import bisect_right
from datetime import datetime
from typing import Final, NamedTuple

from versioned_io.catalog.commits import NEWEST_FIRST, PLACE_OF, ancestor_at, get_commit, segment_before
from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.dates import settle_dates
from versioned_io.catalog.plain import AnyConnection, one_row, only_row, rows
from versioned_io.catalog.repo_rows import (
    RECORDED_NAME_OF,
    TAG_STAYS,
    branch_names,
    find_repo_id,
    find_tag,
    how_to_restore,
    is_tag,
)
from versioned_io.catalog.values import as_time
from versioned_io.errors import IntegrityError, NotFoundError, RefNotFoundError, RefSyntaxError
from versioned_io.errors.root import counted
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId, is_id
from versioned_io.model.refs import BranchRef, Ref

_SHOWN = 5
_PREFIX = re.compile(r"[0-9a-f]{4,31}")
_KEEP_HEADS: Final = {"protect_branch", "set_retention", "set_trigger"}
"""The actions of the journal that name a branch and leave it where it is."""


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
        newest = f"{own} c.lineage_id = :name {NEWEST_FIRST}"
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
            newest = f"SELECT c.id FROM commits c WHERE c.repo_id = :repo_id AND {column} = :found {NEWEST_FIRST}"  # noqa: S608 (as above)
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
    segment, of_newest = only_row(rows(connection, PLACE_OF, commit=newest))
    limit = of_newest
    dates: list[datetime] = []
    while segment is not None:
        query = "SELECT created_at FROM commits WHERE segment_id = :segment AND number <= :limit ORDER BY number DESC"
        dates += [as_time(at) for (at,) in rows(connection, query, segment=segment, limit=limit)]
        segment, first = segment_before(connection, segment, below=limit + 1)
        limit = first - 1
    number = bisect_right(settle_dates(dates[::-1], latest), at)
    return ancestor_at(connection, CommitId(newest), number + of_newest - len(dates)) if number else None


def _newest_input_of_lineage(connection: AnyConnection, repo_id: int, lineage_id: str) -> str | None:
    query = f"""SELECT c.id FROM commits c JOIN provenance p ON p.input_id = c.id
        JOIN commits consumer ON consumer.id = p.commit_id
        WHERE c.repo_id = :repo_id AND consumer.lineage_id = :lineage {NEWEST_FIRST}"""  # noqa: S608 (a constant)
    found = one_row(rows(connection, query, repo_id=repo_id, lineage=lineage_id))
    return None if found is None else str(found[0])


def _ancestor(connection: AnyConnection, ref: Ref, commit: Commit) -> Commit:
    found = ancestor_at(connection, commit.id, commit.number - ref.ancestor)
    if found is None:
        raise RefNotFoundError(
            ref.repo, f"{ref.name}~{ref.ancestor}", reason=f"its history has only {counted(commit.number, 'commit')}"
        )
    return get_commit(connection, found)
