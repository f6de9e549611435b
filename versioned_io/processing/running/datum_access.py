"""The two arguments of a pipeline's function: the datum that it reads, and the outputs that it writes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, overload

import pyarrow as pa

from versioned_io.errors import InvalidInputError, PathClaimedError, PathCollisionError
from versioned_io.errors.root import quoted
from versioned_io.model.commits import JSONValue
from versioned_io.model.paths import parent_directories, parse_path
from versioned_io.model.repo_kinds import OUTPUTS
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.inputs.table_cuts import rows_of
from versioned_io.processing.results.batches import ProducedFile
from versioned_io.versioning.snapshots.file_info import encode_attributes

_LONGEST_PREFIX = f"{OUTPUTS}{'0' * 64}/"


class InputFileView:
    """One file of a datum; bytes are read when they are asked for, and verified."""

    __slots__ = ("_file",)

    def __init__(self, file: DatumFile) -> None:
        self._file = file

    def _check_whole(self) -> None:
        """Raise unless the whole content is in the fingerprint; only then it is offered."""
        if self._file.is_names_only:
            msg = (
                f"the input of {self._file.path!r} is declared empty_files=True, so content and size are not offered: "
                f"use the path and captures, or declare it without empty_files"
            )
            raise InvalidInputError(msg)
        if self._file.column is not None:
            msg = f"{self._file.path!r} is cut by {self._file.column!r}, so it can't be read whole: call table()"
            raise InvalidInputError(msg)

    def __repr__(self) -> str:
        return f"InputFileView({self._file.path!r})"

    @property
    def path(self) -> str:
        """The path of the file in its repo."""
        return self._file.path

    @property
    def captures(self) -> tuple[str, ...]:
        """The texts that the pattern captured."""
        return self._file.captures

    @property
    def fields(self) -> Mapping[str, str]:
        """The captured texts that have names."""
        return self._file.fields

    @property
    def column(self) -> str | None:
        """The column that cuts the table; None of a whole file."""
        return self._file.column

    @property
    def value(self) -> str | None:
        """The value of *column* in all rows of the datum, as text; None for null, and of a whole file."""
        return None if self._file.column is None else self._file.captures[-1]

    def table(self) -> pa.Table:
        """Return the rows of the datum, in their order, as an Arrow table.

        Dictionaries are decoded, and large types are plain ones: the layout of the file does not show.

        Raises:
            InvalidInputError: The input is not a `table`. Read the file.

        Cost: the rows; the first datum of a table also reads the whole table.
        """
        return rows_of(self._file)

    @property
    def size(self) -> int:
        """In bytes.

        Raises:
            InvalidInputError: The input has ``empty_files``, or is a table.
        """
        self._check_whole()
        return self._file.size

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            InvalidInputError: The input has ``empty_files``, or is a table.

        Cost: as `Snapshot.read`.
        """
        self._check_whole()
        return self._file.snapshot.read(self._file.path)

    def open(self) -> BinaryIO:
        """Return the file, opened for reading, at its beginning.

        Raises:
            InvalidInputError: The input has ``empty_files``, or is a table.

        Cost: as `Snapshot.open`.
        """
        self._check_whole()
        return self._file.snapshot.open(self._file.path)


class DatumFiles(Sequence[InputFileView]):
    """The files of one input of a datum. If it is exactly one file, this can be read as that file."""

    def __init__(self, name: str, files: Sequence[DatumFile]) -> None:
        self._name = name
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> InputFileView: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[InputFileView]: ...

    def __getitem__(self, index: int | slice) -> InputFileView | Sequence[InputFileView]:
        if isinstance(index, slice):
            return [InputFileView(file) for file in self._files[index]]
        return InputFileView(self._files[index])

    @property
    def path(self) -> str:
        """The path of the only file."""
        return self._only().path

    @property
    def captures(self) -> tuple[str, ...]:
        """The texts that the pattern captured in the path of the only file."""
        return self._only().captures

    @property
    def fields(self) -> Mapping[str, str]:
        """The captured texts that have names, of the only file."""
        return self._only().fields

    @property
    def column(self) -> str | None:
        """The column that cuts the only table; None of a whole file."""
        return self._only().column

    @property
    def value(self) -> str | None:
        """The value of *column* in all rows of the only table, as text; None for null, and of a whole file."""
        return self._only().value

    def table(self) -> pa.Table:
        """Return the rows of the only table, as an Arrow table.

        Raises:
            InvalidInputError: The input is not a `table`, or has several here, or none. Go through them.
        """
        return self._only().table()

    @property
    def size(self) -> int:
        """The size of the only file, in bytes.

        Raises:
            InvalidInputError: The input has several files here, or none. Go through them.
        """
        return self._only().size

    def read(self) -> bytes:
        """Return the bytes of the only file.

        Raises:
            InvalidInputError: The input has several files here, or none. Go through them.
        """
        return self._only().read()

    def open(self) -> BinaryIO:
        """Return the only file, opened for reading.

        Raises:
            InvalidInputError: The input has several files here, or none. Go through them.
        """
        return self._only().open()

    def _only(self) -> InputFileView:
        if len(self._files) != 1:
            msg = f"the input {self._name!r} has {len(self._files)} files in this datum, not one: go through them"
            raise InvalidInputError(msg)
        return InputFileView(self._files[0])


class Datum(Mapping[str, DatumFiles]):
    """The files of one datum, by the name of the input, and the parameters: all that a pipeline's function sees.

    Attributes:
        parameters: The pipeline's *params*.
    """

    def __init__(self, files: Mapping[str, Sequence[DatumFile]], parameters: Mapping[str, JSONValue]) -> None:
        self._files = files
        self.parameters = parameters

    def __getitem__(self, name: str) -> DatumFiles:
        if name not in self._files:
            msg = f"the datum has no input {quoted(name)}: it has {', '.join(map(repr, self._files)) or 'none'}"
            raise InvalidInputError(msg)
        return DatumFiles(name, self._files[name])

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class DatumOutput:
    """Collects what a pipeline's function writes for one datum; it counts if the function returns."""

    def __init__(self) -> None:
        self._files: dict[str, ProducedFile] = {}

    def write(self, path: str, data: bytes, *, attributes: Mapping[str, str] | None = None) -> None:
        """Write *data* as the file *path* of the output.

        >>> vio.DatumOutput().write("2012/01.txt", b"dry")

        Raises:
            IllegalPathError: *path* breaks the path rules.
            InvalidInputError: *data* is not bytes, or the datum wrote *path* already.
        """
        path = parse_path(path)
        parse_path(f"{_LONGEST_PREFIX}{path}")
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"can't write {type(data).__name__} to {path!r}: encode it to bytes"
            raise InvalidInputError(msg)
        encode_attributes(attributes)
        if path in self._files:
            raise PathClaimedError("the output", path, "this datum", "this datum")
        self._files[path] = ProducedFile(path, bytes(data), attributes)


def files_of_datum(datum: Datum) -> Mapping[str, Sequence[DatumFile]]:
    """Return the files of a datum, by the name of the input."""
    return datum._files  # noqa: SLF001 (a command gets them as files, a function by the calls of the datum)


def finish_output(out: DatumOutput) -> tuple[ProducedFile, ...]:
    """Return the files that were written, sorted by path.

    Raises:
        PathCollisionError: A path is a file and a directory.
    """
    files = out._files  # noqa: SLF001 (users write to it, and only this module finishes it)
    for path in files:
        for above in parent_directories(path):
            if above in files:
                raise PathCollisionError(above, path)
    return tuple(files[path] for path in sorted(files))
