"""Weather months in a versioned repo, a summary of each month, and a model of all of them."""

import os

import dagster as dg
import numpy as np
import pandas as pd

from dagster_versioned import PartitionedOutput, VersionedIOManager, VersionedStoreResource, build_commit_sensor

STORE = os.environ.get("VERSIONED_STORE", "./store")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")


@dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
def monthly_summary(context: dg.AssetExecutionContext, versioned_store: VersionedStoreResource) -> PartitionedOutput:
    """Rain and temperature of each month of the run, from the file of that month."""
    weather = versioned_store.snapshot("weather@main")
    summaries = PartitionedOutput()
    for month in context.partition_keys:
        with versioned_store.partition(month), weather.open(f"{month.replace('-', '/')}.csv") as file:
            days = pd.read_csv(file)
        mean = (days.temp_max.mean() + days.temp_min.mean()) / 2
        summaries[month] = pd.DataFrame(
            {"month": [month], "rain_mm": [days.precipitation.sum()], "mean_temp_c": [mean]}
        )
    return summaries


@dg.asset(ins={"monthly_summary": dg.AssetIn(metadata={"allow_missing_partitions": True})})
def climate_model(monthly_summary: dict[str, pd.DataFrame]) -> dict[str, float]:
    """The year's swings: the waves that fit the months' temperature and rain best."""
    months = pd.concat(monthly_summary.values())
    angle = 2 * np.pi * months.month.str[-2:].astype(int) / 12
    waves = np.column_stack([np.ones(len(months)), np.sin(angle), np.cos(angle)])
    (temp, temp_sine, temp_cosine), *_ = np.linalg.lstsq(waves, months.mean_temp_c.to_numpy(), rcond=None)
    (rain, rain_sine, rain_cosine), *_ = np.linalg.lstsq(waves, months.rain_mm.to_numpy(), rcond=None)
    return {
        "mean_temp_c": round(float(temp), 3),
        "temp_swing_c": round(float(np.hypot(temp_sine, temp_cosine)), 3),
        "mean_rain_mm": round(float(rain), 3),
        "rain_swing_mm": round(float(np.hypot(rain_sine, rain_cosine)), 3),
    }


definitions = dg.Definitions(
    assets=[monthly_summary, climate_model],
    sensors=[
        build_commit_sensor(
            "weather@main",
            target=[monthly_summary],
            partitions="{year}/{month}.csv",
            minimum_interval_seconds=2,
            default_status=dg.DefaultSensorStatus.RUNNING,
        ),
        build_commit_sensor(
            "monthly_summary@main",
            target=[climate_model],
            minimum_interval_seconds=2,
            default_status=dg.DefaultSensorStatus.RUNNING,
        ),
    ],
    resources={
        "io_manager": VersionedIOManager(store=STORE),
        "versioned_store": VersionedStoreResource(store=STORE),
    },
)
