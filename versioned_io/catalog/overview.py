"""Questions about the store as a whole, in plain SQL: heads, waiting work, noted problems, and short forms of IDs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from versioned_io.catalog.plain import AnyConnection, only_row, rows
from versioned_io.catalog.values import as_time
from versioned_io.model.identifiers import CommitId

_HEADS: Final = """SELECT r.name, r.description, b.name, b.head_id, c.number, c.created_at, b.is_protected
    FROM repos r LEFT JOIN branches b ON b.repo_id = r.id LEFT JOIN commits c ON c.id = b.head_id
    WHERE r.deleted_at IS NULL AND r.kind = 'user' ORDER BY r.name, b.name"""
_SUBSCRIPTIONS: Final = """SELECT s.name, r.name, b.name, s.partitions, s.relay, s.consumer, s.cursor_id, b.head_id,
        (SELECT count(*) FROM due_keys d WHERE d.subscription_id = s.id AND d.sequence > d.done_sequence),
        (SELECT min(d.requested_at) FROM due_keys d WHERE d.subscription_id = s.id AND d.sequence > d.done_sequence)
    FROM subscriptions s JOIN branches b ON b.id = s.branch_id JOIN repos r ON r.id = b.repo_id
    WHERE r.deleted_at IS NULL ORDER BY r.name, b.name, s.name"""
_PROBLEMS: Final = "SELECT task, problem FROM maintenance WHERE problem IS NOT NULL ORDER BY task"
# A content that has another copy is healed for every reader; see `versioned_io.catalog.damages`.
_DAMAGES: Final = """SELECT count(*) FROM damages d
    WHERE d.new_pack IS NULL AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.digest = d.digest)"""

SHORTEST: Final = 12
"""The digits that hold the time of an ID, to the millisecond: later commits have other ones."""

_BATCH: Final = 500
_NEIGHBOURS: Final = """SELECT c.id, (SELECT max(o.id) FROM commits o WHERE o.id < c.id),
        (SELECT min(o.id) FROM commits o WHERE o.id > c.id)
    FROM commits c WHERE c.id IN :ids"""


class HeadRow(NamedTuple):
    """A branch with its head; a repo without a branch has one row with empty fields."""

    repo: str
    description: str
    branch: str | None
    head: CommitId | None
    number: int
    committed_at: datetime | None
    is_protected: bool


class WaitingRow(NamedTuple):
    """A subscription with the number of its due keys."""

    name: str
    repo: str
    branch: str
    partitions: str | None
    relay: str | None
    consumer: str | None
    is_behind: bool
    due: int
    oldest_request: datetime | None


def list_heads(connection: AnyConnection) -> list[HeadRow]:
    """Return the branches of all repos that are not deleted, sorted by repo and branch. Cost: 1 SELECT."""
    return [
        HeadRow(repo, description, branch, head, number or 0, None if at is None else as_time(at), bool(is_protected))
        for repo, description, branch, head, number, at, is_protected in rows(connection, _HEADS)
    ]


def count_waiting(connection: AnyConnection) -> list[WaitingRow]:
    """Return all subscriptions, sorted by branch and name. Cost: 1 SELECT, which reads every row of their keys."""
    return [
        WaitingRow._make((*facts, cursor != head, due, None if oldest is None else as_time(oldest)))
        for *facts, cursor, head, due, oldest in rows(connection, _SUBSCRIPTIONS)
    ]


def list_task_problems(connection: AnyConnection) -> list[tuple[str, str]]:
    """Return the maintenance tasks whose last run noted a problem, with the problem. Cost: 1 SELECT."""
    return [(str(task), str(problem)) for task, problem in rows(connection, _PROBLEMS)]


def count_damages(connection: AnyConnection) -> int:
    """Return the number of contents that are noted as damaged and have no intact copy. Cost: 1 SELECT."""
    return int(only_row(rows(connection, _DAMAGES))[0])


def abbreviate(connection: AnyConnection, commit_ids: Sequence[str]) -> dict[str, str]:
    """Return for each commit ID the shortest beginning, of 12 digits or more, that no other commit's ID has.

    An ID that the catalog lacks stays whole. Cost: 1 SELECT for each 500 IDs, by the primary key.
    """
    short = {one: one for one in commit_ids}
    whole = list(short)
    for start in range(0, len(whole), _BATCH):
        for own, *neighbours in rows(connection, _NEIGHBOURS, ids=whole[start : start + _BATCH]):
            shared = (_shared(own, other) for other in neighbours if other is not None)
            short[own] = own[: max([SHORTEST, *(size + 1 for size in shared)])]
    return short


def _shared(one: str, other: str) -> int:
    """Return how many digits at the beginning two IDs share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))
