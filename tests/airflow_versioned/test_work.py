"""A partition's work in a run: claimed, pinned, completed with its commit; skipped when nothing is due."""

import contextlib
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from airflow.sdk.api.datamodels._generated import DagRunState
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_versioned import versioned_asset
from airflow_versioned.triggers import Looking
from versioned_io.errors import ClaimLostError, InvalidInputError, PartitionKeyError
from versioned_io.store import Store


@pytest.fixture
def orders(tmp_path):
    return versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store"))


@pytest.fixture
def quality(tmp_path):
    return versioned_asset("quality@main", partitions="{date}.json", store=str(tmp_path / "store"))


def commit(store, **files):
    with store.transaction("orders@main") as tx:
        for key, content in files.items():
            tx.write(f"{key}.csv", content.encode())
    return tx.commit


def due(store):
    (subscription,) = store.subscriptions("orders@main", prefix="airflow:check:")
    return [found.key for found in subscription.due()]


def test_it_reads_the_claimed_commit_and_carries_its_lineage_on(store, orders, build_context):
    asked = commit(store, a="1", b="2")
    with orders.work(build_context(partition_key="a")) as work:
        assert (work.key, work.paths, work.lineage_id) == ("a", ["a.csv"], asked.lineage_id)
        commit(store, a="newer")
        assert work.snapshot.read("a.csv") == b"1"
        with work.transaction("quality@main") as tx:
            tx.write("a.json", b"{}")
    assert (tx.commit.lineage_id, tx.commit.provenance) == (asked.lineage_id, (asked.id,))
    assert tx.commit.message == "check: a"


def test_its_commit_completes_it(store, orders, build_context):
    commit(store, a="1", b="2")
    with orders.work(build_context(partition_key="a")) as work, work.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    assert due(store) == ["b"]


def test_a_transaction_that_changes_nothing_completes_it_too(store, orders, build_context):
    commit(store, a="1")
    with orders.work(build_context(partition_key="a")) as work, work.transaction("quality@main"):
        pass
    assert due(store) == []


def test_without_a_transaction_it_is_completed_at_the_end(store, orders, build_context):
    commit(store, a="1")
    with orders.work(build_context(partition_key="a")):
        assert due(store) == ["a"]
    assert due(store) == []


def test_a_second_wake_up_is_skipped(store, orders, build_context):
    commit(store, a="1")
    with orders.work(build_context(partition_key="a")):
        pass
    with pytest.raises(AirflowSkipException, match="nothing is due"):
        orders.work(build_context(run_id="again", partition_key="a")).__enter__()


def test_a_failure_leaves_it_due_and_a_retry_claims_it_again(store, orders, build_context):
    commit(store, a="1")
    with pytest.raises(RuntimeError), orders.work(build_context(partition_key="a")):
        raise RuntimeError
    assert due(store) == ["a"]
    with orders.work(build_context(partition_key="a")) as work:
        assert work.key == "a"


def test_a_transaction_that_fails_writes_nothing_and_leaves_it_due(store, orders, build_context):
    commit(store, a="1")
    with pytest.raises(RuntimeError), orders.work(build_context(partition_key="a")) as work:  # noqa: SIM117, PT012
        with work.transaction("quality@main") as tx:
            tx.write("a.json", b"{}")
            raise RuntimeError
    assert due(store) == ["a"]
    assert list(store.log("quality@main")) == []


def test_a_block_that_skips_itself_is_done(store, orders, build_context):
    commit(store, a="1")
    with pytest.raises(AirflowSkipException), orders.work(build_context(partition_key="a")):
        raise AirflowSkipException
    assert due(store) == []


def test_a_retry_after_a_commit_that_airflow_never_heard_of_finds_it_done_by_itself(
    store, orders, quality, build_context
):
    commit(store, a="1")
    made = []
    for _ in range(2):
        context = build_context(partition_key="a", outlets=[quality])
        with orders.work(context) as work, work.transaction("quality@main") as tx:
            tx.write("a.json", b"{}")
        made.append(context["outlet_events"][quality].extra["commit"])
    assert made == [tx.commit.id] * 2
    assert quality_log(store) == [tx.commit.id]


def test_only_the_last_of_several_transactions_completes_it(store, orders, build_context):
    commit(store, a="1")
    with orders.work(build_context(partition_key="a")) as work:
        with work.transaction("quality@main", completes=False) as tx:
            tx.write("a.json", b"{}")
        assert due(store) == ["a"]
        with work.transaction("quality@main") as tx:
            tx.write("b.json", b"{}")
        assert due(store) == []


def test_what_another_run_is_at_is_skipped_with_its_name(store, orders, build_context):
    commit(store, a="1")
    with (
        orders.work(build_context(partition_key="a")),
        pytest.raises(AirflowSkipException, match="being processed by check/asset_triggered__1"),
    ):
        orders.work(build_context(run_id="other", run_type="manual", partition_key="a")).__enter__()


def test_what_a_run_that_is_over_held_is_taken_over(store, orders, build_context):
    commit(store, a="1")
    killed = orders.work(build_context(partition_key="a"))
    killed.__enter__()
    commit(store, a="newer")
    context = build_context(run_id="other", partition_key="a", states={"asset_triggered__1": DagRunState.FAILED})
    with orders.work(context) as work:
        assert work.snapshot.read("a.csv") == b"newer"
    assert due(store) == []


def test_a_run_that_was_taken_over_can_not_commit_any_more(store, orders, build_context):
    commit(store, a="1")
    taken_over = orders.work(build_context(partition_key="a"))
    work = taken_over.__enter__()
    context = build_context(run_id="other", partition_key="a", states={"asset_triggered__1": DagRunState.FAILED})
    with orders.work(context) as other, other.transaction("quality@main") as tx:
        tx.write("a.json", b"by the other")
    with pytest.raises(ClaimLostError), work.transaction("quality@main") as late:
        late.write("late.json", b"by the late one")
    assert [info.path for info in store.snapshot("quality@main").walk()] == ["a.json"]


def test_a_person_may_do_it_again(store, orders, build_context):
    commit(store, a="1")
    ended = {"by hand": "success"}
    for options in ({}, {"run_id": "by hand", "run_type": "manual"}, {"max_tries": 1, "states": ended}):
        with orders.work(build_context(partition_key="a", **options)) as work:
            assert work.paths == ["a.csv"]


@pytest.mark.parametrize("order", [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (3, 5, 1, 4, 2)])
@pytest.mark.parametrize("run_type", ["asset_triggered", "manual"])
def test_of_five_cleared_runs_of_one_key_one_works_on_it(store, orders, build_context, order, run_type):
    for number in range(1, 6):
        commit(store, a=str(number))
        with orders.work(build_context(run_id=f"run {number}", run_type=run_type, partition_key="a")):
            pass
    states = {f"run {number}": "queued" for number in order}
    cleared_at = datetime.now(UTC)
    worked = []
    for number in order:
        context = build_context(
            run_id=f"run {number}",
            run_type=run_type,
            partition_key="a",
            max_tries=1,
            states=states,
            start_date=cleared_at,
        )
        with contextlib.suppress(AirflowSkipException), orders.work(context):
            worked.append(number)
        states[f"run {number}"] = "success"
    assert worked == [5]


def test_a_cleared_run_whose_key_another_run_has_processed_long_ago_works(store, orders, build_context):
    commit(store, a="1")
    for number in (1, 2):
        with orders.work(build_context(run_id=f"run {number}", run_type="manual", partition_key="a")):
            pass
    again = build_context(
        run_id="run 1", partition_key="a", max_tries=1, states={"run 2": "success"}, start_date=datetime.now(UTC)
    )
    with orders.work(again) as work:
        assert work.paths == ["a.csv"]


def test_a_cleared_run_that_had_failed_works_again(store, orders, build_context):
    commit(store, a="1")
    with orders.work(build_context(run_id="run 1", partition_key="a")):
        pass
    by_hand = {"run_id": "by hand", "run_type": "manual", "partition_key": "a"}
    with pytest.raises(RuntimeError), orders.work(build_context(**by_hand)):
        raise RuntimeError
    with orders.work(build_context(**by_hand, max_tries=1)) as work:
        assert work.key == "a"


def test_force_decides_when_it_is_given(store, orders, build_context):
    commit(store, a="1")
    with orders.work(build_context(partition_key="a"), force=False):
        pass
    with orders.work(build_context(run_id="2", partition_key="a"), force=True):
        pass
    with pytest.raises(AirflowSkipException):
        orders.work(build_context(run_id="3", run_type="manual", partition_key="a"), force=False).__enter__()


def test_each_consumer_has_its_own_due_list(store, orders, build_context):
    commit(store, a="1")
    for consumer in ("one", "two"):
        with orders.work(build_context(partition_key="a"), consumer=consumer) as work:
            assert work.key == "a"


def test_a_run_without_a_partition_key_is_told_what_to_do(store, orders, build_context):
    with pytest.raises(ValueError, match="has no partition key"):
        orders.work(build_context()).__enter__()


def test_a_key_that_the_template_can_not_produce_is_refused(store, orders, build_context):
    with pytest.raises(PartitionKeyError, match="is not a partition key"):
        orders.work(build_context(partition_key="a/b")).__enter__()


def test_a_whole_branch_is_worked_on_as_one(store, orders, build_context):
    commit(store, a="1", b="2")
    with orders.head.work(build_context()) as work:
        assert (work.key, work.paths) == ("*", ["a.csv", "b.csv"])
    with pytest.raises(AirflowSkipException):
        orders.head.work(build_context(run_id="again")).__enter__()


def test_an_outlet_that_is_the_branch_gets_the_commit_and_its_keys(store, orders, quality, build_context):
    commit(store, a="1")
    other = versioned_asset("other@main")
    context = build_context(partition_key="a", outlets=[quality, quality.head, other])
    with orders.work(context) as work, work.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
        tx.write("b.json", b"{}")
        tx.write("notes.txt", b"none of the template")
    event = context["outlet_events"][quality]
    facts = {"commit": tx.commit.id, "lineage_id": tx.commit.lineage_id, "number": 1}
    assert event.extra == {"repo": "quality", "branch": "main", **facts}
    assert event.partition_keys == {"a", "b"}
    assert context["outlet_events"][quality.head].extra == event.extra
    assert context["outlet_events"][quality.head].partition_keys == set()
    assert context["outlet_events"][other].extra == {}


def test_every_branch_of_a_transaction_is_described(store, orders, quality, build_context):
    commit(store, a="1")
    context = build_context(partition_key="a", outlets=[quality, orders])
    with orders.work(context) as work, work.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
        tx.branch("orders@main").write("b.csv", b"2")
    assert context["outlet_events"][orders].partition_keys == {"b"}
    assert context["outlet_events"][orders].extra["lineage_id"] == tx.commit.lineage_id


class DiesAfterCommit:
    """A catalog after whose next commit the worker dies."""

    def __init__(self, catalog):
        self._catalog = catalog
        self.is_dying = True

    def __getattr__(self, name):
        return getattr(self._catalog, name)

    @contextmanager
    def write(self):
        with self._catalog.write() as connection:
            yield connection
        if self.is_dying:
            self.is_dying = False
            raise RuntimeError("killed")


def store_quality(orders, context, content=b"{}", times=1, *, dies=False, **options):
    """Do the task's work: as many transactions as *times*; the reply to the first may be lost."""
    with orders.work(context, **options) as work:
        if dies:
            backend = work.store._backend
            work.store = Store(work.store.url, replace(backend, catalog=DiesAfterCommit(backend.catalog)))
        for number in range(times):
            with work.transaction("quality@main", completes=number == times - 1) as tx:
                tx.write("a.json", content)
    return tx.commit


def quality_log(store):
    return [commit.id for commit in store.log("quality@main")]


@pytest.mark.parametrize("times", [1, 2])
def test_a_retry_after_a_death_makes_no_second_commit(store, orders, quality, build_context, times):
    commit(store, a="1")
    with pytest.raises(RuntimeError, match="killed"):
        store_quality(orders, build_context(partition_key="a"), dies=True, times=times)
    (made,) = quality_log(store)
    context = build_context(partition_key="a", outlets=[quality])
    newest = store_quality(orders, context, times=times)
    assert quality_log(store) == ([made] if times == 1 else [newest.id, made])
    extras = {accessor.extra["commit"] for accessor in context["outlet_events"].values()}
    assert extras == {newest.id}
    assert due(store) == []


def test_a_retry_with_another_result_makes_no_second_commit(store, orders, build_context):
    commit(store, a="1")
    with pytest.raises(RuntimeError, match="killed"):
        store_quality(orders, build_context(partition_key="a"), dies=True)
    assert store_quality(orders, build_context(partition_key="a"), b"another").id == quality_log(store)[0]
    assert len(quality_log(store)) == 1
    assert due(store) == []


def test_a_retry_that_claims_newer_data_commits_its_result(store, orders, build_context):
    commit(store, a="1")
    with pytest.raises(RuntimeError, match="killed"):
        store_quality(orders, build_context(partition_key="a"), dies=True)
    commit(store, a="2")
    store_quality(orders, build_context(partition_key="a"), b"newer")
    assert store.snapshot("quality@main").read("a.json") == b"newer"


def test_a_cleared_task_and_other_map_indices_commit_on_their_own(store, orders, build_context):
    commit(store, a="1")
    contexts = [build_context(partition_key="a") for _ in range(3)]
    contexts[1]["dag_run"].clear_number = 1
    contexts[2]["ti"].map_index = 1
    for context in contexts:
        with store.transaction("quality@main") as tx:
            tx.write("a.json", b"changed meanwhile")
        store_quality(orders, context, force=True)
    assert [store.snapshot(f"quality@{one}").read("a.json") for one in quality_log(store)] == [
        b"{}",
        b"changed meanwhile",
    ] * 3


# Where a consumer begins


@pytest.fixture
def history(store):
    return [commit(store, old="1"), commit(store, a="1", b="1"), commit(store, c="1")]


def woken_by(found):
    return {"repo": "orders", "branch": "main", "commit": found.id, "number": found.number}


def worked_on(orders, build_context, *keys, **options):
    """Return the keys of *keys* that are processed, each by a run of its own."""
    done = []
    for key in keys:
        context = build_context(run_id=f"run {key} {len(done)}", partition_key=key, **options)
        with contextlib.suppress(AirflowSkipException), orders.work(context):
            done.append(key)
    return done


def test_a_dag_without_catch_up_begins_with_the_commit_that_woke_it(store, orders, build_context, history):
    options = {"catchup": False, "events": [woken_by(history[1])]}
    assert worked_on(orders, build_context, "a", **options) == ["a"]
    assert due(store) == ["b", "c"]


def test_a_dag_without_catch_up_takes_up_every_key_that_it_is_woken_for_once(store, orders, build_context, history):
    options = {"catchup": False, "events": [woken_by(history[2])]}
    assert worked_on(orders, build_context, "c", "a", "a", "c", **options) == ["c", "a"]
    assert due(store) == []


def test_a_dag_with_catch_up_begins_at_the_beginning(store, orders, build_context, history):
    assert worked_on(orders, build_context, "c", events=[woken_by(history[2])]) == ["c"]
    assert sorted(due(store)) == ["a", "b", "old"]


@pytest.mark.parametrize(("start", "left"), [("beginning", ["a", "b", "old"]), ("main~2", ["a", "b"]), ("head", [])])
@pytest.mark.usefixtures("history")
def test_a_new_consumer_begins_where_it_says(store, orders, build_context, start, left):
    with orders.work(build_context(partition_key="c", run_type="manual"), start=start):
        pass
    assert sorted(due(store)) == left


def test_a_start_of_another_repo_is_refused(store, orders, build_context, history):
    with store.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    with pytest.raises(InvalidInputError, match="give a ref of 'orders'"):
        orders.work(build_context(partition_key="a"), start="quality@main").__enter__()


def test_an_event_that_names_nonsense_does_no_harm(store, orders, build_context, history):
    events = [{"repo": "orders", "branch": "main", "commit": "no/such"}]
    assert worked_on(orders, build_context, "c", catchup=False, events=events) == ["c"]


def test_a_run_that_the_relay_started_works_on_what_is_due_and_on_nothing_else(store, orders, build_context):
    """Airflow 3.3.2 drops the partition key of a run that a task starts, so it is in the conf."""
    commit(store, a="1", b="1")
    options = {"run_type": "operator_triggered", "conf": {"versioned_wake_up": {"key": "a"}}}
    with orders.work(build_context(**options)) as work, work.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    assert tx.commit.run.partition_key == "a"
    with pytest.raises(AirflowSkipException):
        orders.work(build_context(**options, run_id="again")).__enter__()
    assert due(store) == ["b"]


def refuse(status):
    def get_state(dag_id, run_id):
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status}))

    return get_state


def test_a_second_wake_up_does_not_repeat_what_another_run_failed_to_do(store, orders, build_context):
    commit(store, a="1")
    with pytest.raises(RuntimeError), orders.work(build_context(run_id="first", partition_key="a")):
        raise RuntimeError
    with pytest.raises(AirflowSkipException, match="check/first has failed to process"):
        orders.work(build_context(run_id="second", partition_key="a")).__enter__()
    assert worked_on(orders, build_context, "a", run_type="manual") == ["a"]


def test_a_run_of_which_airflow_can_not_say_whether_it_is_over_keeps_its_claim(store, orders, build_context):
    commit(store, a="1")
    killed = orders.work(build_context(partition_key="a"))
    killed.__enter__()
    commit(store, a="2")
    context = build_context(run_id="other", partition_key="a")
    context["ti"].get_dagrun_state = refuse(500)
    with pytest.raises(AirflowRuntimeError):
        orders.work(context).__enter__()
    context["ti"].get_dagrun_state = refuse(404)
    with orders.work(context) as work:
        assert work.paths == ["a.csv"]


def test_the_watcher_frees_what_a_run_holds_that_is_over(store, orders, build_context):
    commit(store, a="1")
    killed = orders.work(build_context(partition_key="a"))
    killed.__enter__()
    commit(store, a="2")
    (subscription,) = store.subscriptions("orders@main", prefix="airflow:check:")
    subscription.collect()
    watch = store.watch("orders@main", relay="airflow", redeliver_after_s=300)
    looking = Looking(orders.declared.address, "orders@main", 300)
    looking.free_dead(watch, lambda dag_id, run_id: "running")
    assert subscription.unannounced(redeliver_after_s=300) == []
    looking.free_dead(watch, lambda dag_id, run_id: {"check/asset_triggered__1": "failed"}[f"{dag_id}/{run_id}"])
    assert [due.key for due in subscription.unannounced(redeliver_after_s=300)] == ["a"]
