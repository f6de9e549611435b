"""Writing a journal entry: its frame to a pack, its row to the catalog."""

from datetime import datetime

from sqlalchemy import Connection

from versioned_io.catalog.chunk_index import insert_packs
from versioned_io.catalog.journal import insert_entry
from versioned_io.catalog.noting import note_made
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.journal import JournalEntry, encode_entry
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.backend.leftovers import note_stored


def append_entry(
    connection: Connection, objects: ObjectStore, entry: JournalEntry, now: datetime, *, is_recorded_name: bool = False
) -> int:
    """Write *entry*, and return its sequence number; it takes effect with the catalog transaction around this call.

    The pack is written first, so a catalog that is rebuilt from the packs has the entry. Call this last, after all
    checks, with the repo or the branch locked, so that the entries of a repo have an order.

    Args:
        entry: An entry with the present name of the repo; the journal gets its recorded name.
        is_recorded_name: Whether the entry already has the recorded name. The catalog then needn't have the repo.

    Raises:
        StorageError: The object store failed. Nothing was changed. Try again.

    Cost: 1 PUT, 1 SELECT, 2 INSERTs.

    Source: docs/design/0004-journal-and-rebuild.md.
    """
    pack = PackWriter(objects)
    recorded = insert_entry(connection, entry, pack.name, now, is_recorded_name=is_recorded_name)
    pack.append(FrameKind.JOURNAL, encode_entry(recorded))
    note_stored(connection, objects, pack)
    insert_packs(connection, [pack.close()], now)
    note_made(connection, Beacon(BeaconKind.ENTRY, pack.name, recorded.sequence))
    return recorded.sequence
