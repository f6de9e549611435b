"""The datums of a glob that have given values of ``join_on`` or ``group_by``; the others are not read if possible."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from versioned_io.processing.inputs.chosen import Chosen
from versioned_io.processing.inputs.globbing import files_at, files_of, matches_of
from versioned_io.processing.inputs.specs import GlobInput, rule_parts
from versioned_io.versioning.snapshots.glob import Glob, parse_glob
from versioned_io.versioning.snapshots.glob_syntax import Choice, Group, Node, Text
from versioned_io.versioning.snapshots.snapshot import Snapshot

_MOST: Final = 256
"""For more values the whole tree is read, in long runs of pages."""


class _Place(NamedTuple):
    """The text with which the paths of a value begin, and whether it is the whole path."""

    text: str
    is_whole: bool


def matches_with_values(spec: GlobInput, snapshot: Snapshot, rule: str, values: pa.StringArray) -> Chosen:
    """Return the datums of a glob that have one of *values*.

    Cost: if the value is all that varies at the start of the paths, reads the pages of the values. Otherwise reads the
        pages of all paths of the glob; 1 us a file.
    """
    pattern = parse_glob(spec.pattern, has_fields=True)
    places = _places(pattern, {"join_on": spec.join_on, "group_by": spec.group_by}[rule], values.to_pylist())
    if places is None:
        files = files_of(snapshot, pattern)
    else:
        paths = [place.text for place in places if place.is_whole]
        files = files_at(snapshot, paths, [f"{text}/" if is_whole else text for text, is_whole in places])
    return Chosen.with_values(matches_of(spec, pattern, snapshot, files), rule, values)


def _places(pattern: Glob, rule: str | None, values: Sequence[str]) -> list[_Place] | None:
    """Return where the paths of each value are; None if they may be anywhere."""
    parts = [] if rule is None else rule_parts(rule, dict(pattern.fields))
    if not parts or len(values) > _MOST:
        return None
    before, after = (part if isinstance(part, str) else "" for part in (parts[0], parts[-1]))
    inner = parts[bool(before) : len(parts) - bool(after)]
    heads = _around(pattern, inner)
    if heads is None:
        return None
    texts = [one for one in values if one.startswith(before) and one.endswith(after)]
    whole = [one[len(before) : len(one) - len(after)] for one in texts if len(one) >= len(before) + len(after)]
    return [_Place(f"{heads.text}{one}{heads.tail}", heads.is_whole) for one in whole]


class _Around(NamedTuple):
    """The text before and after a value in every path, and whether the path ends there."""

    text: str
    tail: str
    is_whole: bool


def _around(pattern: Glob, parts: Sequence[str | int]) -> _Around | None:
    """Return what is around the *parts* of a rule in the pattern; None if they don't follow its beginning."""
    nodes = list(pattern.nodes)
    head = _pop_text(nodes)
    for part in parts:
        node = nodes.pop(0) if nodes else None
        match node:
            case Text() if node.text == part:
                pass
            case Group() if node.number == part and node.choice is Choice.ONCE:
                pass
            case _:
                return None
    tail = _pop_text(nodes)
    return _Around(head, tail, not nodes)


def _pop_text(nodes: list[Node]) -> str:
    """Remove the literal text at the beginning of *nodes*, and return it."""
    if not nodes or not isinstance(nodes[0], Text):
        return ""
    text = nodes[0].text
    del nodes[0]
    return text
