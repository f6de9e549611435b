"""A check that a store's directory is still the one that was opened, and its disk still mounted."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from versioned_io.errors import InvalidInputError, StorageError

_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})


class HeldPlace:
    """Checks that a directory is still the one of the store that was opened.

    An unmounted disk leaves its mount point: an empty directory that can be written to. So the directory is recognised
    by its device and inode, and if these differ, by the store's marker.

    Args:
        marker: The path of the store's marker.
        payload: The contents of the marker.
    """

    def __init__(self, root: Path, marker: Path, payload: bytes) -> None:
        self._root = root
        self._marker = marker
        self._payload = payload
        self._identity = _identity(root)
        self._packs = _identity(root / "packs")

    def check(self) -> None:
        """Raise unless it is.

        Raises:
            StorageError: The directory is missing, or is another one. Mount the disk, and open the store again.

        Cost: 2 stat(2).
        """
        identity = _identity(self._root)
        if identity != self._identity or identity is None:
            self._recognise()
            self._identity = identity
        packs = _identity(self._root / "packs")
        if packs == self._packs:
            return
        if self._packs is not None:
            msg = (
                f"the packs directory of the store {self._root} was replaced since the store was opened; "
                f"check whether a disk was unmounted, then open it again"
            )
            raise StorageError(msg)
        self._packs = packs

    def _recognise(self) -> None:
        found = None
        with suppress(OSError):
            found = self._marker.read_bytes()
        if found == self._payload:
            return
        state = "holds another store" if found is not None else "no longer holds the store"
        if not self._root.is_dir():
            state = "is gone"
        msg = (
            f"the directory {self._root} {state}: its disk may be unmounted, or the store moved; "
            f"mount the disk, or open the store at its new place"
        )
        raise StorageError(msg)


def make_directories(path: Path) -> list[Path]:
    """Create *path* and its missing parents; return the created directories, the outermost first.

    Raises:
        OSError: A directory can't be created. The ones created before it are deleted.
    """
    missing: list[Path] = []
    current = path
    while not current.exists():
        missing.append(current)
        current = current.parent
    made: list[Path] = []
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            made.append(one)
        if not missing:
            path.mkdir(exist_ok=True)  # raises if it is a file
    except OSError:
        remove_directories(made)
        raise
    return made


def remove_directories(made: list[Path], root: Path | None = None) -> None:
    """Delete directories that `make_directories` created, unless something else is in them, such as another store.

    Args:
        root: A directory that must be empty, too, except for these: another process may have made it a store.
    """
    with suppress(OSError):
        inside = {path for one in (*made, *([root] if root is not None else [])) for path in one.iterdir()}
        if made and inside <= set(made):
            for one in reversed(made):
                one.rmdir()


def require_links(directory: Path) -> None:
    """Raise unless the file system of *directory* has hard links, without which one object could replace another.

    Raises:
        InvalidInputError: It has no hard links. Choose another directory.
        OSError: The directory is not writable.

    Cost: 1 file, 1 link.
    """
    first = directory / f".tmp-{secrets.token_hex(8)}"
    second = directory / f".tmp-{secrets.token_hex(8)}"
    try:
        first.touch(exist_ok=False)
        os.link(first, second)
    except OSError as error:
        if error.errno not in _NO_LINKS or not first.exists():
            raise
        msg = (
            f"can't create a store at {str(directory)!r}: its file system (FAT, exFAT, some network drives) "
            f"has no hard links; choose a directory on another one"
        )
        raise InvalidInputError(msg) from error
    finally:
        for one in (first, second):
            one.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, for each put)
    except OSError:
        return None
    return status.st_dev, status.st_ino
