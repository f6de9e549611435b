"""The connection to the catalog."""

import sqlite3
import threading
import time
import traceback

import pytest
from sqlalchemy import event, text

from versioned_io.catalog import engines
from versioned_io.catalog.connect import connect_catalog
from versioned_io.catalog.engines import sqlite_url
from versioned_io.catalog.revisions import migrate
from versioned_io.errors import InvalidInputError, StorageError


@pytest.mark.parametrize("name", ["plain", "a b", "what?", "100%25", "#1", "ü", "a'b\"c", "x;y&z=1"])
def test_every_directory_can_hold_a_catalog(tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    catalog = connect_catalog(sqlite_url(directory / "catalog.db"))
    migrate(catalog)
    catalog.close()
    assert (directory / "catalog.db").stat().st_size > 0


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "postgresql+psycopg://me:secret@host:port/database",
        "postgresql+nosuch://me:secret@host/database",
        "nosuch://me:secret@host/database",
        "://me:secret@host",
        "postgresql+psycopg://me:sec@ret:secret@host:x/database?password=secret",
        "sqlite://",
        "sqlite:///:memory:",
        "",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(InvalidInputError, match="is not a usable catalog URL") as caught:
        connect_catalog(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["{base}", "{base}?password=secret&connect_timeout=3"])
def test_a_server_that_does_not_answer_is_told_without_the_password(url):
    pytest.importorskip("psycopg")
    catalog = connect_catalog(url.format(base="postgresql+psycopg://me:secret@127.0.0.1:1/database"))
    with pytest.raises(
        StorageError, match=r"the catalog postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/database failed"
    ) as e:
        migrate(catalog)
    assert "secret" not in str(e.value)
    assert "secret" not in catalog.url


def end_connections_of(catalog):
    with catalog.look_up() as connection:
        own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = connect_catalog(catalog.engine.url)
    with other.look_up() as connection:
        assert connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": own}).scalar_one()
    other.close()


def test_a_connection_that_died_while_it_was_idle_is_replaced(postgres_url, monkeypatch):
    monkeypatch.setattr(engines, "_IDLE_S", 0)
    catalog = connect_catalog(postgres_url)
    for use in (catalog.look_up, catalog.read, catalog.write):
        end_connections_of(catalog)
        with use() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
    catalog.close()


def test_a_connection_that_died_right_after_its_use_is_a_storage_error_once(postgres_url, monkeypatch):
    monkeypatch.setattr(engines, "_IDLE_S", 3600)
    catalog = connect_catalog(postgres_url)
    end_connections_of(catalog)
    with pytest.raises(StorageError, match="terminating connection"), catalog.look_up() as connection:
        connection.execute(text("SELECT 1"))
    with catalog.look_up() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    catalog.close()


def test_a_write_is_seen_whole_or_not_at_all(tmp_path):
    catalog = connect_catalog(sqlite_url(tmp_path / "catalog.db"))
    migrate(catalog)

    def fail_halfway():
        with catalog.write() as connection:
            connection.execute(text("INSERT INTO properties VALUES ('a', '1')"))
            raise KeyError("halfway")

    with pytest.raises(KeyError):
        fail_halfway()
    with catalog.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM properties")).scalar_one() == 0
    catalog.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_who_writes_can_read_too_however_many_threads_wait_for_their_turn(tmp_path, kind, request):
    url = sqlite_url(tmp_path / "c.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    catalog = connect_catalog(url)
    migrate(catalog)
    turns = []

    def hold(connection):
        if kind == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(1)"))

    def wait_for_turn():
        with catalog.write() as connection:
            hold(connection)
            turns.append(1)

    waiting = [threading.Thread(target=wait_for_turn) for _ in range(20)]
    with catalog.write() as connection:
        hold(connection)
        for thread in waiting:
            thread.start()
        # Until they wait with all connections of the pool; it does not matter if some are late.
        give_up = time.monotonic() + 0.5
        while catalog.engine.pool.checkedout() < 15 and time.monotonic() < give_up:
            time.sleep(0.01)
        with catalog.read() as reading:
            assert reading.execute(text("SELECT 1")).scalar_one() == 1
        assert turns == []
    for thread in waiting:
        thread.join(60)
    assert len(turns) == 20
    catalog.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_read_sees_one_state_whatever_is_written_meanwhile(tmp_path, kind, request):
    url = sqlite_url(tmp_path / "c.db") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    catalog = connect_catalog(url)
    migrate(catalog)
    count = text("SELECT count(*) FROM properties")
    with catalog.read() as connection:
        before = connection.execute(count).scalar_one()
        with catalog.write() as writer:
            writer.execute(text("INSERT INTO properties VALUES ('a', '1')"))
        assert connection.execute(count).scalar_one() == before == 0
    with catalog.read() as connection:
        assert connection.execute(count).scalar_one() == 1
    catalog.close()


def test_a_writer_on_sqlite_waits_for_the_others_and_reads_what_they_wrote(tmp_path):
    catalog = connect_catalog(sqlite_url(tmp_path / "catalog.db"))
    migrate(catalog)
    with catalog.write() as connection:
        connection.execute(text("INSERT INTO properties VALUES ('n', '0')"))

    def count_on():
        for _ in range(25):
            with catalog.write() as connection:
                value = int(connection.execute(text("SELECT value FROM properties")).scalar_one())
                connection.execute(text("UPDATE properties SET value = :value"), {"value": str(value + 1)})

    threads = [threading.Thread(target=count_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with catalog.read() as connection:
        assert connection.execute(text("SELECT value FROM properties")).scalar_one() == "100"
    catalog.close()


def test_a_writer_on_sqlite_that_waited_in_vain_is_told_and_can_try_again(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_S", 1)
    catalog = connect_catalog(sqlite_url(tmp_path / "c.db"))
    migrate(catalog)
    with catalog.write():
        with pytest.raises(StorageError, match="database is locked"), catalog.write():
            pass
        with catalog.read() as connection:
            assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 1000
    with catalog.write() as connection:
        assert connection.execute(text("PRAGMA busy_timeout")).scalar_one() == 1000
    catalog.close()


class _FailingCursor(sqlite3.Cursor):
    """Fails after it has set the busy timeout in a transaction that has begun: the write lock is taken by then."""

    def execute(self, statement, *arguments):
        result = super().execute(statement, *arguments)
        if statement.startswith("PRAGMA busy_timeout=") and self.connection.in_transaction:
            raise sqlite3.OperationalError("no reply came")
        return result


class _FailingConnection(sqlite3.Connection):
    def cursor(self, *_):
        return super().cursor(_FailingCursor)


def test_a_transaction_that_failed_to_begin_does_not_keep_the_write_lock(tmp_path):
    catalog = connect_catalog(sqlite_url(tmp_path / "c.db"))
    migrate(catalog)
    catalog.engine.dispose()
    event.listen(catalog.engine, "do_connect", lambda *arguments: arguments[3].update(factory=_FailingConnection))
    with pytest.raises(StorageError) as failed, catalog.write():
        pass
    other = sqlite3.connect(tmp_path / "c.db", timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # while the error and what it refers to is still held
    other.close()
    assert "no reply came" in str(failed.value)
    catalog.close()


@pytest.fixture
def file_being_made(tmp_path):
    """A new file, not yet in WAL mode, that another connection writes to."""
    writer = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE first (x)")
    writer.execute("BEGIN IMMEDIATE")
    yield writer
    writer.close()


def test_a_new_file_that_another_writes_to_is_waited_for(tmp_path, file_being_made):
    catalog = connect_catalog(sqlite_url(tmp_path / "catalog.db"))
    end = threading.Timer(0.3, lambda: file_being_made.execute("COMMIT"))
    end.start()
    migrate(catalog)
    end.join()
    with catalog.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_a_new_file_that_another_never_ends_writing_to_is_told(tmp_path, file_being_made, monkeypatch):
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_S", 0.1)
    catalog = connect_catalog(sqlite_url(tmp_path / "catalog.db"))
    with pytest.raises(StorageError, match="database is locked"):
        migrate(catalog)
    assert file_being_made.in_transaction


@pytest.mark.parametrize(
    "query", ["connect_timeout=hunter2", "hunter2=1", "sslmode=hunter2", "connect_timeout=hunter2&x=1"]
)
def test_what_a_driver_repeats_of_a_url_is_not_shown(query):
    pytest.importorskip("psycopg")
    catalog = connect_catalog(f"postgresql+psycopg://me@127.0.0.1:1/db?{query}")
    with pytest.raises(StorageError) as caught, catalog.read() as connection:
        connection.execute(text("SELECT 1"))
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown.replace(query, "")


def test_the_cause_of_a_failed_statement_does_not_repeat_its_parameters(tmp_path):
    catalog = connect_catalog(f"sqlite:///{tmp_path}/c.db")
    with pytest.raises(StorageError) as caught, catalog.read() as connection:
        connection.execute(text("SELECT * FROM nothing WHERE x = :x"), {"x": "hunter2"})
    assert "hunter2" not in "".join(traceback.format_exception(caught.value, limit=0))
    catalog.close()
