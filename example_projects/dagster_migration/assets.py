"""The assets of a project that has run for years: eight of six kinds, none of which knows where its values are kept."""

import datetime as dt

import dagster as dg
import pandas as pd

DAYS = dg.DailyPartitionsDefinition(start_date="2021-01-01", end_date="2024-01-01")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2021-01-01", end_date="2024-01-01")
STATIONS = dg.DynamicPartitionsDefinition(name="stations")
GRID = dg.MultiPartitionsDefinition(
    {"month": MONTHS, "region": dg.StaticPartitionsDefinition(["coast", "inland", "north/east"])}
)


@dg.asset(key_prefix="raw")
def calibration() -> dict[str, float]:
    """An asset without partitions, whose key has two parts."""
    return {"offset_mm": 0.5}


@dg.asset(partitions_def=DAYS, ins={"calibration": dg.AssetIn(key_prefix="raw")})
def daily_rain(context: dg.AssetExecutionContext, calibration: dict[str, float]) -> float:
    """One value a day."""
    return dt.date.fromisoformat(context.partition_key).day + calibration["offset_mm"]


@dg.asset(partitions_def=MONTHS)
def monthly_rain(daily_rain: dict[str, float]) -> pd.DataFrame:
    """One table a month, of the days of that month."""
    return pd.DataFrame({"day": list(daily_rain), "rain_mm": list(daily_rain.values())})


@dg.asset(partitions_def=STATIONS)
def station(context: dg.AssetExecutionContext) -> dict[str, str]:
    """One value for each station that there is."""
    return {"name": context.partition_key}


@dg.asset(partitions_def=GRID)
def region_rain(context: dg.AssetExecutionContext) -> str:
    """One value for each month and region."""
    return str(context.partition_key)


@dg.multi_asset(outs={"wettest": dg.AssetOut(), "driest": dg.AssetOut()})
def extremes(monthly_rain: dict[str, pd.DataFrame]) -> tuple[float, float]:
    """Two assets of one step, made from all months."""
    sums = [table.rain_mm.sum() for table in monthly_rain.values()]
    return float(max(sums)), float(min(sums))


@dg.op
def difference(wettest: float, driest: float) -> float:
    """Return the range of the months."""
    return wettest - driest


@dg.op
def described(value: float) -> str:
    """Return a sentence."""
    return f"the months differ by {value:.1f} mm"


@dg.graph_asset
def report(wettest: float, driest: float) -> str:
    """An asset that is a graph of two ops."""
    return described(difference(wettest, driest))


ASSETS = [calibration, daily_rain, monthly_rain, station, region_rain, extremes, report]
