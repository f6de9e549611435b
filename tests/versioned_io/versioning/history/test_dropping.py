"""The newest commit of a branch can be taken off for good, if nothing else needs it."""

import shutil
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import CommitForgottenError, InvalidInputError, NotFoundError

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def repo(request, tmp_path, write):
    """r@main with three commits, on each catalog."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(str(tmp_path / "s"), catalog=catalog) as store:
        store.create_repo("r")
        for number in range(3):
            write(store, "r@main", {"a": b"%d" % number, f"only {number}": b"x%d" % number * 100})
        yield store


def test_the_branch_goes_back_and_the_commit_is_only_a_record(repo, write, files_of):
    before, head = repo.commit("r@main~1"), repo.commit("r@main")
    dropped = repo.drop("r@main")
    assert (dropped.id, dropped.lineage_id, dropped.state) == (head.id, head.lineage_id, "forgotten")
    assert repo.commit("r@main") == before
    assert set(files_of(repo, "r@main")) == {"a", "only 0", "only 1"}
    with pytest.raises(CommitForgottenError):
        repo.snapshot(f"r@{head.id}").read("a")
    assert [commit.id for commit in repo.lineage(head.lineage_id)] == [head.id]
    entry = repo.reflog("r@main")[-1].entry
    assert (entry.action, entry.old, entry.new) == ("drop", head.id, before.id)
    after = write(repo, "r@main", {"next": b"1"})
    assert (after.number, after.parent) == (3, before.id)
    assert [commit.number for commit in repo.log("r@main")] == [3, 2, 1]
    assert repo.commit("r@main~2").number == 1
    assert repo.fsck().is_clean


def test_all_commits_can_be_dropped_one_after_the_other(repo, write):
    for _ in range(3):
        repo.drop("r@main")
    assert list(repo.log("r@main")) == []
    with pytest.raises(InvalidInputError, match="has no commit"):
        repo.drop("r@main")
    assert write(repo, "r@main", {"a": b"1"}).number == 1
    assert repo.fsck().is_clean


def test_the_collector_takes_what_only_the_dropped_commit_had(repo, files_of):
    repo.drop("r@main")
    files = files_of(repo, "r@main")
    repo.gc(**NOW)
    repo.gc(**NOW)
    assert files_of(repo, "r@main") == files
    assert repo.fsck().is_clean


@pytest.mark.parametrize(
    ("arrange", "needed_by"),
    [
        (lambda store: store.create_branch("r@dev", at="r@main"), "the branch 'dev'"),
        (lambda store: store.create_tag("r@v1", at="r@main"), "the tag 'v1'"),
        (lambda store: store.subscription("sub", "r@main", start="now"), "the cursor of the subscription 'sub'"),
        (
            lambda store: store.subscription("keys", "r@main", partitions="{name}").collect(),
            "the cursor of the subscription 'keys', a due key of the subscription 'keys'",
        ),
    ],
)
def test_what_somebody_needs_is_not_dropped(repo, dump, arrange, needed_by):
    arrange(repo)
    before = dump(repo)
    with pytest.raises(InvalidInputError) as caught:
        repo.drop("r@main")
    assert f"{needed_by} needs it; reset the branch instead" in str(caught.value)
    assert dump(repo) == before


def test_what_is_merged_or_built_on_elsewhere_is_not_dropped(repo, write):
    repo.create_branch("r@dev", at="r@main")
    write(repo, "r@dev", {"dev": b"1"})
    with pytest.raises(InvalidInputError, match="the later commit"):
        repo.drop("r@main")
    write(repo, "r@main", {"main": b"1"})
    repo.merge("r@dev", "r@main")
    with pytest.raises(InvalidInputError, match="the merge"):
        repo.drop("r@dev")
    merge = repo.drop("r@main")
    assert merge.merged == repo.drop("r@dev").id


def test_a_protected_or_missing_branch_is_refused(repo, dump):
    repo.protect_branch("r@main")
    before = dump(repo)
    with pytest.raises(InvalidInputError, match="protected"):
        repo.drop("r@main")
    with pytest.raises(NotFoundError):
        repo.drop("r@nothing")
    with pytest.raises(NotFoundError):
        repo.drop("nothing@main")
    assert dump(repo) == before


def test_a_writer_that_began_on_the_dropped_commit_is_told(repo):
    tx = repo.transaction("r@main")
    tx.write("late", b"1")
    repo.drop("r@main")
    with pytest.raises(CommitForgottenError):
        tx.finish()
    assert [commit.number for commit in repo.log("r@main")] == [2, 1]


def test_a_rebuilt_catalog_knows_what_was_dropped(tmp_path, write):
    place = tmp_path / "s"
    with vio.create_store(str(place)) as store:
        store.create_repo("r")
        for number in range(3):
            write(store, "r@main", {"a": b"%d" % number})
        dropped = store.drop("r@main")
        write(store, "r@main", {"b": b"1"})
        log = list(store.log("r@main"))
        write(store, "r@main", {"c": b"1"})
        store.drop("r@main")
    shutil.move(place / "catalog.db", tmp_path / "lost.db")
    for rest in place.glob("catalog.db*"):
        rest.unlink()
    report = vio.rebuild_store(str(place))
    assert (report.damaged, report.uncertain) == ((), ())
    with vio.open_store(str(place)) as store:
        assert list(store.log("r@main")) == log
        assert store.commit(f"r@{dropped.id}").state == "forgotten"
        assert store.fsck().is_clean
