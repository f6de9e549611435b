"""Commit the monthly prices of stocks that vega-datasets ships, as one Parquet file for all of them."""

import io
import os
import sys

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from vega_datasets import local_data

import versioned_io as vio


def load_prices() -> pa.Table:
    """Return the prices, with the columns symbol, date and price."""
    return pyarrow.csv.read_csv(local_data.stocks.filepath)


def correct(prices: pa.Table, symbol: str, factor: float) -> pa.Table:
    """Return the prices with the newest one of one stock multiplied."""
    rows = prices.to_pylist()
    newest = max(number for number, row in enumerate(rows) if row["symbol"] == symbol)
    rows[newest]["price"] *= factor
    return pa.Table.from_pylist(rows, schema=prices.schema)


def commit_prices(store: vio.Store, prices: pa.Table, *, rows_together: int = 10_000) -> vio.Commit:
    """Commit the prices to the repo of stocks with *rows_together* rows in each row group, and return the commit."""
    file = io.BytesIO()
    pq.write_table(prices, file, row_group_size=rows_together)
    store.create_repo("stocks", exist_ok=True)
    with store.transaction("stocks@main", message="prices") as tx:
        tx.write("prices.parquet", file.getvalue())
    return tx.commit


if __name__ == "__main__":
    found = load_prices()
    for name in sys.argv[1:]:
        found = correct(found, name, 1.1)
    with vio.open_or_create_store(os.environ.get("VERSIONED_STORE", "store")) as opened:
        print(commit_prices(opened, found).id)
