"""Results that nothing has used for a time are evicted; those of heads stay, and so do outputs."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.catalog.tables import failures, results

NOW = timedelta(0)


@pytest.fixture
def repos(store):
    for name in ("images", "edges"):
        store.create_repo(name)
    return store


def pipe(store, version="1"):
    def function(datum, out):
        if datum["images"].read() == b"fail":
            raise ValueError
        out.write(datum["images"].path, version.encode() + datum["images"].read())

    declared = vio.pipeline("p", inputs=vio.glob("images@main", "/(*)"), output="edges@main", code_version=version)
    return store.pipeline(declared(function))


def count(store, table):
    with store._backend.catalog.read() as connection:
        return len(connection.execute(table.select()).all())


def test_a_run_of_which_nothing_is_used_is_evicted_and_its_datums_run_again(repos, write):
    write(repos, "images@main", {"cat": b"cat"})
    pipe(repos).run()
    pipe(repos, "2").run()
    write(repos, "images@main", {"cat": b"fail"})
    pipe(repos, "2").run()
    write(repos, "images@main", {"cat": b"cat"})
    assert (count(repos, results), count(repos, failures)) == (2, 1)
    assert repos.evict_results(timedelta(days=1)).runs == 0  # all are young
    would = repos.evict_results(NOW, dry_run=True)
    assert (would.runs, would.results, would.kept_runs) == (2, 2, 1)
    assert count(repos, results) == 2
    assert repos.evict_results(NOW).runs == 2
    assert (count(repos, results), count(repos, failures)) == (1, 0)
    repos.gc(grace=NOW, expire=NOW)
    assert repos.fsck().is_clean
    assert repos.snapshot("edges@main").read("cat") == b"2cat"
    assert pipe(repos, "2").plan().is_empty
    assert pipe(repos).plan().runs == ["cat"]  # its result is gone
    assert pipe(repos).run().counts["run"] == 1


def test_a_run_that_invalidated_results_stays_so_that_a_rebuild_does_not_bring_them_back(repos, write):
    write(repos, "images@main", {"cat": b"cat"})
    pipe(repos).run()
    pipe(repos).invalidate(["cat"])
    assert repos.evict_results(NOW).kept_runs == 1


def test_results_of_an_output_that_was_reset_stay(repos, write):
    images = write(repos, "images@main", {"cat": b"cat"})
    old = pipe(repos).run().commit
    write(repos, "images@main", {"cat": b"cow"})
    pipe(repos).run()
    repos.reset("images@main", images.id)
    repos.reset("edges@main", old.id)
    assert repos.evict_results(NOW).kept_runs == 2
    assert pipe(repos).verify(1).checked == ("cat",)


def test_results_of_a_new_branch_stay(repos, write):
    write(repos, "images@main", {"cat": b"cat"})
    pipe(repos).run()
    repos.create_branch("edges@old", at="edges@main")
    write(repos, "images@main", {"cat": b"cow"})
    pipe(repos).run()
    assert repos.evict_results(NOW).kept_runs == 2
