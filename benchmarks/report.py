"""A report as a page: ``python -m benchmarks.report REPORT.json docs/benchmarks.md``."""

import sys
from pathlib import Path
from typing import Final

from benchmarks.measures import CaseResult, Check, Report, read_report

_WHOLE_FILE: Final = (
    "nobody says where the file changed, so all of it is read, cut and hashed; half of the time is the start of Python"
)

REASONS: Final[dict[str, str]] = {
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
        "three things follow each other: the watcher looks every 2 s, the relay is a DAG run of its own, and the "
        "scheduler then starts the partition's run"
    ),
    "latency: commit to Dagster run requested, longest": (
        "the sensor's interval of 2 s, what the daemon waits beyond it, and some 0.3 s in which Dagster makes the run"
    ),
    "dagster-io: a small output, beyond FilesystemIOManager's": (
        "each output is a durable commit: one synced object and one SQL transaction; Dagster's file is not synced"
    ),
    "dagster-io: large_output_ms beside FilesystemIOManager": (
        "ours is cut, hashed and synced to the disk; Dagster's stays in the page cache"
    ),
    "dagster-io: run_of_10_ms beside FilesystemIOManager": (
        "ten durable commits, and the store is opened once in each run: see first_output_ms"
    ),
}
"""Why a target is missed, by case and check, as ``"questions: diff"``; said beside it as long as it is missed."""

UNKNOWN_REASON: Final = "reason not known yet"

_INTRODUCTION: Final = """\
# Benchmarks

Written by `make bench`; not by hand. Medians of the repeats; what is compared was measured in turns in one run.
`wall_s` is the whole process, `inside_s` what the library took in it.
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
- DVC with git, and Oxen: the data is linked into their working copy before the clock runs, and moved out of it before
  it is restored. Oxen is used through its Python package, which has no command. Both work without a server.
- Icechunk: an array with one chunk reference for each file, in one manifest (its default) and in manifests of 10,000.
  deltalake: a table with one row for each file, changed by `merge`. Neither restores directories, so they take part in
  `commit-told` only.
- Oxen is measured once with 100,000 files: it takes some 10 ms of CPU for each. `PEERS=restic,borg` chooses peers.
- In `edit-large` all but restic are measured once: what they add does not vary, and it fills the disk.
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
    from benchmarks.cases import CASES  # which import much that a page of a report does not need

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
    """Return the medians of a case as a table, rather long than wide: its columns, and its named rows.

    One side is the tools, or whatever the samples are of; the other is the measures.
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
