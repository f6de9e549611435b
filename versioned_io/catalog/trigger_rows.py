"""The rows of triggers: which branch follows which, by which rule, and when it last fired."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, text, update

from versioned_io.catalog.plain import AnyConnection, one_row, rows
from versioned_io.catalog.tables import triggers
from versioned_io.catalog.upserts import upsert
from versioned_io.catalog.values import as_time
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import BranchRef

# A branch in another repo holds copies. Its head says what it was made from, and when, so no row has to.
_TRIGGERS: Final = """SELECT t.branch_id, t.source_id, t.rule, t.set_at,
    CASE WHEN b.repo_id = s.repo_id THEN t.fired_at
        ELSE (SELECT c.created_at FROM commits c WHERE c.id = b.head_id) END,
    br.name, b.name, b.head_id, b.epoch, b.is_protected, sr.name, s.name, s.head_id, s.epoch,
    CASE WHEN b.repo_id = s.repo_id THEN b.head_id
        ELSE (SELECT p.input_id FROM provenance p JOIN commits c ON c.id = p.input_id
            WHERE p.commit_id = b.head_id AND c.repo_id = s.repo_id ORDER BY c."order" DESC LIMIT 1) END
    FROM triggers t JOIN branches b ON b.id = t.branch_id JOIN repos br ON br.id = b.repo_id
    JOIN branches s ON s.id = t.source_id JOIN repos sr ON sr.id = s.repo_id"""


@dataclass(frozen=True, slots=True)
class FollowedBranch:
    """The source of a trigger at one moment."""

    id: int
    ref: BranchRef
    head: CommitId | None
    epoch: int


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """A trigger and its two branches, as they were at one moment.

    Attributes:
        rule: As `TriggerRule.to_json` wrote it.
        epoch: Of the branch that follows.
        reached: The commit of the source that the branch has: its own head, or the source of its newest copy.
    """

    branch_id: int
    branch: BranchRef
    source: FollowedBranch
    rule: str
    set_at: datetime
    fired_at: datetime | None
    head: CommitId | None
    epoch: int
    is_protected: bool
    reached: CommitId | None

    @property
    def is_behind(self) -> bool:
        """Whether the source has a commit, and the branch another one."""
        return self.source.head is not None and self.source.head != self.reached

    @property
    def is_copy(self) -> bool:
        """Whether the branch is in another repo than its source, and holds copies of its commits."""
        return self.branch.repo != self.source.ref.repo


def list_triggers(connection: AnyConnection) -> list[TriggerRow]:
    """Return all triggers, sorted by branch. Cost: 1 SELECT."""
    return [_to_row(row) for row in rows(connection, f"{_TRIGGERS} ORDER BY br.name, b.name")]


def find_trigger(connection: AnyConnection, branch_id: int) -> TriggerRow | None:
    """Return the trigger of a branch; None if it has none. Cost: 1 SELECT."""
    found = one_row(rows(connection, f"{_TRIGGERS} WHERE t.branch_id = :branch_id", branch_id=branch_id))
    return None if found is None else _to_row(found)


def lock_triggers(connection: Connection) -> None:
    """Lock the table until the transaction ends: no other one sets a trigger, so two together close no loop.

    Lock the branches first; an evaluation does, too.

    Cost: 1 statement on PostgreSQL. On SQLite a writing transaction already holds the whole catalog.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE triggers IN SHARE ROW EXCLUSIVE MODE"))


def put_trigger(connection: Connection, branch_id: int, source_id: int, rule: str, now: datetime) -> None:
    """Set the trigger of a branch, and keep when it last fired. Cost: 1 INSERT."""
    values = {"source_id": source_id, "rule": rule, "set_at": now}
    entered = upsert(connection, triggers).values(branch_id=branch_id, fired_at=None, **values)
    connection.execute(entered.on_conflict_do_update(index_elements=["branch_id"], set_=values))


def note_fired(connection: Connection, branch_id: int, now: datetime | None) -> None:
    """Set when the trigger of a branch last fired. Cost: 1 UPDATE."""
    connection.execute(update(triggers).where(triggers.c.branch_id == branch_id).values(fired_at=now))


def remove_trigger(connection: Connection, branch_id: int) -> bool:
    """Delete the trigger of a branch, and return whether there was one. Cost: 1 DELETE."""
    gone = delete(triggers).where(triggers.c.branch_id == branch_id).returning(triggers.c.branch_id)
    return connection.execute(gone).one_or_none() is not None


def remove_triggers_with(connection: Connection, branch_id: int) -> None:
    """Delete the triggers by which a branch follows another, or is followed. Cost: 1 DELETE."""
    connection.execute(
        delete(triggers).where((triggers.c.branch_id == branch_id) | (triggers.c.source_id == branch_id))
    )


def followers_of(connection: AnyConnection, branch_id: int) -> list[str]:
    """Return the branches that follow a branch, as ``repo@branch``, sorted. Cost: 1 SELECT."""
    query = """SELECT r.name, b.name FROM triggers t JOIN branches b ON b.id = t.branch_id
        JOIN repos r ON r.id = b.repo_id WHERE t.source_id = :branch_id ORDER BY r.name, b.name"""
    return [f"{repo}@{name}" for repo, name in rows(connection, query, branch_id=branch_id)]


def moved_at(connection: AnyConnection, branch: FollowedBranch) -> datetime | None:
    """Return when a branch was last moved other than by a commit; None if no entry says so. Cost: 1 SELECT."""
    found = one_row(rows(connection, "SELECT at FROM journal WHERE sequence = :epoch", epoch=branch.epoch))
    return None if found is None else as_time(found[0])


def _to_row(row: Sequence[Any]) -> TriggerRow:
    branch_id, source_id, rule, set_at, fired_at, repo, name, head, epoch, is_protected = row[:10]
    source_repo, source_name, source_head, source_epoch, reached = row[10:]
    source = FollowedBranch(source_id, BranchRef(source_repo, source_name), source_head, source_epoch)
    return TriggerRow(
        branch_id=branch_id,
        branch=BranchRef(repo, name),
        source=source,
        rule=rule,
        set_at=as_time(set_at),
        fired_at=None if fired_at is None else as_time(fired_at),
        head=head,
        epoch=epoch,
        is_protected=bool(is_protected),
        reached=reached,
    )
