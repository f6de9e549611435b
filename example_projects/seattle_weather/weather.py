"""The data: the daily weather of Seattle in 2012-2015, as one CSV file a month."""

from collections.abc import Iterator

import pandas as pd
from vega_datasets import data

import versioned_io as vio

REPO = "weather"
BRANCH = "weather@main"
PATHS = "{year}/{month}.csv"


def read_days() -> pd.DataFrame:
    """Return the 1,461 observations: date, precipitation (mm), temp_max and temp_min (C), wind (m/s), weather."""
    return data.seattle_weather()


def correct_day(days: pd.DataFrame, day: str, *, more_rain_mm: float) -> pd.DataFrame:
    """Return *days* with more rain on one of them."""
    corrected = days.copy()
    corrected.loc[corrected.date == pd.Timestamp(day), "precipitation"] += more_rain_mm
    return corrected


def commit_days(store: vio.Store, days: pd.DataFrame, message: str, *, empty: str = "skip") -> vio.Transaction:
    """Commit *days* as one file a month, all or none; return the transaction, which says whether a commit was made."""
    with store.transaction(BRANCH, message=message, author="weather station", empty=empty) as transaction:
        for path, content in _months(days):
            transaction.write(path, content)
    return transaction


def _months(days: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    for month, of_month in days.groupby(days.date.dt.strftime("%Y/%m")):
        yield f"{month}.csv", of_month.to_csv(index=False).encode()
