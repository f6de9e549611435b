"""Commit the daily weather of Seattle, one file a month, to ``weather@main``; or correct one day of it.

python ingest.py              # 48 months; the same again commits nothing
python ingest.py 2012-03-05   # that day was wetter than we thought
"""

import os
import sys

import pandas as pd
from vega_datasets import data

import versioned_io as vio

STORE = os.environ.get("VERSIONED_STORE", "./store")


def ingest(store: vio.Store, correct_day: str | None = None) -> vio.Commit:
    """Commit the months, with 10 mm more rain on *correct_day*; return the commit that holds them."""
    days = data.seattle_weather()
    if correct_day is not None:
        days.loc[days.date == pd.Timestamp(correct_day), "precipitation"] += 10
    store.create_repo("weather", exist_ok=True)
    with store.transaction(
        "weather@main", message=f"correct {correct_day}" if correct_day else "ingest"
    ) as transaction:
        for month, of_month in days.groupby(days.date.dt.strftime("%Y/%m")):
            transaction.write(f"{month}.csv", of_month.to_csv(index=False).encode())
    return transaction.commit


if __name__ == "__main__":
    with vio.open_or_create_store(STORE) as opened:
        commit = ingest(opened, *sys.argv[1:2])
    print(f"{commit}: {commit.stats.added} months added, {commit.stats.modified} modified, lineage {commit.lineage_id}")
