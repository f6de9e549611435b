"""Writing the files of a snapshot into a local directory."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from versioned_io.errors import InvalidInputError
from versioned_io.paths import parse_directory
from versioned_io.snapshots.values import FileInfo

_BUFFER_BYTES = 1 << 20


class Files(Protocol):
    """What can be checked out: a snapshot."""

    def walk(self, directory: str = "") -> Iterator[FileInfo]:
        """Yield every file below *directory*."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Return the file opened for reading."""
        ...


def checkout(
    snapshot: Files,
    dest: Path,
    path: str = "",
    *,
    overwrite: bool = False,
    progress: Callable[[FileInfo], None] | None = None,
) -> int:
    """Write every file below *path* of the snapshot into the local directory *dest*, and return how many.

    Each file is complete once it has its name: a crash leaves whole files, and at most one that ends in ``.part``.

    Args:
        path: A directory of the snapshot, which becomes *dest* itself; ``""`` for all of it.
        overwrite: Replace local files of the same names; what else *dest* holds stays.
        progress: Called before each file.

    Raises:
        PathNotFoundError: The snapshot has no such directory.
        InvalidInputError: *path* is a file; or something that would be replaced exists and *overwrite* is false; or a
            symbolic link in *dest* would lead out of it. Nothing is written then.

    Cost: 1 GET a page and 1 for each chunk that is not cached; memory for one page and one chunk.
    """
    directory = parse_directory(path)
    infos = list(snapshot.walk(directory))
    skipped = len(directory) + 1 if directory else 0
    targets = [dest / info.path[skipped:] for info in infos]
    for target in targets:
        _check_inside(target, dest)
        if not overwrite:
            _check_absent(target)
    for info, target in zip(infos, targets, strict=True):
        if progress is not None:
            progress(info)
        write_local_file(snapshot, info.path, target)
    return len(infos)


def write_local_file(snapshot: Files, path: str, target: Path, *, overwrite: bool = True) -> None:
    """Write one file of the snapshot to the local file *target*, whose directories are made.

    Raises:
        PathNotFoundError, NotAFileError: As for `Snapshot.open`.
        InvalidInputError: *target* is a directory, or exists and *overwrite* is false; nothing is written then.

    Cost: as `Snapshot.open` and reading all of it.
    """
    if not overwrite:
        _check_absent(target)
    if target.is_dir():
        msg = f"can't write the file {path!r} to {str(target)!r}: that is a directory"
        raise InvalidInputError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    with snapshot.open(path) as source, partial.open("wb") as sink:
        shutil.copyfileobj(source, sink, _BUFFER_BYTES)
    partial.replace(target)


def _check_absent(target: Path) -> None:
    if target.exists() or target.is_symlink():
        msg = f"{str(target)!r} exists already: choose another place, or allow overwriting"
        raise InvalidInputError(msg)


def _check_inside(target: Path, dest: Path) -> None:
    """Refuse a target that symbolic links in *dest* would put somewhere else; paths of a tree have no ``..``."""
    if not target.parent.resolve().is_relative_to(dest.resolve()):
        msg = f"can't write {str(target)!r}: a symbolic link leads out of {str(dest)!r}; remove it"
        raise InvalidInputError(msg)
