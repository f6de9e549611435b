"""Files of a local directory as objects elsewhere; files outside of the permitted directory are never read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from versioned_io.errors import InvalidInputError, ReferenceBrokenError, StorageError
from versioned_io.storage.elsewhere.location import LOCAL, Location
from versioned_io.storage.elsewhere.parts import Part, Pin

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalForeignObjects:
    """The files below one local directory.

    Symbolic links are resolved, and their targets must lie below the directory too. The resolved path is opened part by
    part without following links, so a link that is created meanwhile can't lead out of the directory.

    An ETag consists of inode, time of change and size. It misses a change that keeps the size and happens within one
    tick of the file system's clock (a few ms) after the previous one.

    Args:
        root: The directory or the single file that may be read.
    """

    def __init__(self, root: Location) -> None:
        self._root = root

    @property
    def is_remote(self) -> bool:
        """False: a read is a system call."""
        return False

    def list(self, location: Location) -> Iterator[Pin]:
        """See `ForeignObjects.list`. Cost: 1 readdir a directory, 1 stat a file, some more for a link."""
        top = _path_of(location)
        if not top.is_dir():
            msg = f"{str(top)!r} is not a directory: give a directory, or refer to one file"
            raise InvalidInputError(msg)
        self._resolved(location)
        pending = [(location, str(top))]
        while pending:
            parent, directory = pending.pop()
            try:
                with os.scandir(directory) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                raise _storage_error("list", directory, error) from error
            for entry in found:
                child = parent.below(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append((child, entry.path))
                else:
                    yield self._pin_of(child, entry)

    def look_up(self, location: Location) -> Pin | None:
        """See `ForeignObjects.look_up`."""
        try:
            with self._opened(location) as descriptor:
                return _pin(location, os.fstat(descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _storage_error("read", str(_path_of(location)), error) from error

    def read(self, location: Location, part: Part) -> memoryview:
        """See `ForeignObjects.read`."""
        try:
            with self._opened(location) as descriptor:
                _compare(part.pin, _pin(location, os.fstat(descriptor)))
                data = _read_exactly(descriptor, part)
                # A writer may have changed the file in place during the read.
                _compare(part.pin, _pin(location, os.fstat(descriptor)))
        except (FileNotFoundError, NotADirectoryError):
            raise ReferenceBrokenError(part.pin.url, str(part.pin), "it is gone") from None
        except OSError as error:
            raise _storage_error("read", str(_path_of(location)), error) from error
        return data

    def check(self, location: Location, pin: Pin) -> None:
        """See `ForeignObjects.check`."""
        found = self.look_up(location)
        if found is None:
            raise ReferenceBrokenError(pin.url, str(pin), "it is gone")
        _compare(pin, found)

    def _pin_of(self, location: Location, entry: os.DirEntry[str]) -> Pin:
        try:
            if not entry.is_symlink():
                return _pin(location, entry.stat(follow_symlinks=False))
            path = self._resolved(location)
            if path.is_file():
                return _pin(location, path.lstat())
        except OSError as error:
            raise _storage_error("read", entry.path, error) from error
        msg = f"{entry.path!r} is a symbolic link that does not lead to a file: refer to its target, or delete the link"
        raise InvalidInputError(msg)

    def _resolved(self, location: Location) -> Path:
        """Return the path of *location* with all links resolved, which lies below the root."""
        path = _path_of(location)
        # Unlike Path.resolve, realpath returns a link to itself unresolved; opening it fails later.
        root, resolved = Path(os.path.realpath(_path_of(self._root))), Path(os.path.realpath(path))
        if not resolved.is_relative_to(root):
            msg = f"{str(path)!r} is a symbolic link that leads out of {str(root)!r}: only what is below may be read"
            raise InvalidInputError(msg)
        return resolved

    @contextmanager
    def _opened(self, location: Location) -> Iterator[int]:
        descriptor = _open_plainly(self._resolved(location))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError
            yield descriptor
        finally:
            os.close(descriptor)


def _open_plainly(path: Path) -> int:
    """Open a file without following any symbolic link on the way."""
    directory = os.open("/", _DIRECTORY)
    try:
        for name in path.parts[1:-1]:
            parent = directory
            try:
                directory = os.open(name, _DIRECTORY, dir_fd=parent)
            finally:
                os.close(parent)
        return os.open(path.name, _FILE, dir_fd=directory)
    finally:
        os.close(directory)


def _path_of(location: Location) -> Path:
    return Path("/", location.key)


def _pin(location: Location, status: os.stat_result) -> Pin:
    if not stat.S_ISREG(status.st_mode):
        msg = f"{str(_path_of(location))!r} is a special file: only files can be referred to"
        raise InvalidInputError(msg)
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return Pin(Location(LOCAL, "", location.key).url, etag, None, status.st_size)


def _compare(pin: Pin, found: Pin) -> None:
    if (found.etag, found.size) != (pin.etag, pin.size):
        raise ReferenceBrokenError(pin.url, str(pin), f"it has {found}")


def _read_exactly(descriptor: int, part: Part) -> memoryview:
    found = os.pread(descriptor, part.size, part.offset)
    while len(found) < part.size:  # one read(2) stops at 2 GiB, or at a signal
        more = os.pread(descriptor, part.size - len(found), part.offset + len(found))
        if not more:
            raise ReferenceBrokenError(part.pin.url, str(part.pin), f"it ends at byte {part.offset + len(found)}")
        found += more
    return memoryview(found)


def _storage_error(action: str, path: str, error: OSError) -> StorageError:
    return StorageError(f"can't {action} {path!r}: {error.strerror or error}")
