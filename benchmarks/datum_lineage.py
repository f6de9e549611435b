"""Lineage to the file: upstream and downstream of one file of a commit with very many datums."""

from benchmarks.bench import Bench
from benchmarks.measures import OURS, CaseResult
from benchmarks.processes import run_ours, settle

LIMIT_MS = 5


def datum_lineage(bench: Bench) -> CaseResult:
    """Measure answers about one output of a pipeline with a million datums, in process with an open store."""
    datums = bench.scaled(1_000_000)
    result = CaseResult("datum-lineage", f"lineage of one output of {datums:,} datums, in process")
    store, module = bench.new_path("datum-lineage"), "benchmarks.ours_datums"
    bench.say("a pipeline's output to ask about")
    run_ours("evaluate", bench.work, module=module, store=store, datums=datums)
    settle()
    bench.say("asking")
    asked = {"module": module, "store": store, "datums": datums, "repeats": max(3, bench.repeats)}
    result.add(OURS, run_ours("trace", bench.work, **asked)[1])
    for name in ("upstream", "downstream", "digest"):
        result.check(name, result.median(f"{name}_ms"), LIMIT_MS, "ms")
    result.check("SQL for each datum", result.median("sql_bytes"), 40, "bytes")
    return result
