"""Checks the orders of exactly the days that a commit touched.

``ORDERS`` is the branch ``orders@main``, one partition for each file ``<date>.csv``. Its relay turns a
commit into one event for each affected day; ``check_orders`` runs once for each.
"""

import csv
import json
from io import TextIOWrapper

from airflow.sdk import DAG, task

from airflow_versioned import versioned_asset

ORDERS = versioned_asset("orders@main", partitions="{date}.csv")
QUALITY = versioned_asset("quality@main", partitions="{date}.json")

ORDERS.relay()  # in exactly one DAG file

with DAG("check_orders", schedule=ORDERS.schedule):

    @task(outlets=[QUALITY], retries=2)
    def check() -> None:
        """Write a report on one day's orders; one transaction commits it and marks this work as done."""
        with ORDERS.work() as work:
            with work.snapshot.open(f"{work.key}.csv") as file:
                rows = list(csv.DictReader(TextIOWrapper(file, "utf-8")))
            report = {
                "date": work.key,
                "orders": len(rows),
                "without_customer": sum(not row["customer"] for row in rows),
                "total": round(sum(float(row["amount"]) for row in rows), 2),
            }
            with work.transaction("quality@main") as tx:
                tx.write(f"{work.key}.json", json.dumps(report, indent=1).encode())

    check()
