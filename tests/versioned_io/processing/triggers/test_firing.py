"""Triggers fire when their conditions hold, once, and leave nothing half done."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError, InvalidInputError, NotFoundError, StorageError

MAIN, TRAIN = "r@main", "r@train"


class SetClock:
    """A clock that stands until it is put forward."""

    now = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, **span):
        self.now += timedelta(**span)


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path):
    catalog = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with vio.create_store(tmp_path / "store", catalog=catalog) as made:
        made.create_repo("r")
        yield made


@pytest.fixture
def store(tmp_path, clock):
    with vio.create_store(tmp_path / "store", clock=clock) as made:
        made.create_repo("r")
        yield made
        assert made.fsck().is_clean


def put(store, branch=MAIN, path="a", data=b"1"):
    with store.transaction(branch) as tx:
        tx.write(path, data)
    return tx.commit


def fired(store):
    return [one.branch for one in store.run_triggers().fired]


def head(store, branch):
    repo, name = branch.split("@")
    return next(one.head for one in store.branches(repo) if one.name == name)


def test_trigger_simple_does_not_fire_below_the_size_and_at_it_the_head_is_the_same_commit(any_store):
    store = any_store
    store.trigger(TRAIN, on=MAIN, changed_bytes="1K")
    put(store, data=b"x" * 999)
    assert fired(store) == []
    assert store.run_triggers().waiting[0].because == "999 bytes changed, 1000 wanted"
    made = put(store, path="b", data=b"x")
    (one,) = store.run_triggers().fired
    assert store.commit(TRAIN) == made
    assert (one.branch, one.on, one.old, one.new, one.lineage_id) == (TRAIN, MAIN, None, made.id, made.lineage_id)
    assert fired(store) == []


def test_bytes_that_are_replaced_or_deleted_count_as_changed(store):
    put(store, data=b"x" * 1000)
    store.trigger(TRAIN, on=MAIN, changed_bytes=1000)
    assert fired(store) == [TRAIN]
    put(store, data=b"y" * 1000)  # the total size is as before
    assert fired(store) == [TRAIN]
    with store.transaction(MAIN) as tx:
        tx.delete("a")
    assert fired(store) == [TRAIN]


def test_a_change_that_was_undone_counts_for_nothing(store):
    put(store)
    store.trigger(TRAIN, on=MAIN, changed_files=1)
    assert fired(store) == [TRAIN]
    put(store, data=b"2")
    put(store, data=b"1")
    assert fired(store) == []


def test_trigger_count_fires_at_each_n_th_commit(any_store):
    store = any_store
    store.trigger(TRAIN, on=MAIN, commits=3)
    pattern = []
    for number in range(7):
        put(store, data=b"%d" % number)
        pattern.append(fired(store) == [TRAIN])
    assert pattern == [False, False, True, False, False, True, False]


def test_trigger_or_needs_one_condition_and_trigger_and_all(store):
    store.trigger("r@or", on=MAIN, commits=3, changed_bytes=100)
    store.trigger("r@and", on=MAIN, commits=3, changed_bytes=100, any_=False)
    put(store, data=b"x" * 100)
    assert fired(store) == ["r@or"]
    put(store, path="b")
    assert fired(store) == []
    put(store, path="c")
    assert fired(store) == ["r@and"]


def test_trigger_chain_fires_in_one_evaluation_whatever_the_names(any_store):
    store = any_store
    store.trigger("r@k", on=MAIN, commits=1)
    store.trigger("r@z", on="r@k", commits=1)
    store.trigger("r@a", on="r@z", commits=1)
    made = put(store)
    assert fired(store) == ["r@k", "r@z", "r@a"]
    assert {store.commit(one).id for one in ("r@a", "r@z", "r@k")} == {made.id}


def test_trigger_cron_fires_at_an_instant_and_without_a_new_commit_creates_nothing(store, clock):
    store.trigger(TRAIN, on=MAIN, cron="0 * * * *")
    clock.forward(hours=1)
    assert fired(store) == []
    made = put(store)  # at 13:30, after the instant of 13:00
    assert fired(store) == []
    assert store.run_triggers().waiting[0].because == "0 * * * * comes next at 2026-01-01T14:00:00+00:00"
    clock.forward(minutes=29)
    assert fired(store) == []
    clock.forward(minutes=1)
    assert fired(store) == [TRAIN]
    assert store.commit(TRAIN) == made
    entries = len(store.reflog(TRAIN))
    clock.forward(hours=3)
    assert fired(store) == []
    assert len(store.reflog(TRAIN)) == entries


def test_an_instant_that_nobody_looked_at_is_made_up_for(store, clock):
    store.trigger(TRAIN, on=MAIN, cron="0 6 * * *", time_zone="Europe/Berlin")
    put(store)
    clock.forward(days=3)
    assert fired(store) == [TRAIN]


def test_a_limit_holds_back_firings_whatever_the_conditions_say(store, clock):
    store.trigger(TRAIN, on=MAIN, commits=1, at_most_every="1h")
    put(store)
    assert fired(store) == [TRAIN]
    made = put(store, data=b"2")
    clock.forward(minutes=59, seconds=59)
    assert fired(store) == []
    assert "may fire again at 2026-01-01T13:30:00" in store.run_triggers().waiting[0].because
    clock.forward(seconds=1)
    assert fired(store) == [TRAIN]
    assert store.commit(TRAIN) == made


def test_a_limit_alone_follows_every_move(store, clock):
    store.trigger(TRAIN, on=MAIN, at_most_every=timedelta(minutes=1))
    put(store)
    assert fired(store) == [TRAIN]


@pytest.mark.parametrize("key", ["auc", "test.auc"])
def test_a_metric_fires_at_exactly_its_change(store, key):
    def score(value):
        values = {"auc": value} if key == "auc" else {"test": {"auc": value}}
        put(store, path="metrics.json", data=json.dumps(values).encode())

    store.trigger(TRAIN, on=MAIN, metric=vio.metric("metrics.json", key, 0.01))
    score(0.56)
    assert fired(store) == [TRAIN]
    score(0.569)
    assert fired(store) == []
    score(0.57)  # as binary fractions, they differ by less than 0.01
    assert fired(store) == [TRAIN]
    score(0.56)
    assert fired(store) == [TRAIN]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "not JSON"),
        (b"[1]", "no number at 'auc'"),
        (b'{"auc": "0.9"}', "no number at 'auc'"),
        (b'{"auc": true}', "no number at 'auc'"),
        (b'{"auc": NaN}', "not JSON"),
        (b'{"auc": 1e99999999}', "out of range"),
        (b'{"auc": -1e9999999999999999999}', "out of range"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (None, "does not exist"),
    ],
)
def test_a_metric_that_is_not_there_says_why(store, data, why):
    store.trigger(TRAIN, on=MAIN, metric=vio.metric("metrics.json", "auc", 0.01))
    put(store, path="other" if data is None else "metrics.json", data=data or b"")
    (wait,) = store.run_triggers().waiting
    assert why in wait.because
    assert not wait.is_blocked


def test_branch_movement_by_hand_keeps_the_trigger_and_counts_from_there(store):
    first = put(store)
    store.trigger(TRAIN, on=MAIN, commits=2)
    store.reset(TRAIN, first.id)
    put(store, data=b"2")
    assert fired(store) == []
    put(store, data=b"3")
    assert fired(store) == [TRAIN]
    store.reset(TRAIN, first.id)
    assert fired(store) == [TRAIN]


def test_a_source_that_was_set_back_takes_the_branch_along_with_its_next_commit(store):
    first = put(store)
    store.trigger(TRAIN, on=MAIN, commits=1)
    put(store, data=b"2")
    assert fired(store) == [TRAIN]
    store.reset(MAIN, first.id)
    assert fired(store) == []
    made = put(store, data=b"3")
    assert fired(store) == [TRAIN]
    assert store.commit(TRAIN) == made


def test_commits_of_its_own_block_a_branch_until_they_are_merged_or_reset(store):
    put(store)
    store.trigger(TRAIN, on=MAIN, commits=1)
    assert fired(store) == [TRAIN]
    own = put(store, TRAIN, path="own")
    put(store, data=b"2")
    (wait,) = store.run_triggers().waiting
    assert wait.is_blocked
    assert own.id in wait.because
    assert store.commit(TRAIN) == own
    store.merge(TRAIN, into=MAIN)
    assert fired(store) == [TRAIN]
    assert store.snapshot(TRAIN).exists("own")


def test_a_protected_branch_moves_forward_only(store):
    first = put(store)
    store.trigger(TRAIN, on=MAIN, commits=1)
    store.protect_branch(TRAIN)
    assert fired(store) == [TRAIN]
    put(store, data=b"2")
    assert fired(store) == [TRAIN]
    store.reset(MAIN, first.id)
    put(store, data=b"3")
    (wait,) = store.run_triggers().waiting
    assert wait.is_blocked
    assert "protected" in wait.because


def test_trigger_validation_refuses_itself_loops_and_sources_that_do_not_exist(store):
    with pytest.raises(InvalidInputError, match="follow itself"):
        store.trigger(MAIN, on=MAIN, commits=1)
    store.trigger("r@b", on=MAIN, commits=1)
    store.trigger("r@c", on="r@b", commits=1)
    with pytest.raises(InvalidInputError, match="follow itself through r@c, r@b"):
        store.trigger(MAIN, on="r@c", commits=1)
    with pytest.raises(NotFoundError, match="nowhere"):
        store.trigger("r@d", on="nowhere@main", commits=1)
    with pytest.raises(NotFoundError, match="missing"):
        store.trigger("r@d", on="r@missing", commits=1)
    with pytest.raises(NotFoundError, match="elsewhere"):
        store.trigger("elsewhere@d", on=MAIN, commits=1)
    with pytest.raises(InvalidInputError, match="cron"):
        store.trigger("r@d", on=MAIN, cron="bad")
    with pytest.raises(InvalidInputError, match="changed_bytes"):
        store.trigger("r@d", on=MAIN, changed_bytes="bad")
    with pytest.raises(InvalidInputError, match="commits"):
        store.trigger("r@d", on=MAIN, commits=-1)
    assert [branch.name for branch in store.branches("r")] == ["b", "c", "main"]


def test_a_trigger_is_replaced_listed_and_deleted(store, clock):
    store.trigger(TRAIN, on=MAIN, commits=1)
    put(store)
    store.run_triggers()
    at = clock.now
    clock.forward(minutes=1)
    store.trigger(TRAIN, on=MAIN, commits=5)
    (one,) = store.triggers()
    assert (one.branch, one.on, one.rule.commits, one.fired_at, one.set_at) == (TRAIN, MAIN, 5, at, clock.now)
    assert store.delete_trigger(TRAIN) == one
    assert store.triggers() == []
    with pytest.raises(NotFoundError, match="follows no branch"):
        store.delete_trigger(TRAIN)
    assert store.branches("r")[1].name == "train"


def test_a_followed_branch_is_deleted_only_by_force_and_ends_the_trigger(store):
    store.create_repo("q")
    store.trigger(TRAIN, on=MAIN, commits=1)
    store.trigger("q@copy", on=TRAIN, commits=1)
    with pytest.raises(InvalidInputError, match="q@copy follows it"):
        store.delete_branch(TRAIN)
    with pytest.raises(InvalidInputError, match="q@copy"):
        store.delete_repo("r")
    store.delete_branch(TRAIN, force=True)
    assert store.triggers() == []
    store.trigger(TRAIN, on=MAIN, commits=1)
    store.trigger("q@copy", on=TRAIN, commits=1)
    store.delete_repo("q")
    store.delete_repo("r")
    assert store.triggers() == []
    store.restore_repo("r")
    assert store.triggers() == []


def test_renamed_branches_and_repos_keep_their_triggers(store):
    store.trigger(TRAIN, on=MAIN, commits=1)
    store.rename_branch(MAIN, "trunk")
    store.rename_branch(TRAIN, "prod")
    store.rename_repo("r", "renamed")
    put(store, "renamed@trunk")
    assert fired(store) == ["renamed@prod"]


def test_a_copy_in_another_repo_has_the_same_files_lineage_and_provenance(any_store):
    store = any_store
    store.create_repo("models")
    store.trigger("models@train", on=MAIN, commits=1)
    put(store, path="gone")
    put(store, path="stays")
    (one,) = store.run_triggers().fired
    with store.transaction(MAIN) as tx:
        tx.delete("gone")
        tx.write("new", b"new", attributes={"unit": "mm"})
    (one,) = store.run_triggers().fired
    copy = store.commit("models@train")
    assert (copy.id, copy.lineage_id, copy.provenance) == (one.new, tx.commit.lineage_id, (tx.commit.id,))
    assert copy.tree_digest == tx.commit.tree_digest
    assert copy.stats.bytes_written == 3
    assert store.snapshot("models@train").read("new") == b"new"
    assert store.run_triggers() == vio.TriggerRound()
    assert store.fsck().is_clean


def test_a_copy_names_the_file_that_each_file_was_made_from(store):
    store.create_repo("models")
    store.trigger("models@train", on=MAIN, commits=1)
    put(store, path="a")
    put(store, path="b")
    store.run_triggers()
    graph = store.upstream("models@train:b")
    assert [(one.file.repo, one.file.path) for one in graph.files] == [("r", "b")]


def test_a_copy_is_held_back_by_changes_of_its_own(store):
    store.create_repo("models")
    store.trigger("models@train", on=MAIN, commits=1)
    put(store)
    store.run_triggers()
    own = put(store, "models@train", path="own")
    put(store, data=b"2")
    (wait,) = store.run_triggers().waiting
    assert wait.is_blocked
    store.reset("models@train", f"models@{own.parent}")
    assert fired(store) == ["models@train"]
    store.create_repo("used")
    put(store, "used@main")
    with pytest.raises(InvalidInputError, match="another repo"):
        store.trigger("used@main", on=MAIN, commits=1)


def test_a_copy_obeys_its_limit(store, clock):
    store.create_repo("models")
    store.trigger("models@train", on=MAIN, commits=1, at_most_every="1h")
    put(store)
    assert fired(store) == ["models@train"]
    put(store, data=b"2")
    assert fired(store) == []
    clock.forward(hours=1)
    assert fired(store) == ["models@train"]


def test_a_store_that_runs_its_triggers_fires_after_each_commit_also_across_repos(tmp_path):
    with vio.create_store(tmp_path / "store") as made:
        made.create_repo("r")
        made.create_repo("models")
        made.trigger(TRAIN, on=MAIN, commits=1)
        made.trigger("models@train", on=TRAIN, commits=1)
        made.trigger("models@prod", on="models@train", commits=1)
    with vio.open_store(tmp_path / "store", run_triggers=True) as store:
        commit = put(store)
        assert store.commit(TRAIN) == commit
        assert store.commit("models@prod").lineage_id == commit.lineage_id


def test_many_evaluators_at_once_fire_once(any_store):
    store = any_store
    store.create_repo("models")
    store.trigger(TRAIN, on=MAIN, commits=1)
    store.trigger("models@train", on=TRAIN, commits=1)
    found, failed = [], []

    def evaluate():
        try:
            found.extend(store.run_triggers().fired)
        except vio.VersionedError as error:
            failed.append(error)

    for number in range(5):
        put(store, data=b"%d" % number)
        threads = [threading.Thread(target=evaluate) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    store.run_triggers()
    assert failed == []
    moves = [one for one in store.reflog(TRAIN) if one.entry.details.get("reason") == "trigger"]
    assert len(moves) == 5
    assert store.commit("models@train").number == 5
    assert len({one.new for one in found}) == len({(one.branch, one.new) for one in found}) == 10
    assert store.fsck().is_clean


def test_follow_yields_the_first_round_and_those_that_fire(store):
    store.trigger(TRAIN, on=MAIN, commits=2)
    put(store)
    rounds = store.follow_triggers(poll_s=0.001)
    assert next(rounds).waiting[0].because == "1 commit ahead, 2 wanted"
    put(store, data=b"2")
    assert [one.branch for one in next(rounds).fired] == [TRAIN]


def test_errors_of_the_store_are_raised_and_a_later_evaluation_goes_on(store, monkeypatch):
    store.trigger(TRAIN, on=MAIN, commits=1)
    put(store)

    def fail(*_):
        raise StorageError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(type(store._backend.objects), "put", fail)
        with pytest.raises((StorageError, ConflictError)):
            store.run_triggers()
    assert head(store, TRAIN) is None
    assert fired(store) == [TRAIN]
