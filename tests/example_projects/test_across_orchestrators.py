"""Airflow, then Dagster, then Airflow, with the real daemons of both: one lineage ID, and exactly the touched days."""

import json
from collections import Counter
from pathlib import Path

import pytest

import versioned_io as vio
from devservers.airflow_server import AirflowServer
from devservers.dagster_server import DagsterServer
from devservers.process import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EXAMPLE = Path(__file__).parents[2] / "example_projects" / "across_orchestrators"
DAYS = ["2025-01-05", "2025-01-06", "2025-01-07"]


def value_of(store, ref):
    """Return the commit that made the newest version of each path, and its content."""
    snapshot = store.snapshot(ref)
    return {info.path: (snapshot.writer_of(info.path), snapshot.read(info.path)) for info in snapshot.walk()}


def test_one_lineage_id_leads_through_both_and_a_correction_runs_its_day_alone(tmp_path):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for day in DAYS:
        (incoming / f"{day}.csv").write_text(f"customer,amount\nada,{day[-2:]}\nbob,1\n")
    url, events = str(tmp_path / "store"), tmp_path / "openlineage.jsonl"
    connection = {"conn_type": "versioned", "host": url}
    settings = {
        "workers.min_heartbeat_interval": "1",
        "openlineage.transport": json.dumps({"type": "file", "log_file_path": str(events), "append": True}),
    }
    airflow = AirflowServer(
        tmp_path / "airflow",
        EXAMPLE / "airflow_dags",
        env={"AIRFLOW_CONN_VERSIONED_DEFAULT": json.dumps(connection)},
        settings=settings,
    )
    dagster = DagsterServer(tmp_path / "dagster", EXAMPLE / "dagster_definitions.py", env={"VERSIONED_STORE": url})
    with vio.create_store(url) as store:
        store.create_repo("orders")
        with dagster, airflow:
            airflow.api.wait_for_dag("report_totals")

            def load():
                """Load the orders, wait until the reports are there, and return the repos of the lineage ID."""
                run_id = airflow.api.trigger("load_orders", conf={"directory": str(incoming)})
                assert airflow.api.wait_for_run("load_orders", run_id).state == "success"
                loaded = store.commit("orders@main")
                touched = loaded.stats.added + loaded.stats.modified

                def led_to():
                    return Counter(made.repo for made in store.lineage(loaded.lineage_id))

                wanted = {"orders": 1, "daily_totals": touched, "reports": touched}
                wait_until(lambda: led_to() == wanted, what=f"{wanted}", timeout_s=300, poll_s=0.5)
                return loaded

            load()
            reports = value_of(store, "reports@main")
            assert sorted(reports) == [f"{day}.txt" for day in DAYS]
            (incoming / f"{DAYS[1]}.csv").write_text("customer,amount\nada,10\n")
            corrected = load()
            airflow.api.wait_for_runs("report_totals", len(DAYS) + 1, settle_s=3)
        changed = {
            path: content
            for path, (writer, content) in value_of(store, "reports@main").items()
            if writer != reports[path][0]
        }
        assert changed == {f"{DAYS[1]}.txt": b"1 orders, 10.00 in total"}
        made_in = {made.repo: made.run.orchestrator for made in store.lineage(corrected.lineage_id)}
        assert made_in == {"orders": "airflow", "daily_totals": "dagster", "reports": "airflow"}
        files = {(use.file.repo, use.file.path) for use in store.upstream("reports@main").files}
        assert {("orders", f"{DAYS[1]}.csv"), ("daily_totals", f"{DAYS[1]}/data.json")} <= files
        check_open_lineage(events, store)


def check_open_lineage(events, store):
    """The last report's event has the commits that it read and made as the versions of its datasets."""
    pytest.importorskip("airflow.providers.openlineage")
    lines = map(json.loads, events.read_text().splitlines())
    done = [one for one in lines if one["eventType"] == "COMPLETE" and one["job"]["name"] == "report_totals.report"]
    versions = {
        one["name"]: one["facets"]["version"]["datasetVersion"] for one in [*done[-1]["inputs"], *done[-1]["outputs"]]
    }
    assert versions == {
        "daily_totals@main": store.commit("daily_totals@main").id,
        "reports@main": store.commit("reports@main").id,
    }
