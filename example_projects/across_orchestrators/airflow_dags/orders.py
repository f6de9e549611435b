"""The two ends in Airflow: commit the orders, and report on each day's totals, which Dagster has made meanwhile."""

from airflow.sdk import DAG, Param, task

from airflow_versioned import VersionedCommitOperator, versioned_asset

# The repo of the Dagster asset `daily_totals`: its IO manager stores the value of each partition at <date>/data.json.
TOTALS = versioned_asset("daily_totals@main", partitions="{date}/data.json", poll_interval_s=1)

TOTALS.relay(consumers=("report_totals",))

with DAG("load_orders", schedule=None, params={"directory": Param("/data/incoming", type="string")}):
    VersionedCommitOperator(task_id="commit", ref="orders@main", source="{{ params.directory }}")

with DAG("report_totals", schedule=TOTALS.schedule):

    @task.versioned(inputs={"totals": TOTALS}, output="reports@main:{key}", retries=2)
    def report(totals: dict[str, float]) -> str:
        """Return a sentence on the day; it is committed under the lineage ID of the orders."""
        return f"{totals['orders']:.0f} orders, {totals['amount']:.2f} in total"

    report()
