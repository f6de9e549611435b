"""The cases: what is done, by whom, and which target it is held to."""

import concurrent.futures
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import MIB, make_edited_file, make_large_file, make_small_files
from benchmarks.measures import OURS, CaseResult
from benchmarks.peers import Ours, Peer
from benchmarks.processes import files_in, run_command, run_ours, settle, size_of

CHANGED_FILES = 10


@dataclass(slots=True)
class Bench:
    """What a case works with.

    Nothing below *work* is deleted before the end of the run, and every measurement gets new directories: after many
    deletions ext4 creates files several times more slowly for a while.
    """

    work: Path
    scale: float
    repeats: int
    seed: int
    peers: list[Peer]
    is_full: bool
    say: Callable[[str], None]
    made: int = 0

    def new_path(self, name: str) -> Path:
        """Return a path that was never used; its parent exists."""
        self.made += 1
        return self.work / f"{self.made:04d}-{name}"

    def scaled(self, count: int) -> int:
        """Return *count*, or less of it in a quick run."""
        return max(20, int(count * self.scale))

    def tools(self) -> Iterator[tuple[Ours | Peer, int]]:
        """Yield who is next and in which repeat: ours and each peer in turn, beginning with another one each time."""
        everyone: list[Ours | Peer] = [Ours(), *self.peers]
        for repeat in range(self.repeats):
            start = repeat % len(everyone)
            for tool in everyone[start:] + everyone[:start]:
                settle()
                self.say(f"{tool.name}, {repeat + 1} of {self.repeats}")
                yield tool, repeat

    def small_files(self) -> Path:
        """Return a directory of 100,000 files of 1-4 KiB, made the first time."""
        directory = self.work / "small"
        if not directory.exists():
            self.say("making the small files")
            make_small_files(directory, self.scaled(100_000), self.seed)
            settle()
        return directory

    def large_file(self) -> Path:
        """Return a directory with one incompressible file of 1 GiB, made the first time."""
        directory = self.work / "large"
        if not directory.exists():
            self.say("making the large file")
            make_large_file(directory / "large.bin", self.scaled(1024) * MIB, self.seed)
            settle()
        return directory

    def large_tree(self) -> tuple[Path, int]:
        """Return a store whose one commit has 1,000,000 tiny files, made the first time, and how many they are."""
        files = self.scaled(1_000_000)
        store = self.work / "tree"
        if not store.exists():
            self.say(f"making the tree of {files:,} files")
            run_ours("tree", self.work, store=store, files=files)
            settle()
        return store, files


def ingest_small(bench: Bench) -> CaseResult:
    """Store, and then restore, many small files."""
    source = bench.small_files()
    result = CaseResult("ingest-small", f"ingest {bench.scaled(100_000):,} files of 1-4 KiB")
    for tool, _ in bench.tools():
        repo = bench.new_path(tool.name)
        tool.make(repo)
        result.add(tool.name, tool.store(repo, source, "first"))
        result.add(tool.name, {"stored_mib": size_of(repo) / MIB})
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
    """Store a large file again after two kinds of edit: what is added, and how long it takes."""
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
    for tool, _ in bench.tools():
        repo = bench.new_path(tool.name)
        tool.make(repo)
        tool.store(repo, original, "first")
        for name, source in sources.items():
            settle()
            before = size_of(repo)
            wall_s = tool.store(repo, source, name)["wall_s"]
            added = size_of(repo) - before - new_bytes[name]
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
    everyone: list[Ours | Peer] = [Ours(), *bench.peers]
    for tool in everyone:
        bench.say(f"storing for {tool.name}")
        repos[tool.name] = bench.new_path(tool.name)
        tool.make(repos[tool.name])
        tool.store(repos[tool.name], source, "first")
    for tool, _ in bench.tools():
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
    """Commit ten told changes on a large tree, after one commit and after many."""
    store, files = bench.large_tree()
    result = CaseResult("commit-told", f"commit {CHANGED_FILES} told changes on {files:,} files, in process")
    lengths = [1, 100, 1_000] if bench.scale >= 1 else [1, 50, 200]
    if bench.is_full:
        lengths.append(10_000)
    else:
        result.notes.append("10,000 commits take minutes to make: FULL=1 does")
    count = 1
    medians = []
    for length in lengths:
        if length > count:
            bench.say(f"making the history {length:,} commits long")
            run_ours("commits", bench.work, store=store, files=files, count=length - count, changes=1, seed=length)
            count = length
        settle()
        bench.say(f"{CHANGED_FILES} changes after {length:,} commits")
        before = files_in(store)
        made = 11
        told = run_ours(
            "commits", bench.work, store=store, files=files, count=made, changes=CHANGED_FILES, seed=-length
        )
        times = told[1]["times_s"]
        count += made
        objects = (files_in(store) - before) / made
        result.add(
            OURS, {f"after_{length}_ms": statistics.median(times) * 1_000, f"first_after_{length}_ms": times[0] * 1_000}
        )
        result.add(OURS, {f"cpu_after_{length}_ms": statistics.median(told[1]["cpu_s"]) * 1_000})
        medians.append(statistics.median(times) * 1_000)
        result.add(OURS, {"objects": objects})
    result.check("median", medians[0], 50, "ms")
    result.check("objects put by one commit", result.median("objects"), 1, "objects")
    result.check(f"after {lengths[-1]:,} commits beside after 1 (flat)", medians[-1] / medians[0], 1.5, "x")
    return result


def questions(bench: Bench) -> CaseResult:
    """Ask a large tree what changed and what is there, in process with an open store."""
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
    shared = {"store": store, "catalog": catalog, "commits": commits, "start": gates / "start"}
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


CASES: dict[str, Callable[[Bench], CaseResult]] = {
    "ingest-small": ingest_small,
    "restore-small": restore_small,
    "ingest-large": ingest_large,
    "edit-large": edit_large,
    "restore-large": restore_large,
    "commit-told": commit_told,
    "questions": questions,
    "writers-sqlite": writers_sqlite,
    "writers-postgres": writers_postgres,
}
