"""A report as a page: ``python -m benchmarks.report REPORT.json docs/benchmarks.md``."""

import sys
from pathlib import Path
from typing import Final

from benchmarks.measures import CaseResult, Check, Report, read_report

_WHOLE_FILE: Final = (
    "the library does not know where the file changed: it reads, cuts and hashes everything; half of the time is "
    "Python's start"
)

_SLOW_IMPORTS: Final = (
    "the import of SQLAlchemy takes 1.5 times the floor; Typer, pydantic (with which Typer checks arguments) and rich "
    "together about as much as the floor"
)

REASONS: Final[dict[str, str]] = {
    **{
        f"start-up: {command} beside the import of pyarrow.compute": _SLOW_IMPORTS
        for command in ("ls", "log", "cat", "repo_list")
    },
    "start-up: a step's process beside FilesystemIOManager": (
        "the import of pyarrow, which loads numpy, is a tenth of the other process. The rest of the difference is our "
        "modules and one more full pass of Python's garbage collector"
    ),
    "years: second compaction beside a mark of new commits, in CPU": (
        "such a mark is one part of it. Then each of these trees and records is rewritten, checked and compressed "
        "(design 0010)"
    ),
    "years: longest commit beside maintenance, beside one alone": (
        "where other work shares the machine, the longest alone is several times the median, too: alone_longest_ms"
    ),
    "years: log of a directory, for each change": (
        "for each change the pages of 1.5 commits are read and checked, 0.5 of them for a false yes of a filter"
    ),
    "ingest-small: wall_s beside restic": (
        "one thread of Python opens, reads and cuts the small files; the others only name and compress (design 0007)"
    ),
    "questions: glob_class": "each path goes through a regular expression, some 0.2 us, in one thread",
    "questions: list": "1,000 values are made in Python, some 2 us each, with their digests as text",
    "ingest-large: wall_s beside borg": (
        "the bare disk alone takes more than that share of borg's time; ours syncs everything before it returns"
    ),
    "edit-large: scattered_s beside restic": _WHOLE_FILE,
    "edit-large: insert_s beside restic": _WHOLE_FILE,
    "restore-large: wall_s beside cp": (
        "1.5 s are the start of Python with its imports (wall_s less inside_s); the rest checks every byte"
    ),
    "writers-sqlite: commits a second": "a small commit takes some 20 ms, and 16 processes share two cores",
    "writers-postgres: commits a second": (
        "as on SQLite; the server shares the two cores, and each of the 28 exchanges of a commit wakes another process"
    ),
    "commit-told: median": (
        "10 leaves and the index pages above them are decoded, encoded and compressed one after the other; "
        "the rest is SQL and two syncs"
    ),
    "latency: commit to Airflow run started, median": (
        "three steps in a row: the watcher looks every 2 s, the relay is its own DAG run, then the scheduler starts "
        "the run"
    ),
    "latency: commit to Dagster run requested, longest": (
        "the sensor's interval of 2 s, what the daemon waits beyond it, and some 0.3 s in which Dagster makes the run"
    ),
    "dagster-io: a small output, beyond FilesystemIOManager's": (
        "each output is a durable commit: one synced object and one SQL transaction; Dagster's file is not synced"
    ),
    "dagster-io: large_output_ms beside pickle, write, fsync": (
        "ours is cut and hashed as well, and its commit is a second synced write"
    ),
    "dagster-io: run_of_10_ms beside FilesystemIOManager": (
        "ten durable commits, and the store is opened once in each run: see first_output_ms"
    ),
}
"""Why a target is missed, by case and check, as ``"questions: diff"``; printed beside it while it is missed."""

UNKNOWN_REASON: Final = "reason not known yet"

_INTRODUCTION: Final = """\
# Benchmarks

Written by `make bench`; not by hand. All figures are medians of the repeats. Figures that are compared were measured
in turns in one run. `wall_s` is the time of the whole process, and `inside_s` the time inside the library.
"""

_HOW_TO_RUN: Final = """\
## How to run it

```
make bench-peers                            # the peers: restic, borg and git from Debian, the rest from PyPI; as root
make bench PAGE=docs/benchmarks.md          # everything; says first how much disk it needs
make bench QUICK=1                          # about two minutes, at a scale of 0.02; no DVC, Oxen, real servers
make bench FULL=1 CASES="growth commit-told"  # single cases, with 10,000,000 files and 10,000 commits
```

Run it on a quiet machine, with `WORK=` on the disk that matters. Nothing below that directory is deleted before the
end: after many deletions ext4 creates files several times more slowly. Results are in `build/benchmarks.json`, too.

How the peers are used:

- restic, borg, git: storage apart from the data, defaults; borg without encryption.
- For DVC with git, and for Oxen, the data is linked into their working copy before the clock starts. It is moved out
  before the restore. Oxen is used through its Python package, which has no command. Both work without a server.
- Icechunk holds an array with one chunk reference for each file, once in one manifest (its default) and once in
  manifests of 10,000 references. The table of deltalake has one row for each file and is changed by `merge`. Neither
  restores directories, so they take part in `commit-told` only.
- Oxen is measured once with 100,000 files: it takes some 10 ms of CPU for each. `PEERS=restic,borg` chooses peers.
- In `edit-large` all but restic are measured once: the bytes that they add don't vary, and they fill the disk.
"""


def verdict(check: Check) -> str:
    """Return ``met`` or ``missed``."""
    return "met" if check.is_met else "missed"


def number(value: float) -> str:
    """Return a number as a reader wants it: three figures, no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def target(check: Check) -> str:
    """Return the target in words."""
    return f"{'at least' if check.at_least else 'at most'} {number(check.limit)} {check.unit}"


def build_page(report: Report) -> str:
    """Return the report as Markdown."""
    machine = report.machine
    checks = [check for case in report.cases for check in case.checks]
    lines = [
        _INTRODUCTION,
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['disk']}",
        f"- {machine['kernel']}, load {machine['load_before']} before",
        f"- Python {machine['python']}; " + ", ".join(f"{k} {v}" for k, v in machine["versions"].items()),
        f"- {report.repeats} repeats, seed {report.seed}, scale {report.scale:g}"
        + ("" if report.scale >= 1 else " (**a quick run: the targets are meant for scale 1**)"),
        *_left_out(report),
        "",
        "| peer | version |",
        "|---|---|",
        *(f"| {name} | {version} |" for name, version in machine["peers"].items()),
        "",
        "## Targets",
        "",
        f"{sum(check.is_met for check in checks)} of {len(checks)} are met.",
        "",
        "| case | what | measured | target | |",
        "|---|---|---|---|---|",
        *(_check_row(case, check) for case in report.cases for check in case.checks),
        "",
        "## Measurements",
        "",
    ]
    for case in report.cases:
        lines += _measurements(case)
    return "\n".join([*lines, _HOW_TO_RUN]).rstrip() + "\n"


def _left_out(report: Report) -> list[str]:
    from benchmarks.cases import CASES  # its imports are heavy, and a page of a report does not need them

    left_out = [name for name in CASES if name not in {case.name for case in report.cases}]
    return [f"- not measured: {', '.join(left_out)}"] if left_out else []


def _check_row(case: CaseResult, check: Check) -> str:
    if check.is_met:
        said = verdict(check)
    else:
        said = f"**{verdict(check)}**: {REASONS.get(f'{case.name}: {check.what}', UNKNOWN_REASON)}"
    return f"| {case.name} | {check.what} | {number(check.value)} {check.unit} | {target(check)} | {said} |"


def _measurements(case: CaseResult) -> list[str]:
    lines = [f"### {case.name}: {case.title}", ""]
    if len(case.samples) == 1:
        ((tool, _),) = case.samples.items()
        lines += [f"- {name}: {number(case.median(name, tool))}" for name in case.samples[tool]]
    elif case.samples:
        columns, rows = table_of(case)
        lines += [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return [*lines, "", *(f"{note[0].upper()}{note[1:]}.\n" for note in case.notes)]


def table_of(case: CaseResult) -> tuple[list[str], list[list[str]]]:
    """Return the medians of a case as a table, long rather than wide: its columns, and its named rows.

    One side has the tools, or the other subjects of the samples. The other side has the measures.
    """
    measures = list(dict.fromkeys(name for values in case.samples.values() for name in values))
    tools = list(case.samples)
    if len(measures) > len(tools):
        return tools, [[name, *(_cell(case, name, tool) for tool in tools)] for name in measures]
    return measures, [[tool, *(_cell(case, name, tool) for name in measures)] for tool in tools]


def _cell(case: CaseResult, measure: str, tool: str) -> str:
    return number(case.median(measure, tool)) if measure in case.samples[tool] else ""


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(build_page(read_report(Path(sys.argv[1]))))
