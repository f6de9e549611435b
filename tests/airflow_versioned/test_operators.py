"""The commit operator: once, whatever is retried, and silent when nothing changed."""

import contextlib
import itertools

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException

import versioned_io as vio
from airflow_versioned import VersionedCommitOperator, versioned_asset


@pytest.fixture
def operator(tmp_path):
    def build(**options):
        with DAG("check", schedule=None):
            return VersionedCommitOperator(task_id="task", ref="orders@main", store=str(tmp_path / "store"), **options)

    return build


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in" / "a.csv"
    path.parent.mkdir()
    path.write_text("1")
    return path


def test_a_file_is_committed_under_its_name(store, operator, source, build_context):
    made = operator(source=source).execute(build_context())
    (commit,) = store.log("orders@main")
    expected = {"repo": "orders", "branch": "main", "commit": commit.id, "lineage_id": commit.lineage_id, "number": 1}
    assert made == expected
    assert commit.message == "check.task"
    assert store.snapshot("orders@main").read("a.csv") == b"1"


def test_a_file_can_be_given_another_path(store, operator, source, build_context):
    operator(source=source, to="in/b.csv", message="named").execute(build_context())
    assert store.snapshot("orders@main").read("in/b.csv") == b"1"


def test_a_directory_is_committed_whole(store, operator, source, build_context):
    source.with_name("b.csv").write_text("2")
    operator(source=str(source.parent), to="raw").execute(build_context())
    assert [info.path for info in store.snapshot("orders@main").walk()] == ["raw/a.csv", "raw/b.csv"]


def test_a_callable_writes_what_it_wants(store, operator, build_context):
    operator(source=lambda tx: tx.write("c.csv", b"3")).execute(build_context())
    assert store.snapshot("orders@main").read("c.csv") == b"3"


def test_airflow_does_not_call_a_callable_source_when_it_renders_the_templates(store, operator, build_context):
    made = operator(source=lambda tx: tx.write("c.csv", b"3"), to="{{ params.to }}")
    made.render_template_fields({**build_context(), "params": {"to": "rendered"}})
    made.execute(build_context())
    assert (made.to, store.snapshot("orders@main").read("c.csv")) == ("rendered", b"3")
    assert "test_airflow_does_not_call" in repr(made.source)


def test_the_output_of_another_task_as_source_makes_a_dependency():
    with DAG("check", schedule=None):

        @task
        def download():
            return "/data/a.csv"

        source = download()
        made = VersionedCommitOperator(task_id="task", ref="orders@main", source=source)
    assert made.upstream_task_ids == {"download"}


def write_now(tx):
    tx.write("now.txt", str(next(NUMBERS)).encode())


NUMBERS = itertools.count()


def test_a_retry_that_writes_other_bytes_makes_no_second_commit_and_says_so(store, operator, build_context, caplog):
    first = operator(source=write_now).execute(build_context())
    with caplog.at_level("INFO", "airflow_versioned"):
        assert operator(source=write_now).execute(build_context(try_number=2)) == first
    assert len(list(store.log("orders@main"))) == 1
    assert "an earlier try of this task has made this commit" in caplog.text


def test_a_cleared_task_and_another_run_commit_again(store, operator, build_context):
    operator(source=write_now).execute(build_context())
    cleared = build_context()
    cleared["dag_run"].clear_number = 1
    for context in (cleared, build_context(run_id="another")):
        operator(source=write_now).execute(context)
    assert len(list(store.log("orders@main"))) == 3


def test_a_commit_is_a_line_in_the_tasks_log(store, operator, source, build_context, caplog):
    with caplog.at_level("INFO", "airflow_versioned"):
        made = operator(source=source).execute(build_context())
    assert f"commit number 1 of orders@main: {made['commit']} (1 added, 0 changed, 0 deleted)" in caplog.text


def test_the_page_of_a_task_links_to_its_branch(operator, monkeypatch):
    answers = iter([{"repo": "orders", "branch": "fix/1"}, None])
    monkeypatch.setattr("airflow_versioned.links.XCom.get_value", lambda **_: next(answers))
    made = operator(source="/a", versioned_conn_id="archive")
    (link,) = made.operator_extra_links
    assert link.get_link(made, ti_key=None).endswith(
        "/assets?name_pattern=versioned%3A%2F%2Farchive%40orders%2Ffix%252F1"
    )
    assert link.get_link(made, ti_key=None) == ""


def test_the_same_bytes_are_skipped(store, operator, source, build_context):
    operator(source=source).execute(build_context())
    with pytest.raises(AirflowSkipException, match="holds these bytes already"):
        operator(source=source).execute(build_context(run_id="another"))
    assert len(list(store.log("orders@main"))) == 1


def test_the_same_bytes_may_succeed_with_the_head(store, operator, source, build_context):
    made = operator(source=source).execute(build_context())
    again = operator(source=source, when_unchanged="succeed").execute(build_context(run_id="another"))
    assert again == made


def test_a_retry_after_a_lost_reply_emits_the_first_commit(store, operator, source, build_context, tmp_path):
    orders = versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store"))
    made = operator(source=source).execute(build_context())
    operator(source=lambda tx: tx.write("z.csv", b"another writer")).execute(build_context(run_id="another"))
    context = build_context(outlets=[orders])
    assert operator(source=source).execute(context) == made
    assert context["outlet_events"][orders].extra["commit"] == made["commit"]
    assert context["outlet_events"][orders].partition_keys == {"a"}


def test_nothing_for_an_empty_branch_is_skipped(store, operator, build_context):
    with pytest.raises(AirflowSkipException):
        operator(source=lambda tx: None, when_unchanged="succeed").execute(build_context())


def test_a_missing_source_fails_and_writes_nothing(store, operator, build_context, tmp_path):
    with pytest.raises(FileNotFoundError):
        operator(source=tmp_path / "none.csv").execute(build_context())
    assert list(store.log("orders@main")) == []


def test_the_lineage_id_of_what_caused_the_run_is_carried_on(store, operator, source, build_context):
    lineage = "0199" * 8
    made = operator(source=source).execute(build_context(conf={"lineage_id": lineage}))
    assert made["lineage_id"] == lineage


# Lineage


@pytest.fixture
def compute_report(tmp_path, build_context):
    """Return a function that runs a task which reads an order and commits a report, always of the same bytes."""
    place = str(tmp_path / "store")

    def run(run_id, **options):
        def write(tx):
            with vio.open_store(place) as own:
                own.snapshot("orders@main").read("a.csv")
            tx.write("report.json", b"same")

        with DAG("check", schedule=None):
            operator = VersionedCommitOperator(task_id="task", ref="quality@main", store=place, source=write, **options)
        return operator.execute(build_context(run_id=run_id))

    return run


def write_order(store, data):
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", data)
    return tx.commit.id


def ids(graph):
    return {commit.id for commit in graph.commits}


def test_a_task_that_comes_to_the_same_bytes_from_new_input_can_say_so(store, compute_report):
    old = write_order(store, b"1")
    first = compute_report("one", when_unchanged="commit")["commit"]
    new = write_order(store, b"2")
    again = compute_report("two", when_unchanged="commit")["commit"]
    assert again != first
    assert ids(store.upstream("quality@main:report.json")) == {new, again}
    assert ids(store.upstream(f"quality@{first}:report.json")) == {old, first}
    assert ids(store.downstream("orders@main:a.csv")) == {new, again}
    assert ids(store.downstream(f"orders@{old}:a.csv")) == {old, first}
    (asked,) = store.upstream("quality@main:report.json").asked
    assert (asked.written_by, asked.made_by) == (first, again)


def test_a_retry_confirms_nothing_twice_though_its_input_has_changed(store, compute_report):
    old = write_order(store, b"1")
    made = compute_report("one", when_unchanged="commit")
    write_order(store, b"2")
    assert compute_report("one", when_unchanged="commit") == made
    assert [commit.id for commit in store.log("quality@main")] == [made["commit"]]
    assert ids(store.upstream("quality@main:report.json")) == {old, made["commit"]}


@pytest.mark.parametrize("when_unchanged", ["skip", "succeed"])
def test_a_task_that_comes_to_the_same_bytes_from_new_input_says_so_by_default(store, compute_report, when_unchanged):
    def again(run_id):
        with pytest.raises(AirflowSkipException) if when_unchanged == "skip" else contextlib.nullcontext():
            compute_report(run_id, when_unchanged=when_unchanged)
        return store.commit("quality@main").id

    old = write_order(store, b"1")
    made = compute_report("one")["commit"]
    assert again("two") == made  # from the same input: lineage is right as it is
    new = write_order(store, b"2")
    confirmed = again("three")
    assert confirmed != made
    assert again("three") == again("four") == confirmed
    assert ids(store.upstream("quality@main:report.json")) == {new, confirmed}
    assert ids(store.downstream(f"orders@{new}:a.csv")) == {new, confirmed}
    assert ids(store.downstream(f"orders@{old}:a.csv")) == {old, made}


def test_lineage_goes_through_several_tasks(store, compute_report, tmp_path, build_context):
    order = write_order(store, b"1")
    report = compute_report("one")["commit"]
    place = str(tmp_path / "store")

    def write(tx):
        with vio.open_store(place) as own:
            tx.write("copy.json", own.snapshot("quality@main").read("report.json"))

    with DAG("check", schedule=None):
        operator = VersionedCommitOperator(task_id="task", ref="orders@main", store=place, source=write)
    last = operator.execute(build_context(run_id="three"))["commit"]
    assert ids(store.upstream("orders@main:copy.json")) == {order, report, last}
    assert ids(store.downstream(f"orders@{order}:a.csv")) == {order, report, last}
    assert store.fsck().is_clean
