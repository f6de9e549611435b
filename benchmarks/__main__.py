"""``python -m benchmarks``: measure, compare with the targets, and write the report; see ``make bench``."""

import argparse
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.bench import Bench
from benchmarks.cases import CASES, needed_mib
from benchmarks.data import MIB
from benchmarks.machine import describe_machine
from benchmarks.measures import CaseResult, Report
from benchmarks.peers import PEERS, TOLD_PEERS, installed_peers
from benchmarks.report import build_page, number, table_of, target, verdict

QUICK_SCALE = 0.02
SLOW_PEERS = frozenset({"dvc", "oxen"})
"""Each of their commands takes seconds to start."""


class DiskSpaceError(Exception):
    """There is not enough disk for the run."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"which cases; all by default: {', '.join(CASES)}")
    parser.add_argument(
        "--full",
        action="store_true",
        help="10,000 commits and 10,000,000 files, too",
    )
    parser.add_argument("--scale", type=float, help="a factor for files and bytes")
    parser.add_argument("--quick", action="store_true", help=f"scale {QUICK_SCALE}, 1 repeat: about two minutes")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seed", type=int, default=1)
    names = ",".join(peer.name for peer in (*PEERS, *TOLD_PEERS))
    parser.add_argument(
        "--peers", help=f"which, with commas, of {names}; all, and in a quick run those that start fast"
    )
    parser.add_argument("--work", type=Path, help="where to write; by default a temporary directory")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"), help="where the results go")
    parser.add_argument("--page", type=Path, help="where to write the page, such as docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    options.repeats = options.repeats or (1 if options.quick else 3)
    if options.peers is None:
        options.peers = ",".join(name for name in names.split(",") if not options.quick or name not in SLOW_PEERS)
    options.cases = options.cases or [name for name, case in CASES.items() if case.is_quick or not options.quick]
    return options


def show(console: Console, result: CaseResult) -> None:
    """Print a case's measurements and verdicts."""
    table = Table(title=f"{result.title} ({result.took_s:,.0f} s)", title_justify="left", show_lines=False)
    table.add_column("median", no_wrap=True)
    columns, rows = table_of(result)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for check in result.checks:
        colour = "green" if check.is_met else "red"
        console.print(
            f"  [{colour}]{verdict(check):<6}[/] {check.what}: {number(check.value)} {check.unit} ({target(check)})"
        )
    for note in result.notes:
        console.print(f"  note: {note}")


def describe(progress: Progress, task: TaskID, case: str, text: str) -> None:
    """Show the current action."""
    progress.update(task, description=f"{case}: {text}")


def check_disk(work: Path, needed: float, console: Console) -> None:
    """Print how much disk the run needs.

    Raises:
        DiskSpaceError: There is not enough; give another directory, fewer cases or a smaller scale.
    """
    free = shutil.disk_usage(work).free / MIB
    console.print(f"bench: needs about {needed / 1024:.1f} GiB below {work}, {free / 1024:.1f} are free")
    if needed > free:
        msg = (
            f"the cases write about {needed / 1024:.1f} GiB, and {work} has {free / 1024:.1f} GiB free: "
            "use another WORK= directory, fewer CASES=, or a smaller SCALE= or REPEATS="
        )
        raise DiskSpaceError(msg)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Run the chosen cases one after the other; the report is on disk after each."""
    peers, told_peers, versions = installed_peers([name for name in options.peers.split(",") if name])
    for name, version in versions.items():
        console.print(f"bench: {name}: {version}")
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="versioned-bench-", dir=options.work)).resolve()
    report = Report(describe_machine(work, versions), options.scale, options.repeats, options.seed)
    bench = Bench(
        work, options.scale, options.repeats, options.seed, peers, told_peers, options.full, say=console.print
    )
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        check_disk(work, needed_mib(options.cases, bench), console)
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("bench", total=None)
            for place, name in enumerate(options.cases, 1):
                bench.say = partial(describe, progress, task, f"{place} of {len(options.cases)}: {name}")
                start = time.monotonic()
                result = CASES[name].run(bench)
                result.took_s = round(time.monotonic() - start, 1)
                report.cases.append(result)
                report.write(options.json)
                show(console, result)
    finally:
        shutil.rmtree(work)
    return report


def main() -> None:
    """Run, print and write."""
    options = parse_arguments()
    console = Console()
    try:
        report = run(options, console)
    except DiskSpaceError as error:
        raise SystemExit(f"bench: {error}") from error
    checks = [check for case in report.cases for check in case.checks]
    console.print(f"bench: {sum(check.is_met for check in checks)} of {len(checks)} targets met; {options.json}")
    if options.page is not None:
        options.page.write_text(build_page(report))
        console.print(f"bench: wrote {options.page}")


if __name__ == "__main__":
    main()
