"""Datums that collect all the files that have one value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import bytes_scalar, number_column, text_scalar
from versioned_io.processing.inputs.combining import codes_of, grouped_rows, names_in, sorted_values
from versioned_io.processing.inputs.datum_set import DatumSource, Match
from versioned_io.processing.inputs.matches import escaped, escaped_values, taken
from versioned_io.processing.inputs.seen_bytes import framed_column, joined, slices_digests

_EMPTY: Final = "%"
"""The key of the empty value: a ``%`` in a value is escaped, so none has this key."""


class RowsByValue(NamedTuple):
    """The rows of an arm, sorted by their value, and where the rows of each value start; one more is the end."""

    rows: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True, slots=True)
class Grouped:
    """A row for each value, with all rows of the arms that have it: a `DatumSource`.

    Attributes:
        keys: The values as keys, sorted.
        grouped_by: The values, in the order of their keys.
        members: The rows of each arm.
    """

    arms: tuple[DatumSource, ...]
    keys: pa.StringArray
    grouped_by: pa.StringArray
    members: tuple[RowsByValue, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return names_in(self.arms)

    def __len__(self) -> int:
        return len(self.keys)

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows."""
        return taken(self.keys, rows)

    def parts_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows with their spaces escaped."""
        return escaped(self.keys_at(rows))

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return what code sees of these rows: of each arm the number of rows, and the digest of what it sees."""
        columns: list[pa.Array | pa.Scalar] = []
        for arm, (members, starts) in zip(self.arms, self.members, strict=True):
            first, counts = starts[rows], starts[rows + 1] - starts[rows]
            numbers = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
            seen = joined(framed_column(arm.seen_at(members[numbers])))
            digests = slices_digests(seen, np.cumsum(counts) - counts, counts)
            columns += [
                bytes_scalar(b"g"),
                pc.cast(pc.cast(number_column(counts, pa.int64()), pa.string()), pa.binary()),
            ]
            columns += [bytes_scalar(b":"), digests]
        return joined(columns)

    def matches(self, row: int) -> Sequence[Match]:
        """Return the matches of all rows that have the value; one that several rows of a join share comes once."""
        found: dict[object, Match] = {}
        for arm, (members, starts) in zip(self.arms, self.members, strict=True):
            for number in members[starts[row] : starts[row + 1]].tolist():
                for match in arm.matches(number):
                    same = match.name, tuple((file.path, file.captures, id(file.snapshot)) for file in match.files)
                    found.setdefault(same, match)
        return list(found.values())

    def values(self, rule: str) -> pa.StringArray | None:
        """Return the values that were grouped by; a group has no ``join_on``."""
        return self.grouped_by if rule == "group_by" else None


def group_of(arms: Sequence[DatumSource]) -> Grouped:
    """Return the groups of the rows of *arms* by their ``group_by``; rows without a value are left out.

    Cost: 1 us a row.
    """
    codes, count = codes_of(arms, "group_by")
    columns = [values for arm in arms if (values := arm.values("group_by")) is not None]
    members = tuple(RowsByValue(*grouped_rows(one, count)) for one in codes)
    values = sorted_values(columns) if columns else pa.nulls(0, pa.string())
    keys = _keys_of(values)
    order = np.argsort(np.array(keys.to_pylist(), dtype=object), kind="stable") if len(keys) else np.arange(0)
    places = number_column(order, pa.int64())
    return Grouped(
        tuple(arms), keys.take(places), values.take(places), tuple(_reordered(one, order) for one in members)
    )


def _reordered(members: RowsByValue, order: np.ndarray) -> RowsByValue:
    """Return the rows of the values in another order."""
    if (order == np.arange(len(order))).all():
        return members
    pieces = [members.rows[members.starts[at] : members.starts[at + 1]] for at in order.tolist()]
    return RowsByValue(np.concatenate(pieces), np.cumsum([0, *map(len, pieces)]))


def _keys_of(values: pa.StringArray) -> pa.StringArray:
    """Return values as keys: readable text, in which ``%`` and control characters are escaped.

    Between the values of several inputs is a lone ``%``.
    """
    values = pc.replace_substring(escaped_values(values, r"[%\x00-\x1f]", "%"), "%00", f" {_EMPTY} ")
    return pc.if_else(pc.equal(values, text_scalar("")), text_scalar(_EMPTY), values)
