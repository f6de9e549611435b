"""One commit drives only the affected partitions, in Dagster and in Airflow, under one lineage ID: shown for real.

``make demo`` runs it; ``make demo KEEP=1`` leaves both orchestrators running, to be looked at in a browser.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

import versioned_io as vio
from example_projects.seattle_weather import weather
from example_projects.seattle_weather.orchestrators import Orchestrators, Ran
from versioned_io import formats

DIRECTORY = Path(__file__).parents[2] / ".demo"
CORRECTED_DAY = "2013-05-21"


class Demo:
    """The six steps; each returns the results that the next step, or a test, needs.

    Args:
        directory: Where the store and the orchestrators' state go; emptied first.
        keeps: Whether the orchestrators run on after the last step. If not, no address of them is printed.
    """

    def __init__(self, directory: Path, console: Console, *, keeps: bool = False) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.location = directory / "store"
        self.orchestrators = Orchestrators(self.location, directory, self._tell)
        self.store = vio.create_store(self.location)
        self._console = console
        self._started = time.monotonic()
        self._keeps = keeps
        self._days = weather.read_days()
        self._rows: list[tuple[str, Ran]] = []
        for repo in (weather.REPO, "quality", "climate_model", "bulletin"):
            self.store.create_repo(repo)

    def ingest(self) -> tuple[vio.Commit, Ran]:
        """Step 1 to 3: commit 48 monthly files, and see both orchestrators work on all of them."""
        self._say("1", f"ingest: one transaction writes {len(self._days):,} observations as 48 monthly files")
        commit = weather.commit_days(self.store, self._days, "first load").commit
        self._describe(commit)
        return commit, self._watch("ingest", "2, 3", partitions=48, models=1)

    def correct(self) -> tuple[vio.Commit, Ran]:
        """Step 4: commit the same data with one day corrected, and see one partition run in each."""
        self._say("4", f"correction: it rained 12 mm more on {CORRECTED_DAY}; all 48 files are written again")
        self._days = weather.correct_day(self._days, CORRECTED_DAY, more_rain_mm=12)
        commit = weather.commit_days(self.store, self._days, f"correct {CORRECTED_DAY}").commit
        self._describe(commit)
        return commit, self._watch("correct one day", "4", partitions=1, models=1)

    def changed_numbers(self) -> list[tuple[str, str, str, str]]:
        """Return the numbers that the correction changed: their maker, their name, and both values."""
        month = CORRECTED_DAY[:7]
        found = []
        for repo, maker, name, number_of in (
            ("monthly_summary", "Dagster", f"rain_mm of {month}", lambda snapshot: _rain_of(snapshot, month)),
            ("climate_model", "Dagster", "mean_rain_mm of the model", _mean_rain_of),
            ("quality", "Airflow", f"rain_mm in the report on {month}", lambda snapshot: _report_of(snapshot, month)),
            ("bulletin", "Airflow", "the bulletin", lambda snapshot: snapshot.read("bulletin.txt").decode().strip()),
        ):
            before, after = (number_of(self.store.snapshot(f"{repo}@{ref}")) for ref in ("main~1", "main"))
            found.append((maker, name, before, after))
        return found

    def show_changed_numbers(self) -> None:
        """Print the numbers that the correction changed, before and after."""
        table = Table("made by", "number", "before", "after")
        for row in self.changed_numbers():
            table.add_row(*row)
        self._console.print(table)

    def repeat(self) -> tuple[vio.Commit, Ran]:
        """Step 5: commit the same bytes once more, and see nothing run."""
        self._say("5", "the same bytes again")
        skipped = weather.commit_days(self.store, self._days, "the same again")
        self._print(f"   a commit was made: {skipped.changed}")
        commit = weather.commit_days(self.store, self._days, "the same again", empty="allow").commit
        self._print("   the same as a commit of its own, because we insist:")
        self._describe(commit)
        return commit, self._watch("same bytes", "5", partitions=0, models=0)

    def show_lineage(self, lineage_id: str) -> None:
        """Step 6: show the lineage of the bulletin on the command line, across both orchestrators."""
        self._say("6", "lineage: what the correction led to, and what the bulletin was made from: an Airflow task")
        self._print("      read the model of a Dagster asset, which read the summaries, which were made of the weather")
        self.command("lineage", "show", lineage_id)
        self.command("lineage", "upstream", "bulletin@main")

    def summarise(self, seconds: float) -> None:
        """Print the page that says what was shown."""
        table = Table(title=f"One commit drives only the affected partitions ({seconds:.0f} s)", title_justify="left")
        for heading in ("commit", "Dagster partitions", "models trained", "Airflow partitions", "bulletins"):
            table.add_column(heading)
        for name, ran in self._rows:
            table.add_row(name, _shown(ran.dagster), str(ran.models), _shown(ran.airflow), str(ran.bulletins))
        self._console.print()
        self._console.print(table)

    def command(self, *arguments: str) -> str:
        """Run the ``versioned`` command on the demo's store, print what it prints, and return it."""
        self._print(f"   $ versioned {' '.join(arguments)}")
        program = Path(sys.executable).with_name("versioned")
        environment = {**os.environ, "VERSIONED_STORE": str(self.location), "COLUMNS": str(self._console.width)}
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"versioned {' '.join(arguments)} failed: {done.stderr}")
        lines = done.stdout.splitlines()
        self._print("\n".join(line for line in lines if self._keeps or "http://" not in line))
        return done.stdout

    def _watch(self, name: str, step: str, *, partitions: int, models: int) -> Ran:
        ran = self.orchestrators.wait(partitions=partitions, models=models)
        self._rows.append((name, ran))
        self._say(step, f"Dagster ran {_shown(ran.dagster)} of monthly_summary, and trained {ran.models} climate_model")
        self._say(step, f"Airflow ran {_shown(ran.airflow)} of quality_report, and wrote {ran.bulletins} bulletin")
        return ran

    def _tell(self, text: str) -> None:
        self._print(f"      {time.monotonic() - self._started:3.0f} s  {text}")

    def _describe(self, commit: vio.Commit) -> None:
        stats = commit.stats
        self._print(f"   {commit}, lineage ID {commit.lineage_id}")
        changes = f"{stats.added} added, {stats.modified} modified of {stats.files} files"
        self._print(f"   {changes}, {stats.bytes_stored:,} bytes stored")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _say(self, step: str, text: str) -> None:
        self._console.print(f"[bold]{step:>4}[/bold]  {text}", highlight=False, soft_wrap=True)


def run(directory: Path, *, keep: bool) -> None:
    """Show the six steps, and with *keep* leave the orchestrators running until Ctrl-C."""
    console = Console()
    started = time.monotonic()
    demo = Demo(directory, console, keeps=keep)
    console.print("demo: starting Dagster (webserver, code server, daemon) and Airflow", highlight=False)
    console.print("      (scheduler, triggerer, API server, DAG processor, PostgreSQL)", highlight=False)
    with demo.orchestrators as orchestrators:
        demo.ingest()
        correction, _ = demo.correct()
        demo.show_changed_numbers()
        demo.repeat()
        demo.show_lineage(correction.lineage_id)
        demo.summarise(time.monotonic() - started)
        if keep:
            console.print(f"\nDagster UI  {orchestrators.dagster.url}\nAirflow UI  {orchestrators.airflow.url}")
            console.print(f"store       {demo.location}\n\nCtrl-C ends both.", highlight=False, soft_wrap=True)
            with suppress(KeyboardInterrupt):
                signal.pause()
        console.print("demo: stopping both", highlight=False)


def _rain_of(snapshot: vio.Snapshot, month: str) -> str:
    summary = formats.load_object(snapshot, f"{month}/data", type_hint=pd.DataFrame)
    assert isinstance(summary, pd.DataFrame)
    return f"{summary.rain_mm.iloc[0]:.1f}"


def _mean_rain_of(snapshot: vio.Snapshot) -> str:
    return str(json.loads(snapshot.read("data.json"))["mean_rain_mm"])


def _report_of(snapshot: vio.Snapshot, month: str) -> str:
    return str(json.loads(snapshot.read(f"{month}.json"))["rain_mm"])


def _shown(runs: Mapping[str, int]) -> str:
    again = {key: count for key, count in runs.items() if count > 1}
    few = ", ".join(runs) if 0 < len(runs) <= 3 else f"{min(runs)} to {max(runs)}" if runs else "none"
    return f"{len(runs)} ({few})" + (f", more than once: {again}" if again else "")


if __name__ == "__main__":
    run(DIRECTORY, keep=bool(os.environ.get("KEEP")))
