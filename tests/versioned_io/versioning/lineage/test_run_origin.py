"""The record of a run: exact inputs, parameters, code, and the facts that another run would lack."""

import pytest


@pytest.fixture
def repos(store):
    for name in ("data", "reports"):
        store.create_repo(name)
    return store


def test_the_inputs_are_pinned_with_their_digests(repos, write):
    first = write(repos, "data@main", {"a": b"1"})
    second = write(repos, "data@main", {"b": b"2"})
    with (
        repos.run("report", code_version="7", git_commit="e" * 40, params={"month": 2}, run_id="r") as run,
        repos.transaction("reports@main", provenance=[first.id]) as tx,
    ):
        repos.snapshot("data@main").read("a")
        repos.snapshot("data@main").read("b")
        tx.write("out", b"1")
    write(repos, "data@main", {"a": b"changed", "b": b"changed"})
    made = repos.run_of("reports@main")
    assert made.commit == tx.commit
    assert made.info == run.info == tx.commit.run
    assert made.inputs == run.inputs
    assert made.whole_inputs == (first,)
    assert made.refs == tuple(sorted([f"data@{second.id}:a", f"data@{second.id}:b", f"data@{first.id}"]))
    assert made.lacks == ()
    for file in made.inputs:
        assert repos.snapshot(f"{file.repo}@{file.commit}").stat(file.path).digest == file.digest


def test_what_another_run_would_lack_is_named(repos, write):
    source = write(repos, "data@main", {"a": b"1"})
    outside = [{"uri": "file:///old", "digest": "sha256:1"}]
    params = {"token": "s3cret", "nested": {"password": "x"}, "depth": 3}
    with (
        repos.run("report", params=params),
        repos.transaction("reports@main", metadata={"external_inputs": outside}) as tx,
    ):
        repos.snapshot("data@main").read("a")
        tx.write("out", b"1")
    lacks = repos.run_of(tx.commit.id).lacks
    assert lacks == (
        "neither a code version nor a Git commit is recorded",
        "the parameter 'nested.password' looked like a secret, and its value was withheld",
        "the parameter 'token' looked like a secret, and its value was withheld",
        "1 input outside of the store may have changed",
    )
    assert "s3cret" not in repr(repos.run_of(tx.commit.id))
    assert repos.run_of(source.id).lacks == ("no run made this commit, so neither a job nor parameters are recorded",)
    assert repos.run_of(source.id).info is None


def test_inputs_that_were_deleted_or_purged_are_named(repos, write):
    write(repos, "data@main", {"a": b"1", "b": b"2"})
    with repos.run("report", code_version="7"), repos.transaction("reports@main") as tx:
        for path in ("a", "b"):
            repos.snapshot("data@main").read(path)
        tx.write("out", b"1")
    source = repos.commit("data@main")
    repos.purge("data", "a")
    assert repos.run_of("reports@main").lacks == (f"the input {source}:a was purged",)
    repos.delete_repo("data")
    (deleted, purged) = repos.run_of("reports@main").lacks
    assert deleted.startswith("the repo 'data' of an input was deleted: `versioned repo restore data`")
    assert purged == f"the input {source}:a was purged"
    repos.restore_repo("data")
    assert len(repos.run_of("reports@main").lacks) == 1
