"""One call keeps a store small and sound: what is due, by one process at a time, whole whenever it is killed."""

import json
import logging
import shutil
from datetime import timedelta

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.catalog import upkeep as catalog
from versioned_io.catalog.collection import list_packs
from versioned_io.catalog.tables import leases, maintenance
from versioned_io.errors import InvalidInputError, MaintenanceRunningError
from versioned_io.interfaces.cli.app import app
from versioned_io.maintenance.upkeep import steps, upkeep
from versioned_io.model.places import pack_key

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path):
    catalog_url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog_url) as store:
        store.create_repo("r")
        yield store


def test_a_lease_of_the_far_future_binds_nobody(tmp_path, clock):
    with vio.create_store(tmp_path / "s", clock=clock) as store:
        now = clock.now
        clock.advance(60 * 366 * 86_400)
        with store._backend.catalog.write() as connection:
            catalog.take_lease(connection, "dead", clock.now)
        clock.now = now
        assert store.maintenance_status().running_since is None
        assert store.maintain().steps


def test_the_longest_spans_of_time_are_spans(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        for span in (timedelta.max, timedelta(days=10**6)):
            store.set_retention("r@main", keep_for=span)
            store.gc(grace=span, expire=span)
            assert not store.maintain(grace=span, expire=span).problems
    place = {"VERSIONED_STORE": str(tmp_path / "s")}
    for number in ("1e300", "inf", "nan"):
        commands = (["gc", "--grace-hours"], ["gc", "--expire-days"], ["retention", "r@main", "--keep-days"])
        for command in commands:
            done = CliRunner().invoke(app, [*command, number], env=place)
            assert done.exit_code == (2 if number == "nan" else 0), done.output
    assert CliRunner().invoke(app, ["maintain", "--budget", "9" * 400 + "h"], env=place).exit_code == 0


def grow(store, write, count, first=0):
    for number in range(first, first + count):
        write(store, "r@main", {"changing": b"%d" % number, f"d/{number:03}": b"kept %d" % number})


def contents(store):
    found = {}
    for commit in store.log("r@main"):
        snapshot = store.snapshot(f"r@{commit.id}")
        found[commit.id] = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
    return found


def live_packs(store):
    with store._backend.catalog.read() as connection:
        return [row for row in list_packs(connection) if row.state == "live"]


def steps_of(report):
    return [step.name for step in report.steps]


def test_a_grown_store_is_marked_merged_and_collected_in_one_call(any_store, write):
    grow(any_store, write, 70)
    before = contents(any_store)
    report = any_store.maintain(**NOW)
    assert steps_of(report) == ["forget", "collect", "merge", "collect", "orphans", "verify"]
    assert report.left == report.problems == ()
    assert report.bytes_written > 0
    assert [row.tier for row in live_packs(any_store)] == [1]
    assert contents(any_store) == before
    assert any_store.fsck().is_clean
    assert any_store.gc(**NOW, dry_run=True).condemned == 0


def test_the_next_call_has_nothing_to_do(any_store, write):
    grow(any_store, write, 70)
    any_store.maintain(**NOW)
    assert steps_of(any_store.maintain(**NOW)) == []


def test_a_few_new_packs_are_left_alone_until_they_are_many_or_old(tmp_path, write, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("r")
        grow(store, write, 20)
        assert "merge" not in steps_of(store.maintain())
        clock.advance(2 * 3600)
        assert "merge" in steps_of(store.maintain())


def test_a_byte_is_written_a_few_times_in_its_life(any_store, write):
    written = stored = 0
    for turn in range(5):
        before = {row.name for row in live_packs(any_store)}
        grow(any_store, write, 64, turn * 64)
        stored += sum(row.size_bytes for row in live_packs(any_store) if row.name not in before)
        written += any_store.maintain(**NOW).bytes_written
    assert written <= 1.5 * stored


def test_a_budget_that_is_spent_leaves_the_rest_to_the_next_run(any_store, write):
    grow(any_store, write, 70)
    report = any_store.maintain(timedelta(0))
    assert report.steps == ()
    assert report.left[:2] == ("forget", "collect")
    assert "merge" in steps_of(any_store.maintain())


def test_full_does_the_full_mark_and_the_daily_steps_again(any_store, write):
    grow(any_store, write, 3)
    any_store.maintain(**NOW)
    assert {"full mark", "orphans", "verify", "forget"} <= set(steps_of(any_store.maintain(full=True, **NOW)))


def test_a_second_process_is_told_and_changes_nothing(any_store, write, dump):
    grow(any_store, write, 12)
    told = []

    def second(_stage, _done):
        if not told:
            before = dump(any_store)
            with vio.open_store(any_store.url, catalog=any_store._backend.catalog.engine.url) as other:
                with pytest.raises(MaintenanceRunningError, match="maintain --status") as caught:
                    other.maintain()
                told.append(caught.value)
            assert dump(any_store) == before
            assert any_store.maintenance_status().running_since is not None

    any_store.maintain(progress=second)
    assert told
    assert any_store.maintenance_status().running_since is None


def test_a_process_that_died_is_succeeded_after_three_minutes(tmp_path, write, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("r")
        with store._backend.catalog.write() as connection:
            assert catalog.take_lease(connection, "0" * 32, clock()) is None
        with pytest.raises(MaintenanceRunningError):
            store.maintain()
        clock.advance(181)
        store.maintain()


def test_a_process_that_was_silent_for_too_long_stops_when_it_speaks_again(tmp_path, write, clock):
    ticks = iter(range(0, 10_000_000, 60))
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("r")
        grow(store, write, 12)

        def overtaken(_stage, _done):
            with store._backend.catalog.write() as connection:
                connection.execute(leases.delete())

        with pytest.raises(MaintenanceRunningError):
            upkeep.maintain_store(
                store._backend,
                budget=timedelta(days=1),
                full=False,
                progress=overtaken,
                seconds=lambda: float(next(ticks)),
                **NOW,
            )
        assert store.fsck().is_clean


def test_the_lease_of_maintenance_holds_up_no_collection_of_orphans(any_store):
    with any_store._backend.catalog.write() as connection:
        catalog.take_lease(connection, "0" * 32, any_store._backend.clock())
    from tests.versioned_io.maintenance.collection.test_garbage import orphan

    orphan(any_store)
    assert any_store.gc(grace=timedelta(0)).orphans == 1


def test_damage_in_one_step_is_told_and_the_others_are_done(any_store, write):
    grow(any_store, write, 70)
    any_store.maintain(**NOW)
    head = any_store.commit("r@main").root
    write(any_store, "r@main", {"x": b"1"})
    objects = any_store._backend.objects
    key = pack_key(head.pack.hex())
    data = bytearray(objects.get(key))
    for at in range(100, len(data) - 200, 200):
        data[at] ^= 1
    objects.delete([key])
    objects.put(key, [data])
    report = any_store.maintain(full=True, **NOW)
    assert any("fsck" in problem for problem in report.problems)
    assert "verify" in steps_of(report)
    assert key in {info.key for info in objects.list("packs/")}
    status = any_store.maintenance_status()
    assert status.problems


def test_every_pack_is_verified_within_thirty_days_and_none_twice(tmp_path, write, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("r")
        grow(store, write, 40)
        seen = []
        original = steps.check_packs
        for _ in range(30):
            steps.check_packs = lambda objects, names: original(objects, seen.extend(names) or names)
            try:
                report = steps.Verify().work(run_of(store, clock))
                note(store, report, clock)
            finally:
                steps.check_packs = original
            clock.advance(86_400)
        assert set(seen) == {row.name for row in live_packs(store)}
        assert len(seen) <= 2 * len(set(seen))


def run_of(store, clock):
    with store._backend.catalog.read() as connection:
        tasks = catalog.load_tasks(connection)
    ages = (timedelta(days=1), timedelta(days=14))
    return steps.Upkeep(store._backend, *ages, False, tasks, clock(), float("inf"), lambda *_: None)


def note(store, work, clock):
    with store._backend.catalog.write() as connection:
        catalog.note_task(connection, catalog.TaskRow("verify", clock(), work.watermark))


def test_much_that_was_forgotten_leads_to_a_full_mark(any_store, write):
    grow(any_store, write, 10)
    any_store.maintain(**NOW)
    any_store.set_retention("r@main", keep_last=2)
    with any_store._backend.catalog.write() as connection:
        connection.execute(maintenance.update().where(maintenance.c.task == "forget").values(done_at=None))
    assert "full mark" in steps_of(any_store.maintain(**NOW))
    assert "full mark" not in {step.name for step in any_store.maintenance_status().due}  # the count began anew
    assert any_store.fsck().is_clean


def test_a_full_mark_comes_thirty_days_after_the_first_maintenance_and_none_is_shown_before(tmp_path, write, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("r")
        grow(store, write, 3)
        store.maintain()
        clock.advance(29 * 86_400)
        assert "full mark" not in steps_of(store.maintain())
        assert "full mark" not in {task.task for task in store.maintenance_status().tasks}
        clock.advance(86_400)
        assert "full mark" in steps_of(store.maintain())
        assert "full mark" in {task.task for task in store.maintenance_status().tasks}
        clock.advance(29 * 86_400)
        assert "full mark" not in steps_of(store.maintain())


def test_the_status_says_what_is_due_what_waits_and_what_was_done(any_store, write):
    grow(any_store, write, 70)
    status = any_store.maintenance_status()
    assert {step.name for step in status.due} >= {"collect", "forget"}
    assert (status.backlog.commits, status.last_run, status.is_overdue) == (70, None, False)
    assert status.growth_bytes_a_day > 0
    any_store.maintain()
    status = any_store.maintenance_status()
    assert status.backlog.commits == 0
    assert status.last_run is not None
    assert {"merge", "collect", "run"} <= {task.task for task in status.tasks}
    assert {task.task for task in status.tasks} <= {step.name for step in steps.STEPS} | {"run"}  # all can be done


def test_asking_for_the_status_changes_nothing(any_store, write, dump):
    grow(any_store, write, 3)
    before = dump(any_store)
    any_store.maintenance_status()
    assert dump(any_store) == before


def test_a_store_that_nobody_maintains_says_so_when_it_is_opened(tmp_path, write, clock, caplog):
    with vio.create_store(tmp_path / "store", clock=clock) as store:
        store.create_repo("r")

    def opened():
        caplog.clear()
        with caplog.at_level(logging.WARNING), vio.open_store(tmp_path / "store", clock=clock) as store:
            return [
                record.getMessage() for record in caplog.records if "versioned maintain" in record.getMessage()
            ], store

    assert opened()[0] == []
    clock.advance(8 * 86_400)
    assert len(opened()[0]) == 1
    opened()[1].maintain()
    assert opened()[0] == []


def test_neither_reading_nor_committing_maintains_anything(any_store, write):
    grow(any_store, write, 70)
    list(any_store.log("r@main"))
    with any_store._backend.catalog.read() as connection:
        assert connection.execute(select(maintenance)).all() == []


@pytest.mark.parametrize("arguments", [{"budget": 5}, {"budget": timedelta(-1)}, {"full": 1}, {"grace": timedelta(-1)}])
def test_arguments_that_make_no_sense_change_nothing(any_store, arguments, dump):
    before = dump(any_store)
    with pytest.raises(InvalidInputError):
        any_store.maintain(**arguments)
    assert dump(any_store) == before


def test_whatever_transaction_it_dies_in_all_is_there_and_the_next_run_ends_it(tmp_path, write, monkeypatch):
    with vio.create_store(tmp_path / "base") as store:
        store.create_repo("r")
        grow(store, write, 12)
        store.create_branch("r@dev", at="r@main")
        write(store, "r@dev", {"gone": b"1"})
        store.delete_branch("r@dev")
        wanted = contents(store)
    monkeypatch.setattr(steps, "_MANY_SMALL", 9)
    number = 0
    while True:
        number += 1
        shutil.copytree(tmp_path / "base", tmp_path / str(number))
        with vio.open_store(tmp_path / str(number)) as store:
            is_over = maintained_until(store, monkeypatch, number)
            assert contents(store) == wanted
            assert store.fsck().problems == ()
            with store._backend.catalog.write() as connection:
                connection.execute(leases.delete())
            store.maintain(full=True, **NOW)
            assert contents(store) == wanted
            assert store.fsck().is_clean
            assert store.gc(**NOW, dry_run=True).condemned == 0
        if is_over:
            break
    assert number > 15


def maintained_until(store, monkeypatch, number):
    """Maintain the store, die when the n-th transaction would begin; return whether it was done before that."""
    write_of = type(store._backend.catalog).write
    calls = []

    def dies(self):
        calls.append(1)
        if len(calls) >= number:
            raise KeyboardInterrupt
        return write_of(self)

    with monkeypatch.context() as patch:
        patch.setattr(type(store._backend.catalog), "write", dies)
        try:
            store.maintain(**NOW)
        except KeyboardInterrupt:
            return False
    return True


def test_the_command_line_maintains_and_shows_the_status(new_store, write):
    store = new_store()
    store.create_repo("r")
    grow(store, write, 12)
    environment = {"VERSIONED_STORE": store.url, "COLUMNS": "120"}

    def run(*arguments):
        return CliRunner().invoke(app, ["maintain", *arguments], env=environment)

    assert "collect" in run("--status").stdout
    assert json.loads(run("--status", "--json").stdout)["last_run"] is None
    done = json.loads(run("--json", "--budget", "1m").stdout)
    assert [step["name"] for step in done["steps"]][:2] == ["forget", "collect"]
    assert json.loads(run("--status", "--json").stdout)["last_run"]
    assert "0 steps" in run().stdout
    assert "full mark" in run("--full").stdout
    assert run("--budget", "soon").exit_code == 2
