"""The middle in Dagster: the totals of each day whose orders a commit has touched."""

import csv
import os
from io import TextIOWrapper

import dagster as dg

from dagster_versioned import VersionedIOManager, VersionedStoreResource, build_commit_sensor

STORE = os.environ.get("VERSIONED_STORE", "./store")
DAYS = dg.DailyPartitionsDefinition(start_date="2025-01-01", end_date="2026-01-01")


@dg.asset(partitions_def=DAYS)
def daily_totals(context: dg.AssetExecutionContext, versioned_store: VersionedStoreResource) -> dict[str, float]:
    """The number and the amount of one day's orders."""
    with versioned_store.snapshot("orders@main").open(f"{context.partition_key}.csv") as file:
        amounts = [float(order["amount"]) for order in csv.DictReader(TextIOWrapper(file, "utf-8"))]
    return {"orders": float(len(amounts)), "amount": sum(amounts)}


definitions = dg.Definitions(
    assets=[daily_totals],
    sensors=[
        build_commit_sensor(
            "orders@main",
            target=[daily_totals],
            partitions="{date}.csv",
            minimum_interval_seconds=2,
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
    ],
    resources={
        "io_manager": VersionedIOManager(store=STORE),
        "versioned_store": VersionedStoreResource(store=STORE),
    },
)
