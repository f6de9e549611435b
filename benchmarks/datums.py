"""Datums of a large tree: listed with captures and fingerprints, and those that a change affects."""

from benchmarks.bench import Bench
from benchmarks.measures import OURS, CaseResult
from benchmarks.processes import run_ours, settle

CHANGED_FILES = 10


def datums(bench: Bench) -> CaseResult:
    """Measure the datums of a glob and of directories on a large tree, in process with an open store."""
    store, files = bench.large_tree()
    result = CaseResult("datums", f"datums of {files:,} files, in process")
    bench.say("a change to ask about")
    run_ours("commits", bench.work, store=store, files=files, count=1, changes=CHANGED_FILES, seed=bench.seed + 8)
    settle()
    bench.say("asking")
    module = "benchmarks.ours_datums"
    result.add(OURS, run_ours("ask", bench.work, module=module, store=store, repeats=max(3, bench.repeats))[1])
    limits = {"captures": 1_000, "fingerprints": 2_500, "affected_files": 10, "affected_directories": 20}
    for name, limit in limits.items():
        result.check(name, result.median(f"{name}_ms"), limit, "ms")
    return result
