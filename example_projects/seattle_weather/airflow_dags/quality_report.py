"""The Airflow half: a report on each month that a commit touched, and a bulletin of each model that Dagster trained."""

import csv
import json
from collections.abc import Iterable, Mapping
from io import TextIOWrapper

from airflow.sdk import DAG, task

from airflow_versioned import versioned_asset

WEATHER = versioned_asset("weather@main", partitions="{year}/{month}.csv")
QUALITY = versioned_asset("quality@main", partitions="{month}.json")
MODEL = versioned_asset("climate_model@main")
BULLETIN = versioned_asset("bulletin@main")

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


with DAG("bulletin", schedule=MODEL.schedule, catchup=False) as bulletin:

    @task(outlets=[BULLETIN], retries=2)
    def write() -> None:
        """Write the bulletin of the newest model, which a Dagster asset committed."""
        with MODEL.work(start="beginning") as work:
            model = json.loads(work.snapshot.read("data.json"))
            text = f"A month in Seattle has {model['mean_rain_mm']} mm of rain and {model['mean_temp_c']} C.\n"
            with work.transaction("bulletin@main", message="bulletin") as transaction:
                transaction.write("bulletin.txt", text.encode())

    write()


def find_faults(days: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Return the days, their rain, the missing values, and the values that can't be."""
    faults: dict[str, float] = dict.fromkeys(
        ("days", "rain_mm", "missing_values", "impossible_temperatures", "negative_rain"), 0
    )
    for day in days:
        rain = float(day["precipitation"])
        faults["days"] += 1
        faults["rain_mm"] = round(faults["rain_mm"] + rain, 1)
        faults["missing_values"] += sum(value == "" for value in day.values())
        faults["impossible_temperatures"] += float(day["temp_min"]) > float(day["temp_max"])
        faults["negative_rain"] += rain < 0
    return faults
