"""The position of a commit sensor in the history of its branch, as text that Dagster keeps."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from versioned_io.errors import InvalidInputError
from versioned_io.model.identifiers import CommitId, LineageId, parse_commit_id, parse_lineage_id

_BEFORE_FIRST = "beginning"
_REPLAY = "replay:"


@dataclass(frozen=True, slots=True)
class CausedBy:
    """The commit that caused a partition's run, its lineage ID, and its number in the branch.

    The number is the order: writers choose the IDs of their commits before their turn comes. It is 0 in a text of an
    older version.
    """

    commit: CommitId
    lineage_id: LineageId
    number: int = 0

    @property
    def place(self) -> tuple[int, str]:
        """The key that sorts causes by age."""
        return self.number, self.commit


@dataclass(frozen=True, slots=True)
class SensorCursor:
    """The last commit that was handled, and the partition keys that could not be requested yet.

    Attributes:
        commit: ``None`` before the branch's first commit.
        waiting: Keys without a partition of the assets (yet), such as a month that has not ended,
            each with the newest commit that touched it. Also the partitions beyond the page of one evaluation.
        epoch: A part of the run keys of a replay whose partitions wait.
        is_replay: Whether a person asked that the commits after *commit* are handled once more.
        removing: Partitions of deleted paths that the next evaluations remove.
    """

    commit: CommitId | None = None
    waiting: Mapping[str, CausedBy] = field(default_factory=dict)
    epoch: str = ""
    is_replay: bool = False
    removing: tuple[str, ...] = ()

    def in_turn(self, keys: Iterable[str]) -> list[str]:
        """Return *keys*, those that wait first, by the age of their commits: so none waits permanently."""
        return sorted(keys, key=lambda key: (0, self.waiting[key].place) if key in self.waiting else (1, (0, "")))

    def __str__(self) -> str:
        """Return the commit ID, ``beginning``, or a JSON object if there are keys that wait."""
        position = _BEFORE_FIRST if self.commit is None else self.commit
        if not self.waiting and not self.removing:
            return _REPLAY + position if self.is_replay else position
        waiting: dict[CausedBy, list[str]] = {}
        for key, cause in sorted(self.waiting.items()):
            waiting.setdefault(cause, []).append(key)
        caused = [[cause.commit, cause.lineage_id, keys, cause.number] for cause, keys in waiting.items()]
        rare = {"epoch": self.epoch, "removing": list(self.removing)}
        given = {name: value for name, value in rare.items() if value}
        return json.dumps({"commit": position, "waiting": caused, **given}, ensure_ascii=False)


def parse_sensor_cursor(text: str) -> SensorCursor:
    """Return the cursor in *text*: a commit ID, which a person may type, ``beginning``, or the JSON form.

    Before the first two, ``replay:`` asks for runs that were requested before.

    Raises:
        InvalidInputError: *text* is none of these; the message names the valid values.
    """
    try:
        if not text.startswith("{"):
            is_replay = text.startswith(_REPLAY)
            return SensorCursor(_parse_position(text.removeprefix(_REPLAY)), is_replay=is_replay)
        fields = json.loads(text)
        epoch, removing = fields.get("epoch", ""), fields.get("removing", [])
        if not isinstance(epoch, str) or not isinstance(removing, list):
            raise TypeError
        if not all(isinstance(key, str) for key in removing):
            raise TypeError
        commit, waiting = _parse_position(fields["commit"]), _parse_waiting(fields["waiting"])
        return SensorCursor(commit, waiting, epoch, removing=tuple(removing))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{text!r} is not a cursor of a commit sensor: use the ID of the last handled commit, "
            f"or {_BEFORE_FIRST!r} for the branch's first commit. {_REPLAY!r} before it repeats runs"
        )
        raise InvalidInputError(msg) from error


def _parse_waiting(found: Any) -> dict[str, CausedBy]:  # noqa: ANN401 (any JSON value)
    if isinstance(found, dict):  # an older form, which repeats the commit for each key
        found = [[commit, lineage_id, [key]] for key, (commit, lineage_id) in found.items()]
    waiting: dict[str, CausedBy] = {}
    for commit, lineage_id, keys, *rest in found:
        (number,) = rest or (0,)  # a text of an older version has none
        cause = CausedBy(parse_commit_id(commit), parse_lineage_id(lineage_id), int(number))
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise TypeError
        waiting |= dict.fromkeys(keys, cause)
    return waiting


def _parse_position(text: str) -> CommitId | None:
    return None if text == _BEFORE_FIRST else parse_commit_id(text)
