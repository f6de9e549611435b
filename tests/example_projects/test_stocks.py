"""The example of stocks: a corrected price is one datum, another layout of the file is none."""

import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

import versioned_io as vio

EXAMPLE = Path(__file__).parents[2] / "example_projects" / "stocks"
MODULES = ("ingest", "returns")


@pytest.fixture
def example(monkeypatch):
    """The example's modules, as its scripts import them."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("example")
def test_a_corrected_price_is_one_datum_and_another_layout_of_the_file_is_none(tmp_path):
    from ingest import commit_prices, correct, load_prices
    from returns import best, returns

    prices = load_prices()
    with vio.create_store(tmp_path / "store") as store:
        for repo in ("returns", "best"):
            store.create_repo(repo)

        def run(table, **options):
            commit_prices(store, table, **options)
            runs = [store.pipeline(one).run() for one in (returns, best)]
            return [{name: count for name, count in run.counts.items() if count} for run in runs]

        assert run(prices) == [{"run": 5}, {"run": 1}]
        assert run(prices, rows_together=7) == [{"skipped": 5}, {"skipped": 1}]
        corrected = correct(prices, "AAPL", 1.1)
        assert run(corrected) == [{"run": 1, "skipped": 4}, {"run": 1}]
        assert store.pipeline(returns).datums()[0].key == "prices.parquet#symbol=AAPL"
        assert run(prices) == [{"reused": 1, "skipped": 4}, {"reused": 1}]
        without = corrected.filter(pc.not_equal(corrected["symbol"], "IBM"))
        assert run(without)[0] == {"reused": 1, "skipped": 3, "deleted": 1}
        assert not store.snapshot("returns@main").exists("IBM.json")
