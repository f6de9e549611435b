"""Finding the files below a local directory."""

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from versioned_io.errors import InvalidInputError, SourceChangedError
from versioned_io.paths import MAX_PATH_BYTES, parse_path


@dataclass(slots=True)
class LocalTree:
    """The files below a local directory, by the directory that they are in: 1,000,000 files take some 100 MB.

    Attributes:
        size_bytes: Of all files.
    """

    _directories: list[tuple[str, str, list[str], "array[int]"]] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0

    def add(self, prefix: str, directory: str, names: list[str], sizes: "array[int]") -> None:
        """Add the files right in *directory*, whose paths begin with *prefix*."""
        self._directories.append((prefix, directory, names, sizes))
        self.files += len(names)
        self.size_bytes += sum(sizes)

    def sources(self) -> Iterator[tuple[str, int]]:
        """Yield (local path, size in bytes) of every file."""
        for _, directory, names, sizes in self._directories:
            for name, size in zip(names, sizes, strict=True):
                yield f"{directory}/{name}", size

    def paths(self) -> Iterator[str]:
        """Yield the path in the repo of every file, in the same order."""
        for prefix, _, names, _ in self._directories:
            for name in names:
                yield f"{prefix}{name}"


def scan_local_tree(directory: Path, target: str) -> LocalTree:
    """Return the files below the local *directory*, with the paths that they get below *target*.

    Raises:
        InvalidInputError: *directory* is no directory, or holds a symbolic link or a special file.
        IllegalPathError: A file's name breaks the path rules.
        SourceChangedError: A directory vanished meanwhile.

    Cost: 4 us a file, 1 readdir a directory.
    """
    if not directory.is_dir():
        msg = f"{str(directory)!r} is no directory: give one, or write() a file"
        raise InvalidInputError(msg)
    tree = LocalTree()
    pending = [(f"{target}/" if target else "", str(directory))]
    while pending:
        prefix, current = pending.pop()
        try:
            found, below = _read_directory(current)
        except FileNotFoundError:
            raise SourceChangedError(current, "it is gone") from None
        found.sort()
        names = [name for name, _ in found]
        _check_names(prefix, names)
        if names:
            tree.add(prefix, current, names, array("q", [size for _, size in found]))
        # The last one is looked at first: files come nearly in the order of their paths.
        pending += [(f"{prefix}{name}/", f"{current}/{name}") for name in sorted(below, reverse=True)]
    return tree


def _check_names(prefix: str, names: list[str]) -> None:
    """Check the paths of the files in one directory.

    Raises:
        IllegalPathError: One breaks the path rules.
    """
    if not names:
        return
    parse_path(f"{prefix}{names[0]}")
    longest = MAX_PATH_BYTES - len(prefix.encode())
    for name in names:
        # A name on a disk has no slash and is neither "." nor "..": nearly all need no more than this.
        if not (name.isascii() and name.isprintable() and len(name) <= longest):
            parse_path(f"{prefix}{name}")


def _read_directory(directory: str) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the (name, size) of the files and the names of the directories right in *directory*."""
    files: list[tuple[str, int]] = []
    below: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                files.append((entry.name, entry.stat(follow_symlinks=False).st_size))
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            else:
                msg = f"{entry.path!r} is a symbolic link or a special file: copy what it stands for, or leave it out"
                raise InvalidInputError(msg)
    return files, below
