"""Airflow against a store whose catalog was restored from an older copy: refused until it is recovered."""

import asyncio
from pathlib import Path

import pytest
from airflow.sdk import DAG

import versioned_io as vio
from airflow_versioned import VersionedCommitOperator, versioned_asset
from airflow_versioned.triggers import CommitTrigger
from tests.versioned_io.older_catalogs import OPENED, put_back, rows_of
from versioned_io.errors import CatalogOlderError
from versioned_io.model.beacons import BEACON_PREFIX


@pytest.fixture
def orders(tmp_path):
    return versioned_asset("orders@main", partitions="{date}.csv", store=str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def _close_stores():
    yield
    while OPENED:
        OPENED.pop().close()


def commit(store, **files):
    with store.transaction("orders@main") as tx:
        for key, content in files.items():
            tx.write(f"{key}.csv", content.encode())
    return tx.commit


def roll_back(store, rows):
    """Restore an older copy of the catalog; the beacons stay, as they are in the object store."""
    beacons = {path: path.read_bytes() for path in (Path(store.url) / BEACON_PREFIX).iterdir()}
    put_back(store, rows).close()
    for path, data in beacons.items():
        path.write_bytes(data)


def process(orders, context):
    with orders.work(context) as work, work.transaction("quality@main") as tx:
        tx.write(f"{work.key}.json", work.snapshot.read(f"{work.key}.csv"))
    return tx.commit


def test_operators_and_work_refuse_an_older_catalog_and_go_on_after_a_recovery(store, orders, build_context, tmp_path):
    commit(store, a="1")
    context = build_context(partition_key="a")
    with orders.work(build_context(partition_key="a", run_id="first")):
        pass
    commit(store, a="2")
    before = rows_of(store)
    made = process(orders, context)
    newest = commit(store, b="1")
    roll_back(store, before)
    with DAG("check", schedule=None):
        operator = VersionedCommitOperator(
            task_id="task", ref="orders@main", store=str(tmp_path / "store"), source=lambda tx: tx.write("c.csv", b"3")
        )
    with pytest.raises(CatalogOlderError, match="versioned recover"):
        operator.execute(build_context(run_id="operator"))
    with pytest.raises(CatalogOlderError, match="versioned recover"):
        process(orders, context)
    vio.recover_store(tmp_path / "store")
    with vio.open_store(tmp_path / "store") as again:
        assert again.commit("orders@main") == newest
        # The retry finds the commit of its first try, and the key that the older catalog called due is done.
        assert process(orders, context) == made
        (subscription,) = again.subscriptions("orders@main", prefix="airflow:check:")
        assert subscription.find("a").is_done
        assert [one.key for one in subscription.due()] == ["b"]
        assert len(list(again.log("quality@main"))) == 1
    operator.execute(build_context(run_id="operator"))


def test_a_trigger_does_not_announce_the_head_of_an_older_catalog(store, orders, tmp_path):
    commit(store, a="1")
    before = rows_of(store)
    newest = commit(store, a="2")

    async def events():
        found = []
        trigger = CommitTrigger("orders@main", store=str(tmp_path / "store"), poll_interval_s=0.02)
        running = trigger.run()
        found.append((await asyncio.wait_for(anext(running), 60)).payload["commit"])
        await asyncio.to_thread(roll_back, store, before)
        late = asyncio.ensure_future(anext(running))
        done, _ = await asyncio.wait([late], timeout=2)
        found += [one.result().payload["commit"] for one in done]
        if not done:
            vio.recover_store(tmp_path / "store")
            with vio.open_store(tmp_path / "store") as again:
                last = commit(again, a="3")
            found.append((await asyncio.wait_for(late, 60)).payload["commit"])
            return found, last.id
        return found, None

    found, last = asyncio.run(events())
    assert found == [newest.id, last]
