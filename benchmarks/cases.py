"""The cases: the work, the tools that do it, and the targets."""

import concurrent.futures
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.ancestry import ancestry
from benchmarks.bench import Bench
from benchmarks.data import MIB, make_edited_file
from benchmarks.datum_lineage import datum_lineage
from benchmarks.datums import datums
from benchmarks.growth import growth, growth_history
from benchmarks.measures import OURS, CaseResult
from benchmarks.orchestrators import dagster_io, latency
from benchmarks.peers import Ours, Tool
from benchmarks.processes import files_in, run_command, run_ours, settle, size_of
from benchmarks.request_counts import requests
from benchmarks.start_up import start_up
from benchmarks.years import years

CHANGED_FILES = 10
TOLD_COMMITS = 11
SLOW_WITH_MANY_FILES = ("oxen",)
"""Some 10 ms of CPU a file: of 100,000 files, a quarter of an hour for each measurement. Measured once."""


def ingest_small(bench: Bench) -> CaseResult:
    """Store, and then restore, many small files."""
    source = bench.small_files()
    result = CaseResult("ingest-small", f"ingest {bench.scaled(100_000):,} files of 1-4 KiB")
    for tool, _ in bench.tools(once=SLOW_WITH_MANY_FILES):
        repo = bench.new_path(tool.name)
        tool.make(repo)
        result.add(tool.name, tool.store(repo, source, "first"))
        result.add(tool.name, {"stored_mib": tool.stored_bytes(repo) / MIB})
    result.check_ratio("wall_s", ["restic"], 0.5)
    result.check("peak memory above the open store's", result.median("memory_mib"), 300, "MiB")
    return result


def ingest_large(bench: Bench) -> CaseResult:
    """Store one large file, beside the peers and the bare disk."""
    source = bench.large_file()
    size_mib = bench.scaled(1024)
    result = CaseResult("ingest-large", f"ingest {size_mib:,} MiB, incompressible")
    for tool, _ in bench.tools():
        if isinstance(tool, Ours):
            result.add("disk", {"wall_s": write_and_sync(bench.new_path("disk"), size_mib)})
            settle()
        repo = bench.new_path(tool.name)
        tool.make(repo)
        result.add(tool.name, tool.store(repo, source, "first"))
    result.check_ratio("wall_s", [peer.name for peer in bench.peers], 0.35)
    share = result.median("wall_s", "disk") / result.median("wall_s")
    result.check("rate beside the disk's write+fsync", share, 0.6, "x", at_least=True)
    return result


def write_and_sync(path: Path, size_mib: int) -> float:
    """Return the seconds that the disk itself takes to write and sync a file of that size."""
    block = os.urandom(8 * MIB)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for offset in range(0, size_mib, 8):
            file.write(block[: min(8, size_mib - offset) * MIB])
        os.fsync(file.fileno())
    return time.perf_counter() - start


def edit_large(bench: Bench) -> CaseResult:
    """Store a large file again after two kinds of edit, and measure the added bytes and the time."""
    original = bench.large_file()
    size = (original / "large.bin").stat().st_size
    result = CaseResult("edit-large", f"the edited {size // MIB:,} MiB")
    inserted = min(5_000_000, size // 8)
    edits = {
        "scattered": {"overwrite": (size // 4, 65_536), "insert": (size // 2, 1_024)},
        "insert": {"overwrite": (0, 0), "insert": (size // 2, inserted)},
    }
    new_bytes, sources = {}, {}
    for number, (name, edit) in enumerate(edits.items()):
        sources[name] = bench.new_path(f"edited-{name}")
        target = sources[name] / "large.bin"
        new_bytes[name] = make_edited_file(original / "large.bin", target, seed=bench.seed + 1 + number, **edit)
    # Only restic has a target. The others need many GiB each, and the bytes that they add don't vary.
    for tool, _ in bench.tools(once=[peer.name for peer in bench.peers if peer.name != "restic"]):
        repo = bench.new_path(tool.name)
        tool.make(repo)
        tool.store(repo, original, "first")
        for name, source in sources.items():
            settle()
            before = tool.stored_bytes(repo)
            wall_s = tool.store(repo, source, name)["wall_s"]
            added = tool.stored_bytes(repo) - before - new_bytes[name]
            result.add(tool.name, {f"{name}_s": wall_s, f"{name}_extra_mb": added / 1e6})
    for name in edits:
        result.check(f"{name}: bytes beyond the new ones", result.median(f"{name}_extra_mb"), 2, "MB")
        result.check_ratio(f"{name}_s", ["restic"], 0.2)
    return result


def restore_small(bench: Bench) -> CaseResult:
    """Restore many small files, beside the peers."""
    source = bench.small_files()
    result = CaseResult("restore-small", f"restore {bench.scaled(100_000):,} files of 1-4 KiB")
    _restore(bench, result, source)
    result.check_ratio("wall_s", [peer.name for peer in bench.peers], 0.6)
    return result


def _restore(bench: Bench, result: CaseResult, source: Path) -> None:
    expected = files_in(source)
    repos: dict[str, Path] = {}
    everyone: list[Tool] = [Ours(), *bench.peers]
    for tool in everyone:
        bench.say(f"storing for {tool.name}")
        repos[tool.name] = bench.new_path(tool.name)
        tool.make(repos[tool.name])
        tool.store(repos[tool.name], source, "first")
    for tool, _ in bench.tools(once=SLOW_WITH_MANY_FILES):
        dest = bench.new_path("restored")
        result.add(tool.name, tool.bring_back(repos[tool.name], dest, "first"))
        if files_in(dest) != expected:
            msg = f"{tool.name} restored {files_in(dest)} of {expected} files: the comparison would be unfair"
            raise RuntimeError(msg)


def restore_large(bench: Bench) -> CaseResult:
    """Restore one large file durably, beside ``cp`` and ``fsync``."""
    source = bench.large_file()
    result = CaseResult("restore-large", f"restore {bench.scaled(1024):,} MiB, with fsync")
    ours, repo = Ours(), bench.new_path(OURS)
    ours.make(repo)
    ours.store(repo, source, "first")
    for repeat in range(bench.repeats):
        bench.say(f"ours and cp, {repeat + 1} of {bench.repeats}")
        settle()
        result.add(OURS, ours.bring_back(repo, bench.new_path("restored"), "first", fsync=True))
        settle()
        copied = bench.new_path("copied")
        command = ["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(source / "large.bin"), str(copied)]
        result.add("cp", {"wall_s": run_command(command, cwd=bench.work).wall_s})
    result.check_ratio("wall_s", ["cp"], 1.2)
    return result


def commit_told(bench: Bench) -> CaseResult:
    """Commit ten told changes on a large tree, after one commit and after many, beside the peers that are told, too."""
    store, files = bench.large_tree()
    result = CaseResult("commit-told", f"commit {CHANGED_FILES} told changes on {files:,} files, in process")
    lengths = [1, 100, 1_000] if bench.scale >= 1 else [1, 50, 200]
    if bench.is_full:
        lengths.append(10_000)
    else:
        result.notes.append("10,000 commits take minutes to make: FULL=1 does")
    count = 1
    for length in lengths:
        if length > count:
            bench.say(f"making the history {length:,} commits long")
            run_ours("commits", bench.work, store=store, files=files, count=length - count, changes=1, seed=length)
            count = length
        settle()
        bench.say(f"{CHANGED_FILES} changes after {length:,} commits")
        result.add(OURS, _told_after(bench, store, files, length))
        count += TOLD_COMMITS
    for peer in bench.told_peers:
        settle()
        bench.say(f"{peer.name}: a tree of {files:,} entries, and {CHANGED_FILES} changes")
        repo = bench.new_path(peer.name)
        changes = min(CHANGED_FILES, files)
        result.add(
            peer.name,
            peer.commit_told(repo, entries=files, changes=changes, repeats=TOLD_COMMITS, seed=bench.seed),
        )
    medians = [result.median(f"after_{length}_ms") for length in lengths]
    result.check("median", medians[0], 50, "ms")
    result.check("objects put by one commit", result.median("objects"), 1, "objects")
    result.check(f"after {lengths[-1]:,} commits beside after 1 (flat)", medians[-1] / medians[0], 1.5, "x")
    return result


def _told_after(bench: Bench, store: Path, files: int, length: int) -> dict[str, float]:
    """Return the time and the added bytes of a told commit in a history of *length* commits."""
    objects, size = files_in(store), size_of(store / "packs")
    told = run_ours(
        "commits",
        bench.work,
        store=store,
        files=files,
        count=TOLD_COMMITS,
        changes=CHANGED_FILES,
        seed=-length,
    )[1]
    times = told["times_s"]
    return {
        f"after_{length}_ms": statistics.median(times) * 1_000,
        f"first_after_{length}_ms": times[0] * 1_000,
        f"cpu_after_{length}_ms": statistics.median(told["cpu_s"]) * 1_000,
        "objects": (files_in(store) - objects) / TOLD_COMMITS,
        "added_mib": (size_of(store / "packs") - size) / TOLD_COMMITS / MIB,
    }


def questions(bench: Bench) -> CaseResult:
    """Measure diff, affected, list and glob on a large tree, in process with an open store."""
    store, files = bench.large_tree()
    result = CaseResult("questions", f"diff, affected, list, glob at {files:,} files, in process")
    bench.say("a change to ask about")
    run_ours("commits", bench.work, store=store, files=files, count=1, changes=CHANGED_FILES, seed=bench.seed + 7)
    bench.say("asking")
    inside: dict[str, Any] = run_ours("questions", bench.work, store=store, files=files, repeats=max(5, bench.repeats))[
        1
    ]
    for name, times in inside["times_s"].items():
        result.add(OURS, {f"{name}_ms": statistics.median(times) * 1_000, f"{name}_first_ms": times[0] * 1_000})
    limits = {"diff": 20, "affected": 25, "glob": 300, "glob_class": 300, "list": 3}
    for name, limit in limits.items():
        result.check(name, result.median(f"{name}_ms"), limit, "ms")
    result.notes.append(
        f"diff found {inside['changed']} changes, list {inside['listed']:,} files; a cold first call is apart"
    )
    return result


def writers_sqlite(bench: Bench) -> CaseResult:
    """Many processes commit to one branch; the catalog is SQLite."""
    result = CaseResult("writers-sqlite", "many processes, one branch, disjoint paths; SQLite")
    _many_writers(bench, result, None, 50)
    return result


def writers_postgres(bench: Bench) -> CaseResult:
    """Many processes commit to one branch; the catalog is PostgreSQL."""
    from devservers.postgres_server import PostgresServer

    result = CaseResult("writers-postgres", "many processes, one branch, disjoint paths; PostgreSQL")
    logs = bench.new_path("postgres-logs")
    logs.mkdir()
    with PostgresServer(logs) as server:
        _many_writers(bench, result, server.create_database("bench", driver="psycopg"), 100)
    result.notes.append("the PostgreSQL server runs with fsync=off: its rate is not that of a durable one")
    return result


def _many_writers(bench: Bench, result: CaseResult, catalog: str | None, limit: float) -> None:
    processes, commits = (16, 50) if bench.scale >= 1 else (4, 10)
    store = bench.new_path("writers")
    bench.say(f"{processes} processes, {commits} commits each")
    run_ours("init", bench.work, store=store, catalog=catalog)
    gates = bench.new_path("gates")
    gates.mkdir()
    shared: dict[str, Any] = {"store": store, "catalog": catalog, "commits": commits, "start": gates / "start"}
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        running = [pool.submit(run_ours, "writer", bench.work, number=n, **shared) for n in range(processes)]
        while files_in(gates) < processes and not any(future.done() for future in running):
            time.sleep(0.02)
        (gates / "start").touch()
        spans = [future.result()[1] for future in running]
    seconds = max(span["ended"] for span in spans) - min(span["began"] for span in spans)
    found = run_ours("landed", bench.work, store=store, catalog=catalog)[1]
    result.title = result.title.replace("many processes", f"{processes} processes of {commits} commits")
    result.add(OURS, {"commits_per_s": processes * commits / seconds})
    lost = processes * commits - min(found["files"], found["commits"])
    result.check("commits lost", lost, 0, "commits")
    result.check("commits a second", processes * commits / seconds, limit, "/s", at_least=True)


@dataclass(frozen=True, slots=True)
class Case:
    """A case, and the MiB that it writes at scale 1; measured, and rounded up.

    Attributes:
        run: The function that measures, and compares with the targets.
        shared: The data that several cases use and the first one makes.
        once_mib: Apart from that, once, whatever the number of repeats and peers.
        full_mib: The addition with ``FULL=1``.
        tool_mib: For each tool, once.
        repeat_mib: For each tool, in each repeat.
        is_quick: Whether it is part of a quick run that names no cases.
    """

    run: Callable[[Bench], CaseResult]
    shared: str = ""
    once_mib: int = 0
    full_mib: int = 0
    tool_mib: int = 0
    repeat_mib: int = 0
    is_quick: bool = True


SHARED_MIB: Final = {"small": 400, "large": 1_024, "tree": 300}

CASES: Final[dict[str, Case]] = {
    "ingest-small": Case(ingest_small, shared="small", repeat_mib=300),
    "restore-small": Case(restore_small, shared="small", tool_mib=300, repeat_mib=400),
    "ingest-large": Case(ingest_large, shared="large", once_mib=3_072, repeat_mib=1_024),
    "edit-large": Case(edit_large, shared="large", once_mib=6_144, tool_mib=2_048),
    "restore-large": Case(restore_large, shared="large", once_mib=7_168),
    "commit-told": Case(commit_told, shared="tree", once_mib=600, full_mib=1_500),
    "questions": Case(questions, shared="tree"),
    "datums": Case(datums, shared="tree"),
    "datum-lineage": Case(datum_lineage, once_mib=1_000),
    "growth": Case(growth, once_mib=500, full_mib=5_000),
    "growth-history": Case(growth_history, once_mib=100, full_mib=1_500),
    "years": Case(years, once_mib=8_000, is_quick=False),
    "ancestry": Case(ancestry, once_mib=250),
    "requests": Case(requests),
    "start-up": Case(start_up, once_mib=60),
    "dagster-io": Case(dagster_io, once_mib=800),
    "writers-sqlite": Case(writers_sqlite, once_mib=50),
    "writers-postgres": Case(writers_postgres, once_mib=150),
    "latency": Case(latency, once_mib=500, is_quick=False),
}


def needed_mib(names: list[str], bench: Bench) -> float:
    """Return the MiB that the cases write to the work directory, nothing of which is deleted before the end."""
    cases = [CASES[name] for name in names]
    tools = 1 + len(bench.peers)
    total = sum(SHARED_MIB[name] for name in {case.shared for case in cases} - {""})
    for case in cases:
        total += case.once_mib + tools * (case.tool_mib + bench.repeats * case.repeat_mib)
        total += case.full_mib if bench.is_full else 0
    return max(total * bench.scale, 100.0)
