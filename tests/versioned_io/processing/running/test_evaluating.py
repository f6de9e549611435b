"""Where and how often datums are evaluated: processes, threads, tries, time limits, handlers, two runs at once."""

import importlib
import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context

import pytest
from sqlalchemy.engine import make_url

import versioned_io as vio
from tests.versioned_io.processing.running.declared import EVALUATED, INPUT, doubled, notes, strict, strict_to_death
from tests.versioned_io.processing.shifted_clock import ShiftedClock
from versioned_io.errors import InvalidInputError, StorageError

COUNT = 60


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """The directory in which evaluations leave their notes."""
    place = tmp_path / "evaluated"
    place.mkdir()
    monkeypatch.setenv(EVALUATED, str(place))
    return place


@pytest.fixture
def disk(new_store):
    return filled(new_store())


def filled(store, count=COUNT):
    for repo in ("r", "out"):
        store.create_repo(repo)
    put(store, {f"{number:03}": f"{number}".encode() for number in range(count)})
    return store


def put(store, files):
    with store.transaction("r@main") as tx:
        for path, data in files.items():
            tx.write(path, data)


def contents(store, output="out@main"):
    found = store.snapshot(output)
    return {file.path: found.read(file.path) for file in found.walk()}


def doubles(count=COUNT):
    return {f"{number:03}": f"{number}".encode() * 2 for number in range(count)}


def declare(function, output="out@main", **options):
    return vio.pipeline("local", inputs=INPUT, output=output, code_version="1", **options)(function)


def test_a_pool_of_processes_evaluates_each_datum_once(disk, evaluated):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        run = disk.pipeline(doubled).run(pool)
        pool.submit(os.getpid).result()
    assert (run.state, run.counts["run"]) == ("succeeded", COUNT)
    assert contents(disk) == doubles()
    found = notes(evaluated)
    assert [path for path, _ in found] == sorted(doubles())
    assert str(os.getpid()) not in {process for _, process in found}
    assert disk.pipeline(doubled).log("000").startswith("in ")


def test_max_workers_starts_processes(disk, evaluated):
    run = disk.pipeline(doubled).run(max_workers=2)
    assert run.counts["run"] == COUNT
    assert contents(disk) == doubles()
    processes = {process for _, process in notes(evaluated)}
    assert str(os.getpid()) not in processes
    assert 1 <= len(processes) <= 2


def test_threads_evaluate_too_and_their_texts_stay_apart(store):
    filled(store, 20)

    def function(datum, out):
        for _ in range(3):
            print(datum["r"].path)
            time.sleep(0.002)
        out.write(datum["r"].path, datum["r"].read() * 2)

    pipe = store.pipeline(declare(function))
    with ThreadPoolExecutor(4) as pool:
        assert pipe.run(pool).counts["run"] == 20
    assert contents(store) == doubles(20)
    assert {pipe.log(path) for path in doubles(20)} == {f"{path}\n" * 3 for path in doubles(20)}


def test_a_failure_in_another_process_keeps_the_others_and_its_text(disk, evaluated):
    put(disk, {"000": b"slow"})
    pipe = disk.pipeline(strict)
    run = pipe.run(max_workers=2)
    assert (run.state, list(run.failed), run.commit) == ("failed", ["000"], None)
    assert "longer than 2 s" in run.failed["000"]
    put(disk, {"000": b"quick"})
    run = pipe.run(max_workers=2)
    assert (run.runs, run.counts["reused"]) == (("000",), COUNT - 1)


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_datum_is_tried_as_often_as_declared(store, tries):
    filled(store, 2)
    calls = []

    def function(datum, out):
        calls.append(datum["r"].path)
        out.write(f"{datum['r'].path}/{len(calls)}", b"")
        if datum["r"].path == "000" and calls.count("000") < 3:
            msg = "not yet"
            raise OSError(msg)

    pipe = store.pipeline(declare(function, tries=tries))
    run = pipe.run()
    assert calls.count("000") == tries
    assert calls.count("001") == 1
    if tries == 3:
        assert run.state == "succeeded"
        assert list(contents(store)) == ["000/3", "001/4"]
        assert pipe.log("000").count("OSError: not yet") == 2
    else:
        assert (run.state, run.failed) == ("failed", {"000": "OSError: not yet"})


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor])
def test_the_time_limit_is_of_each_try(store, executor):
    filled(store, 3)
    calls = []

    def function(datum, out):
        calls.append(datum["r"].path)
        if calls.count("001") == 1 and datum["r"].path == "001":
            time.sleep(5)
            return
        if datum["r"].path == "002":
            time.sleep(5)
        out.write(datum["r"].path, b"")

    pipe = store.pipeline(declare(function, timeout_s=0.3, tries=2, on_failure="drop"))
    if executor is None:
        run = pipe.run()
    else:
        with executor(1) as pool:
            run = pipe.run(pool)
    assert sorted(calls) == ["000", "001", "001", "002", "002"]
    assert run.failed == {"002": "DatumTimeoutError: it took longer than 0.3 s"}
    assert list(contents(store)) == ["000", "001"]


def test_a_recovered_datum_is_planned_again(store):
    filled(store, 3)
    handled, mended = [], []

    def function(datum, out):
        if datum["r"].path == "001" and not mended:
            msg = "odd"
            raise ValueError(msg)
        out.write(datum["r"].path, b"")

    def handle(datum, error):
        handled.append((datum["r"].path, repr(error)))

    def pipe():
        return store.pipeline(declare(function, error_handler=handle, tries=2))

    run = pipe().run()
    assert (run.state, run.recovered, run.failed) == ("partial", {"001": "ValueError: odd"}, {})
    assert handled == [("001", "ValueError('odd')")]
    assert list(contents(store)) == ["000", "002"]
    assert run.commit.metadata["complete"] is False
    assert pipe().plan().runs == ["001"]
    again = pipe().run()
    assert (again.state, again.runs, len(handled)) == ("partial", ("001",), 2)
    mended.append(True)
    run = pipe().run()
    assert (run.state, run.runs) == ("succeeded", ("001",))
    assert "complete" not in run.commit.metadata
    assert list(contents(store)) == ["000", "001", "002"]
    assert pipe().plan().is_empty


def test_an_error_handler_that_raises_fails_the_datum(store):
    filled(store, 1)

    def function(_datum, _out):
        raise ValueError

    def handle(_datum, _error):
        msg = "not mine"
        raise LookupError(msg)

    pipe = store.pipeline(declare(function, error_handler=handle))
    run = pipe.run()
    assert (run.state, list(run.failed), run.recovered) == ("failed", ["000"], {})
    assert "LookupError: not mine" in pipe.log("000")


def test_two_runs_at_once_evaluate_each_datum_once(disk, evaluated, popen, tmp_path):
    command = [sys.executable, "-m", "tests.versioned_io.processing.running.declared", tmp_path / "store-0"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [popen(command, **pipes) for _ in range(2)]
    for one in runs:
        assert one.stdout.readline() == "ready\n"
    for one in runs:
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [one.communicate(timeout=120)[0].split() for one in runs]
    assert [one.returncode for one in runs] == [0, 0]
    assert [one[0] for one in told] == ["succeeded"] * 2
    found = notes(evaluated)
    assert [path for path, _ in found] == sorted(doubles())
    assert sum(int(one[1]) for one in told) == COUNT
    assert contents(disk) == doubles()
    assert [one.number for one in disk.log("out@main")] == [1]
    assert disk.fsck().is_clean


def test_a_random_function_is_reported_and_its_first_result_stays(new_store):
    clock = ShiftedClock()
    store = filled(new_store(clock=clock), 3)
    store.create_repo("twin")
    calls = []

    def function(datum, out):
        calls.append(datum["r"].path)
        if len(calls) == 1:
            clock.ahead = timedelta(minutes=5)  # the claims of this run are over
            assert store.pipeline(declare(function, "twin@main")).run().counts["run"] == 3
        out.write(datum["r"].path, uuid.uuid4().bytes if datum["r"].path == "000" else b"same")

    pipe = store.pipeline(declare(function))
    assert pipe.disagreements == 0
    run = pipe.run()
    assert (run.state, pipe.disagreements) == ("succeeded", 1)
    assert calls.count("000") == 2
    assert contents(store) == contents(store, "twin@main")
    assert pipe.plan().is_empty
    assert store.fsck().is_clean


def test_a_function_that_is_not_random_agrees_with_itself(new_store):
    clock = ShiftedClock()
    store = filled(new_store(clock=clock), 3)
    calls = []

    def function(datum, out):
        calls.append(datum["r"].path)
        if len(calls) == 1:
            clock.ahead = timedelta(minutes=5)
            assert store.pipeline(declare(function)).run().counts["run"] == 3
        out.write(datum["r"].path, b"same")

    pipe = store.pipeline(declare(function))
    assert pipe.run().state == "succeeded"
    assert (calls.count("000"), pipe.disagreements) == (2, 0)


@pytest.mark.usefixtures("evaluated")
def test_processes_that_lack_the_password_of_the_catalog_say_so(tmp_path, postgres_url):
    with vio.create_store(tmp_path / "s", catalog=postgres_url) as store:
        pipe = filled(store).pipeline(doubled)
        with pytest.raises(StorageError, match="it was pickled without secrets"):
            pipe.run(max_workers=2)
        assert pipe.run().counts["run"] == COUNT


class Held(Executor):
    """Evaluates at once, and hands over all results together, among failures of its own."""

    def __init__(self):
        self.held = []

    def submit(self, function, /, *args):
        future = Future()
        self.held.append((future, function, args))
        if len(self.held) == 8:
            for number, (one, work, given) in enumerate(self.held):
                one.set_exception(RuntimeError("lost")) if number % 2 else one.set_result(work(*given))
        return future


def test_what_has_finished_when_an_executor_fails_is_not_evaluated_again(disk, evaluated):
    pipe = disk.pipeline(doubled)
    with pytest.raises(RuntimeError, match="lost"):
        pipe.run(Held(), max_workers=4)
    assert pipe.plan().counts["reuses"] == 4
    assert pipe.run().counts["reused"] == 4
    assert contents(disk) == doubles()
    assert len(notes(evaluated)) == COUNT


def test_a_process_that_the_system_ends_is_told_with_its_datums_and_the_others_are_kept(disk):
    put(disk, {"deadly": b"deadly"})
    pipe = disk.pipeline(strict_to_death)
    # Ten of the datums that were under way are named, in order: it may be among the others.
    with pytest.raises(StorageError, match=r"a process ended while it evaluated one of .*('deadly'|and \d+ more),"):
        pipe.run(max_workers=2)
    assert "deadly" in pipe.plan().runs
    assert pipe.plan().counts["reuses"] > 0
    put(disk, {"deadly": b"4"})
    assert pipe.run(max_workers=2).state == "succeeded"
    assert contents(disk) == {**doubles(), "deadly": b"44"}


def test_a_function_that_no_other_process_finds_is_refused(disk):
    pipe = disk.pipeline(declare(lambda datum, out: None))
    with pytest.raises(InvalidInputError, match="define it at the top of a module"):
        pipe.run(max_workers=2)


def test_a_module_that_other_processes_lack_is_named(disk, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text(
        "import versioned_io as vio\n"
        "@vio.pipeline('p', inputs=vio.glob('r@main', '/(*)'), output='out@main', code_version='1')\n"
        "def only_here(datum, out):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pipe = disk.pipeline(importlib.import_module("only_here").only_here)
    (tmp_path / "only_here.py").unlink()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(ModuleNotFoundError, match="only_here"):
        pipe.run(pool)


def test_a_whole_life_on_postgresql(tmp_path, postgres_url, evaluated, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", make_url(postgres_url).password)
    with vio.create_store(tmp_path / "s", catalog=postgres_url) as store:
        pipe = filled(store).pipeline(doubled)
        assert pipe.run(max_workers=2).counts["run"] == COUNT
        assert contents(store) == doubles()
        put(store, {"000": b"new", "999": b"more"})
        with store.transaction("r@main") as tx:
            tx.delete("001")
        run = pipe.run()
        assert run.runs == ("000", "999")
        assert run.counts == {"run": 2, "reused": 0, "skipped": 58, "failed": 0, "recovered": 0, "deleted": 1}
        wanted = doubles() | {"000": b"newnew", "999": b"moremore"}
        del wanted["001"]
        assert contents(store) == wanted
        assert pipe.invalidate(["002"]) == 1
        assert pipe.run().runs == ("002",)
        store.reset("out@main", list(store.log("out@main"))[-1].id)
        assert pipe.run().counts["run"] == 0
        assert contents(store) == wanted
        store.gc(grace=timedelta(0))
        assert store.fsck().is_clean
