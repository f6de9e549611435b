"""The file behind the connections of a SQLite catalog: never recreated, and checked for replacement."""

import os
import sqlite3
from typing import Final
from urllib.parse import quote

from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from versioned_io.catalog.plain import identity_of

_IDENTITY: Final = "versioned_io_file"


def follow_file(engine: Engine, *, is_there: bool = False) -> None:
    """Keep the connections of *engine* on the file that is at the catalog's path now.

    SQLite keeps using a file that was deleted or replaced, and writes to it are lost. SQLite also creates a missing
    file. Here only the first connection may create the file, because later the disk may be unmounted. If the file was
    replaced, the next use of a connection closes it, and opens one to the new file.

    Args:
        is_there: Whether the file was opened by other means before, so that no connection may create it.

    Cost: 1 stat(2) each time that a connection is taken from the pool.
    """
    path = os.path.abspath(str(engine.url.database))  # noqa: PTH100 (Path.resolve would follow links once and for all)
    is_first = not is_there

    @event.listens_for(engine, "do_connect")
    def open_existing(
        _dialect: Dialect, _record: ConnectionPoolEntry, arguments: list[object], options: dict[str, object]
    ) -> None:
        nonlocal is_first
        if not is_first and not options.get("uri"):
            arguments[0] = f"file:{quote(path)}?mode=rw"
            options["uri"] = True
        is_first = False

    @event.listens_for(engine, "connect")
    def note_file(_connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info[_IDENTITY] = identity_of(path)

    @event.listens_for(engine, "checkout")
    def compare(_connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info.get(_IDENTITY) != identity_of(path):
            raise DisconnectionError  # the pool opens another connection
