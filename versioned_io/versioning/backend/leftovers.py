"""Leftovers: unreferenced packs of writes that ended without effect. They are deleted at once.

Source: docs/design/0005-garbage-collection.md, "Writers that end without effect".
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection, delete

from versioned_io.catalog.noting import note_undo
from versioned_io.catalog.tables import packs
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.writer import PackWriter


def note_stored(connection: Connection, objects: ObjectStore, pack: PackWriter) -> None:
    """Register *pack* for deletion if the transaction of *connection* does not commit.

    Call this before the pack is stored, since a PUT that seems to have failed may have succeeded.
    """
    note_undo(connection, partial(delete_leftovers, objects, [(pack.name, pack.size_bytes)]))


def delete_leftovers(objects: ObjectStore, sizes: Sequence[tuple[PackName, int]], connection: Connection) -> None:
    """Delete the packs that have no row in the catalog.

    A pack stays if its transaction was committed after all, or if a recovery or a collector has inserted a row. The
    rows that reserve the others during the deletion are rolled back with this transaction.

    Raises:
        StorageError: An object can't be deleted. Garbage collection will delete it.

    Cost: 2 statements and 1 DELETE for each pack.
    """
    from versioned_io.catalog.collection import bury_orphans

    held = bury_orphans(connection, sizes, datetime.now(UTC))  # the time is rolled back with the row
    objects.delete([pack_key(name) for name in held])
    connection.execute(delete(packs).where(packs.c.name.in_(held)))
