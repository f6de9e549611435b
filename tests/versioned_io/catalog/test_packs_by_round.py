"""The packs that a collection judges are found by an index, however many are deleted or wait for their grace to end."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert, text

from versioned_io.catalog import rounds
from versioned_io.catalog.chunk_index import LIVE, _find, refuse_condemned
from versioned_io.catalog.collection import CONDEMNED, DELETED, states_of
from versioned_io.catalog.connect import connect_catalog
from versioned_io.catalog.engines import sqlite_url
from versioned_io.catalog.revisions import migrate, run_migrations
from versioned_io.catalog.tables import packs

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STATES = {
    "live": (LIVE, None, None),
    "marked": (LIVE, None, 3),
    "due": (CONDEMNED, NOW - 2 * DAY, None),
    "in its grace": (CONDEMNED, NOW, None),
    "deleted": (DELETED, NOW - 3 * DAY, None),
}


@pytest.fixture
def catalog(tmp_path):
    with closing(connect_catalog(sqlite_url(tmp_path / "catalog.db"))) as catalog:
        migrate(catalog)
        with catalog.write() as connection:
            rows = [
                {
                    "name": name,
                    "size_bytes": 1,
                    "state": state,
                    "created_at": NOW,
                    "condemned_at": at,
                    "mark_epoch": number,
                }
                for name, (state, at, number) in STATES.items()
            ]
            connection.execute(insert(packs), rows)
        yield catalog


def test_the_packs_to_be_judged_are_live_or_condemned_long_enough(catalog):
    with catalog.read() as connection:
        assert {row.name for row in rounds.packs_without_round(connection, NOW - DAY)} == {"live", "due"}


def plans_of(catalog, ask):
    """Return SQLite's plan for each statement about packs that *ask* runs, as lines."""
    asked = []
    with catalog.look_up() as connection:
        event.listen(
            connection, "before_cursor_execute", lambda _c, _k, sql, values, _x, _m: asked.append((sql, values))
        )
        ask(connection)
        own = [(sql, values) for sql, values in asked if "packs" in sql]
        assert own
        return [
            [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()]
            for sql, values in own
        ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: rounds.packs_without_round(connection, NOW - DAY),
        rounds.names_without_round,
        rounds.live_with_round,
        rounds.condemned_with_round,
    ],
)
def test_deleted_packs_are_not_read(catalog, ask):
    for plan in plans_of(catalog, ask):
        assert any("ix_packs_mark_epoch_state_condemned_at (mark_epoch" in line for line in plan), plan


@pytest.mark.parametrize(
    "ask",
    [
        lambda connection: list(_find(connection, [bytes(32)])),
        lambda connection: list(_find(connection, [bytes(32)] * 500)),
        lambda connection: refuse_condemned(connection, ["live"]),
        lambda connection: refuse_condemned(connection, ["live"] * 500),
        lambda connection: states_of(connection, ["live"] * 500),
        lambda connection: rounds.get_packs(connection, ["live", "due"]),
    ],
)
def test_what_a_commit_asks_is_found_by_name(catalog, ask):
    for plan in plans_of(catalog, ask):
        assert any("SEARCH packs USING" in line and "(name=?)" in line for line in plan), plan


def test_an_older_catalog_gets_the_index(tmp_path):
    with (
        closing(connect_catalog(sqlite_url(tmp_path / "catalog.db"))) as catalog,
        catalog.write() as connection,
    ):
        run_migrations(connection, to="0008")
        names = text("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'packs'")
        before = set(connection.execute(names).scalars())
        run_migrations(connection)
        assert set(connection.execute(names).scalars()) - before == {"ix_packs_mark_epoch_state_condemned_at"}
