"""The matches of one glob or table in one snapshot: matched paths, captures, and the files below each path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import bytes_scalar, number_column, text_scalar
from versioned_io.model.identifiers import Digest
from versioned_io.processing.inputs.datum_set import DatumFile, Match
from versioned_io.processing.inputs.seen_bytes import framed, framed_column, joined, slices_digests
from versioned_io.processing.inputs.specs import rule_parts
from versioned_io.versioning.snapshots.snapshot import Snapshot

_NULL: Final = text_scalar("\0null")
"""The bytes that code sees of a null value of a table; the digest of its rows differs from any text's, too."""


class FileLists(NamedTuple):
    """The files of a tree that an input reads, sorted by path."""

    paths: pa.StringArray
    sizes: pa.Int64Array
    digests: pa.FixedSizeBinaryArray


class MatchedPaths(NamedTuple):
    """The matched paths, and which of the files are below each.

    Attributes:
        keys: The keys, sorted, each once.
        paths: The matched path of each; ``""`` is the root.
        starts: The number of the first file of each.
        counts: How many files each has.
        directories: Which are directories; None if none is.
    """

    keys: pa.StringArray
    paths: pa.StringArray
    starts: np.ndarray
    counts: np.ndarray
    directories: np.ndarray | None = None

    def chosen(self, mask: pa.BooleanArray) -> "MatchedPaths":
        """Return the matched paths for which *mask* is true."""
        flags = np.array(mask.to_pylist(), np.bool_)
        directories = None if self.directories is None else self.directories[flags]
        return MatchedPaths(
            self.keys.filter(mask), self.paths.filter(mask), self.starts[flags], self.counts[flags], directories
        )


@dataclass(frozen=True, slots=True)
class Matches:
    """The datums of a glob or a table: a `DatumSource`.

    Attributes:
        name: The name of the input.
        captures: One column for each capture.
        fields: The number of the capture of each named field.
        rules: ``join_on`` and ``group_by``, as far as they are given.
        is_names_only: Whether code does not see the content.
        column: The column that cuts the tables; None for whole files.
    """

    name: str
    snapshot: Snapshot
    found: MatchedPaths
    files: FileLists
    captures: tuple[pa.StringArray, ...]
    fields: Mapping[str, int]
    rules: Mapping[str, str]
    is_names_only: bool = False
    column: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the input."""
        return (self.name,)

    def __len__(self) -> int:
        return len(self.found.keys)

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows."""
        return taken(self.found.keys, rows)

    def parts_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows with their spaces escaped."""
        return escaped(self.keys_at(rows))

    def values(self, rule: str) -> pa.StringArray | None:
        """Return each row's value of ``join_on`` or ``group_by``."""
        return self._values(rule, self.captures) if rule in self.rules else None

    def matches(self, row: int) -> Sequence[Match]:
        """Return the files of a row."""
        captures = tuple(column[row].as_py() for column in self.captures)
        fields = {name: captures[number] for name, number in self.fields.items()}
        start, count = int(self.found.starts[row]), int(self.found.counts[row])
        columns = (
            [column[start].as_py()] if count == 1 else column.slice(start, count).to_pylist() for column in self.files
        )
        files = tuple(
            DatumFile(
                path, Digest(digest.hex()), size, captures, fields, self.snapshot, self.column, self.is_names_only
            )
            for path, size, digest in zip(*columns, strict=True)
        )
        return [Match(self.name, files)]

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return what code sees of these rows; see `DatumSet.seen`."""
        captures = [taken(values, rows) for values in self.captures]
        columns = [bytes_scalar(self._heading()), *framed_column(taken(self.found.paths, rows))]
        for values in (*captures, *(self._values(rule, captures) for rule in self.rules)):
            columns += framed_column(pc.fill_null(values, _NULL))
        return joined([*columns, self._contents(rows)])

    def _values(self, rule: str, captures: Sequence[pa.StringArray]) -> pa.StringArray:
        parts = rule_parts(self.rules[rule], dict(self.fields))
        columns = [text_scalar(part) if isinstance(part, str) else captures[part] for part in parts]
        return pc.binary_join_element_wise(*columns, text_scalar(""))

    def _heading(self) -> bytes:
        """Return what is equal for all rows: the names of the input, of its fields and of its rules."""
        names = [f"{name}={number}" for name, number in sorted(self.fields.items())]
        texts = [self.name, self.column or "", *names, *self.rules, "names" if self.is_names_only else "contents"]
        return framed(b"".join(framed(text.encode()) for text in texts))

    def _contents(self, rows: np.ndarray) -> pa.Array:
        """Return what tells the content of these rows: a file's digest, or `_content_below` of a directory."""
        kind = bytes_scalar(b"n" if self.is_names_only else b"f")
        digests = pc.cast(taken(self.files.digests, self.found.starts[rows]), pa.binary())
        files = joined([kind, pc.binary_slice(digests, 0, 0) if self.is_names_only else digests])
        if self.found.directories is None:
            return files
        flags = self.found.directories[rows]
        sources = np.arange(len(rows))
        sources[flags] = np.arange(len(rows), len(rows) + int(flags.sum()))
        return pa.concat_arrays([files, self._content_below(rows[flags])]).take(number_column(sources, pa.int64()))

    def _content_below(self, rows: np.ndarray) -> pa.Array:
        """Return the contents of rows that are directories: how many files each has, and one digest of all."""
        starts, counts = self.found.starts[rows], self.found.counts[rows]
        first, last = (int(starts.min()), int((starts + counts).max())) if len(rows) else (0, 0)
        listed = framed_column(self.files.paths.slice(first, last - first))
        if not self.is_names_only:
            listed.append(pc.cast(self.files.digests.slice(first, last - first), pa.binary()))
        digests = slices_digests(joined(listed), starts - first, counts)
        numbers = pc.cast(pc.cast(number_column(counts, pa.int64()), pa.string()), pa.binary())
        return joined([bytes_scalar(b"d"), numbers, bytes_scalar(b":"), digests])


def taken(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """Return these rows of a column; without a copy where they follow each other."""
    if not len(rows):
        return column.slice(0, 0)
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and (len(rows) == 1 or bool((np.diff(rows) == 1).all())):
        return column.slice(first, len(rows))
    return column.take(number_column(rows, pa.int64()))


def escaped_values(values: pa.StringArray, pattern: str, marks: str) -> pa.StringArray:
    """Return values as keys: readable text, in which *marks* and control characters are escaped.

    Args:
        pattern: Matches a value that needs it.
    """
    if pc.any(pc.match_substring_regex(values, pattern)).as_py():
        for text in [*marks, *map(chr, range(32))]:
            values = pc.replace_substring(values, text, f"%{ord(text):02X}")
    return values


def escaped(keys: pa.StringArray) -> pa.StringArray:
    """Return keys as parts of a combined key, which a space separates: ``%`` as ``%25``, a space as ``%20``."""
    for text, escape in (("%", "%25"), (" ", "%20")):
        if pc.any(pc.match_substring(keys, text)).as_py():
            keys = pc.replace_substring(keys, text, escape)
    return keys
