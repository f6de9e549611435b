"""The datums of an input, as columns: paged, found by key, and never built as objects all at once."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import parse_count
from versioned_io.model.identifiers import Digest
from versioned_io.processing.inputs.specs import LeafInput
from versioned_io.versioning.snapshots.snapshot import Snapshot

_ROWS_AT_ONCE = 4096


class DatumFile(NamedTuple):
    """A file of a datum; a tuple, since a datum may have very many.

    Attributes:
        path: The path of the file in its repo.
        digest: The digest of the content; of a table datum, that of its rows.
        captures: The texts that the pattern captured, in the order of the opening parentheses and braces.
        fields: The captured texts that have names.
        snapshot: The commit to read the file from.
        column: The column that cuts the table; None for a whole file. The last of *captures* is the value.
        is_names_only: Whether code may not see the content, which is not in the fingerprint either.
    """

    path: str
    digest: Digest
    size: int
    captures: tuple[str, ...]
    fields: Mapping[str, str]
    snapshot: Snapshot
    column: str | None = None
    is_names_only: bool = False


@dataclass(frozen=True, slots=True)
class DatumRow:
    """One datum: its key, and its files by the name of the input, in the order of the inputs."""

    key: str
    inputs: Mapping[str, tuple[DatumFile, ...]]


class Match(NamedTuple):
    """The files that one matched path brings to a datum."""

    name: str
    files: tuple[DatumFile, ...]


class DatumSource(Protocol):
    """The rows of a `DatumSet`; each kind of input has its own. Rows are sorted by key as UTF-8 bytes."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        ...

    def __len__(self) -> int: ...

    def keys_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys of these rows."""
        ...

    def parts_at(self, rows: np.ndarray) -> pa.StringArray:
        """Return the keys as parts of the keys of combinations: without a space that would end the part."""
        ...

    def seen_at(self, rows: np.ndarray) -> pa.Array:
        """Return, as binary values, what code can see of these rows."""
        ...

    def matches(self, row: int) -> Sequence[Match]:
        """Return the matches of a row, in the order of the inputs."""
        ...

    def values(self, rule: str) -> pa.StringArray | None:
        """Return each row's value of ``join_on`` or ``group_by``; None if no input has that rule."""
        ...


@dataclass(frozen=True, slots=True)
class DatumSet:
    """The datums of an input at given snapshots: sorted by key, each key once.

    Attributes:
        source: The columns.
        empty_inputs: The inputs that matched nothing.
    """

    source: DatumSource
    empty_inputs: tuple[LeafInput, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return self.source.names

    @property
    def keys(self) -> pa.StringArray:
        """The keys of all datums, sorted as UTF-8 bytes. A cross builds them all here; `page` builds only its own."""
        return self.source.keys_at(_rows(0, len(self)))

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[DatumRow]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from self.page(start, _ROWS_AT_ONCE)

    def page(self, start: int = 0, count: int = 100) -> list[DatumRow]:
        """Return at most *count* datums from the row *start*. Cost: that of these datums, wherever they are."""
        rows = self._rows_from(start, count)
        keys = self.source.keys_at(rows).to_pylist()
        return [self._datum(key, int(row)) for key, row in zip(keys, rows, strict=True)]

    def keys_page(self, start: int, count: int) -> pa.StringArray:
        """Return the keys of at most *count* datums from the row *start*."""
        return self.source.keys_at(self._rows_from(start, count))

    def datum(self, row: int) -> DatumRow:
        """Return the datum of a row."""
        return self._datum(self.key(row), row)

    def key(self, row: int) -> str:
        """Return the key of a row."""
        self._check(row)
        key: str = self.source.keys_at(_rows(row, 1))[0].as_py()
        return key

    def find(self, key: str) -> int | None:
        """Return the row of a key; None if it does not exist. Cost: some 20 keys for a million datums."""
        wanted = key.encode()
        row = bisect_left(range(len(self)), wanted, key=lambda at: self.key(at).encode())
        return row if row < len(self) and self.key(row) == key else None

    def seen(self, row: int) -> bytes:
        """Return the canonical bytes of everything that code can see of a row's files.

        For each input, in order: its name, the names of its fields, the path, captures, and the digest of the content;
        with ``empty_files`` only names. Repo, branch, commit and attributes are not in it.
        """
        self._check(row)
        seen: bytes = self.source.seen_at(_rows(row, 1))[0].as_py()
        return seen

    def seen_page(self, start: int, count: int) -> list[bytes]:
        """Return `seen` of at most *count* rows from the row *start*. Cost: 0.5 us a row of one file."""
        seen: list[bytes] = self.source.seen_at(self._rows_from(start, count)).to_pylist()
        return seen

    def files_of(self, row: int) -> dict[str, tuple[DatumFile, ...]]:
        """Return the files of a row, by the name of the input."""
        inputs: dict[str, tuple[DatumFile, ...]] = {}
        for name, files in self.source.matches(row):
            inputs[name] = inputs.get(name, ()) + files
        return inputs

    def _datum(self, key: str, row: int) -> DatumRow:
        return DatumRow(key, self.files_of(row))

    def _rows_from(self, start: int, count: int) -> np.ndarray:
        first = min(parse_count(start, "start"), len(self))
        return _rows(first, min(parse_count(count, "count"), len(self) - first))

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self):
            msg = f"row {row} does not exist: the input has {len(self)} datums"
            raise InvalidInputError(msg)


def _rows(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int64)
