"""The template that names a partition by the path of its files: path → key, key → glob, one or a column at a time."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

from versioned_io.errors import IllegalPathError, InvalidInputError, PartitionKeyError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import parse_text
from versioned_io.model.paths import parse_path

if TYPE_CHECKING:
    import pyarrow as pa  # an orchestrator reads templates in every process that parses definitions; this takes 1 s

KEY_SEPARATOR = "-"
"""The text that joins the fields' values into a key, unless the template has a ``key``."""

_TOKEN = re.compile(
    r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<deep>\*\*)|(?P<star>\*)|(?P<stray>[{}])|(?P<text>[^{}*]+)"
)
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GLOB_SPECIAL = re.compile(r"([*?\[{(])")


class _Kind(StrEnum):
    TEXT = "text"
    FIELD = "field"
    STAR = "star"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class _Part:
    kind: _Kind
    text: str

    @property
    def varies(self) -> bool:
        return self.kind is not _Kind.TEXT


_Segment = tuple[_Part, ...]

_Column = Any


@dataclass(frozen=True, slots=True)
class _CompiledTemplate:
    """The compiled form of a template and its key; each pattern has one group per field, in order of appearance."""

    segments: tuple[_Segment, ...]
    key_parts: _Segment
    occurrences: tuple[str, ...]
    path_longest: str
    path_shortest: str | None
    key_pattern: str
    key_fields: tuple[str, ...]
    key_may_mislead: bool


@dataclass(frozen=True, slots=True)
class PartitionTemplate:
    """A rule that maps paths to partition keys, and a key to the glob of its paths.

    ``{year}/{month}.csv`` reads ``2012/01.csv`` as the key ``2012-01``. ``{name}`` stands for one or more characters
    other than ``/``, and ``*`` for any number of them. ``**``, as a whole part, stands for any number of directories.
    ``{{`` and ``}}`` stand for a brace, and everything else is literal. A field that appears twice must have the same
    value in both places, or the path does not match.

    Equal keys mean equal fields. An error is raised if a path can be read in two ways, or if a key would be read back
    as other fields. Nothing is guessed.

    >>> template = vio.PartitionTemplate.parse("{year}/{month}.csv")
    >>> template.key_of("2012/01.csv")
    '2012-01'
    >>> template.glob_of("2012-01")
    '2012/01.csv'

    Attributes:
        text: The template of the paths.
        key: The template of the keys, such as ``{year}-{month}``.
        fields: The names of the fields, in order of appearance in *text*.
    """

    text: str
    key: str
    fields: tuple[str, ...]
    _plan: _CompiledTemplate = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, key: str | None = None) -> "PartitionTemplate":
        """Return the template that *text* writes.

        >>> vio.PartitionTemplate.parse("{year}/{month}.csv").fields
        ('year', 'month')
        >>> vio.PartitionTemplate.parse("{city}/*.csv", key="city={city}").key_of("oslo/1.csv")
        'city=oslo'

        Args:
            key: The template of the key, such as ``{year}|{month}``, with every field once. The default is their values
                in order of appearance, joined by ``-``.

        Raises:
            InvalidInputError: *text* or *key* is not a template; the message names the error and the valid form.
        """
        parse_text(text, "template")
        segments = _parse_segments(text)
        occurrences = tuple(part.text for segment in segments for part in segment if part.kind is _Kind.FIELD)
        fields = tuple(dict.fromkeys(occurrences))
        if not fields:
            raise _malformed(text, "it names no field; write one, such as {date}.csv")
        _check_repeats(text, segments, occurrences)
        if key is not None:
            parse_text(key, "key")
        key_text = KEY_SEPARATOR.join(f"{{{name}}}" for name in fields) if key is None else key
        key_parts = _parse_key(key_text, text, fields)
        can_mislead = any(sum(part.varies for part in segment) > 1 for segment in segments)
        plan = _CompiledTemplate(
            segments=segments,
            key_parts=key_parts,
            occurrences=occurrences,
            path_longest=_path_pattern(segments, lazy=False),
            path_shortest=_path_pattern(segments, lazy=True) if can_mislead else None,
            key_pattern=_segment_pattern(key_parts, count(), lazy=False),
            key_fields=tuple(part.text for part in key_parts if part.kind is _Kind.FIELD),
            key_may_mislead=_may_mislead(key_parts),
        )
        return cls(text=text, key=key_text, fields=fields, _plan=plan)

    def __str__(self) -> str:
        return self.text

    def key_of(self, path: str) -> str | None:
        """Return the key of the partition that *path* belongs to; ``None`` when it does not match.

        >>> template = vio.PartitionTemplate.parse("{year}/{month}.csv")
        >>> template.key_of("2012/01.csv")
        '2012-01'
        >>> template.key_of("README.md") is None
        True

        Raises:
            PartitionKeyError: The path, or its key, can be read in two ways; the message names both, and the change
                that helps.
        """
        values = self._values_of(parse_text(path, "path"))
        if values is None:
            return None
        key = "".join(values[part.text] if part.varies else part.text for part in self._plan.key_parts)
        if self._plan.key_may_mislead and self._read_key(key) != values:
            raise self._misleading_key(path, key, values)
        return key

    def fields_of(self, key: str) -> dict[str, str]:
        """Return the value of each field of *key*, in order of appearance in the template.

        >>> template = vio.PartitionTemplate.parse("{year}/{month}.csv")
        >>> template.fields_of("2012-01")
        {'year': '2012', 'month': '01'}

        Raises:
            PartitionKeyError: No path that matches this template has this key; the message shows their form.
        """
        values = self._read_key(key)
        if values is None:
            msg = f"{key!r} is not a partition key of {self.text!r}: its keys have the form {self.key!r}"
            raise PartitionKeyError(msg)
        self._check_producible(key, values)
        return values

    def glob_of(self, key: str) -> str:
        """Return the glob that matches exactly the paths whose key is *key*.

        >>> template = vio.PartitionTemplate.parse("{city}/**/{date}.csv")
        >>> template.glob_of("oslo-2012")
        'oslo/**/2012.csv'

        Raises:
            PartitionKeyError: As for `fields_of`.
        """
        return self._filled(self.fields_of(key), wildcards=True)

    def keys_of(self, paths: "pa.Array | pa.ChunkedArray") -> "pa.Array | pa.ChunkedArray":
        """Return the key of each of *paths*, as `key_of` does, without a Python step per path.

        >>> template = vio.PartitionTemplate.parse("{year}/{month}.csv")
        >>> paths = store.diff(None, "weather@main").column("path")
        >>> template.keys_of(paths).to_pylist()
        ['2012-01', '2012-02']

        Args:
            paths: Strings of any Arrow string type.

        Returns:
            As many strings, in the same order and as many chunks; null where a path is null or does not match.

        Raises:
            PartitionKeyError: As for `key_of`, naming the first such path.

        Cost: about 0.6 s for 1,000,000 paths, 1 s where a part of the path has two variable places.
        """
        import pyarrow as pa

        from versioned_io.model.columns import EMPTY_TEXT, text_scalar

        if isinstance(paths, pa.ChunkedArray):
            return pa.chunked_array([self.keys_of(chunk) for chunk in paths.chunks], type=pa.string())
        texts = paths.cast(pa.string())
        columns = _extract(texts, self._plan.path_longest)
        if self._plan.path_shortest is not None:
            shortest = _extract(texts, self._plan.path_shortest)
            self._raise_as_key_of(texts, _differ(columns, shortest))
        values, matches = self._merge_repeats(columns)
        joined = [values[part.text] if part.varies else text_scalar(part.text) for part in self._plan.key_parts]
        keys: pa.StringArray = _where(matches, _kernels().binary_join_element_wise(*joined, EMPTY_TEXT))
        if self._plan.key_may_mislead:
            read_back = _extract(keys, self._plan.key_pattern)
            expected = [_where(matches, values[name]) for name in self._plan.key_fields]
            self._raise_as_key_of(texts, _differ(expected, read_back))
        return keys

    def _values_of(self, path: str) -> dict[str, str] | None:
        longest = re.fullmatch(self._plan.path_longest, path)
        if longest is None:
            return None
        if self._plan.path_shortest is not None:
            shortest = re.fullmatch(self._plan.path_shortest, path)
            if shortest is None or shortest.groups() != longest.groups():
                raise self._misleading_path(path, longest.groups(), shortest.groups() if shortest else ())
        values: dict[str, str] = {}
        for name, value in zip(self._plan.occurrences, longest.groups(), strict=True):
            if values.setdefault(name, value) != value:
                return None
        return values

    def _read_key(self, key: str) -> dict[str, str] | None:
        match = re.fullmatch(self._plan.key_pattern, key)
        if match is None:
            return None
        found = dict(zip(self._plan.key_fields, match.groups(), strict=True))
        return {name: found[name] for name in self.fields}

    def _check_producible(self, key: str, values: Mapping[str, str]) -> None:
        path = self._filled(values, wildcards=False)
        try:
            parse_path(path)
        except IllegalPathError as error:
            msg = f"{key!r} is not a partition key of {self.text!r}: its path would be {path!r}, and {error.args[1]}"
            raise PartitionKeyError(msg) from None
        if self._plan.path_shortest is not None:
            self._values_of(path)

    def _filled(self, values: Mapping[str, str], *, wildcards: bool) -> str:
        """Return the template with *values* put in: as a glob, or as the shortest path that matches."""
        parts: list[str] = []
        for segment in self._plan.segments:
            if segment[0].kind is _Kind.DEEP and not wildcards:
                continue
            parts.append("".join(_fill(part, values, wildcards=wildcards) for part in segment) or "_")
        if self._plan.segments[-1][0].kind is _Kind.DEEP and not wildcards:
            parts.append("_")
        return "/".join(parts)

    def _merge_repeats(self, columns: Sequence[_Column]) -> tuple[dict[str, _Column], _Column]:
        """Return the column of each field, and whether the row matches: a field that appears twice must agree."""
        values: dict[str, _Column] = {}
        matches = columns[0].is_valid()
        for name, column in zip(self._plan.occurrences, columns, strict=True):
            if name in values:
                compute = _kernels()
                matches = compute.and_(matches, compute.fill_null(compute.equal(values[name], column), False))  # noqa: FBT003
            else:
                values[name] = column
        return values, matches

    def _raise_as_key_of(self, paths: _Column, wrong: _Column) -> None:
        """Raise what `key_of` raises for the first of *paths* that is *wrong*, if there is one."""
        for path in paths.filter(wrong).slice(0, 1).to_pylist():
            self.key_of(path)

    def _misleading_path(self, path: str, longest: Sequence[str], shortest: Sequence[str]) -> PartitionKeyError:
        readings = " or as ".join(
            ", ".join(f"{name}={value!r}" for name, value in zip(self._plan.occurrences, values, strict=True))
            for values in (shortest, longest)
        )
        msg = (
            f"path {path!r} can be read by {self.text!r} as {readings}: "
            f"use one field for both, or put them into directories of their own"
        )
        return PartitionKeyError(msg)

    def _misleading_key(self, path: str, key: str, values: Mapping[str, str]) -> PartitionKeyError:
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items())
        advice = "|".join(f"{{{name}}}" for name in self.fields)
        msg = (
            f"the key {key!r} of path {path!r} would not be read back as {shown}: "
            f"pass key={advice!r}, or separate the fields by text that no value has"
        )
        return PartitionKeyError(msg)


def escape_glob(text: str) -> str:
    """Return the glob that matches *text* itself."""
    return _GLOB_SPECIAL.sub(r"[\1]", text)


def _parse_segments(text: str) -> tuple[_Segment, ...]:
    segments = tuple(tuple(_parse_parts(segment, text)) for segment in text.removeprefix("/").split("/"))
    for segment in segments:
        if not segment or segment[0].text in {".", ".."}:
            raise _malformed(text, "a part between slashes can't be empty, '.' or '..'; write it as {year}/{month}.csv")
        kinds = [part.kind for part in segment]
        if _Kind.DEEP in kinds and len(segment) > 1:
            raise _malformed(text, "'**' must be a part of its own, as in **/{date}.csv")
        if _Kind.FIELD in kinds and kinds.count(_Kind.STAR) > 1:
            raise _malformed(text, "a part with a field can have one '*' only")
        for left, right in pairwise(segment):
            if left.varies and right.varies:
                raise _malformed(text, "two fields, or a field and '*', need literal text or '/' between them")
    if sum(segment[0].kind is _Kind.DEEP for segment in segments) > 1:
        raise _malformed(text, "it can have one '**' only")
    return segments


def _parse_parts(piece: str, text: str) -> Iterator[_Part]:
    literal = ""
    for token in _TOKEN.finditer(piece):
        kind = token.lastgroup
        if kind in {"text", "brace"}:
            literal += token[0] if kind == "text" else token[0][0]
            continue
        if kind == "stray":
            raise _malformed(text, f"{token[0]!r} has no partner in the same part; write {{{{ or }}}} for a brace")
        if literal:
            yield _literal(literal, text)
            literal = ""
        if kind == "field" and _FIELD_NAME.fullmatch(token["field"]) is None:
            raise _malformed(
                text, f"{token[0]!r} is not a field; use a name of letters, digits and _, such as {{date}}"
            )
        yield _Part(_Kind(kind or ""), token["field"] or token[0])
    if literal:
        yield _literal(literal, text)


def _literal(literal: str, text: str) -> _Part:
    if not unicodedata.is_normalized("NFC", literal):
        raise _malformed(text, "it is not in Unicode normalisation form C, so no path can match it")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in literal):
        raise _malformed(text, "it has a control character, so no path can match it")
    return _Part(_Kind.TEXT, literal)


def _check_repeats(text: str, segments: Sequence[_Segment], occurrences: Sequence[str]) -> None:
    repeated = {name for name in occurrences if occurrences.count(name) > 1}
    for segment in segments:
        names = {part.text for part in segment if part.kind is _Kind.FIELD}
        if names & repeated and sum(part.varies for part in segment) > 1:
            name = min(names & repeated)
            raise _malformed(text, f"the repeated field {{{name}}} can't share a part with another field or '*'")


def _parse_key(key: str, text: str, fields: Sequence[str]) -> _Segment:
    parts = tuple(_parse_parts(key, key))
    names = [part.text for part in parts if part.kind is _Kind.FIELD]
    if sorted(names) != sorted(fields):
        wanted = " ".join(f"{{{name}}}" for name in fields)
        raise _malformed(key, f"the key of {text!r} must name each of its fields once: {wanted}")
    if any(part.kind in {_Kind.STAR, _Kind.DEEP} for part in parts):
        raise _malformed(key, "a key can't have '*'")
    for left, right in pairwise(parts):
        if left.varies and right.varies:
            raise _malformed(key, "two fields need a text between them, such as '|'")
    return parts


def _may_mislead(key_parts: _Segment) -> bool:
    """Return whether two sets of values can make one key: not if a ``/``, which no value has, separates all fields."""
    places = [index for index, part in enumerate(key_parts) if part.varies]
    return any(not any("/" in part.text for part in key_parts[left + 1 : right]) for left, right in pairwise(places))


def _path_pattern(segments: Sequence[_Segment], *, lazy: bool) -> str:
    """Return the regular expression of a whole path, as RE2 and `re` both read it; its groups are g0, g1 and so on."""
    pattern = ""
    groups = count()
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment[0].kind is _Kind.DEEP:
            pattern += "(?:[^/]+/)*" + ("[^/]+" if last else "")
        else:
            pattern += _segment_pattern(segment, groups, lazy=lazy) + ("" if last else "/")
    return pattern


def _segment_pattern(segment: _Segment, groups: Iterator[int], *, lazy: bool) -> str:
    more = "?" if lazy else ""
    pattern = ""
    for part in segment:
        if part.kind is _Kind.FIELD:
            pattern += f"(?P<g{next(groups)}>[^/]+{more})"
        else:
            pattern += f"[^/]*{more}" if part.varies else re.escape(part.text)
    return pattern


def _fill(part: _Part, values: Mapping[str, str], *, wildcards: bool) -> str:
    if part.kind is _Kind.STAR or part.kind is _Kind.DEEP:
        return part.text if wildcards else ""
    text = values[part.text] if part.kind is _Kind.FIELD else part.text
    return escape_glob(text) if wildcards else text


def _kernels() -> Any:  # noqa: ANN401 (the stubs widen every result to a scalar or a column)
    """Return Arrow's compute functions; columns are typed at the public edge only."""
    import pyarrow.compute

    return pyarrow.compute


def _extract(texts: _Column, pattern: str) -> list[_Column]:
    """Return one column per group of *pattern*, null where the whole of a text does not match."""
    columns: list[_Column] = _kernels().extract_regex(texts, pattern=rf"\A(?:{pattern})\z").flatten()
    return columns


def _where(matches: _Column, values: _Column) -> _Column:
    import pyarrow as pa

    return _kernels().if_else(matches, values, pa.nulls(1, pa.string())[0])


def _differ(left: Sequence[_Column], right: Sequence[_Column]) -> _Column:
    """Return whether any column differs, row by row; a null differs from a value, and not from a null."""
    import pyarrow as pa

    compute = _kernels()
    wrong: _Column = pa.repeat(False, len(left[0]))  # noqa: FBT003
    for one, other in zip(left, right, strict=True):
        unequal = compute.fill_null(compute.not_equal(one, other), False)  # noqa: FBT003
        wrong = compute.or_(wrong, compute.or_(unequal, compute.xor(one.is_valid(), other.is_valid())))
    return wrong


def _malformed(text: str, reason: str) -> InvalidInputError:
    msg = f"{quoted(text)} is not a partition template: {reason}"
    return InvalidInputError(msg)
