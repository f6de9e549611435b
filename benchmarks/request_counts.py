"""The number of object-store requests of each operation: a remote store bills each, and each takes a round trip."""

from benchmarks.bench import Bench
from benchmarks.measures import CaseResult
from benchmarks.processes import run_ours

FEWEST_FILES = 5_000
"""Fewer would not show a tree: pages have about 1,000 rows."""

_SMALL_COMMITS = ("commit of 1 file", "commit of 10 scattered files")


def requests(bench: Bench) -> CaseResult:
    """Count the requests of each operation on a store in memory that behaves like a remote one."""
    files = max(FEWEST_FILES, bench.scaled(100_000))
    bench.say(f"counting on {files:,} files")
    found = run_ours("count_requests", bench.work, module="benchmarks.ours_requests", files=files, seed=bench.seed)[1]
    result = CaseResult("requests", f"requests of the object store, {files:,} files of 1-4 KiB, nothing cached")
    for operation, counts in found["rows"].items():
        result.add(operation, {name: count for name, count in counts.items() if not name.startswith("bytes")})
        result.add(operation, {"kib_put": counts["bytes_put"] / 1024, "kib_got": counts["bytes_got"] / 1024})
    for operation in _SMALL_COMMITS:
        result.check(f"{operation}: PUTs", result.median("puts", operation), 1, "PUT")
    result.notes.append("a GET of several ranges is sent as that many requests at most; ranges that lie close are one")
    result.notes.append(
        "small files lie in blocks of about 1 MiB, and a block is fetched whole: scattered reads fetch much"
    )
    result.notes.append("the catalog's SQL is not counted; a log without a path, and a snapshot, are SQL alone")
    return result
