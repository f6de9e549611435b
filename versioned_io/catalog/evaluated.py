"""The index of evaluated fingerprints over the repos of results, claims of running evaluations, and disagreements.

The trees of the repos of results are the truth, and `results` and `failures` are rebuilt from them.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Table, delete, or_, select

from versioned_io.catalog.collection import CLOCK_TOLERANCE, catalog_time
from versioned_io.catalog.plain import AnyConnection, rows
from versioned_io.catalog.tables import claims, commits, disagreements, failures, repos, results
from versioned_io.catalog.upserts import upsert
from versioned_io.model.commits import CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.repo_kinds import INDEXED_KEY, RepoKind

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The fingerprints that one commit of a repo of results holds.

    Attributes:
        succeeded, failed, invalidated: Fingerprints, 32 bytes each.
    """

    succeeded: Sequence[bytes] = ()
    failed: Sequence[bytes] = ()
    invalidated: Sequence[bytes] = ()


def find_results(connection: AnyConnection, fingerprints: Collection[bytes]) -> dict[bytes, CommitId]:
    """Return the commits that hold the results of those *fingerprints* that have one. Cost: 1 SELECT for each 500."""
    return _find(connection, "results", fingerprints)


def find_failures(connection: AnyConnection, fingerprints: Collection[bytes]) -> dict[bytes, CommitId]:
    """Return the commits that hold the last failures of those *fingerprints* that failed and have no result.

    Cost: 1 SELECT for each 500.
    """
    return _find(connection, "failures", fingerprints)


def _find(connection: AnyConnection, table: str, fingerprints: Collection[bytes]) -> dict[bytes, CommitId]:
    query = f"SELECT fingerprint, commit_id FROM {table} WHERE fingerprint IN :wanted"  # noqa: S608 (one of two tables)
    found: dict[bytes, CommitId] = {}
    for batch in _batches(fingerprints):
        found |= {bytes(one): CommitId(commit) for one, commit in rows(connection, query, wanted=batch)}
    return found


def claim_fingerprints(
    connection: Connection, fingerprints: Collection[bytes], owner: str, now: datetime, lease: timedelta
) -> set[bytes]:
    """Claim those *fingerprints* that have no result and that no other owner holds; return what *owner* holds now.

    Of several owners that ask at once, one gets each fingerprint. A claim whose time is over is free again.

    Cost: 2 SELECTs, 1 DELETE and 1 INSERT for each 500.
    """
    at = catalog_time(connection, now)
    held: set[bytes] = set()
    for batch in _batches(fingerprints):
        there = {bytes(one) for one in connection.execute(_among(results, batch)).scalars()}
        wanted = [one for one in batch if one not in there]
        if not wanted:
            continue
        _hold(connection, claims, wanted)
        # A clock that is wrong by more than the lease has set any later time.
        free = or_(claims.c.until <= at, claims.c.until > at + lease + CLOCK_TOLERANCE, claims.c.owner == owner)
        connection.execute(delete(claims).where(claims.c.fingerprint.in_(wanted), free))
        made = upsert(connection, claims).on_conflict_do_nothing().returning(claims.c.fingerprint)
        values = [{"fingerprint": one, "owner": owner, "until": at + lease} for one in wanted]
        held |= {bytes(one) for one in connection.execute(made, values).scalars()}
        # On PostgreSQL a result may have been entered while the claim of it was waited for.
        late = {bytes(one) for one in connection.execute(_among(results, wanted)).scalars()}
        end_claims(connection, late, owner)
        held -= late
    return held


def renew_claims(connection: Connection, owner: str, now: datetime, lease: timedelta) -> None:
    """Prolong every claim of *owner*. Cost: 1 SELECT, 1 UPDATE for each 500."""
    own = select(claims.c.fingerprint).where(claims.c.owner == owner)
    found = [bytes(one) for one in connection.execute(own).scalars()]
    until = catalog_time(connection, now) + lease
    for batch in _batches(found):
        _hold(connection, claims, batch)
        still = (claims.c.owner == owner) & claims.c.fingerprint.in_(batch)
        connection.execute(claims.update().where(still).values(until=until))


def end_claims(connection: Connection, fingerprints: Collection[bytes] | None, owner: str) -> None:
    """End the claims of *owner* on *fingerprints*, or all of them. Cost: 1 SELECT, 1 DELETE for each 500."""
    if fingerprints is None:
        own = select(claims.c.fingerprint).where(claims.c.owner == owner)
        fingerprints = [bytes(one) for one in connection.execute(own).scalars()]
    for batch in _batches(fingerprints):
        _hold(connection, claims, batch)
        connection.execute(delete(claims).where(claims.c.fingerprint.in_(batch), claims.c.owner == owner))


def enter_evaluated(connection: Connection, commit_id: CommitId, found: Evaluated) -> set[bytes]:
    """Enter what a commit of a repo of results says; return the fingerprints that had a result before.

    The first result of a fingerprint stays. A result ends what was known about its failure.

    Cost: at most 4 statements for each 500 fingerprints.
    """
    first: set[bytes] = set()
    for batch in _batches(found.succeeded):
        made = upsert(connection, results).on_conflict_do_nothing().returning(results.c.fingerprint)
        values = [{"fingerprint": one, "commit_id": commit_id} for one in batch]
        first |= {bytes(one) for one in connection.execute(made, values).scalars()}
        _hold(connection, failures, batch)
        connection.execute(delete(failures).where(failures.c.fingerprint.in_(batch)))
    for batch in _batches(found.failed):
        there = {bytes(one) for one in connection.execute(_among(results, batch)).scalars()}
        values = [{"fingerprint": one, "commit_id": commit_id} for one in batch if one not in there]
        if values:
            _hold(connection, failures, batch)
            connection.execute(delete(failures).where(failures.c.fingerprint.in_(batch)))
            connection.execute(upsert(connection, failures).on_conflict_do_nothing(), values)
    for batch in _batches(found.invalidated):
        _hold(connection, results, batch)
        connection.execute(delete(results).where(results.c.fingerprint.in_(batch)))
    return set(found.succeeded) - first


def forget_results(connection: Connection, fingerprints: Collection[bytes], commit_ids: Collection[CommitId]) -> None:
    """Delete the entries of *fingerprints* that point at one of these commits, where the results can't be read.

    Cost: 1 SELECT and 1 DELETE for each 500.
    """
    for batch in _batches(fingerprints):
        _hold(connection, results, batch)
        stale = results.c.fingerprint.in_(batch) & results.c.commit_id.in_(sorted(commit_ids))
        connection.execute(delete(results).where(stale))


def forget_results_at(connection: Connection, commit_ids: Collection[CommitId]) -> None:
    """Delete every entry that points at one of these commits. Cost: 3 DELETEs, which scan their tables."""
    wanted = sorted(commit_ids)
    for table in (disagreements, failures, results):
        connection.execute(delete(table).where(table.c.commit_id.in_(wanted)))


def forget_fingerprints(connection: Connection, fingerprints: Collection[bytes]) -> None:
    """Delete everything that is known of *fingerprints*. Cost: 4 DELETEs for each 500."""
    for table in (claims, disagreements, failures, results):
        for batch in _batches(fingerprints):
            _hold(connection, table, batch)
            connection.execute(delete(table).where(table.c.fingerprint.in_(batch)))


def enter_disagreements(
    connection: Connection, commit_id: CommitId, fingerprints: Collection[bytes], pipeline: str, now: datetime
) -> None:
    """Record that a commit holds other bytes for *fingerprints* than their first results. Cost: 1 INSERT."""
    if fingerprints:
        values = [
            {"fingerprint": one, "commit_id": commit_id, "pipeline": pipeline, "found_at": now}
            for one in sorted(fingerprints)
        ]
        connection.execute(upsert(connection, disagreements).on_conflict_do_nothing(), values)


def count_disagreements(connection: AnyConnection, pipeline: str) -> int:
    """Return how often a pipeline evaluated a fingerprint to other bytes than the first time. Cost: 1 SELECT."""
    query = "SELECT count(*) FROM disagreements WHERE pipeline = :pipeline"
    return int(rows(connection, query, pipeline=pipeline)[0][0])


class CommitOfResults(NamedTuple):
    """A commit of a repo of results.

    Attributes:
        root: Its tree as JSON.
        is_indexed: Whether other runs may find its results.
    """

    id: CommitId
    root: str | None
    is_indexed: bool


def commits_of_results(connection: Connection) -> Iterator[CommitOfResults]:
    """Yield the live commits of all repos of results, in the order in which they were made."""
    query = (
        select(commits.c.id, commits.c.root, commits.c.metadata)
        .join(repos, repos.c.id == commits.c.repo_id)
        .where(repos.c.kind == RepoKind.RESULTS.value, commits.c.state == CommitState.LIVE.value)
        .order_by(commits.c.order, commits.c.id)
    )
    for commit_id, root, metadata in connection.execute(query).all():
        yield CommitOfResults(CommitId(commit_id), root, json.loads(metadata).get(INDEXED_KEY, True) is not False)


def _among(table: Table, fingerprints: Sequence[bytes]) -> Any:  # noqa: ANN401 (a Select of one column)
    return select(table.c.fingerprint).where(table.c.fingerprint.in_(fingerprints))


def _hold(connection: Connection, table: Table, fingerprints: Sequence[bytes]) -> None:
    """Lock rows in ascending order, as `versioned_io.catalog.row_locks` says."""
    if connection.dialect.name != "sqlite":
        ordered = _among(table, fingerprints).order_by(table.c.fingerprint)
        connection.execute(ordered.with_for_update()).all()


def _batches(fingerprints: Collection[bytes]) -> Iterator[list[bytes]]:
    ordered = sorted(set(fingerprints))
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
