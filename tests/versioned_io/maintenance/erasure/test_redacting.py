"""Secrets that an older version recorded leave the records of runs, in the catalog and in every pack."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

import versioned_io as vio
from tests.versioned_io.conftest import commit_files
from tests.versioned_io.older_catalogs import put_back, rows_of
from versioned_io.catalog.tables import commits, journal
from versioned_io.interfaces.cli.app import app
from versioned_io.model.commits import RunInfo
from versioned_io.model.journal import Action
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import iterate_frames, read_frames_of
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.runs.run import Run
from versioned_io.versioning.transactions.record import decode_record, encode_record

SECRET = "hunter2-s3cr3t"
PARAMS = {"db": {"password": SECRET}, "rows": 5}


def packs_of(store):
    return [info.key.rpartition("/")[2].removesuffix(".pack") for info in store._backend.objects.list("packs/")]


def everything_stored(store):
    """All bytes of all packs, decompressed, and all rows of the catalog that may tell of runs."""
    objects = store._backend.objects
    stored = b"".join(bytes(payload) for name in packs_of(store) for _, _, payload in iterate_frames(objects, name))
    with store._backend.catalog.read() as connection:
        return stored + repr(connection.execute(select(commits)).all()).encode()


def as_before(**facts):
    """A run as a version recorded it that withheld nothing."""
    return Run(RunInfo("dagster", "job", **({"params": PARAMS} | facts)))


@pytest.fixture
def told(store, write):
    """A store with five commits, of which two tell of secrets; one of those was forgotten."""
    store.create_repo("r")
    store.create_repo("other")
    write(store, "r@main", {"a": b"1"})
    with as_before():
        write(store, "r@main", {"a": b"2", "b": b"b" * 100})
    with store.run("clean", params={"rows": 7}):
        write(store, "r@main", {"c": b"3"})
    with as_before(params={}, url=f"https://me:{SECRET}@dagster/runs/1"):
        write(store, "other@main", {"x": b"x"})
    with as_before():
        write(store, "other@main", {"x": b"y"})
    store.drop("other@main")
    store.gc(grace=timedelta(0))
    return store


def state(store):
    return [
        (one.id, one.number, one.tree_digest, one.lineage_id, one.provenance, one.message, one.created_at)
        for branch in ("r@main", "other@main")
        for one in store.log(branch)
    ]


def test_a_dry_run_says_which_commits_tell_and_changes_nothing(told):
    before = everything_stored(told)
    report = told.redact(dry_run=True)
    assert len(report.commits) == 3
    assert (report.packs, report.gone, report.dry_run) == (3, False, True)
    assert everything_stored(told) == before
    assert SECRET.encode() in before


def test_they_leave_the_catalog_and_the_packs_and_nothing_else_changes(told):
    before = state(told)
    report = told.redact(reason="a request", author="me")
    assert (len(report.commits), report.packs, report.gone) == (3, 3, True)
    assert SECRET.encode() not in everything_stored(told)
    assert state(told) == before
    assert told.commit("r@main~1").run.params == {"db": {"password": "(withheld)"}, "rows": 5}
    assert told.commit("r@main").run.params == {"rows": 7}
    assert told.commit("other@main").run.url == "https://me:(withheld)@dagster/runs/1"
    assert told.snapshot("r@main").read("b") == b"b" * 100
    assert told.fsck().problems == ()
    again = told.redact()
    assert (again.commits, again.packs, again.gone) == ((), 0, True)


def test_it_stands_in_the_journal(told):
    told.redact(reason="a request", author="me")
    with told._backend.catalog.read() as connection:
        rows = connection.execute(select(journal).where(journal.c.action == Action.REDACT.value)).all()
    assert len(rows) == 2
    assert {json.loads(row.details)["reason"] for row in rows} == {"a request"}
    assert {row.author for row in rows} == {"me"}


def test_a_rebuild_does_not_bring_them_back(new_store, write):
    store = new_store()
    store.create_repo("r")
    with as_before():
        write(store, "r@main", {"a": b"1"})
    generation = store.commit("r@main").generation
    store.redact()
    url, head = store.url, store.commit("r@main")
    assert head.generation == generation + 1
    store.close()
    for file in Path(url).glob("catalog.db*"):
        file.unlink()
    vio.rebuild_store(url)
    with vio.open_store(url) as rebuilt:
        assert rebuilt.commit("r@main") == head
        assert SECRET.encode() not in everything_stored(rebuilt)


def test_the_record_of_an_attempt_that_never_counted_goes_as_well(told):
    """A writer that lost a race leaves a record with an ID that no other record has."""
    pack = next(name for name in packs_of(told) if read_frames_of(told._backend.objects, name, FrameKind.COMMIT))
    record = decode_record(bytes(read_frames_of(told._backend.objects, pack, FrameKind.COMMIT)[0]))
    lost = replace(record.commit, id="0" * 32, run=RunInfo("python", "job", params=PARAMS))
    writer = PackWriter(told._backend.objects)
    writer.append(FrameKind.COMMIT, encode_record(replace(record, commit=lost)))
    writer.close()
    report = told.redact()
    assert "0" * 32 in report.commits
    assert (report.gone, report.unclear) == (False, ("0" * 32,))  # it may be somebody's, whose catalog was rolled back
    told.gc(disown=["0" * 32])
    assert told.redact().gone
    assert SECRET.encode() not in everything_stored(told)


def test_a_row_that_alone_tells_is_rewritten(store, write):
    store.create_repo("r")
    with store.run("job", params={"rows": 5}):
        write(store, "r@main", {"a": b"1"})
    with store._backend.catalog.write() as connection:
        run = connection.execute(select(commits.c.run)).scalar_one()
        connection.execute(update(commits).values(run=run.replace('"rows": 5', f'"password": "{SECRET}"')))
    assert store.redact().gone
    assert SECRET.encode() not in everything_stored(store)


def test_the_command_says_what_it_did(new_store, write):
    store = new_store()
    store.create_repo("r")
    with as_before():
        commit = write(store, "r@main", {"a": b"1"})
    runner, environment = CliRunner(), {"VERSIONED_STORE": store.url, "COLUMNS": "80"}
    shown = runner.invoke(app, ["redact", "--dry-run"], env=environment)
    assert shown.exit_code == 0
    assert commit.id in shown.output
    assert "1 pack would be rewritten" in shown.output
    shown = runner.invoke(app, ["redact", "--json"], env=environment)
    assert json.loads(shown.stdout)["gone"] is True
    assert SECRET not in shown.output
    assert "nothing of it is left" in runner.invoke(app, ["redact"], env=environment).stdout


NOW = {"grace": timedelta(0), "expire": timedelta(0)}
BEFORE = {
    "compacted": lambda store: store.compact(small_bytes=1 << 20),
    "compacted twice": lambda store: [
        store.compact(small_bytes=1 << 20),
        commit_files(store, "r@main", {"new": b"1"}),
        store.compact(small_bytes=1 << 20),
    ],
    "compacted and condemned": lambda store: [store.compact(small_bytes=1 << 20), store.gc()],
    "compacted and collected": lambda store: [store.compact(small_bytes=1 << 20), store.gc(**NOW)],
    "maintained": lambda store: store.maintain(full=True),
    "forgotten": lambda store: [
        store.create_branch("r@old", at="r@main~1"),
        store.reset("r@main", "r@main~2"),
        store.delete_branch("r@old"),
        store.gc(**NOW),
    ],
}


@pytest.mark.parametrize("how", BEFORE)
def test_compacted_condemned_and_forgotten_packs_lose_them_too(told, how):
    BEFORE[how](told)
    assert SECRET.encode() in everything_stored(told)
    before = state(told)
    report = told.redact()
    assert (report.gone, report.unclear) == (True, ())
    assert SECRET.encode() not in everything_stored(told)
    assert state(told) == before
    for commit in told.log("r@main"):
        for file in told.snapshot(f"r@{commit.id}").walk():
            told.snapshot(f"r@{commit.id}").read(file.path)
    told.compact(small_bytes=1 << 20)
    told.gc(**NOW)
    assert SECRET.encode() not in everything_stored(told)
    assert told.fsck().problems == ()


@pytest.mark.parametrize("compacts", [False, True], ids=["", "compacted"])
def test_an_older_catalog_does_not_bring_them_back_with_a_recovery(new_store, write, compacts):
    store = new_store()
    store.create_repo("r")
    with as_before():
        write(store, "r@main", {"a": b"1"})
    write(store, "r@main", {"a": b"2"})
    before = rows_of(store)
    assert store.redact().gone
    if compacts:
        store.compact(small_bytes=1 << 20)
        store.gc(**NOW)
    truth = state_of(store)
    older = put_back(store, before)
    older.close()
    vio.recover_store(store.url)
    with vio.open_store(store.url) as recovered:
        assert state_of(recovered) == truth
        assert SECRET.encode() not in everything_stored(recovered)
        assert recovered.fsck().problems == ()


def state_of(store):
    return [(one.id, one.generation, one.run and dict(one.run.params)) for one in store.log("r@main")]
