"""The journal's entries: the changes of names, as the packs hold them and the catalog lists them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from versioned_io.errors import FormatError, RefSyntaxError
from versioned_io.errors.root import quoted
from versioned_io.model.commits import JSONValue
from versioned_io.model.fields import Fields
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import parse_recorded_name, parse_ref_name, parse_repo_name
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.model.retention import RetentionRule

ENTRY_FORMAT = 1

BY_TRIGGER: Final = "trigger"
"""The reason of an entry `MOVE_BRANCH` that a trigger made."""


class Action(StrEnum):
    """The event in the life of a name that an entry records."""

    CREATE_REPO = "create_repo"
    DELETE_REPO = "delete_repo"
    """Written after an entry for each branch and tag that was deleted with the repo; the details name them again."""
    RENAME_REPO = "rename_repo"
    """Packs keep the name that the repo had first; the details name the old one and the new one."""
    CREATE_BRANCH = "create_branch"
    CREATE_TAG = "create_tag"
    DELETE_BRANCH = "delete_branch"
    DELETE_TAG = "delete_tag"
    RENAME_BRANCH = "rename_branch"
    PROTECT_BRANCH = "protect_branch"
    SET_RETENTION = "set_retention"
    SET_TRIGGER = "set_trigger"
    """A branch began to follow another, or ended it; the details name the other branch and the rule."""
    MOVE_BRANCH = "move_branch"
    """A branch was reset or fast-forwarded."""
    SQUASH = "squash"
    """Several commits of a branch became one with the same files."""
    DROP = "drop"
    PURGE = "purge"
    REDACT = "redact"
    """Secrets were removed from the records of a repo's commits."""
    EXPIRE = "expire"
    """Commits were forgotten because they were unreachable, or because they expired."""
    DISOWN = "disown"
    """Records and entries in packs that no catalog knew were disowned: their packs may be deleted."""
    LOST = "lost"
    """A rebuild found that there was an entry which is in no pack any more; its time is the latest that it can have."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One thing that happened to a name.

    Attributes:
        name: The branch or tag; empty where the whole repo is meant.
        old, new: The commits that the name pointed at before and afterwards.
        details: Further facts that the action needs, such as a new name.
    """

    repo: str
    name: str
    action: Action
    old: CommitId | None = None
    new: CommitId | None = None
    details: Mapping[str, JSONValue] = field(default_factory=dict)
    author: str = ""


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry with its place in the journal.

    Attributes:
        sequence: Ascending along the entries of one repo, with gaps.
        previous: The sequence of the repo's previous entry; 0 for the first. An entry that is neither the newest nor
            the previous one of another entry never counted: its writer died before.
    """

    entry: JournalEntry
    sequence: int
    previous: int
    at: datetime


def encode_entry(recorded: RecordedEntry) -> bytes:
    """Return the entry as canonical JSON: keys sorted, no spaces, UTF-8.

    Source: docs/spec/format-v1.md, "Journal entry".
    """
    entry = recorded.entry
    fields: dict[str, JSONValue] = {
        "format": ENTRY_FORMAT,
        "sequence": recorded.sequence,
        "previous": recorded.previous,
        "at": recorded.at.isoformat(),
        "repo": entry.repo,
        "name": entry.name,
        "action": entry.action.value,
        "old": entry.old,
        "new": entry.new,
        "details": dict(entry.details),
        "author": entry.author,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode_entry(payload: bytes) -> RecordedEntry:
    """Return the entry that `encode_entry` wrote; fields that this version does not know are ignored.

    Raises:
        FormatError: It was written by a newer version; upgrade.
        IntegrityError: It is malformed; the message says which field.
    """
    fields = Fields.parse(payload, "a journal entry")
    if fields.number("format") != ENTRY_FORMAT:
        msg = f"a journal entry has format {fields.number('format')}, this version reads {ENTRY_FORMAT}: upgrade"
        raise FormatError(f"{msg} versioned-io")
    action = fields.text("action")
    if action not in {one.value for one in Action}:
        msg = f"a journal entry has the action {quoted(action)}, which this version does not know: upgrade versioned-io"
        raise FormatError(msg)
    entry = JournalEntry(
        _decode_name(fields, "repo", parse_recorded_name),
        fields.text("name") and _decode_name(fields, "name", parse_ref_name),
        Action(action),
        fields.optional_id("old"),
        fields.optional_id("new"),
        fields.mapping("details"),
        fields.text("author"),
    )
    check_details(entry)
    sequence = fields.number("sequence", least=1)
    previous = fields.number("previous")
    if previous >= sequence:
        fields.refuse("previous", f"a number below that of the entry, {sequence},")
    return RecordedEntry(entry, sequence, previous, fields.time("at"))


def check_details(entry: JournalEntry) -> None:
    """Pass if an entry has all details that its action needs.

    Raises:
        IntegrityError: A detail is missing or malformed; the message names it.
    """
    details = Fields(entry.details, f"an entry {entry.action.value} of the journal of {entry.repo!r}")
    match entry.action:
        case Action.CREATE_REPO:
            details.text("description", default="")
            kind_of(entry)
        case Action.DELETE_REPO:
            details.text("description", default="")
        case Action.CREATE_TAG if entry.new is None:
            Fields({"new": None}, details.what).refuse("new", "the ID of a commit")
        case Action.RENAME_REPO:
            _decode_name(details, "from", parse_repo_name)
            _decode_name(details, "to", parse_repo_name)
        case Action.RENAME_BRANCH:
            _decode_name(details, "to", parse_ref_name)
        case Action.PROTECT_BRANCH:
            details.flag("is_protected")
        case Action.SET_RETENTION if details.has("rule"):
            RetentionRule.from_json(details.text("rule"))
        case Action.SET_TRIGGER if details.has("rule"):
            _check_trigger(details)
        case Action.EXPIRE | Action.DROP:
            details.ids("commits", is_optional=True)
        case Action.DISOWN:
            details.ids("commits")
            details.ids("packs")
        case _:
            pass  # the others need nothing beside the names


def _check_trigger(details: Fields) -> None:
    from versioned_io.model.trigger_rules import TriggerRule  # loads decimals and time zones, which few commands need

    TriggerRule.from_json(details.text("rule"))
    _decode_name(details, "source_repo", parse_repo_name)
    _decode_name(details, "source", parse_ref_name)


def _decode_name(fields: Fields, name: str, parse: Callable[[str], str]) -> str:
    try:
        return parse(fields.text(name))
    except RefSyntaxError:
        fields.refuse(name, "a name that a repo, a branch or a tag can have")


def kind_of(entry: JournalEntry) -> tuple[RepoKind, str]:
    """Return the kind of the repo that an entry `CREATE_REPO` created, and the recorded name of a system repo's owner.

    Raises:
        FormatError: A newer version knows more kinds. Upgrade versioned-io.
        IntegrityError: The owner of a system repo is missing.
    """
    details = Fields(entry.details, f"an entry create_repo of the journal of {entry.repo!r}")
    kind = details.text("kind", default=RepoKind.USER.value)
    if kind not in {one.value for one in RepoKind}:
        msg = f"{details.what} has the kind {quoted(kind)}, which this version does not know: upgrade versioned-io"
        raise FormatError(msg)
    owner = "" if kind == RepoKind.USER else _decode_name(details, "owner", parse_repo_name)
    return RepoKind(kind), owner


def disowned_commits(entry: JournalEntry) -> tuple[CommitId, ...]:
    """Return the commits that an entry `DISOWN` names."""
    return Fields(entry.details, "an entry disown of the journal").ids("commits")
