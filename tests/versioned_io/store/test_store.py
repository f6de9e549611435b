"""The front door: every call on a store, with good input and with bad."""

import io
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

import versioned_io as vio
from tests.versioned_io.conftest import commit_files, dump_store
from versioned_io.errors import (
    CommitNotFoundError,
    ExistsError,
    IllegalPathError,
    InvalidInputError,
    LineageNotFoundError,
    NotAFileError,
    PartitionKeyError,
    PathCollisionError,
    PathNotFoundError,
    RefNotFoundError,
    RefSyntaxError,
    RepoNotFoundError,
    TransactionClosedError,
)

NOBODY = "0" * 32


@pytest.fixture
def filled(store, write):
    """weather@main with three commits, weather@dev forked from the second, an empty repo."""
    return fill(store, write)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """The same, for calls that must change nothing: one for all of them, compared before and after each."""
    with vio.create_store(tmp_path_factory.mktemp("untouched") / "store") as store:
        yield fill(store, commit_files)


@pytest.fixture
def unchanged(untouched):
    """A block that must leave the untouched store as it was."""

    @contextmanager
    def check():
        before = dump_store(untouched)
        yield
        assert dump_store(untouched) == before

    return check


def fill(store, write):
    store.create_repo("weather", description="observations")
    store.create_repo("empty")
    write(store, "weather@main", {"2012/01.csv": b"jan", "2012/02.csv": b"feb", "foo": b"x"}, message="first")
    write(store, "weather@main", {"2012/01.csv": b"JAN"}, message="second")
    store.create_branch("weather@dev", at="weather@main")
    store.create_tag("weather@v1", at="weather@main~1")
    write(store, "weather@main", {"2012/02.csv": None, "2013/01.csv": b"new"}, message="third")
    return store


# Repos, branches, tags


def test_a_new_repo_has_one_empty_branch(store):
    made = store.create_repo("weather", description="observations")
    assert (made.name, made.description) == ("weather", "observations")
    assert abs(datetime.now(UTC) - made.created_at).total_seconds() < 60
    assert made.branches == (vio.BranchInfo("weather", "main", None, 0),)
    assert store.repo("weather") == made
    store.create_repo("a")
    assert [repo.name for repo in store.repos()] == ["a", "weather"]
    assert store.branches("weather") == [vio.BranchInfo("weather", "main", None, 0)]


def test_a_repo_that_exists_is_left_as_it_is(untouched, unchanged):
    with unchanged():
        with pytest.raises(ExistsError, match="repo 'weather' exists already"):
            untouched.create_repo("weather")
        assert untouched.create_repo("weather", description="other", exist_ok=True).description == "observations"


def test_names_of_repos_are_case_sensitive(store):
    store.create_repo("a")
    store.create_repo("A")
    assert [repo.name for repo in store.repos()] == ["A", "a"]


def test_a_branch_points_at_a_commit_and_goes_its_own_way(filled, write, files_of):
    second = filled.commit("weather@main~1")
    assert filled.branches("weather") == [
        vio.BranchInfo("weather", "dev", second.id, 2),
        vio.BranchInfo("weather", "main", filled.commit("weather@main").id, 3),
    ]
    own = write(filled, "weather@dev", {"own": b"1"})
    assert (own.number, own.parent, own.branch) == (3, second.id, "dev")
    assert "own" not in files_of(filled, "weather@main")
    assert filled.commit("weather@dev~2") == filled.commit("weather@main~2") == filled.commit("weather@v1~0")
    for text in (f"weather@{own.id}", "weather@dev"):
        assert filled.commit(text) == own


def test_history_after_a_fork_of_a_fork_is_found_by_number(store, write):
    store.create_repo("r")
    for number in range(3):
        write(store, "r@main", {"f": b"main%d" % number})
    branch = "main"
    for depth in range(4):
        store.create_branch(f"r@b{depth}", at=f"r@{branch}~{depth % 2}")
        branch = f"b{depth}"
        for number in range(2):
            write(store, f"r@{branch}", {"f": b"%d-%d" % (depth, number)})
    walked = list(store.log(f"r@{branch}"))
    assert [commit.number for commit in walked] == list(range(len(walked), 0, -1))
    for back, commit in enumerate(walked):
        assert store.commit(f"r@{branch}~{back}") == commit
        assert commit.parent == (walked[back + 1].id if back + 1 < len(walked) else None)
    with pytest.raises(RefNotFoundError, match=f"its history has only {len(walked)} commits"):
        store.commit(f"r@{branch}~{len(walked)}")


def test_a_branch_of_an_empty_branch_is_empty(store):
    store.create_repo("r")
    assert store.create_branch("r@dev", at="r@main").head is None
    assert store.snapshot("r@dev").is_empty
    assert list(store.log("r@dev")) == []


def test_a_tag_stays_where_it_is(filled, write):
    first = filled.commit("weather@v1")
    write(filled, "weather@main", {"x": b"1"})
    assert filled.commit("weather@v1") == first
    assert filled.snapshot("weather@v1").read("2012/01.csv") == b"jan"


BAD_NAMES = [
    (lambda s: s.create_repo(""), RefSyntaxError, "not a valid repo name"),
    (lambda s: s.create_repo("a/b"), RefSyntaxError, "not a valid repo name"),
    (lambda s: s.create_repo("a b"), RefSyntaxError, "not a valid repo name"),
    (lambda s: s.create_repo("r" * 129), RefSyntaxError, "not a valid repo name"),
    (lambda s: s.create_repo("r", description="\0"), InvalidInputError, "the description '.x00' can't be kept"),
    (
        lambda s: s.repo("nope"),
        RepoNotFoundError,
        "'weather'; `versioned repo create nope` makes it",
    ),
    (lambda s: s.branches("nope"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.create_branch("weather@main", at="weather@v1"), ExistsError, "branch 'weather@main' exists already"),
    (lambda s: s.create_branch("weather@v1", at="weather@main"), ExistsError, "tag 'weather@v1' exists already"),
    (lambda s: s.create_branch("nope@x", at="nope@main"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.create_branch("weather@x", at="weather@y"), RefNotFoundError, "its branches are 'dev', 'main'"),
    (lambda s: s.create_branch("weather@x", at="empty@main"), RefSyntaxError, "it must be of repo 'weather'"),
    (lambda s: s.create_branch(f"weather@{NOBODY}", at="weather@main"), RefSyntaxError, "only a branch"),
    (lambda s: s.create_branch("weather@x", at="weather@main:foo"), RefSyntaxError, "the path 'foo' can't stand here"),
    (lambda s: s.create_branch("weather@x", at="weather@main~9"), RefNotFoundError, "its history has only 3 commits"),
    (lambda s: s.create_tag("weather@v1", at="weather@main"), ExistsError, "tag 'weather@v1' exists already"),
    (lambda s: s.create_tag("weather@dev", at="weather@main"), ExistsError, "branch 'weather@dev' exists already"),
    (lambda s: s.create_tag("empty@v1", at="empty@main"), RefNotFoundError, "no commit yet; write to it first"),
    (lambda s: s.create_tag("weather@v~1", at="weather@main"), RefSyntaxError, "only a branch"),
]
BAD_REFS = [
    (lambda s: s.snapshot("nope"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.snapshot("weather@nope"), RefNotFoundError, "no branch, tag, commit or lineage ID 'nope'"),
    (lambda s: s.snapshot(f"weather@{NOBODY}"), RefNotFoundError, "its branches are 'dev', 'main'"),
    (lambda s: s.snapshot("weather@main~3"), RefNotFoundError, "its history has only 3 commits"),
    (lambda s: s.snapshot("empty@main~1"), RefNotFoundError, "the branch has no commit yet"),
    (lambda s: s.snapshot("weather@main:foo"), RefSyntaxError, "the path 'foo' can't stand here"),
    (lambda s: s.snapshot("wea ther"), RefSyntaxError, "not a valid repo name"),
    (lambda s: s.snapshot(None), RefSyntaxError, "not text"),
    (lambda s: s.commit("empty@main"), RefNotFoundError, "no commit for 'empty@main': the branch has no commit yet"),
    (lambda s: s.commit(NOBODY), CommitNotFoundError, "no commit '0000"),
    (lambda s: s.commit(NOBODY[:8]), RepoNotFoundError, "no repo '00000000'"),
    (lambda s: s.log("nope"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.log("weather@nope"), RefNotFoundError, "'nope'"),
    (lambda s: s.log("weather@main:foo"), RefSyntaxError, "can't stand here"),
    (lambda s: s.log("weather@main", limit=-1), InvalidInputError, "limit must be a whole number, 0 or more, not -1"),
    (lambda s: s.log("weather@main", path="a//b"), IllegalPathError, "'a//b'"),
    (lambda s: list(s.log("weather@main", path="nope")), PathNotFoundError, "no commit has it"),
    (lambda s: list(s.log("empty@main", path="nope")), PathNotFoundError, "the empty history"),
    (lambda s: s.diff("weather@nope", "weather@main"), RefNotFoundError, "'nope'"),
    (lambda s: s.diff("weather@main~1:foo", "weather@main"), RefSyntaxError, "can't stand here"),
    (lambda s: s.affected("weather@main", "nope@main", "{x}"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.affected("weather@main", "weather@main", "{x}{y}"), InvalidInputError, "is not a partition template"),
    (lambda s: s.affected("weather@main", "weather@main", "{x"), InvalidInputError, "is not a partition template"),
    (lambda s: s.affected(None, "weather@main", "{x}/{y}.csv", key="{x}"), InvalidInputError, "each of its fields"),
    (lambda s: s.changes("nope", since=None), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.changes("weather@main", since=NOBODY), CommitNotFoundError, "no commit '0000"),
    (lambda s: s.changes("weather@main", since="x"), InvalidInputError, "'x' is not a commit ID"),
    (lambda s: s.lineage(NOBODY), LineageNotFoundError, "no commit carries the lineage ID '0000"),
    (lambda s: s.lineage("x"), InvalidInputError, "is not a lineage ID"),
    (lambda s: s.upstream("weather@nope"), RefNotFoundError, "'nope'"),
    (lambda s: s.upstream("weather@main:nope"), PathNotFoundError, "no file 'nope'"),
    (lambda s: s.upstream("empty@main"), RefNotFoundError, "the branch has no commit yet"),
    (lambda s: s.downstream("weather@main:nope"), PathNotFoundError, "no file 'nope'"),
    (lambda s: s.downstream("weather@main:2012"), NotAFileError, "is a directory"),
    (lambda s: s.downstream("empty@main"), RefNotFoundError, "the branch has no commit yet"),
]
BAD_SUBSCRIPTIONS = [
    (lambda s: s.subscription("x", "nope@main"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.subscription("x", "weather@nope"), RefNotFoundError, "'nope'"),
    (lambda s: s.subscription("", "weather@main"), InvalidInputError, "1 to 250 characters"),
    (lambda s: s.subscription("x" * 251, "weather@main"), InvalidInputError, "1 to 250 characters, not 251"),
    (lambda s: s.subscription("x", "weather@main", partitions="{"), InvalidInputError, "is not a partition template"),
    (lambda s: s.subscription("x", "weather@main", start="middle"), InvalidInputError, "'beginning' or 'now'"),
    (lambda s: s.subscription("x", "weather@main~1"), RefSyntaxError, "only a branch"),
    (lambda s: s.subscriptions("nope@main"), RepoNotFoundError, "no repo 'nope'"),
]
BAD_TRANSACTIONS = [
    (lambda s: s.transaction("nope@main"), RepoNotFoundError, "no repo 'nope'"),
    (lambda s: s.transaction("weather@nope"), RefNotFoundError, "'nope'"),
    (lambda s: s.transaction("weather@v1"), RefNotFoundError, "'weather@v1': that is a tag"),
    (lambda s: s.transaction("weather@main~1"), RefSyntaxError, "only a branch"),
    (lambda s: s.transaction("weather@main", provenance=[NOBODY]), CommitNotFoundError, "no commit '0000"),
    (lambda s: s.transaction("weather@main", provenance=["x"]), InvalidInputError, "'x' is not a commit ID"),
    (lambda s: s.transaction("weather@main", lineage_id="x"), InvalidInputError, "'x' is not a lineage ID"),
    (lambda s: s.transaction("weather@main", empty="maybe"), InvalidInputError, "use 'skip', 'allow', 'refuse'"),
    (lambda s: s.transaction("weather@main", metadata={"t": datetime.now(UTC)}), InvalidInputError, "kept as JSON"),
    (lambda s: s.transaction("weather@main", metadata={"t": float("nan")}), InvalidInputError, "kept as JSON"),
    (lambda s: s.transaction("weather@main", metadata={"t": "\ud800"}), InvalidInputError, "kept as JSON"),
    (lambda s: s.transaction("weather@main", message="\ud800"), InvalidInputError, "the message"),
    (lambda s: s.transaction("weather@main", message=b"x"), InvalidInputError, "the message"),
    (lambda s: s.transaction("weather@main", author="a\0b"), InvalidInputError, "the author"),
    (lambda s: s.run(""), InvalidInputError, "a run needs a job"),
    (lambda s: s.run("j", orchestrator=""), InvalidInputError, "and an orchestrator"),
    (lambda s: s.run("j", lineage_id="x"), InvalidInputError, "is not a lineage ID"),
    (lambda s: s.run("j", params={"x": object()}), InvalidInputError, "parameters of the run"),
    (lambda s: s.run("j", run_id="\ud800"), InvalidInputError, "the run's description"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD_NAMES + BAD_REFS + BAD_SUBSCRIPTIONS + BAD_TRANSACTIONS)
def test_a_bad_call_says_what_was_wrong_and_changes_nothing(untouched, unchanged, call, error, text):
    with unchanged(), pytest.raises(error, match=text):
        call(untouched)


BAD_STAGING = [
    (lambda tx: tx.write("a//b", b""), IllegalPathError, "'a//b'"),
    (lambda tx: tx.write("../x", b""), IllegalPathError, "'../x'"),
    (lambda tx: tx.write("", b""), IllegalPathError, "it is empty"),
    (lambda tx: tx.write("d/", b""), IllegalPathError, "'d/'"),
    (lambda tx: tx.write("x", "text"), InvalidInputError, "encode it to bytes, or pass a pathlib.Path"),
    (
        lambda tx: tx.write("x", 7),
        InvalidInputError,
        "can't read int: give bytes, a path, a binary file or an iterator",
    ),
    (lambda tx: tx.write("x", [b"a"]), InvalidInputError, "can't read list"),
    (lambda tx: tx.write("x", None), InvalidInputError, "can't read NoneType"),
    (lambda tx: tx.write("foo", 7, append=True), InvalidInputError, "can't read int"),
    (lambda tx: tx.write("x", io.StringIO("text")), InvalidInputError, "gave str, not bytes"),
    (lambda tx: tx.write("x", iter(["text"])), InvalidInputError, "gave str, not bytes"),
    (lambda tx: tx.write("foo", iter(["text"]), append=True), InvalidInputError, "gave str, not bytes"),
    (lambda tx: tx.write("x", b"", attributes={"a": 1}), InvalidInputError, "is not text"),
    (lambda tx: tx.write("x", b"", attributes={"a": "\ud800"}), InvalidInputError, "lone surrogate"),
    (lambda tx: tx.write("2012", b"", append=True), NotAFileError, "is a directory"),
    (lambda tx: tx.write_tree("/nope"), InvalidInputError, "'/nope' is not a directory"),
    (lambda tx: tx.copy("weather@main:nope", "x"), PathNotFoundError, "no file 'nope'"),
    (lambda tx: tx.copy("weather@nope:foo", "x"), RefNotFoundError, "'nope'"),
    (lambda tx: tx.copy("nope:foo", "x"), RepoNotFoundError, "no repo 'nope'"),
    (lambda tx: tx.copy("weather@main:foo", "a//b"), IllegalPathError, "'a//b'"),
    (lambda tx: tx.copy("weather@main:2012", "a//b"), IllegalPathError, "'a//b'"),
    (lambda tx: tx.copy(":nope", "x"), PathNotFoundError, "no file 'nope'"),
    (lambda tx: tx.move("nope", "x"), PathNotFoundError, "no file 'nope'"),
    (lambda tx: tx.move("foo", "foo"), InvalidInputError, "that is the same place, or below it"),
    (lambda tx: tx.move("2012", "2012/old"), InvalidInputError, "that is the same place, or below it"),
    (lambda tx: tx.move("foo", "a/../b"), IllegalPathError, "'a/../b'"),
    (lambda tx: tx.delete(""), IllegalPathError, "it is empty"),
    (lambda tx: tx.delete("a//"), IllegalPathError, "illegal path 'a/'"),
    (lambda tx: tx.read("nope"), PathNotFoundError, "beside it are '2012', '2013', 'foo'"),
    (lambda tx: tx.read("2012"), NotAFileError, "is a directory"),
    (lambda tx: tx.read("foo/x"), PathNotFoundError, "'foo' is a file, so nothing is below it"),
    (lambda tx: tx.branch("weather@nope"), RefNotFoundError, "'nope'"),
    (lambda tx: tx.branch("nope@main"), RepoNotFoundError, "no repo 'nope'"),
    (lambda tx: tx.commit, InvalidInputError, "the transaction is not committed yet"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD_STAGING)
def test_a_bad_call_in_a_transaction_stages_nothing_and_the_transaction_goes_on(
    untouched, unchanged, call, error, text
):
    with unchanged():
        with untouched.transaction("weather@main") as tx, pytest.raises(error, match=text):
            call(tx)
        assert not tx.changed


@pytest.mark.parametrize(("call", "error", "text"), BAD_STAGING)
def test_a_bad_call_that_ends_the_transaction_leaves_nothing(untouched, unchanged, call, error, text):
    def scenario():
        with untouched.transaction("weather@main") as tx:
            tx.write("good", b"good")
            call(tx)

    with unchanged(), pytest.raises(error, match=text):
        scenario()


@pytest.mark.parametrize(
    ("existing", "new", "named"),
    [
        (["foo/bar"], "foo", ("foo", "foo/bar")),
        (["foo"], "foo/bar", ("foo", "foo/bar")),
        (["foo/bar", "foo-x", "foo!", "foo.d/y"], "foo", ("foo", "foo/bar")),
        (["foo", "foo-x", "foo.y", "foo!"], "foo/bar", ("foo", "foo/bar")),
        (["foo", "foo-x"], "foo/a/b/c", ("foo", "foo/a/b/c")),
        (["a/b", "a/b-c", "a/b.d"], "a/b/c", ("a/b", "a/b/c")),
        (["a/b/c/d", "a-b", "a/b-c"], "a/b", ("a/b", "a/b/c/d")),
        (["ü/x", "ü-"], "ü", ("ü", "ü/x")),
    ],
)
def test_a_file_and_a_directory_of_one_name_can_not_be_in_one_tree(store, write, existing, new, named):
    store.create_repo("r")
    write(store, "r@main", dict.fromkeys(existing, b"x"))
    before = dump_store(store)
    with pytest.raises(PathCollisionError, match="delete one of them in the same transaction") as caught:
        write(store, "r@main", {"unrelated": b"1", new: b"new"})
    assert caught.value.args == named
    assert dump_store(store) == before
    # Both in one transaction are no better, nor where more names sort between.
    store.create_repo("fresh")
    before = dump_store(store)
    with pytest.raises(PathCollisionError) as caught:
        write(store, "fresh@main", dict.fromkeys([*existing, new], b"x"))
    assert caught.value.args == named
    assert dump_store(store) == before


def test_a_file_may_take_a_directorys_name_in_the_transaction_that_deletes_it(store, write, files_of):
    store.create_repo("r")
    write(store, "r@main", {"foo/bar": b"1", "foo/baz": b"2", "foo-x": b"3"})
    write(store, "r@main", {"foo/": None, "foo": b"file"})
    assert files_of(store, "r@main") == {"foo": b"file", "foo-x": b"3"}
    write(store, "r@main", {"foo": None, "foo/bar": b"back"})
    assert files_of(store, "r@main") == {"foo/bar": b"back", "foo-x": b"3"}


AFTER_THE_END = [
    lambda tx: tx.write("x", b""),
    lambda tx: tx.write_tree("."),
    lambda tx: tx.copy("weather@main:foo", "x"),
    lambda tx: tx.move("foo", "x"),
    lambda tx: tx.delete("foo"),
    lambda tx: tx.read("foo"),
    lambda tx: tx.exists("foo"),
    lambda tx: list(tx.list()),
]


@pytest.mark.parametrize("end", ["finish", "abort"])
def test_a_transaction_that_has_ended_takes_nothing_more(filled, dump, end):
    with filled.transaction("weather@main") as tx:
        tx.write("own", b"1")
        other = tx.branch("weather@dev")
        getattr(tx, end)()
    before = dump(filled)
    calls = [(tx, call) for call in [*AFTER_THE_END, lambda tx: tx.branch("weather@dev"), lambda tx: tx.finish()]]
    for staged, call in [*calls, *((other, call) for call in AFTER_THE_END)]:
        with pytest.raises(TransactionClosedError, match="the transaction is closed; begin another"):
            call(staged)
    assert dump(filled) == before
    if end == "abort":
        with pytest.raises(InvalidInputError, match="there is no commit: the transaction was abandoned"):
            _ = tx.commit


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1), (-1, -1)])
def test_a_negative_range_is_refused(filled, offset, length):
    with pytest.raises(InvalidInputError, match="must be a whole number, 0 or more, not -1"):
        filled.snapshot("weather@main").read("foo", offset, length)


def test_an_unknown_attribute_of_the_package_is_told_as_python_does():
    with pytest.raises(AttributeError, match="module 'versioned_io' has no attribute 'opn_store'"):
        _ = vio.opn_store
    assert {name for name in vio.__all__ if getattr(vio, name) is None} == set()


# Commits and history


def test_a_commit_says_what_was_done(filled):
    third = filled.commit("weather@main")
    assert (third.repo, third.branch, third.number, third.message) == ("weather", "main", 3, "third")
    assert third.parent == filled.commit("weather@main~1").id
    stats = third.stats
    assert (stats.added, stats.modified, stats.deleted) == (1, 0, 1)
    assert (stats.files, stats.size_bytes, stats.bytes_written) == (3, 7, 3)
    assert stats.bytes_stored > 0
    assert (third.run, third.provenance, third.metadata) == (None, (), {})
    assert len({commit.lineage_id for commit in filled.log("weather@main")}) == 3


def test_the_message_the_author_and_the_metadata_come_back(store):
    store.create_repo("r")
    metadata = {"a": [1, 2.5, None, True, {"b": "ü\0"}], "big": 2**60}
    with store.transaction("r@main", message="naïve 日本\n", author="me <me@x>", metadata=metadata) as tx:
        tx.write("x", b"1")
    found = store.commit(tx.commit.id)
    assert found == tx.commit
    assert (found.message, found.author, found.metadata) == ("naïve 日本\n", "me <me@x>", metadata)
    metadata["a"].append("later")
    assert tx.commit.metadata["a"][-1] == {"b": "ü\0"}
    assert store.fsck().is_clean


def test_equal_trees_have_equal_digests_whatever_their_history(store, write):
    for repo in ("a", "b"):
        store.create_repo(repo)
    one = write(store, "a@main", {"x": b"1", "d/y": b"2"})
    write(store, "b@main", {"d/y": b"2", "z": b"3"})
    two = write(store, "b@main", {"x": b"1", "z": None})
    assert one.tree_digest == two.tree_digest
    assert write(store, "b@main", {"x": b"2"}).tree_digest != one.tree_digest
    assert write(store, "b@main", {"x": None, "d": None}).tree_digest == "0" * 64


def test_a_history_is_walked_from_its_newest_commit(filled):
    assert [commit.message for commit in filled.log("weather@main")] == ["third", "second", "first"]
    assert [commit.message for commit in filled.log("weather@dev")] == ["second", "first"]
    assert [commit.message for commit in filled.log("weather@main~1", limit=1)] == ["second"]
    assert list(filled.log("weather@main", limit=0)) == []
    assert list(filled.log("empty@main")) == []


def test_a_long_history_is_walked_over_every_batch_and_fork(new_store, write):
    store = new_store()
    store.create_repo("r")
    for number in range(205):
        if number == 150:
            store.create_branch("r@dev", at="r@main")
        write(store, "r@dev" if number >= 150 else "r@main", {"f": b"%d" % number})
    assert [commit.number for commit in store.log("r@dev")] == list(range(205, 0, -1))
    assert [commit.number for commit in store.log("r@dev", limit=202)] == list(range(205, 3, -1))
    assert store.commit("r@dev~204").number == 1


def test_a_commit_is_dated_by_the_clock_and_ordered_without_it(tmp_path, clock, write):
    with vio.create_store(tmp_path / "s", clock=clock) as store:
        store.create_repo("r")
        for step in (0, -3600, 5, 0):
            clock.advance(step)
            write(store, "r@main", {"f": str(clock.now).encode() + bytes([step % 256])})
        times = [commit.created_at for commit in store.log("r@main")]
        assert [(times[-1] - time).total_seconds() for time in times] == [3595, 3595, 3600, 0]
        assert [commit.order for commit in store.log("r@main")] == [4, 3, 2, 1]
        assert store.fsck().is_clean


def test_a_diff_lists_what_was_added_modified_and_deleted(filled):
    found = filled.diff("weather@main~2", "weather@main")
    assert isinstance(found, pa.Table)
    rows = found.to_pylist()
    assert [(row["path"], row["change"], row["old_size"], row["new_size"]) for row in rows] == [
        ("2012/01.csv", "modified", 3, 3),
        ("2012/02.csv", "deleted", 3, None),
        ("2013/01.csv", "added", None, 3),
    ]
    for row in rows:
        for side, ref in (("old", "weather@main~2"), ("new", "weather@main")):
            snapshot = filled.snapshot(ref)
            expected = snapshot.stat(row["path"]).digest if snapshot.exists(row["path"]) else None
            assert row[f"{side}_digest"] == expected
    assert filled.diff("weather@main", "weather@main").num_rows == 0
    assert filled.diff(None, "weather@main").column("change").unique().to_pylist() == ["added"]
    assert filled.diff("empty@main", "weather@main").num_rows == 3
    assert filled.diff("weather@main", "empty@main").column("change").unique().to_pylist() == ["deleted"]


def test_another_attribute_is_a_modification(store):
    store.create_repo("r")
    for value in ("1", "2"):
        with store.transaction("r@main") as tx:
            tx.write("x", b"same", attributes={"a": value})
        assert tx.changed
    [row] = store.diff("r@main~1", "r@main").to_pylist()
    assert (row["change"], row["old_digest"]) == ("modified", row["new_digest"])


def test_affected_are_the_keys_of_what_differs(filled, write):
    template = "{year}/{month}.csv"
    assert filled.affected("weather@main~1", "weather@main", template) == ["2012-02", "2013-01"]
    assert filled.affected(None, "weather@main", template) == ["2012-01", "2013-01"]
    assert filled.affected("weather@main", "weather@main", template) == []
    assert filled.affected("weather@main", "empty@main", template, key="{month}|{year}") == [
        "01|2012",
        "01|2013",
    ]
    write(filled, "weather@dev", {"a-b-c": b"1"})
    with pytest.raises(PartitionKeyError, match="'a-b-c' can be read"):
        filled.affected(None, "weather@dev", "{x}-{y}")


# One store for many


def test_threads_share_one_store(store, files_of):
    store.create_repo("r")
    failures = []

    def work(number):
        try:
            for step in range(5):
                with store.transaction("r@main") as tx:
                    tx.write(f"{number}/{step}", b"%d" % step)
                assert store.snapshot("r@main").read(f"{number}/{step}") == b"%d" % step
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(files_of(store, "r@main")) == 20
    assert [commit.number for commit in store.log("r@main")] == list(range(20, 0, -1))


def test_a_store_that_was_opened_twice_is_one_store(tmp_path, write):
    with vio.create_store(tmp_path / "s") as one, vio.open_store(tmp_path / "s") as two:
        one.create_repo("r")
        write(two, "r@main", {"x": b"1"})
        write(one, "r@main", {"y": b"2"})
        assert two.commit("r@main") == one.commit("r@main")
        assert two.commit("r@main").number == 2
        assert repr(one) == f"Store({str(tmp_path / 's')!r})"


def test_a_whole_commit_id_needs_no_repo_before_it(store, write):
    store.create_repo("r")
    first, second = write(store, "r@main", {"a": b"1"}), write(store, "r@main", {"a": b"2"})
    assert store.snapshot(first.id).read("a") == b"1"
    assert store.commit(f"{second.id}~1") == first
    assert list(store.log(second.id)) == [second, first]
    assert store.diff(first.id, second.id).num_rows == 1
    assert store.create_branch("r@dev", at=first.id).head == first.id
    assert store.create_tag("r@v2", at=second.id) == second
    assert store.upstream(f"{second.id}:a") == store.upstream(f"r@{second.id}:a")
    store.create_repo(first.id[::-1])
    assert store.snapshot(first.id[::-1]).is_empty  # a repo may have such a name


def test_who_writes_to_a_tag_is_told_that_it_is_one(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1"})
    store.create_tag("r@v1", at="r@main")
    for call in (
        lambda: store.transaction("r@v1"),
        lambda: store.merge("r@main", "r@v1"),
        lambda: store.reset("r@v1", "r@main"),
        lambda: store.commit("r@v1@{2026-01-01}"),
    ):
        with pytest.raises(RefNotFoundError, match=r"'r@v1.*that is a tag, which stays at its commit"):
            call()


def test_a_branch_that_is_deleted_while_somebody_writes_is_named(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1"})
    store.create_branch("r@dev", at="r@main")
    tx = store.transaction("r@dev")
    tx.write("b", b"1")
    store.delete_branch("r@dev")
    with pytest.raises(RefNotFoundError, match="no commit for 'r@dev': the branch was deleted meanwhile"), tx:
        pass


def test_what_happened_to_a_deleted_branch_stays_and_of_one_that_never_was_nothing_is_told(store, write):
    store.create_repo("r")
    assert [one.entry.action for one in store.reflog("r@main")] == ["create_repo"]
    write(store, "r@main", {"a": b"1"})
    store.create_branch("r@dev", at="r@main")
    store.delete_branch("r@dev")
    assert [one.entry.action for one in store.reflog("r@dev")] == ["create_branch", "delete_branch"]
    with pytest.raises(RefNotFoundError, match=r"repo 'r' has no branch, .* 'never'"):
        store.reflog("r@never")


def test_branches_say_whether_they_are_protected(store):
    store.create_repo("r")
    store.protect_branch("r@main")
    assert [branch.is_protected for branch in store.branches("r")] == [True]
    store.protect_branch("r@main", False)
    assert [branch.is_protected for branch in store.branches("r")] == [False]


def test_a_retention_rule_can_be_read(store):
    store.create_repo("r")
    assert store.retention("r@main") is None
    store.set_retention("r@main", keep_last=3, keep_for=timedelta(days=2))
    assert store.retention("r@main") == vio.RetentionRule(3, 172_800.0)
    store.set_retention("r@main")
    assert store.retention("r@main") is None
    with pytest.raises(RefNotFoundError):
        store.retention("r@nope")
