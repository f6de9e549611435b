"""The changes that a transaction would make, found without storing a byte: for dry runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from versioned_io.errors import PathCollisionError
from versioned_io.model.paths import parent_directories, parse_path
from versioned_io.storage.chunks.cutting import MAXIMUM_SIZE, cut_stream, digest_of, file_digest
from versioned_io.storage.chunks.sources import open_source
from versioned_io.versioning.snapshots.file_info import EXECUTABLE, FileInfo
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.local_tree import is_executable, scan_local_tree

_WINDOW_BYTES = 8 * MAXIMUM_SIZE


class ForeseenChange(NamedTuple):
    """A file that would be added, modified or deleted."""

    path: str
    change: str
    old_size: int | None
    new_size: int | None


def foresee_writes(snapshot: Snapshot, sources: Iterable[tuple[Path | IO[bytes], str]]) -> Iterator[ForeseenChange]:
    """Yield the changes that committing local files and directories on *snapshot* would make.

    Args:
        sources: Pairs of a local file, directory or open binary file, and the path that it would go to.

    Raises:
        PathCollisionError: A path would be both a file and a directory.
        InvalidInputError, IllegalPathError, SourceChangedError, OSError: As for `Transaction.write_tree`.

    Cost: reads each local file whose size is that of the stored one; 1 page look-up for each file.
    """
    for source, target in sources:
        if isinstance(source, Path) and source.is_dir():
            tree = scan_local_tree(source, target)
            for (local, _), path in zip(tree.sources(), tree.paths(), strict=True):
                yield from _foresee_write(snapshot, Path(local), path)
        else:
            yield from _foresee_write(snapshot, source, parse_path(target))


def foresee_deletes(snapshot: Snapshot, path: str) -> Iterator[ForeseenChange]:
    """Yield the changes that deleting a file, or a directory with everything below it, would make. Cost: its pages."""
    files = snapshot.walk(path) if snapshot.is_directory(path) else iter([snapshot.stat(path)])
    for file in files:
        yield ForeseenChange(file.path, "deleted", file.size, None)


def _foresee_write(snapshot: Snapshot, source: Path | IO[bytes], path: str) -> Iterator[ForeseenChange]:
    size = source.stat().st_size if isinstance(source, Path) else None
    if not snapshot.is_empty and snapshot.is_directory(path):
        raise PathCollisionError(path, next(snapshot.walk(path)).path)
    if snapshot.is_empty or not snapshot.exists(path):
        for parent in parent_directories(path):
            if not snapshot.is_empty and snapshot.exists(parent) and not snapshot.is_directory(parent):
                raise PathCollisionError(parent, path)
        yield ForeseenChange(path, "added", None, size if size is not None else digest_and_size(source)[1])
        return
    old = snapshot.stat(path)
    if size is not None and size != old.size:
        yield ForeseenChange(path, "modified", old.size, size)
        return
    digest, size = digest_and_size(source)
    if digest != old.digest or _attributes_after(source, old) != old.attributes:
        yield ForeseenChange(path, "modified", old.size, size)


def _attributes_after(source: Path | IO[bytes], old: FileInfo) -> dict[str, str]:
    """Return the attributes of *old* after its bytes are written again; see `staging.settle_bits`."""
    if not isinstance(source, Path) or EXECUTABLE not in old.attributes:
        return {}
    return {EXECUTABLE: "true" if is_executable(source) else "false"}


def digest_and_size(source: Path | IO[bytes]) -> tuple[str, int]:
    """Return the content digest and the size of a file, with at most 8 MiB of it in memory."""
    window = memoryview(bytearray(_WINDOW_BYTES))
    digests: list[bytes] = []
    sizes: list[int] = []
    with open_source(source) as filler:
        for chunks in cut_stream(filler, lambda: window):
            digests += map(digest_of, chunks)
            sizes += map(len, chunks)
    return file_digest(digests, sizes).hex(), sum(sizes)
