"""Reading the SQLite file of a catalog without the right to write to it, and never seeing a state that was not."""

import os
import sqlite3
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

FileState: TypeAlias = tuple[int, int, int]
"""Changes when somebody writes to the file itself."""


def is_read_only(path: Path) -> bool:
    """Say whether *path* is there, and either it or its directory, where SQLite keeps its log, can't be written to."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def state_of(path: Path) -> FileState:
    """Return what to compare before and after a read.

    Raises:
        OSError: The file is gone.
    """
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def connect_read_only(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Return a connection that writes nothing at all, not even SQLite's own files.

    Where the log of a writer is there it is read too, under SQLite's locks. Where there is none the file holds
    everything, and is opened as if it never changed, so without locks: compare `state_of` it before and after.

    Raises:
        sqlite3.Error: It can't be opened.

    Source: https://sqlite.org/wal.html, "Read-Only Databases".
    """
    log, index = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    has_log = log.exists() and (log.stat().st_size > 0 or index.exists())
    address = f"file:{quote(str(path.absolute()))}?mode=ro" + ("" if has_log else "&immutable=1")
    return sqlite3.connect(address, uri=True, timeout=timeout_s, check_same_thread=False)
