"""The file system's information about files and directories, in fsspec's form."""

from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

from versioned_io.interfaces.filesystem.urls import Name
from versioned_io.model.paths import parent_directories
from versioned_io.versioning.snapshots.file_info import FileInfo
from versioned_io.versioning.snapshots.snapshot import Snapshot

Info: TypeAlias = dict[str, Any]
"""fsspec's information about a path: ``name``, ``size``, ``type``; for a file also ``digest`` and ``attributes``."""


def directory_info(name: str) -> Info:
    """Return the information about a directory."""
    return {"name": name, "size": 0, "type": "directory"}


def file_info(name: Name, entry: FileInfo) -> Info:
    """Return the information about an entry of *name*'s ref."""
    if entry.is_directory:
        return directory_info(name.child(entry.path))
    return {
        "name": name.child(entry.path),
        "size": entry.size,
        "type": "file",
        "digest": str(entry.digest),
        "attributes": dict(entry.attributes),
        "written_by": entry.written_by,
    }


def entries_of(snapshot: Snapshot, name: Name, noted: Collection[str]) -> list[Info]:
    """Return the direct entries of a directory, sorted, or the file itself.

    Args:
        noted: The names of empty directories.

    Raises:
        PathNotFoundError: There is neither.
    """
    found: dict[str, Info] = {}
    if snapshot.is_directory(name.path):
        found = {name.child(entry.path): file_info(name, entry) for entry in snapshot.list(name.path)}
    elif str(name) not in noted:
        return [file_info(name, snapshot.stat(name.path))]
    prefix = f"{name}/"
    for directory in tuple(noted):
        if directory.startswith(prefix):
            child = prefix + directory.removeprefix(prefix).partition("/")[0]
            found.setdefault(child, directory_info(child))
    return [found[child] for child in sorted(found)]


def infos_below(
    snapshot: Snapshot, name: Name, noted: Collection[str], maxdepth: int | None, *, withdirs: bool
) -> Iterator[Info]:
    """Yield the files below a directory, or the file itself, and with *withdirs* the directories.

    Args:
        noted: The names of empty directories.
    """
    skipped = len(name.path) + 1 if name.path else 0
    directories = {path.partition("/")[2] for path in tuple(noted) if path.startswith(f"{name}/")}
    if snapshot.is_directory(name.path):
        for file in snapshot.walk(name.path):
            if maxdepth is None or file.path.count("/", skipped) < maxdepth:
                yield file_info(name, file)
            directories.update(parent_directories(file.path))
    elif str(name) not in noted:
        if snapshot.exists(name.path):
            yield file_info(name, snapshot.stat(name.path))
        return
    if not withdirs:
        return
    if name.path:
        yield directory_info(str(name))
    for directory in directories:
        is_below = len(directory) > skipped and (not name.path or directory.startswith(f"{name.path}/"))
        if is_below and (maxdepth is None or directory.count("/", skipped) < maxdepth):
            yield directory_info(name.child(directory))
