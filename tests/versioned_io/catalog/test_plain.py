"""A catalog that is asked in plain SQL by SQLite's driver, and by SQLAlchemy: equal answers, equal refusals."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy

import versioned_io as vio
from tests.versioned_io.concurrency.forks import in_child
from versioned_io.catalog import database, engines, plain
from versioned_io.errors import ForkedError, VersionedError

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN, BY_SQLALCHEMY = "sqlite:///", "sqlite+pysqlite:///"
"""What begins the URL of a catalog that is asked without SQLAlchemy, and with it."""
WAYS = [PLAIN, BY_SQLALCHEMY]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store in which every kind of name, history and disappearance happened, and its commits."""
    place = tmp_path_factory.mktemp("plain") / "store"
    now = [START]
    with vio.create_store(place, clock=lambda: now[0]) as store:
        store.create_repo("weather", description="rain, and more")
        store.create_repo("empty")
        store.create_repo("gone")
        store.create_repo("former")
        made = []
        for number in range(4):
            now[0] += HOUR
            with store.transaction("weather@main", message=f"number {number}", metadata={"n": number}) as tx:
                tx.write(f"{number % 2}/a.csv", b"x" * (number + 1))
            made.append(tx.commit)
        store.create_branch("weather@dev", at="weather@main~2")
        store.create_branch("weather@old", at="weather@main~1")
        with store.transaction("weather@dev", provenance=[made[3].id, made[2].id]) as tx:
            tx.write("b.csv", b"b")
        made.append(tx.commit)
        now[0] += HOUR
        store.create_tag("weather@v1", at="weather@main~1")
        store.protect_branch("weather@main")
        store.delete_branch("weather@old")
        store.rename_repo("former", "latter")
        store.delete_repo("gone")
        with store.run("train", code_version="3", params={"depth": 2}):
            store.snapshot("weather@main").read("0/a.csv")
            with store.transaction("latter@main") as tx:
                tx.write("model", b"m")
        made.append(tx.commit)
    return place, made


def questions(made):
    """Return what is asked of a store, by the words that say it."""
    first, fork, model = made[0], made[4], made[5]
    refs = [
        *("weather@main", "weather@v1", "weather@main~3", "weather@dev~1", "weather@main~4", "weather@v1~9"),
        *("empty@main", "empty@main~1", "weather@nothing", "weather@old", "nothing@main", "gone@main", "former@main"),
        *(f"weather@{first.id}", f"weather@{first.id[:28]}", f"weather@{first.id[:6]}", "weather@0123456789"),
        *(f"weather@{fork.lineage_id}", f"weather@{model.lineage_id}", f"latter@{first.id}", first.id, "f" * 32),
        *(f"weather@main@{{2026-01-01T0{hour}:30:00Z}}" for hour in range(6)),
        *("weather@v1@{2026-01-01}", "weather@old@{2026-01-01}", "weather@dev@{2025-12-31}", f"{first.id}~0"),
    ]
    asked = {ref: lambda store, ref=ref: store.commit(ref) for ref in refs}
    asked |= {f"the files of {ref}": lambda store, ref=ref: files(store, ref) for ref in ("weather@main", "empty@main")}
    asked |= {f"log {ref}": lambda store, ref=ref: list(store.log(ref)) for ref in ("weather@dev", "empty@main", "x@y")}
    asked |= {f"repo {name}": lambda store, name=name: store.repo(name) for name in ("weather", "gone", "former", "x")}
    asked |= {f"tags {name}": lambda store, name=name: store.tags(name) for name in ("weather", "gone")}
    return asked | {
        "log 2": lambda store: list(store.log("weather@main", limit=2)),
        "log of a file": lambda store: list(store.log("weather@main", path="1/a.csv")),
        "log of a directory": lambda store: list(store.log("weather@main", path="1")),
        "log of nothing": lambda store: list(store.log("weather@main", path="2")),
        "repos": lambda store: store.repos(),
        "status": lambda store: replace(store.status(), catalog=""),
        "branches": lambda store: store.branches("weather"),
        "diff": lambda store: store.diff("weather@main~3", "weather@main").to_pylist(),
        "warning": lambda store: store.warning,
    }


def files(store, ref):
    snapshot = store.snapshot(ref)
    return [(one.path, snapshot.read(one.path)) for one in snapshot.walk()]


def ask(place, way, call):
    """Return what a store that is opened now answers, or how it refuses, and whether SQLAlchemy was used."""
    try:
        with vio.open_store(place, catalog=f"{way}{place}/catalog.db") as store:
            answer = call(store)
            assert (store._backend.catalog.database.plain is None) == (way == BY_SQLALCHEMY)
    except VersionedError as error:
        return type(error), str(error).replace(BY_SQLALCHEMY, PLAIN)
    if isinstance(answer, str):
        return answer.replace(BY_SQLALCHEMY, PLAIN)
    return answer, repr(answer)


def is_refusal(answer):
    return isinstance(answer, tuple) and isinstance(answer[0], type)


def test_the_answers_are_equal(filled):
    place, made = filled
    asked = questions(made)
    by_way = [{words: ask(place, way, call) for words, call in asked.items()} for way in WAYS]
    assert by_way[0] == by_way[1]
    refused = [words for words, answer in by_way[0].items() if is_refusal(answer)]
    assert len(refused) == 23, refused


@pytest.mark.parametrize("size", [0, 1, 500, 501, 1_200])
def test_any_number_of_ids_is_looked_up(filled, size):
    from versioned_io.catalog.commits import get_commits

    place, made = filled
    ids = [*(one.id for one in made), *(f"{number:032x}" for number in range(size))][:size]

    def look(store):
        with store._backend.catalog.ask() as connection:
            return get_commits(connection, ids)

    answers = [ask(place, way, look) for way in WAYS]
    assert answers[0] == answers[1]
    assert answers[0][0].keys() == {one.id for one in made if one.id in ids}


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for one in statements:
            connection.execute(one)


def overwrite(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


HARMS = {
    "older": lambda path: change(path, "UPDATE branches SET head_id = NULL", "DELETE FROM tags", "DELETE FROM commits"),
    "of an older revision": lambda path: change(path, "UPDATE alembic_version SET version_num = '0001'"),
    "of a newer revision": lambda path: change(path, "UPDATE alembic_version SET version_num = '9999'"),
    "without a revision": lambda path: change(path, "DELETE FROM alembic_version"),
    "without tables": lambda path: (path.unlink(), change(path, "VACUUM")),
    "an empty file": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "no database": lambda path: path.write_bytes(b"not a database, but long enough to be read as one " * 100),
    "cut": lambda path: os.truncate(path, 4096 * 3),
    "damaged": lambda path: overwrite(path, 4096, b"\xff" * 4096 * 30),
    "without a table": lambda path: change(path, "PRAGMA foreign_keys=OFF", "DROP TABLE commits"),
    "another store's": lambda path: change(path, "UPDATE properties SET value = 'x' WHERE name = 'store_id'"),
    "being rebuilt": lambda path: change(path, "INSERT INTO properties VALUES ('state', 'rebuilding')"),
    "without segments": lambda path: change(path, "DELETE FROM segments"),
    "with text for a time": lambda path: change(path, "UPDATE commits SET created_at = 'then'"),
    "with a time beyond all": lambda path: change(path, "UPDATE repos SET created_at = 9000000000000000000"),
    "with text for bytes": lambda path: change(path, "UPDATE commits SET touched = 'text'"),
    "with text that is not UTF-8": lambda path: change(path, "UPDATE commits SET message = CAST(x'ff' AS TEXT)"),
    "with stats that are no JSON": lambda path: change(path, "UPDATE commits SET stats = '{'"),
    "with an unknown state": lambda path: change(path, "UPDATE commits SET state = 'odd'"),
    "with a renaming that is no JSON": lambda path: change(path, "UPDATE journal SET details = '{'"),
    "neglected": lambda path: change(path, "UPDATE journal SET at = 0"),
}


OF_NEW_SQLALCHEMY = pytest.mark.skipif(
    sqlalchemy.__version__ < "2.1", reason="before 2.1, it ends a failed opening and shows a path with '?' otherwise"
)


@OF_NEW_SQLALCHEMY
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_catalog_is_refused_alike(filled, harm, tmp_path, caplog):
    place = tmp_path / "store"
    shutil.copytree(filled[0], place)
    HARMS[harm](place / "catalog.db")
    answers = []
    for way in WAYS:
        caplog.clear()
        there = sorted(one.name for one in place.iterdir())
        said = [ask(place, way, call) for call in CALLS.values()]
        answers.append((said, [one.getMessage().replace(BY_SQLALCHEMY, PLAIN) for one in caplog.records]))
        assert sorted(one.name for one in place.iterdir()) == there, "opening made or deleted a file"
    assert answers[0] == answers[1]
    assert any(map(is_refusal, answers[0][0])) or (harm == "neglected" and "overdue" in answers[0][1][0]), answers[0]


CALLS = {
    "warning": lambda store: store.warning,
    "commit": lambda store: store.commit("weather@main"),
    "before": lambda store: store.commit("weather@main~1"),
    "log": lambda store: list(store.log("weather@main")),
    "log of a directory": lambda store: list(store.log("weather@main", path="1")),
    "repos": lambda store: store.repos(),
    "former": lambda store: store.repo("former"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_another_process_has_locked_is_waited_for_and_then_told(filled, way, tmp_path, monkeypatch):
    for module in (plain, engines):
        monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.1)
    place = tmp_path / "store"
    shutil.copytree(filled[0], place)
    with closing(sqlite3.connect(place / "catalog.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE properties SET value = value")
        error, words = ask(place, way, lambda store: store.repos())
    assert (error.code, words) == ("storage", f"the catalog {PLAIN}{place}/catalog.db failed: database is locked")


@pytest.mark.parametrize("way", WAYS)
def test_the_log_of_a_writer_is_read_and_left_to_it(filled, way, tmp_path):
    place = tmp_path / "store"
    shutil.copytree(filled[0], place)
    with closing(sqlite3.connect(place / "catalog.db", isolation_level=None)) as writer:
        writer.execute("UPDATE repos SET description = 'by a writer' WHERE name = 'weather'")
        assert (place / "catalog.db-wal").stat().st_size > 0
        assert ask(place, way, lambda store: store.repo("weather").description) == "by a writer"
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE repos SET description = 'not yet' WHERE name = 'weather'")
        assert ask(place, way, lambda store: store.repo("weather").description) == "by a writer"
        writer.execute("ROLLBACK")


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_may_only_be_read_is_left_as_it_is(filled, way, tmp_path, monkeypatch):
    # Root may write to anything; test_read_only.py asks as another user.
    monkeypatch.setattr(database, "is_read_only", lambda path: path.exists())
    place = tmp_path / "store"
    shutil.copytree(filled[0], place)
    before = {one.name: one.stat().st_mtime_ns for one in place.iterdir()}
    assert ask(place, way, lambda store: len(store.repos())) == (3, "3")
    assert {one.name: one.stat().st_mtime_ns for one in place.iterdir()} == before
    with vio.open_store(place, catalog=f"{way}{place}/catalog.db") as store:
        with pytest.raises(VersionedError, match="can be read but not changed"):
            store.create_repo("x")
        with pytest.raises(VersionedError, match="was written to while it was read"), store._backend.catalog.ask():
            os.utime(place / "catalog.db")


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_was_replaced_is_read_anew_and_one_that_is_gone_is_not_made(filled, way, tmp_path):
    place = tmp_path / "store"
    shutil.copytree(filled[0], place)
    path = place / "catalog.db"
    with vio.open_store(place, catalog=f"{way}{path}") as store:
        shutil.copy(path, tmp_path / "new")
        change(tmp_path / "new", "UPDATE repos SET description = 'replaced'")
        (tmp_path / "new").replace(path)
        assert store.repo("weather").description == "replaced"
        path.unlink()
        for use in (store.repos, lambda: store.create_repo("x")):
            with pytest.raises(VersionedError, match="unable to open database file"):
                use()
        assert not path.exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_child_reads_by_a_connection_of_its_own_and_refuses_one_in_use(filled, way):
    place, made = filled
    with vio.open_store(place, catalog=f"{way}{place}/catalog.db") as store:
        assert store.commit("weather@main") == made[3]

        def read():
            assert store.commit("weather@main") == made[3]

        in_child(read)
        read()

        def refuse():
            with pytest.raises(ForkedError, match="was in use when it was forked"):
                read()

        with store._backend.catalog.ask():
            in_child(refuse)
        read()


def test_from_its_first_write_on_a_store_is_asked_by_sqlalchemy_alone(filled, tmp_path):
    place = tmp_path / "store"
    shutil.copytree(filled[0], place)
    with vio.open_store(place) as store:
        database = store._backend.catalog.database
        store.repos()
        assert database.plain is not None
        with database.plain.connect(), store.transaction("weather@main") as tx:
            tx.write("new", b"n")
        assert database.plain is None
        assert store.commit("weather@main") == tx.commit
    assert not list(place.glob("catalog.db-*")), "a connection was left open"


READ_IN_THREADS = """
import gc, logging, sys, warnings
from concurrent.futures import ThreadPoolExecutor
import versioned_io as vio
warnings.simplefilter("error")
logging.disable()  # that maintenance is overdue
store = vio.open_store(sys.argv[1])
with ThreadPoolExecutor(8) as pool:
    found = set(pool.map(lambda _: store.commit("weather@main").id, range(200)))
assert len(found) == 1, found
store.close()
del store
gc.collect()
assert "sqlalchemy" not in sys.modules
"""


def test_threads_read_at_once_and_nothing_is_left_open(filled):
    command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", READ_IN_THREADS, str(filled[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(filled[0].glob("catalog.db-*"))


@OF_NEW_SQLALCHEMY
@pytest.mark.parametrize(
    "name", ["plain", "a b", "what?", "100%25", "#1", "ü", "a'b\"c", "x;y&z=1", "a:b@c", ":memory:"]
)
def test_a_path_is_shown_as_sqlalchemy_shows_it(tmp_path, name):
    path = tmp_path / name / "catalog.db"
    shown = engines.sqlite_url(path).render_as_string()
    assert database.database_of(path, None).shown_url == shown
    assert database.database_of(shown, None).shown_url == shown


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:///a/b.db", "sqlite:////a/b.db", "sqlite:///~/b+c-d_e.db", "sqlite:////tmp/a b.db", "sqlite:////ü"),
        *("sqlite:////a/b.db?mode=ro&uri=true", "sqlite:///file:/a/b.db?uri=true", "sqlite+pysqlite:////a/b.db"),
        *("sqlite:////a#b", "sqlite:////a%20b", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/a"),
    ],
)
def test_only_a_url_that_is_a_plain_path_is_read_without_sqlalchemy(url):
    parsed = engines.parse_url(url)
    is_plain = parsed == engines.sqlite_url(database.plain_file(url) or "?")
    assert is_plain == (database.plain_file(url) is not None)
    assert is_plain == (url in {"sqlite:///a/b.db", "sqlite:////a/b.db", "sqlite:///~/b+c-d_e.db"})
