"""Files of local directories as objects elsewhere: never one outside of the directory that may be read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from versioned_io.elsewhere.location import LOCAL, Location
from versioned_io.elsewhere.parts import Part, Pin
from versioned_io.errors import InvalidInputError, ReferenceBrokenError, StorageError

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalForeignObjects:
    """The files below one local directory.

    Symbolic links are resolved, and what they lead to must lie below the directory too: it is then opened part by part
    without following links, so that no link that is made meanwhile leads out of it.

    An ETag is made of inode, time of change and size. A file that is written to again within one tick of the file
    system's clock (a few ms) and keeps its size has the same one.

    Args:
        root: The directory that may be read, or one file.
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
            msg = f"{str(top)!r} is no directory: give one, or refer to one file"
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
                # Whoever writes to a file in place may have done so meanwhile.
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
        msg = f"{entry.path!r} is a symbolic link to no file: refer to what it stands for, or take it away"
        raise InvalidInputError(msg)

    def _resolved(self, location: Location) -> Path:
        """Return the path of what *location* is in the end, which lies below the root."""
        path = _path_of(location)
        # Unlike Path.resolve, it takes a link that leads to itself as it is; opening it fails then.
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
