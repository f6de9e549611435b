"""The state of the local directory of a checkout, read without following symbolic links."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from versioned_io.errors import InvalidInputError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class LocalState:
    """The entries of the directories that a checkout uses.

    Attributes:
        files: (size, mtime in ns) of each regular file, by path.
        executables: Paths of the files that their owner may execute.
        others: Paths of symbolic links and special files.
        directories: Paths of directories.
        missing: The requested directories that do not exist.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    executables: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


def read_local_state(dest: Path, opened: int | None, directories: Iterable[str]) -> LocalState:
    """Return the entries of *directories*, which are below *dest*; ``""`` is *dest* itself.

    Args:
        opened: The descriptor of *dest*; None if it does not exist.
        directories: The directories with all their parents, sorted.

    Raises:
        InvalidInputError: A directory is a symbolic link, which could lead out of *dest*. Delete the link.

    Cost: 1 readdir for each existing directory, and 1 stat for each file.
    """
    state = LocalState()
    if opened is None:
        state.missing.update(directories)
        return state
    for directory in directories:
        parent = directory.rpartition("/")[0]
        if directory and (parent in state.missing or directory not in state.directories):
            if directory in state.others and (dest / directory).is_symlink():
                local = str(dest / directory)
                msg = f"can't write below {local!r}: it is a symbolic link, which may leave {str(dest)!r}; delete it"
                raise InvalidInputError(msg)
            state.missing.add(directory)
            continue
        _read_entries(state, opened, directory)
    return state


def _read_entries(state: LocalState, dest: int, directory: str) -> None:
    try:
        with open_directory(directory or ".", below=dest) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{directory}/{entry.name}" if directory else entry.name
                if entry.is_dir(follow_symlinks=False):
                    state.directories.add(path)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    state.files[path] = (status.st_size, status.st_mtime_ns)
                    if status.st_mode & stat.S_IXUSR:
                        state.executables.add(path)
                else:
                    state.others.add(path)
    except FileNotFoundError:
        state.missing.add(directory)


@contextmanager
def open_target(path: Path, *, follows: bool = True) -> Iterator[int]:
    """Open the target directory, and close it at the end.

    Args:
        follows: Whether the path itself may be a symbolic link; false for a directory that was just created.

    Raises:
        InvalidInputError: The path is a file, or has become a symbolic link. Choose another directory.
    """
    try:
        descriptor = os.open(path, _DIRECTORY | (0 if follows else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        found = "it is a file, not a directory" if follows else "it has become a symbolic link or a file"
        msg = f"can't check out into {str(path)!r}: {found}"
        raise InvalidInputError(msg) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries_below(dest: Path, directory: str) -> Iterator[str]:
    """Yield the path of every entry below the local directory *directory* of *dest*, directories included."""
    for current, directories, names in os.walk(dest / directory):
        for name in (*directories, *names):
            yield Path(current, name).relative_to(dest).as_posix()


@contextmanager
def open_directory(directory: str, *, below: int) -> Iterator[int]:
    """Open a directory below the open directory *below*, without following links, and close it at the end.

    Raises:
        InvalidInputError: A part of the path is a symbolic link, or not a directory. Delete it.
        FileNotFoundError: The directory does not exist.
    """
    descriptor = os.open(".", _DIRECTORY, dir_fd=below)
    for part in directory.split("/"):
        parent = descriptor
        try:
            descriptor = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            msg = f"{part!r} in {directory!r} has become a symbolic link or a file: nothing is written there"
            raise InvalidInputError(msg) from None
        finally:
            os.close(parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def set_executable(dest: int, path: str, *, is_executable: bool) -> None:
    """Set the execute bits of a file in the open directory *dest* from its read bits, or clear them. Cost: 1 chmod."""
    directory, _, name = path.rpartition("/")
    with open_directory(directory or ".", below=dest) as parent:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            readers = (mode & (stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)) >> 2
            os.fchmod(descriptor, mode | readers if is_executable else mode & ~0o111)
        finally:
            os.close(descriptor)


def find_case_clash(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two of *paths*, or of the directories above them, that differ only in case, or None."""
    seen: dict[str, str] = {}
    for path in paths:
        end = len(path)
        while end > 0:
            part = path[:end]
            known = seen.setdefault(part.casefold(), part)
            if known != part:
                return known, part
            if end < len(path) and known is not part:
                break  # its directories were already compared
            end = path.rfind("/", 0, end)
    return None


def ignores_case(directory: int, name: str) -> bool:
    """Return whether the file system ignores case: whether *name* in the open *directory* is found in capitals too."""
    try:
        os.stat(name.upper(), dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
