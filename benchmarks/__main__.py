"""``python -m benchmarks``: measure, compare with the targets, and write the report; see ``make bench``."""

import argparse
import shutil
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.cases import CASES, Bench
from benchmarks.machine import describe_machine
from benchmarks.measures import CaseResult, Report
from benchmarks.peers import PEERS, installed_peers
from benchmarks.report import build_page, number, target, verdict

QUICK_SCALE = 0.02


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"which cases; all by default: {', '.join(CASES)}")
    parser.add_argument("--full", action="store_true", help="the long history too: 10,000 commits")
    parser.add_argument("--scale", type=float, help="a factor for files and bytes")
    parser.add_argument("--quick", action="store_true", help=f"scale {QUICK_SCALE}, 1 repeat: about two minutes")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), help="which peers, with commas")
    parser.add_argument("--work", type=Path, help="where to write; by default a temporary directory")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"), help="where the results go")
    parser.add_argument("--page", type=Path, help="where to write the page, such as docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    options.repeats = options.repeats or (1 if options.quick else 3)
    return options


def show(console: Console, result: CaseResult) -> None:
    """Print a case's measurements and verdicts."""
    table = Table(title=result.title, title_justify="left", show_lines=False)
    measures = list(dict.fromkeys(name for values in result.samples.values() for name in values))
    table.add_column("median")
    for tool in result.samples:
        table.add_column(tool, justify="right")
    for name in measures:
        cells = (number(result.median(name, tool)) if name in found else "" for tool, found in result.samples.items())
        table.add_row(name, *cells)
    console.print(table)
    for check in result.checks:
        colour = "green" if check.is_met else "red"
        console.print(
            f"  [{colour}]{verdict(check):<6}[/] {check.what}: {number(check.value)} {check.unit} ({target(check)})"
        )
    for note in result.notes:
        console.print(f"  note: {note}")


def describe(progress: Progress, task: TaskID, case: str, text: str) -> None:
    """Show what is being done."""
    progress.update(task, description=f"{case}: {text}")


def run(options: argparse.Namespace, console: Console) -> Report:
    """Run the chosen cases one after the other; the report is on disk after each."""
    peers, versions = installed_peers([name for name in options.peers.split(",") if name])
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="versioned-bench-", dir=options.work)).resolve()
    report = Report(describe_machine(work, versions), options.scale, options.repeats, options.seed)
    for name, version in versions.items():
        console.print(f"bench: {name}: {version}")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            chosen = options.cases or list(CASES)
            task = progress.add_task("bench", total=None)
            bench = Bench(work, options.scale, options.repeats, options.seed, peers, options.full, say=console.print)
            for place, name in enumerate(chosen, 1):
                bench.say = partial(describe, progress, task, f"{place} of {len(chosen)}: {name}")
                result = CASES[name](bench)
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
    report = run(options, console)
    checks = [check for case in report.cases for check in case.checks]
    console.print(f"bench: {sum(check.is_met for check in checks)} of {len(checks)} targets met; {options.json}")
    if options.page is not None:
        options.page.write_text(build_page(report))
        console.print(f"bench: wrote {options.page}")


if __name__ == "__main__":
    main()
