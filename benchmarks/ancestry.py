"""Graphs of whole commits, in a store of very many."""

from benchmarks.bench import Bench
from benchmarks.measures import OURS, CaseResult
from benchmarks.processes import run_ours, settle

COMMITS = 100_000
_MODULE = "benchmarks.ours_ancestry"


def ancestry(bench: Bench) -> CaseResult:
    """Measure the full ancestry and descent of a commit, and for bounded graphs, in process with an open store."""
    commits = max(2_000, bench.scaled(COMMITS))
    result = CaseResult("ancestry", f"graphs of whole commits in a store of {commits:,} commits, in process")
    store = bench.new_path("ancestry")
    bench.say(f"making the rows of {commits:,} commits")
    run_ours("make", bench.work, module=_MODULE, store=store, commits=commits, seed=bench.seed)
    for _ in range(bench.repeats):
        settle()
        bench.say("asking")
        result.add(OURS, run_ours("ask", bench.work, module=_MODULE, store=store)[1])
    result.check("full ancestry", result.median("ancestry_ms"), 200, "ms")
    result.check("full descent", result.median("descent_ms"), 200, "ms")
    return result
