"""An older catalog gets what the packs know, and nothing that it holds is lost."""

from datetime import timedelta
from pathlib import Path

import pytest

import versioned_io as vio
from tests.versioned_io.older_catalogs import packs_in, put_back, rows_of, without_beacons
from versioned_io.errors import FormatError, InvalidInputError, RefNotFoundError, StorageError, StoreNotFoundError

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path, write):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "any", catalog=catalog) as store:
        store.create_repo("r", description="what it holds")
        for number in range(4):
            write(store, "r@main", {"a": b"%d" % number, "secret": b"s%d" % number, f"d/{number}": b"x" * number})
        store.create_branch("r@dev", at="r@main~1")
        write(store, "r@dev", {"dev": b"1"})
        store.create_tag("r@old", at="r@main~2")
        yield store


def recover(store, **options):
    """Run a recovery as another process does, and return its report and the store as it is opened then."""
    catalog = store._backend.catalog.engine.url.render_as_string(hide_password=False)
    store.close()
    report = vio.recover_store(store.url, catalog=catalog, **options)
    return report, without_beacons(store)


def told(store):
    """Everything that a store says of itself, apart from subscriptions and places."""
    found = {}
    for repo in store.repos():
        refs = [f"{repo.name}@{branch.name}" for branch in repo.branches]
        found[repo.name] = (
            repo.description,
            repo.created_at,
            [(branch.name, branch.head, branch.number, branch.is_protected) for branch in repo.branches],
            store.tags(repo.name),
            {ref: [commit.id for commit in store.log(ref)] for ref in refs},
            {ref: store.reflog(ref) for ref in refs},
            {ref: store.retention(ref) for ref in refs},
        )
        for ref in refs:
            snapshot = store.snapshot(ref)
            if not snapshot.is_empty:
                found[ref] = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
                found[ref, "upstream"] = {one.id for one in store.upstream(ref).commits}
    return found


def commits(count):
    def make(store, write):
        for number in range(count):
            write(store, "r@main", {"new": b"%d" % number})

    return make


def train(store, write):
    store.create_repo("models")
    with store.run("train", code_version="1"):
        store.snapshot("r@main").read("a")
        write(store, "models@main", {"model": b"m"}, idempotency_key="once")


def compacted(store, write):
    commits(10)(store, write)
    assert store.compact().packs
    commits(1)(store, write)


def collected(store, write):
    compacted(store, write)
    store.gc(**NOW)


STEPS = {
    "one commit": commits(1),
    "three commits": commits(3),
    "a repo with a run": train,
    "a tag of a new commit": lambda store, write: (commits(1)(store, write), store.create_tag("r@v1", at="r@main")),
    "a tag": lambda store, write: store.create_tag("r@v1", at="r@main"),
    "a tag that was deleted": lambda store, write: store.delete_tag("r@old"),
    "a branch with a commit": lambda store, write: (
        store.create_branch("r@next", at="r@main~1"),
        write(store, "r@next", {"b": b"1"}),
    ),
    "a branch that was renamed and went on": lambda store, write: (
        store.rename_branch("r@dev", "renamed"),
        write(store, "r@renamed", {"b": b"1"}),
    ),
    "a branch that was deleted": lambda store, write: (
        write(store, "r@dev", {"b": b"1"}),
        store.delete_branch("r@dev"),
    ),
    "a reset and a commit": lambda store, write: (store.reset("r@main", "r@main~2"), commits(1)(store, write)),
    "a squash": lambda store, write: store.squash("r@main", "r@main~2"),
    "a drop": lambda store, write: (commits(1)(store, write), store.drop("r@main")),
    "a merge": lambda store, write: store.merge("r@dev", "r@main"),
    "a protected branch with a rule": lambda store, write: (
        store.protect_branch("r@dev"),
        store.set_retention("r@main", keep_last=3),
    ),
    "a purge": lambda store, write: store.purge("r", "secret"),
    "a compaction": compacted,
    "a compaction and a collection": collected,
    "a collection that forgot": lambda store, write: (store.delete_branch("r@dev"), store.gc(**NOW)),
}


@pytest.mark.parametrize("step", STEPS)
def test_whatever_happened_since_is_added(any_store, write, step):
    before = rows_of(any_store)
    STEPS[step](any_store, write)
    wanted = told(any_store)
    older = put_back(any_store, before)
    report, store = recover(older)
    assert (report.damaged, report.uncertain, report.parted, report.held) == ((), (), (), ())
    assert told(store) == wanted
    assert store.fsck().is_clean
    # It can be worked with, and said once it is said for ever.
    kept = rows_of(store)
    report, store = recover(store)
    assert (report.commits, report.entries, report.packs, report.moved, report.trees) == (0, 0, 0, (), 0)
    assert rows_of(store) == kept
    write(store, "r@main", {"next": b"1"})
    store.create_tag("r@after", at="r@main")
    store.compact(small_bytes=1 << 20)
    store.gc(**NOW)
    assert store.fsck().is_clean
    assert told(store)["r"][4]["r@main"][1:] == wanted["r"][4]["r@main"]


@pytest.mark.parametrize(
    "step", ["three commits", "a branch that was renamed and went on", "a compaction and a collection"]
)
def test_subscriptions_go_on_where_they_were(any_store, write, step):
    branch = "r@dev" if "renamed" in step else "r@main"
    following = any_store.subscription("follower", branch, partitions="d/{number}", key="{number}")
    following.advance(any_store.commit(branch))
    write(any_store, branch, {"d/7": b"7"})
    assert following.collect() == 1
    due = following.claim("7", owner="me", lease_s=3600)
    before = rows_of(any_store)
    STEPS[step](any_store, write)
    _, store = recover(put_back(any_store, before))
    name = "r@renamed" if "renamed" in step else "r@main"
    for table in ("subscriptions", "due_keys"):
        assert rows_of(store)[table] == before[table]
    again = store.subscription("follower", name, partitions="d/{number}", key="{number}")
    assert again.cursor == following.cursor
    assert again.find("7") == due
    assert again.pending()


def test_both_lines_are_kept_where_the_older_catalog_went_on(any_store, write, files_of):
    before = rows_of(any_store)
    commits(3)(any_store, write)
    any_store.create_tag("r@v1", at="r@main")
    lost = any_store.commit("r@main")
    wanted = files_of(any_store, "r@main")
    older = put_back(any_store, before)
    write(older, "r@main", {"other": b"1"})
    head = write(older, "r@main", {"other": b"2"})
    older.create_tag("r@v2", at="r@main")
    report, store = recover(older)
    assert store.commit("r@main") == head
    assert len(report.parted) == 1
    assert head.id in report.parted[0]
    assert lost.id in report.parted[0]
    held = [name for name in report.held if name.startswith("r@recovered/")]
    assert held == [f"r@recovered/main-{lost.id[-8:]}"]
    assert store.commit(held[0]) == lost == store.commit(f"r@{lost.id}") == store.commit("r@v1")
    assert store.commit("r@v2") == head
    assert files_of(store, held[0]) == wanted
    assert store.fsck().is_clean
    said = told(store)
    report, store = recover(store)
    assert (report.held, report.parted, told(store)) == ((), (), said)
    # The journal notes it, so that a rebuild says the same, for ever.
    if any_store._backend.catalog.engine.dialect.name == "sqlite":
        store.close()
        assert told(rebuilt(store)) == said


def rebuilt(store):
    """Lose the catalog, and return the store with one that was rebuilt."""
    lose_catalog(store.url)
    assert vio.rebuild_store(store.url).uncertain == ()
    return without_beacons(store)


def lose_catalog(place):
    for file in Path(place).glob("catalog.db*"):
        file.unlink()


def test_a_rebuild_keeps_both_lines_when_both_have_children(tmp_path, write, files_of):
    place = tmp_path / "s"
    with vio.create_store(place) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"0"})
        before = rows_of(store)
        commits(3)(store, write)
        first, wanted = store.commit("r@main"), files_of(store, "r@main")
        older = put_back(store, before)
        commits(2)(older, write)
        second, also_wanted = older.commit("r@main"), files_of(older, "r@main")
        older.close()
    heads = []
    for number in range(3):
        lose_catalog(place)
        report = vio.rebuild_store(place)
        assert [all(one in text for one in (first.id, second.id)) for text in report.uncertain] == [True] * (
            number == 0
        )
        with vio.open_store(place) as after:
            heads.append({branch.name: branch.head for branch in after.branches("r")})
            for commit, files in ((first, wanted), (second, also_wanted)):
                assert files_of(after, f"r@{commit.id}") == files
            assert after.fsck().is_clean
    assert set(heads[0].values()) == {first.id, second.id}
    assert {name.partition("/")[0] for name in heads[0]} == {"main", "recovered"}
    assert heads == heads[:1] * 3


def test_a_dry_run_says_what_would_be_added_and_changes_nothing(any_store, write):
    before = rows_of(any_store)
    commits(2)(any_store, write)
    older = put_back(any_store, before)
    packs = packs_in(older)
    report, older = recover(older, dry_run=True)
    assert (report.commits, report.moved, report.dry_run) == (2, ("r@main",), True)
    assert (rows_of(older), packs_in(older)) == (before, packs)


def test_an_empty_catalog_is_rebuilt_instead_and_a_missing_one_or_store_is_told(tmp_path, write):
    with vio.create_store(tmp_path / "s") as store:
        with pytest.raises(InvalidInputError, match="rebuild"):
            vio.recover_store(tmp_path / "s")
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
    lose_catalog(tmp_path / "s")
    with pytest.raises(FormatError, match="rebuild"):
        vio.recover_store(tmp_path / "s")
    with pytest.raises(StoreNotFoundError):
        vio.recover_store(tmp_path / "nothing")


def test_a_dead_writers_attempt_does_not_come_back(any_store, write, monkeypatch):
    from versioned_io.versioning.transactions import publish

    class KilledError(BaseException):
        pass

    def die(*_):
        raise KilledError

    write(any_store, "r@main", {"b": b"1"})
    with monkeypatch.context() as patched:
        patched.setattr(publish, "_commit_drafts", die)
        with pytest.raises(KilledError):
            write(any_store, "r@main", {"dead": b"1"})
    head = write(any_store, "r@main", {"b": b"2"})
    report, store = recover(any_store)
    assert (report.commits, report.held, report.unconfirmed) == (0, (), 1)
    assert store.commit("r@main") == head
    with pytest.raises(RefNotFoundError):
        store.commit("r@recovered/main")


@pytest.fixture
def small_store(tmp_path, write):
    with vio.create_store(tmp_path / "small") as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1"})
        yield store


def test_an_entry_of_a_dead_writer_does_not_stop_a_rebuild_when_another_repo_got_its_number(small_store):
    before = rows_of(small_store)
    small_store.create_repo("dead")  # its entry is in a pack, and its transaction was rolled back
    store = put_back(small_store, before)
    store.create_repo("q")
    truth = told(store)
    for _ in range(2):
        store = rebuilt(store)
        assert told(store) == truth
        assert store.fsck().is_clean


def make_new(store, write):
    store.create_repo("new", description="newer")
    write(store, "new@main", {"b": b"2"})


def make_tags(store, write):
    store.create_tag("r@v", at="r@main")
    store.create_tag("r@w", at="r@main")


@pytest.mark.parametrize(("old", "new"), [(make_new, make_tags), (make_tags, make_new)])
def test_where_two_lines_gave_one_number_to_entries_of_two_repos_both_count(small_store, write, old, new):
    before = rows_of(small_store)
    old(small_store, write)
    store = put_back(small_store, before)
    new(store, write)
    report, store = recover(store)
    assert report.repos + report.tags > 0
    for again in (False, True, True):
        store = rebuilt(store) if again else store
        assert {repo.name: repo.description for repo in store.repos()} == {"r": "", "new": "newer"}
        assert store.snapshot("new@main").read("b") == b"2"
        assert {"v", "w"} == store.tags("r").keys()
        assert store.fsck().is_clean


def test_a_branch_that_parted_is_pinned_where_a_tag_holds_the_other_line(small_store, write):
    before = rows_of(small_store)
    other = write(small_store, "r@main", {"other": b"1"})
    small_store.create_tag("r@v", at=other.id)
    store = put_back(small_store, before)
    own = write(store, "r@main", {"own": b"1"})
    report, store = recover(store)
    (sentence,) = report.parted
    assert own.id in sentence
    for again in (False, True):
        store = rebuilt(store) if again else store
        assert store.commit("r@main").id == own.id
        assert store.tags("r") == {"v": other.id}
        assert store.fsck().is_clean


@pytest.mark.parametrize("make_place", [lambda _packs: None, Path.mkdir], ids=["gone", "an empty mount point"])
def test_without_the_packs_nothing_is_recovered_or_rebuilt(small_store, make_place):
    url = Path(small_store.url)
    small_store.close()
    (url / "packs").rename(url / "elsewhere")
    make_place(url / "packs")
    with pytest.raises(StorageError, match="unmounted"):
        vio.recover_store(url)
    (url / "catalog.db").rename(url / "kept.db")
    with pytest.raises(StorageError, match="unmounted"):
        vio.rebuild_store(url)
    assert [path.name for path in (url / "beacons").glob("commit-*")]
    for path in url.glob("catalog.db*"):
        path.unlink()
    (url / "kept.db").rename(url / "catalog.db")
    if (url / "packs").exists():
        (url / "packs").rmdir()
    (url / "elsewhere").rename(url / "packs")
    with vio.open_store(url) as store:
        assert store.fsck().is_clean


def test_a_commit_whose_beacon_is_lost_is_named_and_can_be_added(any_store, write, files_of):
    before = rows_of(any_store)
    lost = write(any_store, "r@main", {"acknowledged": b"1"})
    wanted = files_of(any_store, "r@main")
    older = put_back(any_store, before)
    head = write(older, "r@main", {"own": b"1"})
    report, store = recover(older)
    # Nothing tells it from the attempt of a writer that died.
    assert (report.commits, report.unconfirmed, report.left_out) == (0, 1, (lost.id,))
    with pytest.raises(RefNotFoundError):
        store.commit(f"r@{lost.id}")
    kept = rows_of(store)
    report, store = recover(store, add=[lost.id], dry_run=True)
    assert (report.commits, report.left_out, rows_of(store)) == (1, (), kept)
    report, store = recover(store, add=[lost.id])
    assert (report.commits, report.left_out) == (1, ())
    assert report.held == (f"r@recovered/main-{lost.id[-8:]}",)
    assert store.commit(report.held[0]) == lost
    assert files_of(store, report.held[0]) == wanted
    assert store.commit("r@main") == head
    assert store.fsck().is_clean
    assert store.gc(**NOW).unclear == ()
    said = told(store)
    report, store = recover(store, add=[lost.id])
    assert (report.commits, report.held, told(store)) == (0, (), said)
    if store._backend.catalog.engine.dialect.name == "sqlite":
        assert told(rebuilt(store)) == said


def test_of_two_commits_on_one_parent_without_a_beacon_the_branch_takes_the_one_that_is_added(any_store, write):
    before = rows_of(any_store)
    lost = write(any_store, "r@main", {"acknowledged": b"1"})
    older = put_back(any_store, before)
    other = write(older, "r@main", {"attempt": b"1"})
    older = put_back(older, before)
    report, store = recover(older, dry_run=True)
    assert report.uncertain
    assert report.left_out == (lost.id,)
    report, store = recover(store, add=[lost.id])
    assert (report.uncertain, report.parted, report.left_out) == ((), (), (other.id,))
    assert store.commit("r@main") == lost
    assert store.fsck().is_clean


def test_what_is_in_no_pack_was_disowned_or_was_replaced_can_not_be_added(any_store, write):
    before = rows_of(any_store)
    lost = write(any_store, "r@main", {"acknowledged": b"1"})
    older = put_back(any_store, before)
    write(older, "r@main", {"own": b"1"})
    _, store = recover(older)
    store.gc(disown=[lost.id])
    for wrong in (lost.id, "0" * 32, "nonsense", lost.root.pack.hex()):
        kept = rows_of(store)
        with pytest.raises(InvalidInputError, match="can't add"):
            recover(store, add=[wrong])
        store = without_beacons(store)
        assert rows_of(store) == kept
