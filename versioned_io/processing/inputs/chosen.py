"""Some rows of the datums of an input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import number_array, text_column
from versioned_io.processing.inputs.combining import Beside, names_in
from versioned_io.processing.inputs.datum_set import DatumSource, Match
from versioned_io.processing.inputs.matches import taken


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some rows of another source, in a given order: a `DatumSource`."""

    source: DatumSource
    rows: np.ndarray

    @classmethod
    def with_keys(cls, source: DatumSource, keys: Sequence[str], *, are_left_out: bool = False) -> "Chosen":
        """Return the rows of *source* that have one of *keys*, or all others."""
        found = pc.is_in(source.keys_at(_all_rows(source)), value_set=text_column(keys))
        return cls.where(source, pc.invert(found) if are_left_out else found)

    @classmethod
    def with_values(cls, source: DatumSource, rule: str, values: pa.StringArray) -> "Chosen":
        """Return the rows of *source* whose value of a rule is one of *values*."""
        own = source.values(rule) if len(values) else None
        if own is None:
            return cls(source, np.arange(0))
        return cls.where(source, pc.is_in(own, value_set=values, skip_nulls=True))

    @classmethod
    def where(cls, source: DatumSource, mask: pa.BooleanArray) -> "Chosen":
        """Return the rows of *source* for which *mask* is true."""
        return cls(source, number_array(pc.indices_nonzero(mask)).astype(np.int64))

    @classmethod
    def one_after_other(cls, parts: Sequence[DatumSource]) -> "Chosen":
        """Return the rows of all *parts*, which share no key, sorted by key."""
        whole = Beside(tuple(parts), ("",) * len(parts), names_in(parts))
        order = number_array(pc.cast(pc.sort_indices(whole.keys_at(_all_rows(whole))), pa.int64()))
        return cls(whole, order)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return self.source.names

    def __len__(self) -> int:
        return len(self.rows)

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows."""
        return self.source.keys_at(self.rows[rows])

    def parts_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows as parts of a combined key."""
        return self.source.parts_at(self.rows[rows])

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return what code sees of these rows."""
        return self.source.seen_at(self.rows[rows])

    def matches(self, row: int) -> Sequence[Match]:
        """Return the matches of a row."""
        return self.source.matches(int(self.rows[row]))

    def values(self, rule: str) -> pa.StringArray | None:
        """Return each row's value of ``join_on`` or ``group_by``."""
        found = self.source.values(rule)
        return None if found is None else taken(found, self.rows)


def _all_rows(source: DatumSource) -> np.ndarray:
    return np.arange(len(source), dtype=np.int64)
