"""Datums of several inputs beside each other: all combinations, joined ones, and unions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import bytes_scalar, number_array, number_column, text_column, text_scalar
from versioned_io.processing.inputs.datum_set import DatumSource, Match
from versioned_io.processing.inputs.seen_bytes import framed, joined

SEPARATOR: Final = " "
"""The text between the parts of a combined key. It sorts before all that a part has, so pairs sort as their texts."""

ABSENT: Final = "%"
"""The part of an input that has no partner in an outer join. An escaped part is never a single ``%``."""

BETWEEN_VALUES: Final = "\0"
"""The text between the values of several inputs, by which a nested input is joined or grouped."""


@dataclass(frozen=True, slots=True)
class Combinations:
    """Every combination of a row of each arm: a `DatumSource` that is computed, and never built.

    Attributes:
        orders: The rows of each arm, sorted by their parts of the key.
    """

    arms: tuple[DatumSource, ...]
    orders: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, arms: Sequence[DatumSource]) -> "Combinations":
        """Return the combinations of *arms*; those of an arm that combines are combined with the others."""
        flat = [one for arm in arms for one in (arm.arms if isinstance(arm, Combinations) else (arm,))]
        return cls(tuple(flat), tuple(order_of(arm) for arm in flat))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return names_in(self.arms)

    def __len__(self) -> int:
        count = 1
        for order in self.orders:
            count *= len(order)
        return count

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows: the parts of the arms, with a space between them."""
        parts = [at_rows(arm, arm.parts_at, one) for arm, one in zip(self.arms, self._rows(rows), strict=True)]
        return pc.binary_join_element_wise(*parts, text_scalar(SEPARATOR))

    parts_at = keys_at

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return what code sees of these rows."""
        return joined([at_rows(arm, arm.seen_at, one) for arm, one in zip(self.arms, self._rows(rows), strict=True)])

    def matches(self, row: int) -> Sequence[Match]:
        """Return the matches of every arm."""
        each = zip(self.arms, self._rows(np.array([row])), strict=True)
        return [match for arm, one in each for match in arm.matches(int(one[0]))]

    def values(self, rule: str) -> pa.StringArray | None:
        """Return the values of the arms that have the rule."""
        return combined_values(self.arms, self._rows(np.arange(len(self))), rule)

    def _rows(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the row of each arm: the last arm changes fastest."""
        found: list[np.ndarray] = []
        for order in reversed(self.orders):
            found.insert(0, order[rows % max(len(order), 1)])
            rows = rows // max(len(order), 1)
        return found


@dataclass(frozen=True, slots=True)
class Joined:
    """The combinations of rows with equal values: a `DatumSource`.

    Attributes:
        rows: For each arm its row of every datum; -1 where it has no partner.
    """

    arms: tuple[DatumSource, ...]
    rows: tuple[np.ndarray, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return names_in(self.arms)

    def __len__(self) -> int:
        return len(self.rows[0])

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows: the parts of the arms, with a space between them."""
        absent = text_column([ABSENT])
        parts = [_present(arm, arm.parts_at, of[rows], absent) for arm, of in zip(self.arms, self.rows, strict=True)]
        return pc.binary_join_element_wise(*parts, text_scalar(SEPARATOR))

    parts_at = keys_at

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return what code sees of these rows; an input without a partner differs from every other."""
        absent = joined([pc.cast(text_column([""]), pa.binary()), bytes_scalar(framed(b""))])
        each = zip(self.arms, self.rows, strict=True)
        return joined([_present(arm, arm.seen_at, of[rows], absent) for arm, of in each])

    def matches(self, row: int) -> Sequence[Match]:
        """Return the matches of the arms that take part."""
        each = zip(self.arms, self.rows, strict=True)
        return [match for arm, of in each if of[row] >= 0 for match in arm.matches(int(of[row]))]

    def values(self, rule: str) -> pa.StringArray | None:
        """Return the values of the arms that have the rule."""
        return combined_values(self.arms, self.rows, rule)


@dataclass(frozen=True, slots=True)
class Beside:
    """The rows of all arms, one arm after the other: a `DatumSource`.

    Attributes:
        labels: The text before the keys of each arm; sorted, as the arms are.
        order: The names of the inputs.
    """

    arms: tuple[DatumSource, ...]
    labels: tuple[str, ...]
    order: tuple[str, ...]

    @classmethod
    def of(cls, arms: Sequence[DatumSource]) -> "Beside":
        """Return the union of *arms*. An arm's label is its names; the second of equal ones gets ``#2``."""
        labels = union_labels([arm.names for arm in arms])
        pairs = sorted(zip(labels, arms, strict=True), key=lambda pair: pair[0])
        return cls(tuple(arm for _, arm in pairs), tuple(label for label, _ in pairs), names_in(arms))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return self.order

    def __len__(self) -> int:
        return sum(map(len, self.arms))

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows, each after the label of its arm."""
        return self._of_arms(rows, lambda arm: arm.keys_at, are_labelled=True)

    def parts_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the parts of these rows, each after the label of its arm."""
        return self._of_arms(rows, lambda arm: arm.parts_at, are_labelled=True)

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return what code sees of these rows."""
        return self._of_arms(rows, lambda arm: arm.seen_at)

    def matches(self, row: int) -> Sequence[Match]:
        """Return the matches of the arm that has this row."""
        for arm in self.arms:
            if row < len(arm):
                return arm.matches(row)
            row -= len(arm)
        return []

    def values(self, rule: str) -> pa.StringArray | None:
        """Return the values of all arms; null of those that lack the rule."""
        found = [(arm.values(rule), len(arm)) for arm in self.arms]
        if all(values is None for values, _ in found):
            return None
        return pa.concat_arrays([pa.nulls(count, pa.string()) if one is None else one for one, count in found])

    def _of_arms(
        self,
        rows: np.ndarray,
        column: Callable[[DatumSource], Callable[[np.ndarray], pa.Array]],
        *,
        are_labelled: bool = False,
    ) -> pa.Array:
        """Return a column of these rows, which are ascending or in any order, from the arms that have them."""
        found, places, first = [], [], 0
        for arm, label in zip(self.arms, self.labels, strict=True):
            chosen = np.flatnonzero((rows >= first) & (rows < first + len(arm)))
            values = column(arm)(rows[chosen] - first)
            found.append(
                pc.binary_join_element_wise(text_scalar(label), values, text_scalar("")) if are_labelled else values
            )
            places.append(chosen)
            first += len(arm)
        order = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_arrays(found).take(number_column(order, pa.int64()))


def union_labels(arms: Sequence[Sequence[str]]) -> list[str]:
    """Return the text before the keys of each arm of a union, of the names of the arms."""
    labels: list[str] = []
    for names in arms:
        label = "+".join(names)
        count = 1 + sum(one.partition("#")[0].rstrip(":") == label for one in labels)
        labels.append(f"{label}#{count}:" if count > 1 else f"{label}:")
    return labels


def join_of(arms: Sequence[DatumSource], *, are_outer: Sequence[bool]) -> Joined:
    """Return the join of *arms* by their ``join_on``.

    A value that every arm has gives all combinations of its rows. Of any other value the outer arms that have it are
    combined.

    Cost: 1 us a row.
    """
    codes, count = codes_of(arms, "join_on")
    counts = np.array([np.bincount(code[code >= 0], minlength=count) for code in codes]).reshape(len(arms), count)
    is_whole = (counts > 0).all(axis=0)
    used = [(counts[at] > 0) & (is_whole | outer) for at, outer in enumerate(are_outer)]
    factors = [np.where(one, counts[at], 1) for at, one in enumerate(used)]
    totals = np.prod(factors, axis=0, dtype=np.int64) * np.any(used, axis=0)
    of_code = np.repeat(np.arange(count), totals)
    number = np.arange(len(of_code)) - np.repeat(np.cumsum(totals) - totals, totals)
    rows: list[np.ndarray] = []
    for at in reversed(range(len(arms))):
        by_code, starts = grouped_rows(codes[at], count)
        within = starts[of_code] + number % factors[at][of_code]
        padded = np.append(by_code, -1)
        rows.insert(0, np.where(used[at][of_code], padded[np.minimum(within, len(by_code))], -1))
        number = number // factors[at][of_code]
    order = np.lexsort([_ranks(arm)[one] for arm, one in reversed(list(zip(arms, rows, strict=True)))])
    return Joined(tuple(arms), tuple(one[order] for one in rows))


def codes_of(arms: Sequence[DatumSource], rule: str) -> tuple[list[np.ndarray], int]:
    """Return each row's value of a rule as its number among the sorted values, and how many there are; -1 is none."""
    columns = [values if (values := arm.values(rule)) is not None else _no_values(arm) for arm in arms]
    known = sorted_values(columns)
    found = [
        pc.fill_null(pc.index_in(column, value_set=known), number_column([-1], pa.int32())[0]) for column in columns
    ]
    return [number_array(one).astype(np.int64) for one in found], len(known)


def sorted_values(columns: Sequence[pa.StringArray]) -> pa.StringArray:
    """Return the values that occur in *columns*, each once, sorted."""
    known = pc.unique(pa.concat_arrays([column.drop_null() for column in columns]))
    return known.take(pc.sort_indices(known))


def grouped_rows(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that have a code, sorted by it, and where the rows of each code start; one more is the end."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(count + 1))
    return order[starts[0] :] if count else order[:0], starts - starts[0]


def order_of(arm: DatumSource) -> np.ndarray:
    """Return the rows of *arm* sorted by their parts of a combined key; escaping may have changed their order."""
    rows = np.arange(len(arm), dtype=np.int64)
    parts = arm.parts_at(rows)
    if len(parts) < 2 or pc.all(pc.less_equal(parts.slice(0, len(parts) - 1), parts.slice(1))).as_py():
        return rows
    order: np.ndarray = number_array(pc.cast(pc.sort_indices(parts), pa.int64()))
    return order


def at_rows(arm: DatumSource, column: Callable[[np.ndarray], pa.Array], rows: np.ndarray) -> pa.Array:
    """Return a column of these rows of *arm*; each row of it is made once if they are many."""
    if len(rows) <= len(arm):
        return column(rows)
    return column(np.arange(len(arm), dtype=np.int64)).take(number_column(rows, pa.int64()))


def names_in(arms: Sequence[DatumSource]) -> tuple[str, ...]:
    """Return the names of the inputs of all *arms*, each once, in order."""
    return tuple(dict.fromkeys(name for arm in arms for name in arm.names))


def combined_values(arms: Sequence[DatumSource], rows: Sequence[np.ndarray], rule: str) -> pa.StringArray | None:
    """Return the values of a rule in the rows of several arms: the value of the one that has it and takes part.

    Where several do, their values are one text, which no single value equals: a path has no NUL. Where none does, the
    value is null.
    """
    found = []
    for arm, of in zip(arms, rows, strict=True):
        values = arm.values(rule)
        if values is not None:
            found.append(
                pa.concat_arrays([values, pa.nulls(1, pa.string())]).take(
                    number_column(of % (len(values) + 1), pa.int64())
                )
            )
    if len(found) < 2:
        return found[0] if found else None
    texts = pc.binary_join_element_wise(*found, text_scalar(BETWEEN_VALUES), null_handling="skip")
    are_there = [pc.is_valid(values) for values in found]
    return pc.if_else(reduce(pc.or_, are_there), texts, pa.nulls(len(texts), pa.string()))


def _present(
    arm: DatumSource, column: Callable[[np.ndarray], pa.Array], rows: np.ndarray, absent: pa.Array
) -> pa.Array:
    """Return a column of these rows of *arm*, with *absent* for the row -1."""
    if not len(rows) or int(rows.min()) >= 0:
        return at_rows(arm, column, rows)
    are_there = rows >= 0
    places = np.zeros(len(rows), np.int64)
    places[are_there] = np.arange(1, 1 + int(are_there.sum()))
    return pa.concat_arrays([absent, column(rows[are_there])]).take(number_column(places, pa.int64()))


def _ranks(arm: DatumSource) -> np.ndarray:
    """Return the rank of each row of *arm* by its part of the key; the last is that of the row -1."""
    order = order_of(arm)
    ranks = np.zeros(len(order) + 1, np.int64)
    ranks[order] = 2 * np.arange(len(order)) + 1
    before = pc.sum(pc.cast(pc.less(arm.parts_at(np.arange(len(arm))), text_scalar(ABSENT)), pa.int64())).as_py()
    ranks[-1] = 2 * (before or 0)
    return ranks


def _no_values(arm: DatumSource) -> pa.StringArray:
    return pa.nulls(len(arm), pa.string())
