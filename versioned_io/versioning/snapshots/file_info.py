"""The facts of a file or a directory of a snapshot that are known without reading it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import Final, NamedTuple

import pyarrow as pa

from versioned_io.errors import IntegrityError, InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import check_mapping
from versioned_io.model.columns import hex_texts
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.storage.pages.read import FileRow

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})

_NO_DIGEST = Digest("")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

EXECUTABLE: Final = "executable"
"""The attribute for the execute bit of a file: ``true`` or ``false``; unknown without it."""


class FileKind(StrEnum):
    """The kind of a path in a tree."""

    FILE = "file"
    DIRECTORY = "directory"


class FileInfo(NamedTuple):
    """A file or a directory of a tree; a tuple, since listings create very many.

    Attributes:
        size: In bytes; for a directory, the total of all files below it.
        digest: The digest of the content; for a directory, of the names and contents of all files below it.
        attributes: The recorded attributes of a file, such as its format; empty for a directory.
        files: 1 for a file, and the number of files below for a directory.
        written_by: The commit that wrote this version of the file; None for a directory, and for a staged file.
    """

    path: str
    kind: FileKind
    size: int
    digest: Digest
    attributes: Mapping[str, str] = NO_ATTRIBUTES
    files: int = 1
    written_by: CommitId | None = None

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind is FileKind.DIRECTORY


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """The progress of an import or a checkout.

    Attributes:
        files: The number of finished files.
        total_files: The number of all files.
        size_bytes: The number of finished bytes, including those of unfinished files.
        total_bytes: The number of all bytes.
    """

    files: int
    total_files: int
    size_bytes: int
    total_bytes: int


def encode_attributes(attributes: Mapping[str, str] | None) -> str | None:
    """Return *attributes* as canonical JSON, or None if there are none.

    Raises:
        InvalidInputError: A name or a value is not text that UTF-8 can encode. Convert it.
    """
    check_mapping(attributes, "attributes")
    if not attributes:
        return None
    for name, value in attributes.items():
        if not isinstance(name, str) or not isinstance(value, str):
            msg = f"the attribute {name!r}: {value!r} is not text: names and values of attributes must be strings"
            raise InvalidInputError(msg)
        if _SURROGATE.search(name + value) is not None:
            msg = f"the attribute {name!r}: {value!r} is not valid Unicode: it has a lone surrogate"
            raise InvalidInputError(msg)
    return json.dumps(dict(attributes), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decode_attributes(text: str | None) -> Mapping[str, str]:
    """Return the attributes that `encode_attributes` encoded.

    Raises:
        IntegrityError: The text is malformed. Run fsck.
    """
    if text is None:
        return NO_ATTRIBUTES
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"the attributes {quoted(text)} of a file are malformed ({error}); run fsck"
        raise IntegrityError(msg) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        msg = f"the attributes {quoted(text)} of a file are not a JSON object of texts; run fsck"
        raise IntegrityError(msg)
    return MappingProxyType(found)


def recorded_bit(text: str | None) -> bool | None:
    """Return the execute bit in a row's attributes, or None."""
    if text is None or EXECUTABLE not in text:
        return None
    found = decode_attributes(text).get(EXECUTABLE)
    return None if found is None else found == "true"


def with_bit(text: str | None, bit: bool | None) -> str | None:  # noqa: FBT001 (its only option)
    """Return a row's attributes with this execute bit, or without any."""
    others = {name: value for name, value in decode_attributes(text).items() if name != EXECUTABLE}
    own = {} if bit is None else {EXECUTABLE: "true" if bit else "false"}
    return encode_attributes({**others, **own})


def info_of(row: FileRow) -> FileInfo:
    """Return the facts of the file in a row."""
    digest, writer = Digest(row.digest.hex()), CommitId(row.commit.hex())
    return FileInfo(row.path, FileKind.FILE, row.size, digest, decode_attributes(row.attributes), written_by=writer)


def infos_of(rows: pa.RecordBatch) -> Iterator[FileInfo]:
    """Yield the facts of the files in the rows, without decoding their chunks. Cost: 0.5 us each."""
    paths, sizes = (rows.column(name).to_pylist() for name in ("path", "size"))
    digests, writers = (hex_texts(rows.column(name)) for name in ("digest", "commit"))
    attributes = rows.column("attributes")
    has_none = attributes.null_count == len(attributes)
    decoded = repeat(NO_ATTRIBUTES) if has_none else map(decode_attributes, attributes.to_pylist())
    fields = zip(paths, repeat(FileKind.FILE), sizes, digests, decoded, repeat(1), writers, strict=False)
    return map(partial(tuple.__new__, FileInfo), fields)  # as the constructor, without a Python call each


def listed_infos(rows: pa.RecordBatch) -> Iterator[FileInfo]:
    """Yield the facts of the rows of a directory's listing; directories have size 0. Cost: that of `infos_of`."""
    is_directory = rows.column("is_directory")
    if not is_directory.true_count:
        return infos_of(rows)
    pairs = zip(infos_of(rows), is_directory.to_pylist(), strict=True)
    return (directory_info(info.path) if below else info for info, below in pairs)


def directory_info(path: str, size_bytes: int = 0, digest: Digest = _NO_DIGEST, files: int = 0) -> FileInfo:
    """Return the facts of a directory; by default those of an uncounted one."""
    return FileInfo(path, FileKind.DIRECTORY, size_bytes, digest, files=files)
