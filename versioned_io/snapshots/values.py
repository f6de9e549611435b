"""What is known of a file or a directory of a snapshot without reading it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import repeat
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from versioned_io.arguments import check_mapping
from versioned_io.columns import hex_texts
from versioned_io.errors import InvalidInputError
from versioned_io.identifiers import CommitId, Digest
from versioned_io.pages.read import FileRow

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})

_NO_DIGEST = Digest("")


class FileKind(StrEnum):
    """What a path of a tree is."""

    FILE = "file"
    DIRECTORY = "directory"


class FileInfo(NamedTuple):
    """A file or a directory of a tree; a tuple, since listings make very many.

    Attributes:
        size: In bytes; of a directory, of all files below it.
        digest: Equal digests, equal content; of a directory, of the names and contents of all files below it.
        attributes: What was recorded with the file, such as its format; none for a directory.
        files: How many files it is: 1, or those below the directory.
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
    """How far an import or a checkout has come.

    Attributes:
        files: How many are done,
        total_files: of how many.
        size_bytes: How many bytes are done, those of a file that is under way too,
        total_bytes: of how many.
    """

    files: int
    total_files: int
    size_bytes: int
    total_bytes: int


def encode_attributes(attributes: Mapping[str, str] | None) -> str | None:
    """Return *attributes* as canonical JSON, or None when there are none.

    Raises:
        InvalidInputError: A name or a value is not text that UTF-8 can hold; convert it.
    """
    check_mapping(attributes, "attributes")
    if not attributes:
        return None
    for name, value in attributes.items():
        if not isinstance(name, str) or not isinstance(value, str):
            msg = f"the attribute {name!r}: {value!r} is not text: names and values of attributes must be strings"
            raise InvalidInputError(msg)
        if any("\ud800" <= character <= "\udfff" for character in name + value):
            msg = f"the attribute {name!r}: {value!r} is no valid Unicode: it has a lone surrogate"
            raise InvalidInputError(msg)
    return json.dumps(dict(attributes), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decode_attributes(text: str | None) -> Mapping[str, str]:
    """Return the attributes that `encode_attributes` wrote."""
    return NO_ATTRIBUTES if text is None else MappingProxyType(json.loads(text))


def info_of(row: FileRow) -> FileInfo:
    """Return what a row says of its file."""
    digest, writer = Digest(row.digest.hex()), CommitId(row.commit.hex())
    return FileInfo(row.path, FileKind.FILE, row.size, digest, decode_attributes(row.attributes), written_by=writer)


def infos_of(rows: pa.RecordBatch) -> Iterator[FileInfo]:
    """Yield what the rows say of their files, without decoding where their chunks are. Cost: 0.5 us each."""
    paths, sizes = (rows.column(name).to_pylist() for name in ("path", "size"))
    digests, writers = (hex_texts(rows.column(name)) for name in ("digest", "commit"))
    attributes = rows.column("attributes")
    has_none = attributes.null_count == len(attributes)
    decoded = repeat(NO_ATTRIBUTES) if has_none else map(decode_attributes, attributes.to_pylist())
    fields = zip(paths, repeat(FileKind.FILE), sizes, digests, decoded, repeat(1), writers, strict=False)
    return map(partial(tuple.__new__, FileInfo), fields)  # what the class does with each, without a call in Python


def listed_infos(rows: pa.RecordBatch) -> Iterator[FileInfo]:
    """Yield what the rows of a directory's listing say; its directories are not counted. Cost: as `infos_of`."""
    is_directory = rows.column("is_directory")
    if not is_directory.true_count:
        return infos_of(rows)
    pairs = zip(infos_of(rows), is_directory.to_pylist(), strict=True)
    return (directory_info(info.path) if below else info for info, below in pairs)


def directory_info(path: str, size_bytes: int = 0, digest: Digest = _NO_DIGEST, files: int = 0) -> FileInfo:
    """Return what is known of a directory; by default, before anybody counts what is below it."""
    return FileInfo(path, FileKind.DIRECTORY, size_bytes, digest, files=files)
