"""The position of a commit sensor in the history of its branch, as text that Dagster keeps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from versioned_io.errors import InvalidInputError
from versioned_io.model.identifiers import CommitId, LineageId, parse_commit_id, parse_lineage_id

_BEFORE_FIRST = "beginning"


@dataclass(frozen=True, slots=True)
class CausedBy:
    """The commit that caused a partition's run, and its lineage ID."""

    commit: CommitId
    lineage_id: LineageId


@dataclass(frozen=True, slots=True)
class SensorCursor:
    """The last commit that was handled, and the partition keys that could not be requested yet.

    Attributes:
        commit: ``None`` before the branch's first commit.
        waiting: Keys without a partition of the assets (yet), such as a month that has not ended,
            each with the newest commit that touched it.
    """

    commit: CommitId | None = None
    waiting: Mapping[str, CausedBy] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the commit ID, ``beginning``, or a JSON object if there are keys that wait."""
        position = _BEFORE_FIRST if self.commit is None else self.commit
        if not self.waiting:
            return position
        waiting = {key: [cause.commit, cause.lineage_id] for key, cause in sorted(self.waiting.items())}
        return json.dumps({"commit": position, "waiting": waiting}, ensure_ascii=False)


def parse_sensor_cursor(text: str) -> SensorCursor:
    """Return the cursor in *text*: a commit ID, which a person may type, ``beginning``, or the JSON form.

    Raises:
        InvalidInputError: *text* is none of these; the message names the valid values.
    """
    try:
        if not text.startswith("{"):
            return SensorCursor(_parse_position(text))
        fields = json.loads(text)
        waiting = {
            key: CausedBy(parse_commit_id(commit), parse_lineage_id(lineage_id))
            for key, (commit, lineage_id) in fields["waiting"].items()
        }
        return SensorCursor(_parse_position(fields["commit"]), waiting)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{text!r} is not a cursor of a commit sensor: use the ID of the last handled commit, "
            f"or {_BEFORE_FIRST!r} for the branch's first commit"
        )
        raise InvalidInputError(msg) from error


def _parse_position(text: str) -> CommitId | None:
    return None if text == _BEFORE_FIRST else parse_commit_id(text)
