"""The pipelines: the yearly returns of each stock, and a table of all of them."""

import json
import os

import versioned_io as vio


@vio.pipeline("returns", inputs=vio.table("stocks@main", "/prices.parquet", by="symbol"), output="returns@main")
def returns(datum: vio.Datum, out: vio.DatumOutput) -> None:
    """Write by how much one stock rose in each year, in percent, from its first price to its last one."""
    stock = datum["stocks"]
    years: dict[int, list[float]] = {}
    for row in stock.table().to_pylist():
        years.setdefault(int(str(row["date"])[-4:]), []).append(row["price"])
    found = {str(year): round(100 * (prices[-1] / prices[0] - 1), 1) for year, prices in sorted(years.items())}
    out.write(f"{stock.value}.json", json.dumps(found).encode())


@vio.pipeline("best", inputs=vio.glob("returns@main", "/"), output="best@main")
def best(datum: vio.Datum, out: vio.DatumOutput) -> None:
    """Write the best stock of each year."""
    found: dict[str, tuple[float, str]] = {}
    for file in datum["returns"]:
        for year, value in json.loads(file.read()).items():
            found[year] = max(found.get(year, (value, "")), (value, file.path.removesuffix(".json")))
    out.write("best.json", json.dumps({year: name for year, (_, name) in sorted(found.items())}, indent=1).encode())


def main() -> None:
    """Run both, and print what was done."""
    with vio.open_store(os.environ.get("VERSIONED_STORE", "store")) as store:
        for pipeline in (returns, best):
            store.create_repo(pipeline.output.repo, exist_ok=True)
            run = store.pipeline(pipeline).run()
            print(pipeline.name, run.state, dict(run.counts), *run.runs)


if __name__ == "__main__":
    main()
