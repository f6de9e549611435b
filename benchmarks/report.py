"""A report as a page: ``python -m benchmarks.report REPORT.json docs/benchmarks.md``."""

import sys
from pathlib import Path

from benchmarks.measures import CaseResult, Check, Report, read_report

REASONS: dict[str, str] = {}
"""Why a target is missed, by case and check, as ``"questions: diff"``; said beside it as long as it is missed."""


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
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; not by hand. Medians of the repeats; what is compared was measured in turns in one",
        "run. `wall_s` is the whole process, `inside_s` what the library took in it.",
        "",
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['disk']}",
        f"- {machine['kernel']}, load {machine['load_before']} before",
        f"- Python {machine['python']}; " + ", ".join(f"{k} {v}" for k, v in machine["versions"].items()),
        *(f"- {name}: {version}" for name, version in machine["peers"].items()),
        f"- {report.repeats} repeats, seed {report.seed}, scale {report.scale:g}"
        + ("" if report.scale >= 1 else " (**a quick run: the targets are meant for scale 1**)"),
        "",
        "## Targets",
        "",
        "| case | what | measured | target | |",
        "|---|---|---|---|---|",
    ]
    for case in report.cases:
        for check in case.checks:
            reason = "" if check.is_met else REASONS.get(f"{case.name}: {check.what}", "")
            shown = verdict(check) if check.is_met else f"**{verdict(check)}**"
            said = f"{shown} {reason}".strip()
            lines.append(
                f"| {case.name} | {check.what} | {number(check.value)} {check.unit} | {target(check)} | {said} |"
            )
    lines += ["", "## Measurements", ""]
    for case in report.cases:
        lines += _measurements(case)
    return "\n".join(lines).rstrip() + "\n"


def _measurements(case: CaseResult) -> list[str]:
    measures = list(dict.fromkeys(name for values in case.samples.values() for name in values))
    lines = [f"### {case.name}: {case.title}", ""]
    if len(case.samples) == 1:
        ((tool, _),) = case.samples.items()
        lines += [f"- {name}: {number(case.median(name, tool))}" for name in measures]
    elif case.samples:
        lines += [f"| | {' | '.join(measures)} |", "|---" * (len(measures) + 1) + "|"]
        for tool, values in case.samples.items():
            cells = [number(case.median(name, tool)) if name in values else "" for name in measures]
            lines.append(f"| {tool} | {' | '.join(cells)} |")
    return [*lines, "", *(f"{note[0].upper()}{note[1:]}.\n" for note in case.notes)]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(build_page(read_report(Path(sys.argv[1]))))
