"""Where contents are stored, in the catalog."""

import re
import threading
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from versioned_io.catalog.chunk_index import (
    CatalogChunkIndex,
    _places_in_sqlite,
    insert_chunks,
    insert_packs,
    refuse_condemned,
)
from versioned_io.catalog.connect import connect_catalog
from versioned_io.catalog.engines import sqlite_url
from versioned_io.catalog.revisions import migrate
from versioned_io.catalog.tables import packs
from versioned_io.errors import PackCondemnedError
from versioned_io.model.places import PackInfo
from versioned_io.storage.chunks.chunk_columns import NEW_CHUNKS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACKS = [f"{number:032x}" for number in range(2)]


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request, tmp_path):
    url = sqlite_url(tmp_path / "catalog.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    connected = connect_catalog(url)
    migrate(connected)
    with connected.write() as connection:
        insert_packs(connection, [PackInfo(name, 100, 1, 1) for name in PACKS], NOW)
    yield connected
    connected.close()


def chunks_of(pack, numbers):
    rows = [
        {
            "digest": number.to_bytes(32, "big"),
            "pack": bytes.fromhex(pack),
            "offset": number,
            "stored": 2,
            "inner": 3,
            "size": 4,
        }
        for number in numbers
    ]
    return pa.Table.from_pylist(rows, schema=NEW_CHUNKS)


def found(catalog, numbers):
    places, _ = CatalogChunkIndex(catalog).find([number.to_bytes(32, "big") for number in numbers])
    return {int.from_bytes(digest, "big"): ref.pack.hex() for digest, ref in places.items()}


def test_a_content_is_found_where_it_was_first_stored(catalog):
    for pack, numbers in zip(PACKS, (range(5), range(3, 1200)), strict=True):
        with catalog.write() as connection:
            insert_chunks(connection, chunks_of(pack, numbers))
    expected = {number: PACKS[number >= 5] for number in range(1200)}
    assert found(catalog, range(2000)) == expected
    assert found(catalog, []) == {}


def test_what_is_in_a_condemned_pack_is_not_found_and_may_not_be_referred_to(catalog):
    with catalog.write() as connection:
        insert_chunks(connection, chunks_of(PACKS[0], [1]))
        insert_chunks(connection, chunks_of(PACKS[1], [2]))
        connection.execute(packs.update().where(packs.c.name == PACKS[0]).values(state="condemned"))
    assert found(catalog, [1, 2]) == {2: PACKS[1]}
    with catalog.write() as connection:
        refuse_condemned(connection, [])
        refuse_condemned(connection, [PACKS[1]])
    for names in ([PACKS[0]], PACKS, ["f" * 32]):
        with pytest.raises(PackCondemnedError), catalog.write() as connection:
            refuse_condemned(connection, names)


def test_two_that_bring_the_same_chunks_at_once_in_another_order_both_go_on(catalog):
    orders = [range(15_000), range(14_999, -1, -1)]
    at_once = threading.Barrier(2)
    failures = []

    def insert(pack, numbers):
        table = chunks_of(pack, numbers)
        try:
            with catalog.write() as connection:
                if connection.dialect.name == "postgresql":
                    at_once.wait(60)  # SQLite lets in one at a time
                insert_chunks(connection, table)
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=insert, args=pair) for pair in zip(PACKS, orders, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(found(catalog, range(15_000))) == 15_000


def test_contents_are_looked_up_by_values_that_every_python_binds(catalog):
    # From Python 3.12 on, numbered marks with a sequence are a DeprecationWarning; 3.14 refuses them.
    assert re.findall(r"[?:]\d", _places_in_sqlite(3)) == []
    with catalog.write() as connection:
        insert_chunks(connection, chunks_of(PACKS[0], range(700)))
    places, _ = CatalogChunkIndex(catalog).find([number.to_bytes(32, "big") for number in range(100, 900)])
    assert len(places) == 600
