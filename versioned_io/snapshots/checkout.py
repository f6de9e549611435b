"""Writing the files of a snapshot into a local directory."""

import secrets
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

    Each file is complete once it has its name: a crash leaves whole files, and at most one whose name begins with
    ``.versioned-`` and ends in ``.part``.

    Args:
        path: A directory of the snapshot, which becomes *dest* itself; ``""`` for all of it.
        overwrite: Replace local files of the same names; what else *dest* holds stays.
        progress: Called before each file.

    Raises:
        PathNotFoundError: The snapshot has no such directory.
        InvalidInputError: *path* is a file; or something that would be replaced exists and *overwrite* is false; or a
            local file is where a directory must be, or the other way round; or a symbolic link in *dest* would lead
            out of it. Nothing is written then.

    Cost: 1 GET a page and 1 for each chunk that is not cached; memory for one page and one chunk.
    """
    directory = parse_directory(path)
    infos = list(snapshot.walk(directory))
    skipped = len(directory) + 1 if directory else 0
    targets = [dest / info.path[skipped:] for info in infos]
    for target in targets:
        _check_inside(target, dest)
        _check_fits(target)
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
        InvalidInputError: *target* is a directory, or below a file, or exists and *overwrite* is false; nothing is
            written then.

    Cost: as `Snapshot.open` and reading all of it.
    """
    if not overwrite:
        _check_absent(target)
    _check_fits(target)
    with snapshot.open(path) as source:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name that nobody can have put a symbolic link at; "x" refuses one all the same.
        partial = target.with_name(f".versioned-{secrets.token_hex(8)}.part")
        try:
            with partial.open("xb") as sink:
                shutil.copyfileobj(source, sink, _BUFFER_BYTES)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _check_fits(target: Path) -> None:
    """Refuse a target that is a directory, or that would be below a file."""
    if target.is_dir() and not target.is_symlink():
        msg = f"can't write the file {str(target)!r}: that is a directory"
        raise InvalidInputError(msg)
    for parent in target.parents:
        if parent.is_dir():
            return
        if parent.exists():
            msg = f"can't write the file {str(target)!r}: {str(parent)!r} is a file, not a directory"
            raise InvalidInputError(msg)


def _check_absent(target: Path) -> None:
    if target.exists() or target.is_symlink():
        msg = f"{str(target)!r} exists already: choose another place, or allow overwriting"
        raise InvalidInputError(msg)


def _check_inside(target: Path, dest: Path) -> None:
    """Refuse a target that symbolic links in *dest* would put somewhere else; paths of a tree have no ``..``."""
    if not target.parent.resolve().is_relative_to(dest.resolve()):
        msg = f"can't write {str(target)!r}: a symbolic link leads out of {str(dest)!r}; remove it"
        raise InvalidInputError(msg)
