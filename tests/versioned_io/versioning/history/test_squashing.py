"""Several commits of a branch become one: the same files, the same lineage, a shorter history."""

import shutil
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import CommitForgottenError, InvalidInputError, NotFoundError
from versioned_io.versioning.history import squashing

NOW = {"grace": timedelta(0), "expire": timedelta(0)}
FILES = {"a": b"3", "only 0": b"x0", "only 1": b"x1", "only 2": b"x2", "only 3": b"x3"}


@pytest.fixture(params=["sqlite", "postgresql"])
def repo(request, tmp_path, write):
    """r@main with four commits, on each catalog; each writes the file a, and one of its own."""
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(str(tmp_path / "s"), catalog=catalog) as store:
        store.create_repo("r")
        for number in range(4):
            files = {"a": b"%d" % number, f"only {number}": b"x%d" % number}
            write(store, "r@main", files, message=f"number {number}", author="somebody")
        yield store


def numbers(store, ref, **options):
    return [commit.number for commit in store.log(ref, **options)]


def test_one_commit_stands_where_many_were(repo, write, files_of):
    first, head = repo.commit("r@main~3"), repo.commit("r@main")
    made = repo.squash("r@main", first.id, author="me", metadata={"why": "noise"})
    assert repo.commit("r@main") == made
    assert (made.number, made.parent, made.author, made.metadata) == (2, first.id, "me", {"why": "noise"})
    assert made.message == "number 1\n\nnumber 2\n\nnumber 3"
    assert made.lineage_id == head.lineage_id
    assert made.root == head.root
    stats = made.stats
    assert (stats.added, stats.modified, stats.deleted, stats.files) == (3, 1, 0, 5)
    assert files_of(repo, "r@main") == FILES
    assert numbers(repo, "r@main") == [2, 1]
    entry = repo.reflog("r@main")[-1].entry
    assert (entry.action, entry.old, entry.new, entry.author) == ("squash", head.id, made.id, "me")
    assert repo.fsck().is_clean
    after = write(repo, "r@main", {"next": b"1"})
    assert (after.number, after.parent) == (3, made.id)
    assert repo.commit("r@main~2") == first


def test_the_whole_history_can_be_one_commit(repo, files_of):
    made = repo.squash("r@main", message="all")
    assert (made.number, made.parent, made.message) == (1, None, "all")
    assert [commit.id for commit in repo.log("r@main")] == [made.id]
    assert files_of(repo, "r@main") == FILES
    assert repo.diff(None, "r@main").num_rows == len(FILES)


@pytest.mark.parametrize("since", ["r@main", "r@main~1"])
def test_where_nothing_is_to_be_joined_the_head_stays(repo, dump, since):
    head, before = repo.commit("r@main"), dump(repo)
    assert repo.squash("r@main", since) == head
    assert dump(repo) == before


def test_going_back_is_a_reset(repo, files_of):
    head = repo.commit("r@main")
    repo.squash("r@main")
    repo.reset("r@main", head.id)
    assert numbers(repo, "r@main") == [4, 3, 2, 1]
    assert [commit.number for commit in repo.log("r@main", path="a")] == [4, 3, 2, 1]


def test_the_log_of_a_path_names_what_stands_in_the_history(repo, write):
    repo.create_branch("r@old", at="r@main")
    first = repo.squash("r@main", "r@main~2")
    write(repo, "r@main", {"a": b"new"})
    second = repo.squash("r@main", "r@main~2")
    assert [commit.id for commit in repo.log("r@main", path="only 3")] == [second.id]
    assert [commit.id for commit in repo.log("r@main", path="a")] == [commit.id for commit in repo.log("r@main")]
    assert first.id not in {commit.id for commit in repo.log("r@main")}
    assert numbers(repo, "r@old", path="a") == [4, 3, 2, 1]


def test_lineage_leads_where_it_led(repo, write):
    repo.create_repo("made")
    with repo.run("train"):
        repo.snapshot("r@main").read("a")
        model = write(repo, "made@main", {"model": b"1"})
    with repo.run("score"):
        repo.snapshot("made@main").read("model")
        score = write(repo, "r@main", {"score": b"1"})
    last = write(repo, "r@main", {"other": b"1"})
    down, up = repo.downstream("r@main:a"), repo.upstream("r@main:score")
    made = repo.squash("r@main", "r@main~5")
    assert made.provenance == (model.id,)
    assert (made.lineage_id, made.stats.added) == (last.lineage_id, 5)
    # What was squashed is still there to be named, and so is what it was squashed into.
    ids = {commit.id for commit in down.commits}
    assert {commit.id for commit in repo.downstream("r@main:a").commits} == ids | {made.id}
    assert repo.upstream("r@main:score") == up
    assert {model.id, score.id} <= {commit.id for commit in up.commits}
    assert made.id in {commit.id for commit in repo.downstream("made@main").commits}


def test_what_was_replaced_is_collected_and_the_rest_reads_on(repo, files_of):
    old = repo.commit("r@main~1")
    made = repo.squash("r@main")
    repo.gc(**NOW)
    repo.gc(**NOW)
    assert files_of(repo, "r@main") == FILES
    with pytest.raises(CommitForgottenError):
        repo.snapshot(f"r@{old.id}").read("a")
    assert [commit.id for commit in repo.log("r@main", path="a")] == [made.id]
    assert repo.fsck().is_clean


def test_the_log_names_the_squash_when_what_a_merge_brought_is_gone(repo, write):
    repo.create_branch("r@topic", at="r@main~3")
    write(repo, "r@topic", {"topic": b"1"})
    write(repo, "r@topic", {"topic": b"2"})
    repo.merge("r@topic", "r@main")
    repo.create_branch("r@later", at="r@main~4")
    write(repo, "r@later", {"later": b"1"})
    repo.merge("r@later", "r@main")
    made = repo.squash("r@main")
    repo.delete_branch("r@topic")
    repo.delete_branch("r@later")
    repo.gc(**NOW)
    assert [commit.id for commit in repo.log("r@main", path="topic")] == [made.id]


def test_a_rebuilt_catalog_says_the_same(repo, tmp_path, write, files_of):
    repo.squash("r@main", "r@main~2")
    write(repo, "r@main", {"b": b"1"})
    history = list(repo.log("r@main"))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "s", copy)
    (copy / "catalog.db").unlink(missing_ok=True)
    report = vio.rebuild_store(str(copy), catalog=f"sqlite:///{copy}/again.db")
    assert report.uncertain == ()
    with vio.open_store(str(copy), catalog=f"sqlite:///{copy}/again.db") as again:
        assert list(again.log("r@main")) == history
        assert files_of(again, "r@main") == FILES | {"b": b"1"}
        assert [one.id for one in again.log("r@main", path="only 3")] == [history[1].id]


def test_a_consumer_goes_on_with_what_differs(repo, write):
    behind, up_to_date = (repo.subscription(name, "r@main", start="beginning") for name in ("behind", "up to date"))
    behind.advance(repo.commit("r@main~2"))
    up_to_date.advance(repo.commit("r@main"))
    made = repo.squash("r@main")
    later = write(repo, "r@main", {"b": b"1"})
    assert up_to_date.pending() == [made, later]
    assert behind.pending() == [made, later]


def test_a_merge_inside_is_not_merged_again(repo, write):
    repo.create_branch("r@topic", at="r@main")
    write(repo, "r@topic", {"topic": b"1"})
    write(repo, "r@main", {"main": b"1"})
    repo.merge("r@topic", "r@main")
    made = repo.squash("r@main", "r@main~2")
    write(repo, "r@main", {"topic": b"changed here"})
    head = repo.commit("r@main")
    assert made.merged == repo.commit("r@topic").id
    assert repo.merge("r@topic", "r@main") == head


def test_what_can_not_be_squashed_is_said_and_changes_nothing(repo, dump, write):
    repo.create_branch("r@other", at="r@main~3")
    elsewhere = write(repo, "r@other", {"o": b"1"})
    repo.create_repo("empty")
    repo.protect_branch("r@other")
    before = dump(repo)
    with pytest.raises(InvalidInputError, match="is not in its history"):
        repo.squash("r@main", elsewhere.id)
    with pytest.raises(InvalidInputError, match="has no commit"):
        repo.squash("empty@main")
    with pytest.raises(InvalidInputError, match="protected"):
        repo.squash("r@other")
    with pytest.raises(NotFoundError):
        repo.squash("r@nothing")
    with pytest.raises(NotFoundError):
        repo.squash("r@main", "r@main~9")
    assert dump(repo) == before


def test_a_commit_that_comes_meanwhile_is_squashed_too(repo, write, files_of, monkeypatch):
    original, late = squashing._changes_since, []

    def count(*arguments):
        if not late:
            late.append(write(repo, "r@main", {"late": b"1"}))
        return original(*arguments)

    monkeypatch.setattr(squashing, "_changes_since", count)
    repo.squash("r@main")
    assert numbers(repo, "r@main") == [1]
    assert files_of(repo, "r@main") == FILES | {"late": b"1"}
