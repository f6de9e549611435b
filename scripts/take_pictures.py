"""Take screenshots of the pages of Dagster and Airflow, after each start page has run with its server.

Usage: ``python scripts/take_pictures.py [dagster] [airflow] [graph]``, with ``chromium`` on the path; by default all.
``graph`` is Dagster's asset graph with a repo in it, of `pictured_graph`. It writes ``docs/pictures/*.png``.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from run_page import Runner, read_blocks

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # devservers is not installed

import versioned_io as vio  # noqa: E402
from devservers.dagster_server import DagsterServer  # noqa: E402
from devservers.process import wait_until  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
GRAPH = "graph"
INSTANCE = "nux: {enabled: false}\ntelemetry: {enabled: false}\n"
"""Settings of Dagster's instance: no greeting covers its pages, and nothing is sent."""

_ADDRESS = re.compile(r"Serving dagster-webserver on (http://\S+)")
_ASSET = "versioned://weather/main/{year}/{month}.csv"


def prepare_dagster(runner: Runner, base: Path) -> None:
    """Make a Dagster instance with the settings `INSTANCE`, and let the page use it."""
    home = base / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    runner.env["DAGSTER_HOME"] = str(home)


def pages_of_dagster(runner: Runner) -> dict[str, str]:
    """Return the name of each picture, and the address of the page that it shows."""
    (address,) = set(_ADDRESS.findall(runner.background_output(10**6)))
    return {
        "dagster-runs": f"{address}/runs",
        "dagster-partition": f"{address}/assets/rain?view=partitions&partition=2012-02",
    }


def prepare_airflow(runner: Runner, base: Path) -> None:  # noqa: ARG001 (as for Dagster)
    """Make everybody who opens the pages an administrator, so that no login form covers them."""
    runner.env["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] = "True"


def pages_of_airflow(runner: Runner) -> dict[str, str]:
    """Return the name of each picture, and the address of the page that it shows."""
    address = runner.env["AIRFLOW__API__BASE_URL"]
    token = _get(f"{address}/auth/token")["access_token"]
    assets = _get(f"{address}/api/v2/assets", Authorization=f"Bearer {token}")["assets"]
    (number,) = (one["id"] for one in assets if one["uri"] == _ASSET)
    return {"airflow-asset": f"{address}/assets/{number}"}


PAGES: dict[str, tuple[Callable[[Runner, Path], None], Callable[[Runner], dict[str, str]]]] = {
    "dagster": (prepare_dagster, pages_of_dagster),
    "airflow": (prepare_airflow, pages_of_airflow),
}
"""The preparation for each start page, and the pages to photograph at its end."""


def main() -> int:
    """Run the start pages, and photograph their servers before they end."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("take_pictures: no chromium on the path; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    for name in sys.argv[1:] or [*PAGES, GRAPH]:
        if name == GRAPH:
            picture_graph(chromium)
            continue
        prepare, pages_of = PAGES[name]
        with tempfile.TemporaryDirectory(prefix="pictures-", ignore_cleanup_errors=True) as base:
            runner = Runner(Path(base), with_servers=True)
            prepare(runner, Path(base))
            try:
                for block in read_blocks(ROOT / "docs" / "start" / f"{name}.md"):
                    runner.run(block)
                for picture, url in pages_of(runner).items():
                    photograph(chromium, url, PICTURES / f"{picture}.png", Path(base))
            finally:
                runner.close()
    return 0


def picture_graph(chromium: str) -> None:
    """Photograph Dagster's asset graph, after a commit by another program has led to two runs."""
    with tempfile.TemporaryDirectory(prefix="pictures-", ignore_cleanup_errors=True) as base:
        location = Path(base, "store")
        with (
            vio.create_store(location) as store,
            DagsterServer(
                Path(base, "dagster"),
                Path(__file__).with_name("pictured_graph.py"),
                env={"VERSIONED_STORE": str(location)},
                config={"nux": {"enabled": False}},
            ) as dagster,
        ):
            store.create_repo("orders")
            with store.transaction("orders@main", message="orders of May") as tx:
                tx.write("data.csv", b"city,price\noslo,3\nrome,4\n")
            what = "the assets that are made of the commit"
            wait_until(lambda: dagster.api.materializations("report"), what=what, timeout_s=300)
            dagster.api.wait_for_runs(1)
            photograph(chromium, f"{dagster.url}/asset-groups", PICTURES / "dagster-graph.png", Path(base))


def photograph(chromium: str, url: str, target: Path, base: Path) -> None:
    """Write a screenshot of *url* into *target*, after the page has had time to load.

    Raises:
        subprocess.CalledProcessError: The browser failed.
    """
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    switches += ["--hide-scrollbars", "--window-size=1440,760", "--virtual-time-budget=20000"]
    command = [chromium, *switches, f"--user-data-dir={base / 'browser'}", f"--screenshot={target}", url]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _get(url: str, **headers: str) -> dict[str, Any]:
    request = Request(url, headers=headers)  # noqa: S310 (of a server started here)
    with urlopen(request, timeout=30) as answer:  # noqa: S310 (as above)
        found: dict[str, Any] = json.load(answer)
        return found


if __name__ == "__main__":
    sys.exit(main())
