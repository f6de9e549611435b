"""What the store is told of the running task."""

import pytest

from airflow_versioned.runs import (
    describe_job,
    find_lineage,
    is_cleared,
    is_started_by_somebody,
    open_run,
    read_requested_keys,
)

LINEAGE = "0199" * 8
OTHER = "0200" * 8


def test_a_commit_records_the_run_that_made_it(store, build_context):
    context = build_context(partition_key="2026-01-01")
    with open_run(context, store), store.transaction("orders@main") as tx:
        tx.write("a.csv", b"x")
    made_by = tx.commit.run
    assert (made_by.orchestrator, made_by.job, made_by.run_id) == ("airflow", "check", "asset_triggered__1")
    assert made_by.partition_key == "2026-01-01"
    assert made_by.url == "http://airflow/dags/check/runs/asset_triggered__1/tasks/task"
    assert made_by.code_version == "0199"
    assert made_by.params["task"] == "task"


def test_what_was_read_is_provenance(store, build_context):
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"x")
    with open_run(build_context(), store):
        store.snapshot("orders@main").read("a.csv")
        with store.transaction("quality@main") as made:
            made.write("a.json", b"{}")
    assert made.commit.provenance == (tx.commit.id,)
    assert made.commit.lineage_id == tx.commit.lineage_id


def test_a_git_bundles_version_is_the_git_commit(build_context):
    context = build_context()
    context["ti"].bundle_instance = type("Bundle", (), {"version": "a" * 40})()
    assert describe_job(context)["git_commit"] == "a" * 40
    assert describe_job(context)["code_version"] == "a" * 40


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"conf": {"lineage_id": LINEAGE}}, LINEAGE),
        ({"events": [{"lineage_id": LINEAGE}]}, LINEAGE),
        ({"events": [{"from_trigger": True, "payload": {"lineage_id": LINEAGE}}]}, LINEAGE),
        ({"events": [{"lineage_id": LINEAGE}, {"lineage_id": LINEAGE}]}, LINEAGE),
        ({"events": [{"lineage_id": LINEAGE}, {"lineage_id": OTHER}]}, None),
        ({"conf": {"lineage_id": LINEAGE}, "events": [{"lineage_id": OTHER}]}, LINEAGE),
        ({"events": [{}, None]}, None),
        ({"events": [{"lineage_id": "of another program"}, {"lineage_id": 7}]}, None),
        ({"events": [{"lineage_id": ["x"]}, {"lineage_id": LINEAGE}]}, LINEAGE),
    ],
)
def test_the_lineage_id_comes_from_the_conf_or_from_events_that_agree(build_context, options, expected):
    assert find_lineage(build_context(**options)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"run_type": "scheduled"}, False),
        ({"run_type": "manual"}, True),
        ({"run_type": "backfill"}, True),
        ({"run_type": "operator_triggered"}, True),
        ({"retries": 2, "max_tries": 2}, False),
        ({"retries": 2, "max_tries": 3}, True),
    ],
)
def test_only_a_person_an_operator_or_a_clear_asks_for_work_again(build_context, options, expected):
    context = build_context(**options)
    assert (is_started_by_somebody(context) or is_cleared(context)) is expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"run_type": "manual", "partition_key": "a"}, ["a"]),
        ({"run_type": "asset_materialization", "partition_key": "a"}, ["a"]),
        ({"run_type": "manual", "conf": {"keys": ["a", "b"]}}, ["a", "b"]),
        ({"run_type": "manual"}, []),
        ({"partition_key": "a"}, []),
        ({"conf": {"keys": ["a"]}}, []),
    ],
)
def test_a_run_asks_for_keys_only_if_somebody_started_it(build_context, options, expected):
    assert read_requested_keys(build_context(**options)) == expected


@pytest.mark.parametrize("keys", ["a", [1], {"a": 1}, None])
def test_keys_in_a_conf_that_are_no_list_of_texts_are_refused(build_context, keys):
    with pytest.raises(ValueError, match="must be a list of partition keys"):
        read_requested_keys(build_context(run_type="manual", conf={"keys": keys}))
