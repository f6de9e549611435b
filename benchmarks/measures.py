"""Measurements and their comparison with targets: samples, medians, ratios, verdicts, and their JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
OURS = "versioned-io"


@dataclass(frozen=True, slots=True)
class Check:
    """A target beside what was measured: *value* must be at most, or, with *at_least*, at least *limit*."""

    what: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(slots=True)
class CaseResult:
    """The samples of one case by tool and measure, its checks, and what a reader must know; the case took *took_s*."""

    name: str
    title: str
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def add(self, tool: str, values: Mapping[str, float]) -> None:
        """Add one sample of each of these measures; a measure's name ends in its unit, such as ``_s``."""
        for measure, value in values.items():
            self.samples.setdefault(tool, {}).setdefault(measure, []).append(value)

    def median(self, measure: str, tool: str = OURS) -> float:
        """Return the median of a tool's samples.

        Raises:
            KeyError: The tool was not measured.
        """
        return statistics.median(self.samples[tool][measure])

    def peers(self, measure: str) -> list[str]:
        """Return the other tools that were measured, the best (smallest) first."""
        found = [tool for tool, values in self.samples.items() if tool != OURS and measure in values]
        return sorted(found, key=lambda tool: self.median(measure, tool))

    def check(self, what: str, value: float, limit: float, unit: str, *, at_least: bool = False) -> None:
        """Compare a value with a target."""
        self.checks.append(Check(what, value, limit, unit, at_least))

    def check_ratio(self, measure: str, peers: Sequence[str], limit: float) -> None:
        """Compare our median with that of the best of *peers*; note it when none of them was measured."""
        found = [tool for tool in self.peers(measure) if tool in peers]
        if not found:
            self.notes.append(f"no verdict on {measure}: none of {', '.join(peers)} is installed")
            return
        ratio = self.median(measure) / self.median(measure, found[0])
        self.check(f"{measure} beside {found[0]}", ratio, limit, "x")


@dataclass(slots=True)
class Report:
    """One run of the benchmarks."""

    machine: dict[str, Any]
    scale: float
    repeats: int
    seed: int
    cases: list[CaseResult] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the report as JSON, replacing what was there whole."""
        data = {"format": FORMAT, **asdict(self)}
        for case, written in zip(self.cases, data["cases"], strict=True):
            for check, fields in zip(case.checks, written["checks"], strict=True):
                fields["is_met"] = check.is_met
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(data, indent=1) + "\n")
        part.replace(path)


def read_report(path: Path) -> Report:
    """Return the report in a JSON file.

    Raises:
        ValueError: It is not one of this format; run the benchmarks again.
    """
    data = json.loads(path.read_text())
    if data.pop("format", None) != FORMAT:
        msg = f"{path} is not a report of format {FORMAT}: run make bench"
        raise ValueError(msg)
    cases = []
    for case in data.pop("cases"):
        checks = [Check(**{k: v for k, v in check.items() if k != "is_met"}) for check in case.pop("checks")]
        cases.append(CaseResult(**case, checks=checks))
    return Report(**data, cases=cases)
