"""The manifest of an incremental checkout: the written files, kept beside them and compared by the next checkout."""

import os
import secrets
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from versioned_io.errors import FormatError
from versioned_io.model.columns import fixed_column, number_column, text_column
from versioned_io.versioning.snapshots.local_writer import NEW_FILE

MANIFEST_NAME: Final = ".versioned-checkout.arrow"
FILES: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("digest", pa.binary(32), nullable=False),
    ]
)
"""The checked-out files, each with its status on the disk after the checkout; sorted by path."""

_VERSION: Final = b"1"
_VERSION_KEY: Final = b"versioned-io.checkout"
RACY_NS: Final = 50_000_000  # file system clocks tick every few ms, so a younger file may change without a new time


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of the last incremental checkout into a directory.

    Attributes:
        files: The files, with the columns of `FILES`.
        written_ns: The time of the checkout by the clock of the file system; 0 without a checkout.
    """

    files: pa.Table
    written_ns: int

    @classmethod
    def none(cls) -> "Manifest":
        """Return the manifest of a directory without a checkout."""
        return cls(pa.Table.from_batches([], schema=FILES), 0)

    def trusted(self) -> list[bool]:
        """Return, for each file, whether an equal status proves it unmodified; it doesn't if its time is too recent."""
        newest = self.written_ns - RACY_NS
        return [mtime_ns < newest for mtime_ns in self.files.column("mtime_ns").to_pylist()]


def read_manifest(directory: int) -> Manifest:
    """Return the manifest in the open *directory*, or an empty one.

    Raises:
        FormatError: The manifest can't be read, or is of another version. Delete it, or upgrade versioned-io.
    """
    try:
        descriptor = os.open(MANIFEST_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return Manifest.none()
    with os.fdopen(descriptor, "rb") as file:
        written_ns = os.fstat(descriptor).st_mtime_ns
        try:
            table = pa.ipc.open_stream(file.read()).read_all()
        except pa.ArrowInvalid as error:
            msg = f"{MANIFEST_NAME!r} can't be read ({error}): delete it, so that every file is compared by its content"
            raise FormatError(msg) from error
    if (table.schema.metadata or {}).get(_VERSION_KEY) != _VERSION or not table.schema.equals(FILES):
        msg = f"{MANIFEST_NAME!r} is of another version: upgrade, or delete it, so that every file is compared"
        raise FormatError(msg)
    return Manifest(table.replace_schema_metadata(None), written_ns)


def write_manifest(directory: int, files: pa.Table) -> None:
    """Replace the manifest in the open *directory* atomically."""
    name = f".versioned-{secrets.token_hex(8)}.part"
    descriptor = os.open(name, NEW_FILE, 0o666, dir_fd=directory)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            pa.ipc.new_stream(file, FILES.with_metadata({_VERSION_KEY: _VERSION})) as writer,
        ):
            writer.write_table(files)
        os.rename(name, MANIFEST_NAME, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise


def manifest_files(paths: list[str], sizes: list[int], mtimes_ns: list[int], digests: list[bytes]) -> pa.Table:
    """Return the table of a manifest."""
    columns = [
        text_column(paths),
        number_column(sizes, pa.int64()),
        number_column(mtimes_ns, pa.int64()),
        fixed_column(digests, 32),
    ]
    return pa.Table.from_arrays(columns, schema=FILES)
