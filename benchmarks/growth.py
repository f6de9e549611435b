"""How each cost grows: with the number of files, and with the length of history."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.bench import Bench
from benchmarks.measures import CaseResult
from benchmarks.processes import run_ours, settle

SIZES = (10_000, 100_000, 1_000_000)
FULL_SIZE = 10_000_000
LENGTHS = (1, 100)
FULL_LENGTH = 10_000
_CHANGES = 10
_REPEATS = 11
_QUICK_REPEATS = 3
_MODULE = "benchmarks.ours_growth"
_GROWING = (
    "told_commit_ms",
    "diff_ms",
    "affected_ms",
    "list_directory_ms",
    "stat_ms",
    "glob_all_ms",
    "gc_dry_run_s",
    "stats_s",
    "log_file_ms",
    "log_directory_ms",
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table: one store, and the number of files of its newest tree."""

    name: str
    store: Path
    files: int
    seed: int
    """It differs for each row of one store: the same changes again would change nothing."""


def growth(bench: Bench) -> CaseResult:
    """Measure the same questions on trees of 10 thousand to 10 million files."""
    result = CaseResult("growth", "each cost by the number of files, in process with an open store")
    sizes = [bench.scaled(size) for size in (*SIZES, *([FULL_SIZE] if bench.is_full else []))]
    smaller: _Row | None = None
    for files in sizes:
        row = _Row(f"{files:,} files", bench.new_path("grown"), files, bench.seed)
        bench.say(f"making the tree of {files:,} files")
        made = run_ours("tree", bench.work, store=row.store, files=files)[1]
        result.add(row.name, {"make_us_a_file": made["inside_s"] / files * 1e6, "make_memory_mib": made["memory_mib"]})
        _ask(bench, result, row, smaller)
        smaller = row
    result.notes.append(_grown(result, f"{sizes[-1] / sizes[0]:,.0f} times the files"))
    if not bench.is_full:
        result.notes.append(f"{FULL_SIZE:,} files take many minutes to make, one by one: FULL=1 does")
    return result


def growth_history(bench: Bench) -> CaseResult:
    """Measure the same questions on one tree after histories of 1 to 10,000 commits."""
    files = bench.scaled(100_000)
    result = CaseResult("growth-history", f"each cost by the length of history, on {files:,} files")
    store = bench.new_path("history")
    bench.say(f"making the tree of {files:,} files")
    run_ours("tree", bench.work, store=store, files=files)
    lengths = [*LENGTHS, *([max(200, bench.scaled(FULL_LENGTH))] if bench.is_full else [])]
    count = 1
    for length in lengths:
        if length > count:
            bench.say(f"making the history {length:,} commits long")
            run_ours("commits", bench.work, store=store, files=files, count=length - count, changes=1, seed=length)
        _ask(
            bench,
            result,
            _Row(f"{length:,} commit{'s' if length > 1 else ''}", store, files, bench.seed + length),
            None,
        )
        count = max(length, count) + _repeats(bench)
    result.notes.append(_grown(result, f"{lengths[-1]:,} commits, not {lengths[0]}"))
    if not bench.is_full:
        result.notes.append(f"{FULL_LENGTH:,} commits take minutes to make: FULL=1 does")
    return result


def _repeats(bench: Bench) -> int:
    return _REPEATS if bench.scale >= 0.1 else _QUICK_REPEATS


def _ask(bench: Bench, result: CaseResult, row: _Row, smaller: _Row | None) -> None:
    settle()
    bench.say(f"asking at {row.name}")
    asked = {"files": row.files, "changes": _CHANGES, "repeats": _repeats(bench), "seed": row.seed}
    result.add(row.name, run_ours("ask", bench.work, module=_MODULE, store=row.store, **asked)[1])
    for action, memory in (("collect", "gc_memory_mib"), ("measure", "stats_memory_mib")):
        free_mib = psutil.virtual_memory().available / 2**20
        needed_mib = _expected(result, row, smaller, memory)
        if needed_mib > free_mib:
            result.notes.append(
                f"no {action} at {row.name}: by what {smaller.name if smaller else ''} took, it needs "
                f"{needed_mib:,.0f} MiB of memory, and {free_mib:,.0f} are free"
            )
            continue
        bench.say(f"{action} at {row.name}")
        result.add(row.name, run_ours(action, bench.work, module=_MODULE, store=row.store)[1])


def _expected(result: CaseResult, row: _Row, smaller: _Row | None, memory: str) -> float:
    """Return the MiB that a measurement would take if it grew with the files; 0 if nothing is known."""
    if smaller is None or memory not in result.samples[smaller.name]:
        return 0.0
    return result.median(memory, smaller.name) * row.files / smaller.files


def _grown(result: CaseResult, what: str) -> str:
    """Return a sentence with the ratio of each cost in the last row to that in the first."""
    first, *_, last = result.samples
    both = [name for name in _GROWING if name in result.samples[first] and name in result.samples[last]]
    factors = (
        f"{name.rpartition('_')[0]} {result.median(name, last) / result.median(name, first):.1f}x" for name in both
    )
    return f"with {what}: {', '.join(factors)}"
