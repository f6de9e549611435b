"""The Airflow half: a report on the quality of each month's data, for the months that a commit touched."""

import csv
import json
from collections.abc import Iterable, Mapping
from io import TextIOWrapper

from airflow.sdk import DAG, task

from airflow_versioned import versioned_asset

WEATHER = versioned_asset("weather@main", partitions="{year}/{month}.csv")
QUALITY = versioned_asset("quality@main", partitions="{month}.json")

WEATHER.relay(consumers=("quality_report",))

with DAG("quality_report", schedule=WEATHER.schedule, catchup=False, max_active_runs=4) as quality_report:

    @task(outlets=[QUALITY], retries=2)
    def report() -> None:
        """Report on one month; the report's commit and "this month is done" are one SQL transaction."""
        with WEATHER.work() as work:
            (path,) = work.paths
            with work.snapshot.open(path) as file:
                findings = find_faults(csv.DictReader(TextIOWrapper(file, "utf-8")))
            with work.transaction("quality@main", message=f"quality of {work.key}") as transaction:
                transaction.write(f"{work.key}.json", json.dumps(findings, indent=1).encode())

    report()


def find_faults(days: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """Count the days, the values that are missing, and those that can't be."""
    faults = {"days": 0, "missing_values": 0, "impossible_temperatures": 0, "negative_rain": 0}
    for day in days:
        faults["days"] += 1
        faults["missing_values"] += sum(value == "" for value in day.values())
        faults["impossible_temperatures"] += float(day["temp_min"]) > float(day["temp_max"])
        faults["negative_rain"] += float(day["precipitation"]) < 0
    return faults
