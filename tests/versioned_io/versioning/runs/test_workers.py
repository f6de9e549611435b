"""What worker processes read counts for the run that started them, or the commit says that something may be missing."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import pytest

import versioned_io as vio
from versioned_io.versioning.runs.run import take_over


@pytest.fixture
def place(tmp_path):
    """The address of a store with a repo of six files, and one for results."""
    address = str(tmp_path / "s")
    with vio.create_store(address) as store:
        store.create_repo("data")
        store.create_repo("results")
        with store.transaction("data@main") as tx:
            for number in range(6):
                tx.write(f"in/{number}", b"%d" % number)
    return address


def read_by_address(task):
    address, number = task
    with vio.open_store(address) as store:
        return store.snapshot("data@main").read(f"in/{number}")


def read_for_output(task):
    address, number = task
    with vio.current_run().making(f"out/{number}"):
        return read_by_address((address, number))


def read_as_sent(task):
    handle, address, number = task
    with take_over(handle).active():
        return read_by_address((address, number))


def read_pickled(task):
    pickled, number = task
    return pickle.loads(pickled).read(f"in/{number}")


def look_only(number):
    return number


def commit(store, path="out"):
    with store.transaction("results@main", empty="allow") as tx:
        tx.write(path, b"1")
    return tx.commit


def sources(store, ref="results@main:out"):
    return {use.file.path for use in store.upstream(ref).files}


@contextmanager
def pool_of(kind, method):
    context = multiprocessing.get_context(method)
    if kind == "executor":
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            yield executor
    else:
        # Closed, not terminated: what a worker that is killed was doing can't be told.
        pool = context.Pool(2, maxtasksperchild=2 if kind == "fresh workers" else None)
        yield pool
        pool.close()
        pool.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["pool", "executor", "fresh workers"])
def test_reads_of_a_pool_reach_the_run(place, kind, method):
    with vio.open_store(place) as store:
        with store.run("train") as run, pool_of(kind, method) as pool:
            found = list(pool.map(read_by_address, [(place, number) for number in range(4)]))
            made = commit(store)
        assert found == [b"0", b"1", b"2", b"3"]
        assert sources(store) == {f"in/{number}" for number in range(4)}
        assert (made.inputs_are_complete, run.doubts) == (True, ())
        assert made.provenance == (store.commit("data@main").id,)
        assert made.lineage_id == store.commit("data@main").lineage_id
        assert store.commit(f"results@{made.id}").inputs_are_complete


def test_reads_through_joblib_reach_the_run(place):
    joblib = pytest.importorskip("joblib")
    with vio.open_store(place) as store:
        with store.run("train"):
            tasks = [joblib.delayed(read_by_address)((place, number)) for number in range(4)]
            with joblib.parallel_config(backend="multiprocessing"):
                joblib.Parallel(n_jobs=2)(tasks)
            made = commit(store)
        assert sources(store) == {f"in/{number}" for number in range(4)}
        assert made.inputs_are_complete


def test_reads_for_one_output_stay_told_apart_in_a_worker(place):
    with vio.open_store(place) as store:
        with store.run("train"), pool_of("pool", "fork") as pool:
            pool.map(read_for_output, [(place, number) for number in range(3)])
            with store.transaction("results@main") as tx:
                for number in range(3):
                    tx.write(f"out/{number}", b"1")
        assert sources(store, "results@main:out/1") == {"in/1"}


def test_a_run_reads_itself_and_by_its_workers(place):
    with vio.open_store(place) as store:
        with store.run("train"), pool_of("pool", "fork") as pool:
            store.snapshot("data@main").read("in/5")
            pool.map(read_by_address, [(place, 0)])
            first = commit(store)
            pool.map(read_by_address, [(place, 1)])
            second = commit(store)
        assert sources(store, f"results@{first.id}") == {"in/0", "in/5"}
        assert sources(store, f"results@{second.id}") == {"in/0", "in/1", "in/5"}


def test_a_handle_that_is_sent_to_a_process_is_used_or_missed(place):
    with vio.open_store(place) as store, pool_of("pool", "spawn") as pool:
        pool.map(look_only, range(2))
        with store.run("train") as run:
            handle = pickle.loads(pickle.dumps(run.hand_over()))
            assert any("did not report" in doubt for doubt in run.doubts)
            pool.map(read_as_sent, [(handle, place, 3)])
            assert not any("did not report" in doubt for doubt in run.doubts)
            commit(store)
        assert sources(store) == {"in/3"}


def test_a_snapshot_that_is_sent_takes_the_run_with_it(place):
    with vio.open_store(place) as store, pool_of("pool", "spawn") as pool:
        pool.map(look_only, range(2))
        with store.run("train") as run:
            pickled = pickle.dumps(store.snapshot("data@main"))
            assert pool.map(read_pickled, [(pickled, 4)]) == [b"4"]
            assert not any("did not report" in doubt for doubt in run.doubts)
            pickle.loads(pickle.dumps(store.snapshot("data@main"))).read("in/2")
            commit(store)
        assert sources(store) == {"in/2", "in/4"}


def test_workers_that_were_there_before_the_run_make_its_inputs_doubtful(place):
    with vio.open_store(place) as store, pool_of("pool", "fork") as pool:
        pool.map(look_only, range(4))
        with store.run("train") as run:
            pool.map(read_by_address, [(place, 0)])
            made = commit(store)
        assert not made.inputs_are_complete
        assert any("began before the run" in doubt for doubt in run.doubts)
        assert not store.commit(f"results@{made.id}").inputs_are_complete


def test_a_rebuild_knows_which_inputs_are_doubtful(place, tmp_path):
    with vio.open_store(place) as store, pool_of("pool", "fork") as pool:
        pool.map(look_only, range(4))
        with store.run("train"):
            doubtful = commit(store)
    for file in (tmp_path / "s").glob("catalog.db*"):
        file.unlink()
    vio.rebuild_store(place)
    with vio.open_store(place) as store:
        assert not store.commit(f"results@{doubtful.id}").inputs_are_complete
        assert store.commit("data@main").inputs_are_complete
        assert store.fsck().is_clean


def test_workers_of_a_run_that_has_ended_are_no_workers_of_the_next(place):
    with vio.open_store(place) as store:
        with store.run("first"), pool_of("pool", "fork") as pool:
            pool.map(read_by_address, [(place, 0)])
            commit(store, "first")
        with store.run("second"):
            store.snapshot("data@main").read("in/5")
            made = commit(store, "second")
        assert sources(store, "results@main:second") == {"in/5"}
        assert made.inputs_are_complete


def test_the_notes_of_a_run_are_gone_when_it_is(place):
    with vio.open_store(place) as store:
        with store.run("train") as run, pool_of("pool", "fork") as pool:
            pool.map(read_by_address, [(place, 0)])
            notes = run._spool.path
            commit(store)
        import gc
        from pathlib import Path

        assert Path(notes).is_dir()
        assert Path(notes).stat().st_mode & 0o777 == 0o700
        del run
        gc.collect()
        assert not Path(notes).exists()


def test_a_part_counts_for_its_run_with_its_doubts_and_not_for_a_run_that_includes_that(place):
    with vio.open_store(place) as store:
        task, part, other = (store.run("report") for _ in range(3))
        with part:
            store.snapshot("data@main").read("in/0")
        part.hand_over()  # to a process that never reports
        task.add_part(part)
        other.include(task)
        assert (task.inputs, task.provenance, task.lineage_id) == (part.inputs, part.provenance, part.lineage_id)
        assert task.doubts == part.doubts
        assert len(part.doubts) == 1
        assert (other.inputs, other.provenance, other.doubts) == ((), (), ())
