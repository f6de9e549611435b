"""Replaying the triggers of branches from the journal."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from versioned_io.model.identifiers import PackName
from versioned_io.model.journal import BY_TRIGGER, Action, RecordedEntry


@dataclass(frozen=True, slots=True)
class ReplayedTrigger:
    """The trigger of a branch after the last entry that was replayed.

    Attributes:
        repo: The recorded name of the repo of the branch that is followed.
        source: The branch that is followed; until `follow_source` by the name that it had when the trigger was set.
        sequence: The entry that set the trigger.
    """

    repo: str
    source: str
    rule: str
    set_at: datetime
    sequence: int
    fired_at: datetime | None = None


def trigger_after(trigger: ReplayedTrigger | None, recorded: RecordedEntry) -> ReplayedTrigger | None:
    """Return the trigger of a branch after an entry about it. A new rule keeps the time of the last firing."""
    details = recorded.entry.details
    if trigger is not None and recorded.entry.action is Action.MOVE_BRANCH and details.get("reason") == BY_TRIGGER:
        return replace(trigger, fired_at=recorded.at)
    if recorded.entry.action is not Action.SET_TRIGGER:
        return trigger
    if details.get("rule") is None:
        return None
    return ReplayedTrigger(
        repo=str(details["source_repo"]),
        source=str(details["source"]),
        rule=str(details["rule"]),
        set_at=recorded.at,
        sequence=recorded.sequence,
        fired_at=None if trigger is None else trigger.fired_at,
    )


def follow_source(
    trigger: ReplayedTrigger | None, entries: Iterable[tuple[RecordedEntry, PackName]]
) -> ReplayedTrigger | None:
    """Return a trigger with the present name of the branch that it follows; None if that branch was deleted.

    Args:
        entries: Of all repos; those of one repo in order.
    """
    found = trigger
    for recorded, _ in entries:
        entry = recorded.entry
        if found is None or recorded.sequence < found.sequence:
            continue
        if (entry.repo, entry.name) != (found.repo, found.source):
            continue
        if entry.action is Action.DELETE_BRANCH:
            return None
        if entry.action is Action.RENAME_BRANCH:
            found = replace(found, source=str(entry.details["to"]))
    return found
