"""A branch for each run: what is merged, what is dropped or kept, and what a retry and a clear find."""

import pytest
from airflow.sdk import DAG, TaskGroup, task
from airflow.sdk.exceptions import AirflowFailException

from airflow_versioned import branch_per_run
from airflow_versioned.naming import name_run_branch
from airflow_versioned.run_branch import has_branch
from versioned_io.errors import RefNotFoundError


@pytest.fixture
def build(tmp_path):
    """Return a builder of the group's own tasks: open, merge and close."""

    def build(**options):
        with (
            DAG("check", schedule=None) as dag,
            branch_per_run("orders@main", group_id="load", store=str(tmp_path / "store"), **options) as branch,
        ):
            write = task(lambda: None, task_id="write")()
            other = task(lambda: None, task_id="audit")()
            write >> other
        assert branch.group.group_id == "load"
        return [dag.get_task(f"load.{name}") for name in ("open_branch", "merge", "close_branch")]

    return build


@pytest.fixture
def run(build_context):
    """Return a function that executes a task in a run whose tasks have these states."""

    def run(operator, *, ref=None, **states):
        context = build_context(run_id="manual__1", run_type="manual")
        found = {f"load.{name}": state for name, state in states.items()}
        context["ti"].get_task_states = lambda dag_id, task_group_id, run_ids: {run_ids[0]: found}
        if ref is not None:
            operator.source = ref
        return operator.execute(context)

    return run


def write(store, ref, **files):
    with store.transaction(ref) as tx:
        for name, content in files.items():
            tx.write(f"{name}.csv", content.encode())
    return tx.commit


def test_the_tasks_run_in_order_and_the_last_one_is_a_teardown(build):
    opening, merge, closing = build()
    assert opening.is_setup
    assert opening.downstream_task_ids == {"load.write", "load.close_branch"}
    assert merge.upstream_task_ids == {"load.audit"}
    assert closing.is_teardown
    assert not closing.on_failure_fail_dagrun
    assert closing.upstream_task_ids == {"load.merge", "load.open_branch"}
    assert list(opening.task_group.get_leaves()) == [merge]


def test_what_was_written_is_merged_and_the_branch_is_gone(store, build, run):
    write(store, "orders@main", a="1")
    opening, merge, closing = build()
    ref = run(opening)
    assert ref.startswith("orders@runs/check/manual__1.")
    made = write(store, ref, b="2")
    assert run(merge, ref=ref)["commit"] == made.id
    run(closing, merge="success")
    assert store.snapshot("orders@main").read("b.csv") == b"2"
    assert not has_branch(store, ref)


@pytest.mark.parametrize("when_rejected", ["drop", "keep"])
def test_a_refused_branch_is_dropped_or_kept_and_readers_see_nothing(store, build, run, caplog, when_rejected):
    before = write(store, "orders@main", a="1")
    opening, _, closing = build(when_rejected=when_rejected)
    ref = run(opening)
    write(store, ref, a="bad")
    with caplog.at_level("INFO"):
        run(closing, write="success", audit="failed", merge="upstream_failed")
    assert store.commit("orders@main").id == before.id
    assert has_branch(store, ref) is (when_rejected == "keep")
    assert ref in caplog.text


def test_a_branch_without_a_commit_of_its_own_is_never_kept(store, build, run):
    write(store, "orders@main", a="1")
    opening, _, closing = build(when_rejected="keep")
    ref = run(opening)
    run(closing, write="failed", merge="upstream_failed")
    assert not has_branch(store, ref)
    run(closing, write="failed", merge="upstream_failed")  # a retry whose first try got no reply


def test_a_branch_of_an_empty_repo(store, build, run):
    opening, merge, closing = build()
    ref = run(opening)
    run(opening)  # a retry
    write(store, ref, b="2")
    run(merge, ref=ref)
    run(closing, merge="success")
    assert store.snapshot("orders@main").read("b.csv") == b"2"


def test_a_group_that_was_cleared_as_a_whole_begins_again_at_the_newest_head(store, build, run):
    opening, merge, _ = build(when_rejected="keep")
    ref = run(opening)
    write(store, ref, bad="1")
    newest = write(store, "orders@main", a="1")
    assert run(opening, write=None, audit=None) == ref
    assert store.commit(ref).id == newest.id
    write(store, ref, good="1")
    run(merge, ref=ref)
    assert [info.path for info in store.snapshot("orders@main").walk()] == ["a.csv", "good.csv"]


def test_a_check_that_was_cleared_alone_finds_what_was_written(store, build, run):
    opening, _, _ = build(when_rejected="keep")
    ref = run(opening)
    made = write(store, ref, b="2")
    run(opening, write="success", audit=None)
    assert store.commit(ref).id == made.id


def test_a_check_that_was_cleared_alone_after_the_branch_was_dropped_fails_with_a_sentence(store, build, run):
    opening, _, closing = build()
    ref = run(opening)
    write(store, ref, b="2")
    run(closing, write="success", merge="upstream_failed")
    with pytest.raises(AirflowFailException, match="write wrote to it or checked it: clear the whole group"):
        run(opening, write="success", audit=None)
    with pytest.raises(RefNotFoundError):  # so a task that was cleared without its set-up does not begin another branch
        write(store, ref, c="3")


def test_each_run_group_and_target_has_a_branch_of_its_own():
    names = {
        name_run_branch(*facts)
        for facts in [
            ("d", "r", "g", "main"),
            ("d", "r", "g", "dev"),
            ("d", "r", "h", "main"),
            ("d", "r:", "g", "main"),
            ("d", "r+", "g", "main"),
            ("d" * 250, "r" * 250, "g", "main"),
            ("d" * 250, "r" * 250 + "s", "g", "main"),
        ]
    }
    assert len(names) == 7
    assert max(map(len, names)) <= 128


def test_a_group_without_a_task_of_its_own_or_with_a_strange_choice_does_not_parse():
    with DAG("check", schedule=None):
        with pytest.raises(ValueError, match="no task"), branch_per_run("orders@main"):
            pass
        with pytest.raises(ValueError, match="'drop', 'keep'"), branch_per_run("orders@main", when_rejected="burn"):
            pass


def test_a_group_that_is_mapped_does_not_parse():
    from airflow.sdk import task_group

    with DAG("check", schedule=None):

        @task_group
        def each(number):
            with branch_per_run("orders@main"):
                task(lambda: None, task_id="write")()

        with pytest.raises(ValueError, match="mapped task group 'each'"):
            each.expand(number=[1, 2])


def test_work_in_groups_is_between_opening_and_merge(tmp_path):
    with (
        DAG("check", schedule=None) as dag,
        branch_per_run("orders@main", group_id="load") as branch,
        TaskGroup("inner"),
    ):
        task(lambda: None, task_id="write")()
    after = task(lambda: None, task_id="after", dag=dag)()
    branch.group >> after
    assert dag.get_task("load.inner.write").upstream_task_ids == {"load.open_branch"}
    assert dag.get_task("load.inner.write").downstream_task_ids == {"load.merge"}
    assert dag.get_task("after").upstream_task_ids == {"load.merge"}
