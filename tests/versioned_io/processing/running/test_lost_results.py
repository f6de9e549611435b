"""Results that are lost between their storing and the commit, and datums whose tree has expired."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.catalog.collection import forget_commits
from versioned_io.catalog.commits import find_commit_with
from versioned_io.maintenance.rebuild.evaluations import index_results
from versioned_io.processing.running import evaluation_loop

NOW = timedelta(0)


@pytest.fixture
def inputs(store):
    for repo in ("r", "out"):
        store.create_repo(repo)
    write(store, a=b"1", b=b"2")
    return store


def write(store, **files):
    with store.transaction("r@main") as tx:
        for path, data in files.items():
            tx.write(path, data)


def copying(datum, out):
    out.write(datum["r"].path, datum["r"].read())


def pipe(store, function=copying, **options):
    spec = vio.glob("r@main", "/*")
    return store.pipeline(vio.pipeline("p", inputs=spec, output="out@main", code_version="1", **options)(function))


def files(store):
    return {file.path: store.snapshot("out@main").read(file.path) for file in store.snapshot("out@main").walk()}


@pytest.mark.parametrize("cache", ["reuse", "never"])
def test_results_that_are_lost_before_the_commit_are_made_again(inputs, monkeypatch, cache):
    """A purge or an expiry may come between the storing of a batch and the commit of the run."""
    stored = []

    def store_and_lose(backend, place, produced):
        batch = evaluation_loop_store(backend, place, produced)
        if not stored:
            with backend.catalog.write() as connection:
                forget_commits(connection, [batch.commit])
        stored.append(batch)
        return batch

    evaluation_loop_store = evaluation_loop.store_batch
    monkeypatch.setattr(evaluation_loop, "store_batch", store_and_lose)
    run = pipe(inputs, cache=cache).run()
    assert (run.state, run.rounds) == ("succeeded", 2)
    assert files(inputs) == {"a": b"1", "b": b"2"}


def in_two_states(store):
    """Give a tag the second state of the output, and let the branch go on from the first one."""
    first = pipe(store).run().commit
    write(store, a=b"3")
    second = pipe(store).run().commit
    store.create_tag("out@second", at=second.id)
    store.reset("out@main", first.id)
    pipe(store).run()
    write(store, a=b"4")
    pipe(store).run()
    return second


def test_an_output_that_returns_to_a_tag_after_garbage_collection_is_known(inputs):
    in_two_states(inputs)
    inputs.gc(grace=NOW, expire=NOW)
    write(inputs, a=b"3")
    inputs.reset("out@main", "out@second")
    assert pipe(inputs).plan().counts == {"runs": 0, "reuses": 0, "skips": 2, "deletes": 0}


def test_an_output_whose_datums_have_expired_is_made_anew(inputs):
    second = in_two_states(inputs)
    with inputs._backend.catalog.write() as connection:
        datums = find_commit_with(connection, "out~datums", second.metadata["datums"])
        forget_commits(connection, [datums])
    with inputs.transaction("r@main") as tx:
        tx.delete("b")
    inputs.reset("out@main", "out@second")
    assert pipe(inputs).run().state == "succeeded"
    assert files(inputs) == {"a": b"4"}


def test_results_that_are_never_reused_are_not_found_after_a_recovery_either(inputs):
    pipe(inputs, cache="never").run()
    inputs.create_repo("elsewhere")
    spec = vio.glob("r@main", "/*")
    other = inputs.pipeline(vio.pipeline("q", inputs=spec, output="elsewhere@main", code_version="1")(copying))
    assert other.plan().runs == ["a", "b"]
    with inputs._backend.catalog.write() as connection:
        index_results(connection, inputs._backend.objects)
    assert other.plan().runs == ["a", "b"]
