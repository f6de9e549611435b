"""Two writers on one branch: disjoint changes both land, overlapping ones are told."""

import random

import pytest

from tests.versioned_io.conftest import dump_store
from versioned_io.errors import ConflictError, PathCollisionError
from versioned_io.versioning.transactions import publish
from versioned_io.versioning.transactions.transaction import draft_of


@pytest.fixture
def repo(store, write):
    store.create_repo("r")
    write(store, "r@main", {"a": b"1", "b": b"1", "d/x": b"1", "d/y": b"1", "count": b"5"})
    return store


class Race:
    """A transaction that has begun, and others that commit before it ends."""

    def __init__(self, store, mine, *theirs):
        self.store = store
        self.mine = mine
        self.theirs = theirs

    def run(self):
        with self.store.transaction("r@main", message="mine") as tx:
            self.mine(tx)
            self.others = []
            for theirs in self.theirs:
                with self.store.transaction("r@main", message="theirs") as other:
                    theirs(other)
                self.others.append(other.commit)
            self.before = dump_store(self.store)[0]
        return tx

    def conflict(self, *, winner=0):
        with pytest.raises(ConflictError) as caught:
            self.run()
        assert dump_store(self.store)[0] == self.before
        assert caught.value.winner == self.others[winner].id
        assert f"{caught.value.args[0]} changed under this transaction" in str(caught.value)
        assert self.others[winner].id in str(caught.value)
        return caught.value.paths


def writes(**files):
    def stage(tx):
        for name, data in files.items():
            tx.write(name.replace("__", "/"), data)

    return stage


def does(*calls):
    def stage(tx):
        for name, *arguments in calls:
            getattr(tx, name)(*arguments)

    return stage


def append(path, data):
    return lambda tx: tx.write(path, data, append=True)


def increment(tx):
    tx.write("count", str(int(tx.read("count")) + 1).encode())


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (writes(new=b"m"), writes(other=b"t")),
        (writes(a=b"m"), writes(b=b"t")),
        (writes(d__x=b"m"), writes(d__y=b"t")),
        (writes(d__new=b"m"), writes(d__other=b"t")),
        (does(("delete", "a")), does(("delete", "b"))),
        (does(("delete", "d/")), writes(a=b"t")),
        (writes(a=b"m"), does(("delete", "d/"))),
        (does(("move", "a", "z")), writes(b=b"t")),
        (does(("copy", ":a", "z")), writes(b=b"t")),
        (append("a", b"m"), append("b", b"t")),
    ],
)
def test_disjoint_changes_both_land(repo, files_of, mine, theirs):
    # Whoever is first: the tree in the end is what the two make of the first one, one after the other.
    repo.create_branch("r@plain", at="r@main")
    for stage in (theirs, mine):
        with repo.transaction("r@plain") as tx:
            stage(tx)
    tx = Race(repo, mine, theirs).run()
    assert files_of(repo, "r@main") == files_of(repo, "r@plain")
    assert repo.commit("r@main").tree_digest == repo.commit("r@plain").tree_digest
    assert [commit.message for commit in repo.log("r@main", limit=2)] == ["mine", "theirs"]
    assert tx.commit == repo.commit("r@main")
    assert tx.commit.number == 3
    assert repo.fsck().is_clean


@pytest.mark.parametrize(
    ("mine", "theirs", "paths"),
    [
        (writes(a=b"m", new=b"m"), writes(a=b"t"), ("a",)),
        (writes(new=b"m"), writes(new=b"t"), ("new",)),
        (writes(a=b"m", b=b"m", d__x=b"m"), writes(b=b"t", a=b"t", d__y=b"t"), ("a", "b")),
        (does(("delete", "a")), writes(a=b"t"), ("a",)),
        (writes(a=b"m"), does(("delete", "a")), ("a",)),
        (does(("delete", "d/")), writes(d__new=b"t"), ("d/new",)),
        (does(("delete", "d")), writes(d__x=b"t"), ("d/x",)),
        (does(("delete", "/")), writes(e__f=b"t"), ("e/f",)),
        (writes(d__x=b"m"), does(("delete", "d/")), ("d/x",)),
        (does(("move", "a", "z")), writes(a=b"t"), ("a",)),
        (does(("move", "d", "e")), writes(d__new=b"t"), ("d/new",)),
        (does(("move", "a", "z")), writes(z=b"t"), ("z",)),
        (append("a", b"m"), append("a", b"t"), ("a",)),
        (does(("delete", "d"), ("write", "d", b"m")), does(("delete", "d"), ("write", "d", b"t")), ("d",)),
    ],
)
def test_overlapping_changes_are_told_with_their_paths_and_the_winner(repo, mine, theirs, paths):
    assert Race(repo, mine, theirs).conflict() == paths
    assert repo.fsck().is_clean


@pytest.mark.parametrize(
    "both",
    [
        writes(a=b"same"),
        writes(new=b"same", d__x=b"same"),
        does(("delete", "a")),
        does(("delete", "d/")),
        does(("move", "a", "z")),
        does(("delete", "d"), ("write", "d", b"file")),
    ],
)
def test_the_same_change_on_both_sides_is_no_conflict(repo, both):
    race = Race(repo, both, both)
    tx = race.run()
    assert not tx.changed
    assert [tx.commit] == race.others


def test_the_same_change_and_more_lands(repo, files_of):
    tx = Race(repo, writes(a=b"same", new=b"m"), writes(a=b"same", b=b"t")).run()
    assert files_of(repo, "r@main") | {"a": b"same", "b": b"t", "new": b"m"} == files_of(repo, "r@main")
    assert repo.snapshot("r@main").writer_of("a") == tx.commit.parent


def test_the_same_bytes_with_other_attributes_are_a_conflict(repo):
    def labelled(value):
        return lambda tx: tx.write("a", b"same", attributes={"v": value})

    assert Race(repo, labelled("1"), labelled("2")).conflict() == ("a",)
    assert not Race(repo, labelled("3"), labelled("3")).run().changed


@pytest.mark.parametrize("change", [increment, append("a", b"!"), append("d/x", b"")])
def test_who_read_what_it_changes_is_told_even_when_both_wrote_the_same(repo, change):
    # Two that count one on from 5 both write 6: had both landed, one would be lost.
    path = {increment: "count"}.get(change)
    paths = Race(repo, change, writes(count=b"6", a=b"1!", d__x=b"2")).conflict()
    assert path is None or paths == (path,)
    assert len(paths) == 1


def test_what_was_only_read_may_change(repo, files_of):
    def copy_by_hand(tx):
        tx.write("copy", tx.read("a"))

    Race(repo, copy_by_hand, writes(a=b"t")).run()
    assert files_of(repo, "r@main")["copy"] == b"1"


@pytest.mark.parametrize(
    ("mine", "theirs", "paths"),
    [
        (writes(new=b"m"), writes(new__below=b"t"), ("new", "new/below")),
        (writes(new__below=b"m"), writes(new=b"t"), ("new", "new/below")),
        (writes(new__a__b=b"m"), writes(new=b"t", **{"new-x": b"t"}), ("new", "new/a/b")),
        (does(("delete", "d/"), ("write", "d", b"m")), writes(d__new=b"t"), ("d/new",)),
    ],
)
def test_a_file_and_a_directory_of_one_name_that_the_race_brings_are_a_conflict(repo, mine, theirs, paths):
    assert Race(repo, mine, theirs).conflict() == paths


def test_a_collision_that_the_transaction_brings_itself_is_no_conflict_however_often_it_retries(repo):
    for mine in (writes(new=b"m", new__below=b"m"), writes(a__below=b"m"), writes(d=b"m")):
        with pytest.raises(PathCollisionError):
            Race(repo, mine, writes(other=str(mine).encode())).run()


def test_the_winner_is_the_one_who_changed_the_path_not_the_newest(repo):
    assert Race(repo, writes(a=b"m"), writes(a=b"t"), writes(b=b"later")).conflict() == ("a",)
    others = [writes(b=b"before"), does(("delete", "a")), writes(b=b"after")]
    assert Race(repo, writes(a=b"m"), *others).conflict(winner=1) == ("a",)


def test_what_was_changed_and_changed_back_is_no_conflict(repo, write):
    with repo.transaction("r@main") as tx:
        tx.write("a", b"m")
        write(repo, "r@main", {"a": b"t"})
        write(repo, "r@main", {"a": b"1"})
    assert repo.snapshot("r@main").read("a") == b"m"


def test_many_that_overtake_do_not_starve_a_transaction(repo, write, files_of):
    with repo.transaction("r@main") as tx:
        tx.write("mine", b"m")
        for number in range(20):
            write(repo, "r@main", {f"theirs/{number}": b"t"})
    assert tx.commit.number == 22
    assert len(files_of(repo, "r@main")) == 26


def test_a_transaction_over_several_branches_lands_or_not_as_a_whole(repo, write, files_of):
    repo.create_repo("other")
    with repo.transaction("r@main") as tx:
        tx.write("mine", b"m")
        tx.branch("other@main").write("mine", b"m")
        write(repo, "other@main", {"theirs": b"t"})
        write(repo, "r@main", {"theirs": b"t"})
    assert (repo.commit("r@main").number, repo.commit("other@main").number) == (3, 2)

    def lose_on_the_second():
        with repo.transaction("r@main") as tx:
            tx.write("mine", b"again")
            tx.branch("other@main").write("mine", b"again")
            write(repo, "other@main", {"mine": b"t"})

    with pytest.raises(ConflictError, match="other@main changed under"):
        lose_on_the_second()
    assert (repo.commit("r@main").number, repo.commit("other@main").number) == (3, 3)
    assert files_of(repo, "r@main")["mine"] == b"m"


def packs_of(store):
    return sum(1 for _ in store._backend.objects.list("packs/"))


def overtaken_commit(store, write, number):
    """Commit to a branch that another writer is faster with; return how many packs that took, the other's apart."""
    with store.transaction("r@main") as tx:
        tx.write(f"mine/{number}", b"m%d" % number)
        before = packs_of(store)
        write(store, "r@main", {f"theirs/{number}": b"t%d" % number})
        theirs = packs_of(store) - before
    assert theirs == 1
    return packs_of(store) - before - theirs


def test_a_small_change_that_was_overtaken_holds_the_branch_and_is_stored_once(repo, write, files_of):
    assert [overtaken_commit(repo, write, number) for number in range(3)] == [1, 1, 1]
    assert repo._backend.busy_branches  # only who holds branches notes them
    assert len(files_of(repo, "r@main").keys() & {"mine/0", "theirs/0", "mine/2", "theirs/2"}) == 4


def test_who_lost_a_race_for_a_branch_loses_none_the_next_time(repo, write, monkeypatch):
    """A race is lost when the other commits after the head was looked at."""
    original = publish.draft_all

    def race(*arguments):
        if not races:
            races.append(packs_of(repo))
            write(repo, "r@main", {"theirs": b"t"})
        return original(*arguments)

    races = []
    monkeypatch.setattr(publish, "draft_all", race)
    write(repo, "r@main", {"mine": b"m"})
    assert packs_of(repo) - races[0] == 3  # the other's, the lost one, and the one that counts
    branch = draft_of(repo.transaction("r@main")).target.id
    assert repo._backend.busy_branches == {branch}
    write(repo, "r@main", {"mine": b"m2"})
    assert repo._backend.busy_branches == set()  # nobody was there


def test_pages_that_fill_packs_while_the_branch_is_held_need_no_second_writer(repo, files_of, monkeypatch):
    """Each full pack asks for the lease, and to write that would be to wait for oneself."""
    monkeypatch.setattr(publish, "_optimistic_attempts", lambda *_: 0)
    with repo.transaction("r@main") as tx:
        tx._data.packs._roll_bytes = 10_000
        for number in range(3_000):
            tx.write(f"many/{number}", b"%d" % number)
    assert len(tx._data.packs.stored) > 2
    assert len(files_of(repo, "r@main")) == 3_000 + 5
    assert repo.fsck().is_clean


def test_data_is_not_stored_again_for_a_rebase(repo, write):
    data = random.Random(4).randbytes(1_000_000)
    with repo.transaction("r@main") as tx:
        tx.write("mine", data)
        write(repo, "r@main", {"theirs": b"t"})
    assert len(data) < tx.commit.stats.bytes_stored < 1.1 * len(data)
    assert repo.snapshot("r@main").read("mine") == data


def test_a_branch_that_was_emptied_meanwhile_is_a_conflict_that_names_no_commit(repo):
    tx = repo.transaction("r@main")
    tx.write("a", b"2")
    repo.reset("r@main", None)
    with pytest.raises(ConflictError, match="reset or dropped") as caught:
        tx.finish()
    assert caught.value.winner == ""


def test_every_conflict_is_said_in_whole_sentences():
    for error in (
        ConflictError("r@main"),
        ConflictError("r@main", ("a",)),
        ConflictError("r@main", (), "0" * 32),
        ConflictError("r@main", ("a", "b"), "0" * 32),
    ):
        assert "  " not in str(error)
        assert "commit already" not in str(error)
        assert "changed ;" not in str(error)
