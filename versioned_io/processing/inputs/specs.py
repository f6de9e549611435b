"""Inputs as frozen values, which nest, and the functions that build and check them.

An input names refs, and reads nothing itself: `versioned_io.processing.inputs.selecting` evaluates it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Union

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import parse_flag, parse_name, parse_text
from versioned_io.model.identifiers import is_id
from versioned_io.model.refs import parse_commit_ref
from versioned_io.versioning.snapshots.glob_syntax import ParsedPattern, parse_pattern

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,127}")
_RESERVED: Final = "out"
_REFERENCE: Final = re.compile(r"\$(?P<number>[0-9]+)|\{(?P<field>[^{}]*)\}|(?P<stray>[${}])")


@dataclass(frozen=True, slots=True)
class GlobInput:
    """Each file or directory that matches *pattern* is a datum; made by `glob`.

    Attributes:
        ref: The commit that is read: a branch, a tag, or a commit ID.
        name: The name by which code finds the files.
        join_on: The value that a join compares, such as ``$1``; None outside of joins.
        group_by: The value that a group collects by; None outside of groups.
        outer: Whether a join keeps datums that have no partner.
        empty_files: Whether code sees only the names of the files.
    """

    ref: str
    pattern: str
    name: str
    join_on: str | None = None
    group_by: str | None = None
    outer: bool = False
    empty_files: bool = False


@dataclass(frozen=True, slots=True)
class TableInput:
    """Each value of the column *by* in a table file is a datum of the rows with this value; made by `table`.

    Attributes:
        path: The path of a table file, or a pattern of such paths.
        by: The column whose values cut the table.
    """

    ref: str
    path: str
    by: str
    name: str
    join_on: str | None = None
    group_by: str | None = None
    outer: bool = False


@dataclass(frozen=True, slots=True)
class CronInput:
    """Each tick of a clock is a datum: a file that is named by the time, in a repo of its own; made by `cron`.

    Attributes:
        schedule: Five fields of cron.
        ref: The branch with the ticks; None until a pipeline gives it one.
        start: The time of the first tick that counts; None for the time when the input is first used.
        overwrite: Whether only the newest tick is kept.
    """

    schedule: str
    name: str
    ref: str | None = None
    start: datetime | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class CrossInput:
    """Each combination of a datum of every arm is a datum; made by `cross`."""

    arms: tuple["InputSpec", ...]


@dataclass(frozen=True, slots=True)
class UnionInput:
    """The datums of all arms, side by side; made by `union`."""

    arms: tuple["InputSpec", ...]


@dataclass(frozen=True, slots=True)
class JoinInput:
    """The combinations of datums that have equal ``join_on`` values; made by `join`."""

    arms: tuple["InputSpec", ...]


@dataclass(frozen=True, slots=True)
class GroupInput:
    """For each ``group_by`` value a datum of all the files that have it; made by `group`."""

    arms: tuple["InputSpec", ...]


LeafInput = GlobInput | TableInput | CronInput
InputSpec = Union[GlobInput, TableInput, CronInput, CrossInput, UnionInput, JoinInput, GroupInput]  # noqa: UP007
INPUT_KINDS: Final = (GlobInput, TableInput, CronInput, CrossInput, UnionInput, JoinInput, GroupInput)


def glob(
    ref: str,
    pattern: str,
    *,
    name: str | None = None,
    join_on: str | None = None,
    group_by: str | None = None,
    outer: bool = False,
    empty_files: bool = False,
) -> GlobInput:
    """Return an input that has one datum for each file or directory of *ref* that matches *pattern*.

    A directory brings all the files below it. ``/`` is one datum of the whole tree. The patterns are those of
    `Snapshot.glob`, and ``{name}`` captures one or more characters of a part of a path.

    >>> vio.glob("weather@main", "/{year}/(*).csv").name
    'weather'

    Args:
        ref: ``repo@branch``, a tag, or a commit ID.
        name: The name by which code finds the files; by default the repo's.
        join_on: The value that `join` compares: text with ``$1`` for the first capture, or ``{name}`` for a field.
        group_by: The value that `group` collects by, likewise.
        outer: Whether `join` keeps datums that have no partner.
        empty_files: Whether code sees only the names of the files. Other content then runs nothing, and reading it is
            refused.

    Raises:
        InvalidInputError: An argument is malformed, or refers to a capture that the pattern lacks.
        RefSyntaxError: *ref* is not the ref of a commit.
    """
    parsed = _parse_input_pattern(pattern)
    for label, rule in (("join_on", join_on), ("group_by", group_by)):
        _check_rule(rule, label, pattern, parsed)
    _check_outer(join_on, outer=outer)
    parse_flag(empty_files, "empty_files")
    return GlobInput(ref, pattern, _input_name(ref, name), join_on, group_by, outer, empty_files)


def table(
    ref: str,
    path: str,
    by: str,
    *,
    name: str | None = None,
    join_on: str | None = None,
    group_by: str | None = None,
    outer: bool = False,
) -> TableInput:
    """Return an input that has one datum for each value of the column *by* in the tables at *path*.

    A datum has the rows with its value, which ``datum[name].table()`` returns. It changes when one of them changes,
    however the file is laid out.

    >>> vio.table("stocks@main", "/prices.parquet", by="symbol").name
    'stocks'

    Args:
        path: The path of a Parquet or Arrow file, or a pattern of such paths.
        by: The name of a column.
        join_on: As for `glob`; the last capture, also called ``{<column>}``, is the value of the column.
        group_by: Likewise.

    Raises:
        InvalidInputError: An argument is malformed.
        RefSyntaxError: *ref* is not the ref of a commit.
    """
    parsed = _parse_input_pattern(path)
    parse_name(by, "by")
    with_value = ParsedPattern(parsed.nodes, parsed.groups + 1, {**parsed.fields, by: parsed.groups})
    for label, rule in (("join_on", join_on), ("group_by", group_by)):
        _check_rule(rule, label, path, with_value)
    _check_outer(join_on, outer=outer)
    return TableInput(ref, path, by, _input_name(ref, name), join_on, group_by, outer)


def cron(
    schedule: str,
    *,
    name: str = "cron",
    ref: str | None = None,
    start: datetime | None = None,
    overwrite: bool = False,
) -> CronInput:
    """Return an input that has one datum for each tick of a clock.

    A tick is a file that is named by its time, in a repo of its own. A pipeline makes the repo and writes the ticks.

    >>> vio.cron("0 6 * * *", name="morning").schedule
    '0 6 * * *'

    Args:
        schedule: Five fields: minute, hour, day of the month, month, and day of the week.
        ref: A branch that holds ticks already.
        start: Ticks since this time count; by default those since the pipeline was made.
        overwrite: Whether only the newest tick is kept.

    Raises:
        InvalidInputError: An argument is malformed.
    """
    parse_name(schedule, "schedule")
    if ref is not None:
        parse_commit_ref(ref)
    return CronInput(schedule, _checked_name(name), ref, start, parse_flag(overwrite, "overwrite"))


def cross(*inputs: InputSpec) -> CrossInput:
    """Return an input whose datums are all combinations of a datum of each of *inputs*.

    >>> vio.cross(vio.glob("images@main", "/*"), vio.glob("models@main", "/")).arms[1].name
    'models'

    Raises:
        InvalidInputError: Two inputs have the same name, or there is none.
    """
    return CrossInput(_checked_arms("cross", inputs))


def union(*inputs: InputSpec) -> UnionInput:
    """Return an input whose datums are those of each of *inputs*. Several of them may have one name.

    >>> len(vio.union(vio.glob("a@main", "/*"), vio.glob("b@main", "/*")).arms)
    2

    Raises:
        InvalidInputError: There is none.
    """
    return UnionInput(_checked_arms("union", inputs, are_distinct=False))


def join(*inputs: InputSpec) -> JoinInput:
    """Return an input whose datums are the combinations of datums of *inputs* that have equal ``join_on`` values.

    A datum without a partner is left out, unless its input is ``outer``.

    >>> left = vio.glob("images@main", "/(*).png", join_on="$1")
    >>> right = vio.glob("labels@main", "/{id}.txt", join_on="{id}", outer=True)
    >>> len(vio.join(left, right).arms)
    2

    Raises:
        InvalidInputError: Two inputs have the same name, one has no ``join_on``, or there is none.
    """
    return JoinInput(_checked_arms("join", inputs, needed="join_on"))


def group(*inputs: InputSpec) -> GroupInput:
    """Return an input that has one datum for each ``group_by`` value, with all the files of *inputs* that have it.

    >>> vio.group(vio.glob("visits@main", "/{patient}-*.csv", group_by="{patient}")).arms[0].group_by
    '{patient}'

    Raises:
        InvalidInputError: Two inputs have the same name, one has no ``group_by``, or there is none.
    """
    return GroupInput(_checked_arms("group", inputs, needed="group_by"))


def leaves_of(spec: InputSpec) -> Iterator[LeafInput]:
    """Yield the inputs in *spec* that read a ref, in order."""
    if isinstance(spec, GlobInput | TableInput | CronInput):
        yield spec
        return
    for arm in spec.arms:
        yield from leaves_of(arm)


def names_of(spec: InputSpec) -> tuple[str, ...]:
    """Return the names of the inputs in *spec*, each once, in order."""
    return tuple(dict.fromkeys(leaf.name for leaf in leaves_of(spec)))


def refs_of(spec: InputSpec) -> tuple[str, ...]:
    """Return the refs that *spec* reads, each once, in order; a cron input without a ref reads none."""
    return tuple(dict.fromkeys(leaf.ref for leaf in leaves_of(spec) if leaf.ref is not None))


def rule_parts(rule: str, fields: dict[str, int]) -> list[str | int]:
    """Return a checked ``join_on`` or ``group_by`` as literal texts and numbers of captures, from 0."""
    parts: list[str | int] = []
    at = 0
    for found in _REFERENCE.finditer(rule):
        parts.append(rule[at : found.start()])
        parts.append(int(found["number"]) - 1 if found["number"] else fields[found["field"]])
        at = found.end()
    return [part for part in (*parts, rule[at:]) if part != ""]


def rule_value(rule: str, captures: Sequence[str | None], fields: Mapping[str, str]) -> str:
    """Return the value of a checked ``join_on`` or ``group_by`` for a file with these captures; null is empty."""

    def value(found: re.Match[str]) -> str:
        text = captures[int(found["number"]) - 1] if found["number"] else fields[found["field"]]
        return text or ""

    return _REFERENCE.sub(value, rule)


def _parse_input_pattern(pattern: str) -> ParsedPattern:
    """Return the parts of *pattern*, without loading what matches it."""
    if not isinstance(pattern, str) or not pattern:
        msg = f"the pattern {quoted(pattern)} is empty or not text: '/' is the whole tree, and '/*' each of its entries"
        raise InvalidInputError(msg)
    parse_text(pattern, "pattern")
    return parse_pattern(pattern, pattern.removeprefix("/").removesuffix("/"), has_fields=True)


def _check_rule(rule: str | None, label: str, pattern: str, parsed: ParsedPattern) -> None:
    if rule is None:
        return
    parse_name(rule, label)
    references = list(_REFERENCE.finditer(rule))
    for found in references:
        is_known = found["number"] and 0 < int(found["number"]) <= parsed.groups
        if not is_known and found["field"] not in parsed.fields:
            offered = [f"${number}" for number in range(1, parsed.groups + 1)] + [f"{{{one}}}" for one in parsed.fields]
            known = ", ".join(offered) or "none: put a part of it in parentheses, such as (*)"
            msg = f"{label}={rule!r} refers to {found[0]!r}, which {pattern!r} does not capture; its captures: {known}"
            raise InvalidInputError(msg)
    if not references:
        msg = f"{label}={rule!r} refers to no capture, so all datums would be equal: write $1 or {{name}}"
        raise InvalidInputError(msg)


def _check_outer(join_on: str | None, *, outer: bool) -> None:
    if parse_flag(outer, "outer") and join_on is None:
        msg = "outer=True needs join_on: it says that a join keeps datums without a partner"
        raise InvalidInputError(msg)


def _input_name(ref: str, name: str | None) -> str:
    """Return the name of an input of *ref*, which is checked, too."""
    if isinstance(ref, str) and is_id(ref):
        if name is None:
            msg = f"an input of commit {ref} needs a name: pass name="
            raise InvalidInputError(msg)
        return _checked_name(name)
    repo = parse_commit_ref(ref).repo
    return _checked_name(repo if name is None else name)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or name == _RESERVED:
        msg = (
            f"{quoted(name)} is not a valid name of an input (1 to 128 letters, digits, '.', '_', '=' or '-', "
            f"starting with a letter, digit or '_'; {_RESERVED!r} is the output)"
        )
        raise InvalidInputError(msg)
    return name


def _checked_arms(
    kind: str, inputs: Sequence[InputSpec], *, needed: str | None = None, are_distinct: bool = True
) -> tuple[InputSpec, ...]:
    if not inputs:
        msg = f"{kind}() needs at least one input: pass glob(...), table(...), or a nested input"
        raise InvalidInputError(msg)
    for one in inputs:
        if not isinstance(one, INPUT_KINDS):
            msg = f"each argument of {kind}() must be an input, such as glob('images@main', '/*'), not {quoted(one)}"
            raise InvalidInputError(msg)
        if needed is not None and all(getattr(leaf, needed, None) is None for leaf in leaves_of(one)):
            msg = f"the input {'+'.join(names_of(one))!r} of {kind}() needs {needed}, such as {needed}='$1'"
            raise InvalidInputError(msg)
    if are_distinct:
        _check_distinct(kind, inputs)
    return tuple(inputs)


def _check_distinct(kind: str, inputs: Sequence[InputSpec]) -> None:
    counts = Counter(name for one in inputs for name in names_of(one))
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        msg = f"{kind}() has {len(twice)} names twice: {', '.join(map(repr, twice))}; give each input its own name="
        raise InvalidInputError(msg)
