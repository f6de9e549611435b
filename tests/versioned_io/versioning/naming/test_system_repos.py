"""A system repo goes with its repo: hidden, renamed, deleted, restored and rebuilt with it, and found by its kind."""

import shutil

import pytest
from sqlalchemy import text

import versioned_io as vio
from versioned_io.catalog.repo_rows import branch_heads, find_system_repo
from versioned_io.errors import RefSyntaxError, RepoNotFoundError
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.versioning.naming.naming import ensure_system_branch
from versioned_io.versioning.transactions.facts import Empty, build_facts
from versioned_io.versioning.transactions.transaction import Transaction, draft_of, stage_system_branch

EDGES = BranchRef("edges", "main")


def refuse(*_args):
    raise AssertionError


def commit(store, ref, files, *, own=None, alongside=()):
    """Commit *files* as the whole tree of the system branch *ref*, and *own* to edges@main beside it."""
    facts = build_facts(message="", author="", metadata=None, lineage_id=None, provenance=(), outputs=None)
    first = ref if own is None else EDGES
    tx = Transaction(
        store._backend,
        first,
        facts=facts,
        empty=Empty.SKIP,
        completes=(),
        resolve=refuse,
        alongside=alongside,
    )
    with tx:
        for path, data in (own or {}).items():
            tx.write(path, data)
        staged = stage_system_branch(tx, ref)
        draft_of(staged).begin_afresh()
        for path, data in files.items():
            staged.write(path, data)
    return tx, staged


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "s", catalog=catalog) as store:
        store.create_repo("edges")
        yield store


@pytest.fixture
def ref(store):
    return ensure_system_branch(store._backend, "edges", RepoKind.DATUMS, "main")


def found(store, owner, kind=RepoKind.DATUMS):
    with store._backend.catalog.read() as connection:
        return find_system_repo(connection, owner, kind)


def heads(store, ref):
    with store._backend.catalog.read() as connection:
        return branch_heads(connection, ref.repo)


def test_it_is_made_once_and_is_hidden(store, ref):
    assert ensure_system_branch(store._backend, "edges", RepoKind.DATUMS, "main") == ref
    assert found(store, "edges") == ref.repo
    assert found(store, "edges", RepoKind.RESULTS) is None
    assert [repo.name for repo in store.repos()] == ["edges"]
    assert [repo.name for repo in store.status().repos] == ["edges"]
    with pytest.raises(RefSyntaxError):
        store.snapshot(str(ref))
    with pytest.raises(RefSyntaxError):
        store.create_repo(ref.repo)
    with pytest.raises(RepoNotFoundError) as error:
        store.snapshot("edgez@main")
    assert "~" not in str(error.value)


def test_it_follows_its_repo_through_a_new_name_a_deletion_and_back(store, ref):
    commit(store, ref, {"a": b"1"})
    head = heads(store, ref)["main"]
    store.rename_repo("edges", "outlines")
    assert found(store, "edges") is None
    assert found(store, "outlines") == ref.repo
    store.delete_repo("outlines")
    assert found(store, "outlines") is None
    store.restore_repo("outlines")
    assert found(store, "outlines") == ref.repo
    assert heads(store, ref)["main"] == head
    assert store.fsck().is_clean


def test_a_repo_that_was_made_again_has_none_of_the_old_data(store, ref):
    commit(store, ref, {"a": b"1"})
    store.delete_repo("edges")
    store.create_repo("edges")
    assert found(store, "edges") is None
    again = ensure_system_branch(store._backend, "edges", RepoKind.DATUMS, "main")
    assert heads(store, again) == {"main": None}
    assert store.fsck().is_clean


def test_it_survives_a_lost_catalog_and_an_older_one(tmp_path):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("edges")
    older = (tmp_path / "s" / "catalog.db").read_bytes()
    with vio.open_store(tmp_path / "s") as store:
        ref = ensure_system_branch(store._backend, "edges", RepoKind.DATUMS, "main")
        commit(store, ref, {"a": b"1"})
        store.rename_repo("edges", "outlines")
        head = heads(store, ref)["main"]
        store.backup(tmp_path / "backup")
    vio.restore_store(tmp_path / "backup", tmp_path / "restored")
    shutil.copytree(tmp_path / "s", tmp_path / "lost")
    (tmp_path / "lost" / "catalog.db").unlink()
    vio.rebuild_store(tmp_path / "lost")
    shutil.copytree(tmp_path / "s", tmp_path / "older")
    (tmp_path / "older" / "catalog.db").write_bytes(older)
    vio.recover_store(tmp_path / "older")
    for name in ("restored", "lost", "older"):
        with vio.open_store(tmp_path / name) as opened:
            assert found(opened, "outlines") == ref.repo, name
            assert heads(opened, ref)["main"] == head
            assert [repo.name for repo in opened.repos()] == ["outlines"]
            assert opened.fsck().is_clean


def test_fsck_tells_of_a_wrong_kind(store, ref):
    with store._backend.catalog.write() as connection:
        connection.execute(text("UPDATE repos SET kind = 'user' WHERE name = :name"), {"name": ref.repo})
    assert [problem.kind for problem in store.fsck().problems] == ["head"]


def test_a_fresh_tree_replaces_the_head_and_never_conflicts(store, ref):
    commit(store, ref, {"a": b"1", "b": b"2"})
    facts = build_facts(message="", author="", metadata=None, lineage_id=None, provenance=(), outputs=None)
    late = Transaction(store._backend, ref, facts=facts, empty=Empty.SKIP, completes=(), resolve=refuse)
    draft_of(late).begin_afresh()
    late.write("b", b"late")
    _, other = commit(store, ref, {"b": b"first", "c": b"3"})
    late.finish()
    assert late.commit.parent == other.commit.id
    assert late.commit.root.files == 1
    assert store.fsck().is_clean


def test_rows_beside_a_commit_are_entered_with_it_or_not_at_all(store, ref):
    seen = []
    tx, staged = commit(
        store, ref, {"a": b"1"}, own={"x": b"1"}, alongside=(lambda _connection, made: seen.append(made),)
    )
    assert seen == [{EDGES: tx.commit, ref: staged.commit}]
    before = heads(store, ref), store.commit("edges@main")

    def fail(_connection, _made):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        commit(store, ref, {"a": b"2"}, own={"x": b"2"}, alongside=(fail,))
    assert (heads(store, ref), store.commit("edges@main")) == before


def test_its_commits_are_no_part_of_lineage_or_hooks(store, ref):
    store.create_repo("images")
    with store.transaction("images@main") as tx:
        tx.write("a", b"1")
    told = []
    store.after_commit(told.append)
    with store.run("job") as run:
        store.snapshot("images@main").read("a")
        made, staged = commit(store, ref, {"a": b"1"}, own={"x": b"1"})
    assert [one.id for commits in told for one in commits] == [made.commit.id]
    assert [one.id for one in run.commits] == [made.commit.id]
    assert staged.commit.lineage_id == made.commit.lineage_id == tx.commit.lineage_id
    assert staged.commit.provenance == ()
    assert {one.id for one in store.lineage(made.commit.lineage_id)} == {tx.commit.id, made.commit.id}
