"""What rounds say is alive is at least what a full mark finds, whatever happened; nothing that is needed is deleted."""

import random
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import select

import versioned_io as vio
from versioned_io.catalog import collection, rounds
from versioned_io.catalog.collection import list_packs, record_packs
from versioned_io.catalog.tables import commits, maintenance, packs
from versioned_io.errors import ExistsError, InvalidInputError, NotFoundError
from versioned_io.maintenance.collection import new_marks, orphans
from versioned_io.maintenance.collection.garbage import mark_store
from versioned_io.maintenance.collection.new_garbage import collect_new
from versioned_io.maintenance.collection.new_marks import PackChange, enter_marks, find_scope, mark_new
from versioned_io.maintenance.compaction import compaction
from versioned_io.maintenance.compaction.compaction import PackGroup, merge_packs

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "store", catalog=catalog) as store:
        store.create_repo("r")
        yield store


def alive_by_rounds(store):
    marks = mark_new(store._backend)
    with store._backend.catalog.read() as connection:
        return rounds.names_with_round(connection) | marks.found.keys() | marks.kept


def check(store):
    """The two things that hold at each moment, and nothing that a full mark finds alive is taken for dead."""
    with store._backend.catalog.read() as connection:
        full = mark_store(store._backend).packs | record_packs(connection)
        of_pack = rounds.rounds_of(connection, [row.name for row in list_packs(connection)])
        rows = connection.execute(select(commits.c.id, commits.c.pack, commits.c.mark_epoch, commits.c.state)).all()
    assert full <= alive_by_rounds(store)
    for row in rows:
        if row.mark_epoch is not None:
            assert of_pack[row.pack] is not None
            assert of_pack[row.pack] <= row.mark_epoch
    live = {row.id: row.mark_epoch for row in rows if row.state == "live" and row.mark_epoch is not None}
    for commit_id, number in live.items():
        root = store.commit(commit_id).root
        for name in packs_of_tree(store, root):
            assert of_pack[name] is not None
            assert of_pack[name] <= number


def packs_of_tree(store, root):
    from versioned_io.maintenance.collection.marking import mark_trees
    from versioned_io.storage.pages.page_source import PageSource

    return mark_trees(PageSource(store._backend.objects), [root]).packs


def contents(store, wanted):
    for commit_id, files in wanted.items():
        snapshot = store.snapshot(f"r@{commit_id}")
        assert {file.path: snapshot.read(file.path) for file in snapshot.walk()} == files


def test_a_collection_of_what_is_new_walks_each_commit_once(any_store, write):
    for number in range(5):
        write(any_store, "r@main", {"a": b"%d" % number})
    assert collect_new(any_store._backend, grace=timedelta(1)).commits == 5
    write(any_store, "r@main", {"a": b"new"})
    assert collect_new(any_store._backend, grace=timedelta(1)).commits == 1
    assert collect_new(any_store._backend, grace=timedelta(1)).commits == 0
    check(any_store)


def test_a_new_tree_is_walked_less_what_it_shares_with_its_parent(any_store, write):
    write(any_store, "r@main", {f"many/{number:05}": b"%d" % number for number in range(6000)})
    collect_new(any_store._backend, grace=timedelta(1))
    write(any_store, "r@main", {"many/03000": b"new"})
    pages = []
    mark_new(any_store._backend, progress=pages.append)
    assert pages[-1] <= 3


def test_what_only_forgotten_commits_lead_to_stays_until_a_full_mark(any_store, write):
    write(any_store, "r@main", {"a": b"1"})
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("large", random.Random(3).randbytes(9_000_000))
    collect_new(any_store._backend, grace=timedelta(0))
    any_store.delete_branch("r@dev")
    any_store.gc(grace=timedelta(days=1), expire=timedelta(0))
    assert any_store.fsck().is_clean
    found = collect_new(any_store._backend, grace=timedelta(0))
    assert len(found.deleted) == 1
    check(any_store)


def test_a_page_in_a_pack_with_a_round_is_no_proof_for_what_it_leads_to(any_store, write):
    """A tree that no walked commit had lies in a pack with a round; what it leads to has none."""
    data = random.Random(3).randbytes(9_000_000)
    any_store.create_branch("r@dev", at="r@main")
    with any_store.transaction("r@dev") as tx:
        tx.write("large", data)
    with any_store.transaction("r@dev") as tx:
        tx.write("more", b"1")
        tx.branch("r@main").write("small", b"1")  # in one pack with the pages of the other branch
    set_state(any_store, "forgotten", any_store.log("r@dev"))
    assert len(collect_new(any_store._backend, grace=timedelta(days=1)).condemned) == 1
    set_state(any_store, "live", any_store.log("r@dev"))
    found = collect_new(any_store._backend, grace=timedelta(0))
    assert len(found.revived) == 1
    assert any_store.snapshot("r@dev").read("large") == data
    check(any_store)


def set_state(store, state, history):
    with store._backend.catalog.write() as connection:
        for commit in list(history):
            own = commits.update().where(commits.c.id == commit.id)
            connection.execute(own.values(state=state, mark_epoch=None))


@pytest.mark.parametrize("died_after", range(1, 6))
def test_a_process_that_dies_while_it_enters_a_round_leaves_it_to_the_next(any_store, write, monkeypatch, died_after):
    monkeypatch.setattr(new_marks, "_BATCH", 3)
    monkeypatch.setattr(new_marks, "_COMMITS_A_ROUND", 3)
    for number in range(8):
        write(any_store, "r@main", {f"d/{number}": b"%d" % number})
    marks = mark_new(any_store._backend)
    write_of = type(any_store._backend.catalog).write
    calls = []

    def dies(catalog):
        calls.append(1)
        if len(calls) > died_after:
            raise KeyboardInterrupt
        return write_of(catalog)

    monkeypatch.setattr(type(any_store._backend.catalog), "write", dies)
    with pytest.raises(KeyboardInterrupt):
        enter_marks(any_store._backend, marks)
    monkeypatch.undo()
    check(any_store)
    write(any_store, "r@main", {"d/8": b"8"})
    collect_new(any_store._backend, grace=timedelta(0))
    check(any_store)
    assert any_store.gc(**NOW, dry_run=True).condemned == 0
    assert any_store.fsck().is_clean


def test_many_new_commits_are_entered_by_portions_so_that_a_death_loses_one(any_store, write, monkeypatch):
    monkeypatch.setattr(new_marks, "_PORTION", 4)
    for number in range(10):
        write(any_store, "r@main", {f"d/{number % 3}": b"%d" % number})
    original, calls = new_marks.enter_marks, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(new_marks, "enter_marks", dies)
    with pytest.raises(KeyboardInterrupt):
        collect_new(any_store._backend, grace=timedelta(0))
    check(any_store)
    with any_store._backend.catalog.read() as connection:
        assert rounds.count_without_round(connection) == 6
    found = collect_new(any_store._backend, grace=timedelta(0))
    assert (found.commits, found.condemned) == (6, [])
    check(any_store)


def test_a_mark_that_another_process_overtook_enters_nothing(any_store, write):
    write(any_store, "r@main", {"a": b"1"})
    slow = mark_new(any_store._backend)
    write(any_store, "r@main", {"a": b"2"})
    collect_new(any_store._backend, grace=timedelta(1))
    judged = []
    assert not enter_marks(any_store._backend, slow, [PackChange([], judged.append)])
    assert judged == []
    check(any_store)


def test_a_scope_has_every_frame_of_its_packs_that_a_full_mark_finds_alive(any_store, write):
    for number in range(30):
        write(any_store, "r@main", {f"d/{number % 7}": b"%d" % number, f"e/{number}": b"e%d" % number})
        if number % 10 == 9:
            collect_new(any_store._backend, grace=timedelta(1))
    with any_store._backend.catalog.read() as connection:
        names = sorted(row.name for row in list_packs(connection))
    full = mark_store(any_store._backend)
    for some in (names[-5:], names[:5], names[12:20], names):
        scope = find_scope(any_store._backend, some)
        for name in some:
            assert scope.marks.frames_of(name) == full.frames_of(name)
    assert len(find_scope(any_store._backend, names[-5:]).commits) <= 10


class Work:
    """Things that happen to a store, one at a time, and what every commit that is kept must hold."""

    def __init__(self, store, write, seed):
        self.store, self.write, self.random, self.wanted = store, write, random.Random(seed), {}

    def step(self):
        actions = [self.commit] * 12 + [self.compact] * 2
        actions += [self.branch, self.delete, self.collect, self.purge, self.retain, self.collect_new]
        with suppress(ExistsError, NotFoundError, InvalidInputError):
            self.random.choice(actions)()

    def path(self):
        return f"{self.random.choice('abc')}/{self.random.randrange(9)}"

    def files(self, commit_id):
        snapshot = self.store.snapshot(f"r@{commit_id}")
        return {file.path: snapshot.read(file.path) for file in snapshot.walk()}

    def commit(self):
        branch = self.random.choice(self.store.repo("r").branches).name
        content = self.random.choice([None, self.random.randbytes(50), b"same"])
        made = self.write(self.store, f"r@{branch}", {self.path(): content})
        if made is not None:
            self.wanted[made.id] = self.files(made.id)

    def branch(self):
        self.store.create_branch(f"r@b{self.random.randrange(4)}", at=self.random.choice([*self.wanted, "r@main"]))

    def delete(self):
        self.store.delete_branch(f"r@b{self.random.randrange(4)}")

    def collect(self):
        self.store.gc(**NOW)

    def collect_new(self):
        collect_new(self.store._backend, grace=timedelta(0))

    def compact(self):
        self.store.compact()

    def purge(self):
        self.store.purge("r", self.path())
        self.drop_forgotten()
        self.wanted = {commit_id: self.files(commit_id) for commit_id in self.wanted}

    def retain(self):
        self.store.set_retention("r@main", keep_last=self.random.randrange(5, 20))

    def drop_forgotten(self):
        for commit_id in list(self.wanted):
            if self.store.commit(commit_id).state.value != "live":
                del self.wanted[commit_id]


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))])
def test_after_any_work_a_full_collection_agrees_with_a_new_one(new_store, write, monkeypatch, seed):
    monkeypatch.setattr(compaction, "_FEW_SMALL_PACKS", 3)
    monkeypatch.setattr(compaction, "_FULL_TIER", 3)
    monkeypatch.setattr(compaction, "_MANY_MERGED", 3)
    monkeypatch.setattr(new_marks, "_COMMITS_A_ROUND", 4)
    store = new_store()
    store.create_repo("r")
    work = Work(store, write, seed)
    for _ in range(10):
        for _ in range(8):
            work.step()
        work.collect_new()
        work.drop_forgotten()
        check(store)
        contents(store, work.wanted)
        assert store.fsck().is_clean
        # A full mark finds nothing alive that is condemned, and more that is dead at most.
        assert store.gc(grace=timedelta(0), expire=timedelta(days=99), dry_run=True).revived == 0


def test_migrated_packs_and_commits_have_no_round_and_are_all_walked(any_store, write):
    for number in range(4):
        write(any_store, "r@main", {"a": b"%d" % number})
    with any_store._backend.catalog.write() as connection:
        connection.execute(commits.update().values(mark_epoch=None))
        connection.execute(packs.update().values(mark_epoch=None))
        connection.execute(maintenance.delete())
    assert collect_new(any_store._backend, grace=timedelta(0)).condemned == []
    check(any_store)


def merged(store, write, count=12):
    """Make commits and merge their packs, which nothing leads to afterwards; return the number of packs."""
    for number in range(count):
        write(store, "r@main", {f"d/{number}": b"%d" % number})
    return store.compact().packs


@pytest.mark.parametrize("collect", ["new", "full"])
def test_no_transaction_judges_more_than_a_batch_of_packs(any_store, write, monkeypatch, collect):
    dead = merged(any_store, write)
    monkeypatch.setattr(orphans, "_BATCH", 5)
    original, sizes = collection.condemn_packs, []

    def noted(connection, names, at):
        sizes.append(len(names))
        return original(connection, names, at)

    monkeypatch.setattr(collection, "condemn_packs", noted)
    if collect == "new":
        assert len(collect_new(any_store._backend, grace=timedelta(days=1)).condemned) == dead
    else:
        assert any_store.gc(grace=timedelta(days=1)).condemned == dead
    assert sum(sizes) == dead
    assert max(sizes) <= 5
    check(any_store)


@pytest.mark.parametrize("collect", ["new", "full"])
def test_a_round_that_is_entered_between_two_batches_keeps_the_rules(any_store, write, monkeypatch, collect):
    dead = merged(any_store, write)
    monkeypatch.setattr(orphans, "_BATCH", 5)
    write_of, calls = type(any_store._backend.catalog).write, []

    def overtaken(catalog):
        calls.append(1)
        if len(calls) == 4:
            with write_of(catalog) as connection:
                rounds.set_last_round(connection, rounds.last_round(connection) + 1)
        return write_of(catalog)

    monkeypatch.setattr(type(any_store._backend.catalog), "write", overtaken)
    if collect == "new":
        found = len(collect_new(any_store._backend, grace=timedelta(days=1)).condemned)
    else:
        found = any_store.gc(grace=timedelta(days=1)).condemned
    monkeypatch.undo()
    check(any_store)
    assert found + len(collect_new(any_store._backend, grace=timedelta(days=1)).condemned) == dead
    check(any_store)
    assert any_store.fsck().is_clean


def test_a_merge_beside_a_mark_that_is_still_entered_gives_no_pack_a_later_round(any_store, write, monkeypatch):
    monkeypatch.setattr(new_marks, "_BATCH", 3)
    monkeypatch.setattr(new_marks, "_COMMITS_A_ROUND", 3)
    for number in range(12):
        write(any_store, "r@main", {f"d/{number}": b"%d" % number})
    backend = any_store._backend
    marks = mark_new(backend)
    late = dict(sorted(marks.found.items(), key=lambda one: one[1].round)[:4])
    early = {name: one for name, one in marks.found.items() if name not in late}

    def enter(found):
        with backend.catalog.write() as connection:
            rounds.hold_rounds(connection, marks.seen)
            rounds.set_last_round(connection, marks.last)
            rounds.enter_packs(connection, found)
            if found is late:
                rounds.enter_commits(connection, marks.walked)

    enter(early)
    original = compaction.find_scope

    def then_entered(*arguments, **options):
        scope = original(*arguments, **options)
        enter(late)
        return scope

    monkeypatch.setattr(compaction, "find_scope", then_entered)
    with backend.catalog.read() as connection:
        rows = [row for row in list_packs(connection) if row.name in marks.found]
    merge_packs(backend, PackGroup(tuple(rows), 1), report=lambda *_: None)
    check(any_store)
    assert any_store.fsck().is_clean
