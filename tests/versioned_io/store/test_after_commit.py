"""Hooks after a commit: called when the commit stands, and unable to change that."""

import pickle

import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("weather")
        store.create_repo("labels")
        yield store


def write(store, ref, path="a", content=b"1"):
    with store.transaction(ref) as tx:
        tx.write(path, content)
    return tx.commit


def test_a_hook_gets_the_commits_of_a_transaction_when_everybody_sees_them(store):
    seen = []
    store.after_commit(lambda commits: seen.append([store.commit(one.id).id for one in commits]))
    with store.transaction("weather@main") as tx:
        tx.write("a", b"1")
        other = tx.branch("labels@main")
        other.write("b", b"2")
    assert seen == [[tx.commit.id, other.commit.id]]


def test_every_call_that_makes_a_commit_calls_it(store):
    seen = []
    store.after_commit(seen.extend)
    made = [write(store, "weather@main"), write(store, "weather@main", content=b"2")]
    store.create_branch("weather@dev", at="weather@main~1")
    made.append(write(store, "weather@dev", path="b"))
    made.append(store.merge("weather@dev", into="weather@main"))
    made.append(store.revert("weather@main", on="weather@main"))
    assert seen == made


def test_no_commit_no_call(store):
    write(store, "weather@main")
    seen = []
    store.after_commit(seen.append)
    write(store, "weather@main")
    with pytest.raises(RuntimeError), store.transaction("weather@main"):
        raise RuntimeError
    late = store.transaction("weather@main")
    late.write("a", b"late")
    second = [write(store, "weather@main", content=b"2")]
    with pytest.raises(ConflictError):
        late.finish()
    assert seen == [tuple(second)]


def test_a_hook_that_fails_is_one_warning_and_the_commit_stands(store, caplog):
    def fail(commits):
        raise RuntimeError("out of order")

    seen = []
    store.after_commit(fail)
    store.after_commit(seen.extend)
    made = write(store, "weather@main")
    assert store.commit("weather@main") == made
    assert seen == [made]
    assert [(one.levelname, "RuntimeError: out of order" in one.getMessage()) for one in caplog.records] == [
        ("WARNING", True)
    ]


def test_hooks_stay_with_their_store(store, tmp_path):
    seen = []
    store.after_commit(seen.extend)
    with vio.open_store(tmp_path / "store") as other:
        write(other, "weather@main")
    assert seen == []
    pickle.dumps(store)
