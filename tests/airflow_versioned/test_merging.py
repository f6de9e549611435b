"""The merge operator: what it moves, what it says, and what a retry finds."""

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from airflow_versioned import VersionedMergeOperator, versioned_asset
from versioned_io.errors import MergeConflictError


@pytest.fixture
def merge(tmp_path):
    def build(**options):
        with DAG("check", schedule=None):
            return VersionedMergeOperator(
                task_id="task", source="orders@dev", into="orders@main", store=str(tmp_path / "store"), **options
            )

    return build


def write(store, ref, **files):
    with store.transaction(ref) as tx:
        for name, content in files.items():
            tx.write(f"{name}.csv", content.encode())
    return tx.commit


@pytest.fixture
def dev(store):
    write(store, "orders@main", a="1")
    store.create_branch("orders@dev", at="orders@main")
    return write(store, "orders@dev", b="1")


@pytest.mark.parametrize("fast_forward", [True, False])
def test_a_branch_is_merged_and_its_commit_is_the_event(store, merge, dev, build_context, fast_forward):
    orders = versioned_asset("orders@main", partitions="{date}.csv", store=store.url)
    context = build_context(outlets=[orders])
    made = merge(fast_forward=fast_forward).execute(context)
    head = store.commit("orders@main")
    assert (made["branch"], made["commit"], made["lineage_id"]) == ("main", head.id, dev.lineage_id)
    assert (head.id == dev.id) is fast_forward
    assert store.snapshot("orders@main").read("b.csv") == b"1"
    assert context["outlet_events"][orders].partition_keys == {"b"}


@pytest.mark.usefixtures("dev")
def test_nothing_to_merge_is_skipped_and_a_retry_succeeds(merge, build_context):
    made = merge().execute(build_context())
    with pytest.raises(AirflowSkipException, match="already"):
        merge().execute(build_context(run_id="another"))
    assert merge().execute(build_context(try_number=2)) == made


def test_a_conflict_fails_and_moves_nothing(store, merge, dev, build_context):
    head = write(store, "orders@main", b="another")
    with pytest.raises(MergeConflictError):
        merge().execute(build_context())
    assert store.commit("orders@main").id == head.id
    merge(strategy="theirs").execute(build_context())
    assert store.snapshot("orders@main").read("b.csv") == b"1"
