"""Years of use: the cost of maintenance after 1,000 and after 50,000 small commits."""

import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measures import OURS, CaseResult
from benchmarks.ours import BRANCH
from benchmarks.processes import run_command, run_ours, settle

COMMITS = 50_000
FEW = 1_000
NEW = 100
_MODULE = "benchmarks.ours_years"
_COMMANDS = 5


def years(bench: Bench) -> CaseResult:
    """Grow one store, and maintain it as it grows; each ratio is of two measurements in this run."""
    commits, few = max(200, bench.scaled(COMMITS)), max(100, min(FEW, bench.scaled(COMMITS) // 10))
    result = CaseResult("years", f"maintenance after {few:,} and {commits:,} small commits of one store")
    grown = _Grown(bench, result)
    grown.to(few)
    collect_few = grown.collect()
    grown.to(commits)
    collect_many = grown.collect()
    grown.run("compact")
    grown.to(grown.count + NEW)
    second = grown.run("compact")
    beside = grown.run("commit_beside", first=grown.count)
    log = grown.run("log_directory")
    commands = grown.commands()
    for measured in (second, beside, log, commands):
        result.add(OURS, measured)
    result.add(OURS, {"collect_after_few_ms": collect_few, "collect_after_many_ms": collect_many})
    result.check(
        f"collecting {NEW} new commits after {commits:,} beside after {few:,}", collect_many / collect_few, 2, "x"
    )
    # Of CPU, as below. Meeting this limit needs trees that stay unchanged when packs move. In this format each page
    # that leads to a moved pack is encoded again, and so is each record (docs/design/0010-maintenance.md, "Tiers").
    ratio = second["compact_cpu_ms"] / second["mark_new_cpu_ms"]
    result.check("second compaction beside a mark of new commits, in CPU", ratio, 1.2, "x")
    result.check("written by it beside the merged bytes", second["written_beside_merged"], 4, "x")
    longest = beside["beside_longest_ms"] / beside["alone_ms"]
    result.check("longest commit beside maintenance, beside one alone", longest, 10, "x")
    result.check("versioned stats beside versioned ls", commands["stats_s"] / commands["ls_s"], 3, "x")
    # CPU time: all data is in memory, so this is the wall time of a quiet machine, and other load counts less.
    result.check("log of a directory, for each change", log["log_directory_cpu_ms_a_change"], 1.5, "ms of CPU")
    return result


class _Grown:
    """A store that grows, and the measurements on the way."""

    def __init__(self, bench: Bench, result: CaseResult) -> None:
        self.count = 0
        self._bench = bench
        self._result = result
        self._store: Path = bench.new_path("years")

    def run(self, action: str, **arguments: object) -> dict[str, Any]:
        """Run one action on the store."""
        settle()
        self._bench.say(f"{action} after {self.count:,} commits")
        return run_ours(action, self._bench.work, module=_MODULE, store=self._store, **arguments)[1]

    def to(self, count: int) -> None:
        """Make commits until there are *count*."""
        made = self.run("grow", first=self.count, count=count - self.count)
        self.count = count
        self._result.add(OURS, made)

    def collect(self) -> float:
        """Maintain the store, make new commits, and return the milliseconds that collecting those takes."""
        maintained = self.run("maintain")
        self._result.add(OURS, {f"{name}_after_{self.count}": value for name, value in maintained.items()})
        times = []
        for _ in range(3):
            self.to(self.count + NEW)
            times.append(float(self.run("collect")["collect_new_ms"]))
        return statistics.median(times)

    def commands(self) -> dict[str, float]:
        """Return the median times of two commands, as processes."""
        taken = {}
        for name, arguments in {"stats": ["stats"], "ls": ["ls", BRANCH]}.items():
            command = [sys.executable, "-m", "versioned_io.interfaces.cli", *arguments, "--store", str(self._store)]
            runs = [run_command(command, cwd=self._bench.work).wall_s for _ in range(_COMMANDS)]
            taken[f"{name}_s"] = statistics.median(runs)
        return taken
