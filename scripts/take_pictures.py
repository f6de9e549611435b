"""Take the pictures of Dagster's pages: run the start page with its real server, and take screenshots of the result.

Usage: ``python scripts/take_pictures.py``, with ``chromium`` on the path. It writes ``docs/pictures/*.png``.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from run_page import Runner, read_blocks

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
INSTANCE = "nux: {enabled: false}\ntelemetry: {enabled: false}\n"
"""Settings of Dagster's instance: no greeting covers its pages, and nothing is sent."""
PAGES = {"dagster-runs": "/runs", "dagster-partition": "/assets/rain?view=partitions&partition=2012-02"}
"""The name of each picture, and the page of the web server that it shows."""

_ADDRESS = re.compile(r"Serving dagster-webserver on (http://\S+)")


def main() -> int:
    """Run the page, and photograph the server before it ends."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("take_pictures: no chromium on the path; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pictures-", ignore_cleanup_errors=True) as base:
        runner = Runner(Path(base), with_servers=True)
        home = Path(base) / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text(INSTANCE)
        runner.env["DAGSTER_HOME"] = str(home)
        try:
            for block in read_blocks(ROOT / "docs" / "start" / "dagster.md"):
                runner.run(block)
            (address,) = set(_ADDRESS.findall(runner.background_output(10**6)))
            for name, path in PAGES.items():
                photograph(chromium, f"{address}{path}", PICTURES / f"{name}.png", Path(base))
        finally:
            runner.close()
    return 0


def photograph(chromium: str, url: str, target: Path, base: Path) -> None:
    """Write a screenshot of *url* into *target*, after the page has had time to load.

    Raises:
        subprocess.CalledProcessError: The browser failed.
    """
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    switches += ["--hide-scrollbars", "--window-size=1440,760", "--virtual-time-budget=20000"]
    command = [chromium, *switches, f"--user-data-dir={base / 'browser'}", f"--screenshot={target}", url]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    sys.exit(main())
