"""The Dagster half: a summary of each month, a model of all months, and the sensors that let commits drive them."""

import os

import dagster as dg
import numpy as np
import pandas as pd

from dagster_versioned import PartitionedOutput, VersionedIOManager, VersionedStoreResource, build_commit_sensor

STORE = os.environ["VERSIONED_STORE"]
WEBSERVER = os.environ.get("DAGSTER_WEBSERVER_URL")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")


@dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run(), code_version="1")
def monthly_summary(context: dg.AssetExecutionContext, versioned_store: VersionedStoreResource) -> PartitionedOutput:
    """Rain and temperature of each month of the run, from the files of those months and no other."""
    weather = versioned_store.snapshot("weather@main")
    summaries = PartitionedOutput()
    for month in context.partition_keys:
        with versioned_store.partition(month), weather.open(f"{month.replace('-', '/')}.csv") as file:
            summaries[month] = summarise(pd.read_csv(file), month)
    return summaries


def summarise(days: pd.DataFrame, month: str) -> pd.DataFrame:
    """Return one row: month, days, rain_mm, mean_temp_c."""
    mean_temp = (days.temp_max.mean() + days.temp_min.mean()) / 2
    return pd.DataFrame(
        {"month": [month], "days": [len(days)], "rain_mm": [days.precipitation.sum()], "mean_temp_c": [mean_temp]}
    )


@dg.asset(ins={"monthly_summary": dg.AssetIn(metadata={"allow_missing_partitions": True})}, code_version="1")
def climate_model(monthly_summary: dict[str, pd.DataFrame]) -> dict[str, float]:
    """The yearly waves that fit the months best: of the mean temperature, and of the rain."""
    months = pd.concat(monthly_summary.values())
    angle = 2 * np.pi * months.month.str[-2:].astype(int) / 12
    waves = np.column_stack([np.ones(len(months)), np.sin(angle), np.cos(angle)])
    temp = np.linalg.lstsq(waves, months.mean_temp_c.to_numpy(), rcond=None)[0]
    rain = np.linalg.lstsq(waves, months.rain_mm.to_numpy(), rcond=None)[0]
    return {
        "months": float(len(months)),
        "mean_temp_c": round(float(temp[0]), 3),
        "temp_swing_c": round(float(np.hypot(*temp[1:])), 3),
        "mean_rain_mm": round(float(rain[0]), 3),
        "rain_swing_mm": round(float(np.hypot(*rain[1:])), 3),
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
        "io_manager": VersionedIOManager(store=STORE, webserver_url=WEBSERVER),
        "versioned_store": VersionedStoreResource(store=STORE, webserver_url=WEBSERVER),
    },
    executor=dg.in_process_executor,
)
