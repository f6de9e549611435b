"""Consistent reads of a SQLite catalog without write permission on its file."""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote


class FileState(NamedTuple):
    """The state of a file. It changes when a process writes to the file."""

    inode: int
    size: int
    modified_ns: int


def is_read_only(path: Path) -> bool:
    """Return whether *path* exists, and it or its directory (which holds SQLite's log) is not writable."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def state_of(path: Path) -> FileState:
    """Return the state of the file, to compare before and after a read.

    Raises:
        OSError: The file is gone.
    """
    status = path.stat()
    return FileState(status.st_ino, status.st_size, status.st_mtime_ns)


def connect_read_only(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Return a connection that writes no file, not even SQLite's log and shared-memory index.

    If a writer's log exists, it is read too, under SQLite's locks. Otherwise the file is complete and is opened as
    immutable, without locks. Then the caller compares `state_of` the file before and after its read.

    Raises:
        sqlite3.Error: The file can't be opened.

    Source: https://sqlite.org/wal.html, "Read-Only Databases".
    """
    log, index = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    has_log = log.exists() and (log.stat().st_size > 0 or index.exists())
    address = f"file:{quote(str(path.absolute()))}?mode=ro" + ("" if has_log else "&immutable=1")
    return sqlite3.connect(address, uri=True, timeout=timeout_s, check_same_thread=False)
