"""The cost of maintenance after many small commits: ``python -m benchmarks.ours_years ACTION JSON``."""

import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import versioned_io as vio
from benchmarks.ours import BRANCH, timed
from versioned_io.maintenance.collection.new_garbage import collect_new
from versioned_io.maintenance.collection.new_marks import mark_new
from versioned_io.maintenance.compaction import compaction  # noqa: F401 (loaded before the clock runs)

WATCHED = "watched"
_FILES = 300
_WATCHED_EVERY = 50
_LOGS = 5
_WARM_UP = 20


def grow(store: str, first: int, count: int) -> dict[str, Any]:
    """Make *count* commits, each of one small file in a tree of 300; every fiftieth is below one directory."""
    noise = random.Random(first)
    path = Path(store)
    opened = vio.open_store(store) if path.exists() else vio.create_store(store)
    with opened:
        if not opened.repos():
            opened.create_repo("data")
        start = time.perf_counter()
        for number in range(first, first + count):
            commit_small(opened, noise, number)
        return {"commit_ms": (time.perf_counter() - start) / count * 1_000}


def commit_small(store: vio.Store, noise: random.Random, number: int) -> None:
    """Commit one small file; the number decides its directory and its name."""
    directory = WATCHED if number % _WATCHED_EVERY == 0 else f"d{number % 20:02}"
    with store.transaction(BRANCH) as tx:
        tx.write(f"{directory}/{number % _FILES:03}.bin", noise.randbytes(120))


def maintain(store: str, full: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 (from JSON)
    """Maintain the store until nothing is due."""
    with vio.open_store(store) as opened:
        report = opened.maintain(timedelta(hours=1), full=full)
        return {"maintain_s": report.seconds, "maintain_written_mib": report.bytes_written / 2**20}


def collect(store: str) -> dict[str, Any]:
    """Collect garbage after marking the new commits."""
    with vio.open_store(store) as opened:
        found = []
        seconds = timed(lambda: found.append(collect_new(opened._backend, grace=timedelta(days=1))))  # noqa: SLF001 (one step alone)
        return {"collect_new_ms": seconds * 1_000, "new_commits": found[0].commits}


def compact(store: str) -> dict[str, Any]:
    """Mark the new commits without recording the mark, then compact."""
    with vio.open_store(store) as opened:
        cpu = [time.process_time()]
        mark_s = timed(lambda: mark_new(opened._backend))  # noqa: SLF001 (one step alone)
        cpu.append(time.process_time())
        reports = []
        compact_s = timed(lambda: reports.append(opened.compact()))
        cpu.append(time.process_time())
        report = reports[0]
        written = report.new_bytes / report.packs_bytes if report.packs_bytes else 0.0
        return {
            "mark_new_ms": mark_s * 1_000,
            "compact_ms": compact_s * 1_000,
            "mark_new_cpu_ms": (cpu[1] - cpu[0]) * 1_000,
            "compact_cpu_ms": (cpu[2] - cpu[1]) * 1_000,
            "merged_packs": report.packs,
            "trees": report.trees,
            "written_beside_merged": written,
        }


def commit_beside(store: str, first: int) -> dict[str, Any]:
    """Commit alone, and then beside a full run of maintenance in another process; a commit's median and longest."""
    noise = random.Random(first)
    with vio.open_store(store) as opened:
        for number in range(first, first + _WARM_UP):
            commit_small(opened, noise, number)
        # A full pass of Python's collector over all loaded modules takes 50 to 70 ms of CPU, also without maintenance.
        gc.collect()
        gc.freeze()
        first += _WARM_UP
        alone = [timed(partial(commit_small, opened, noise, number)) for number in range(first, first + 200)]
        asked = json.dumps({"store": store, "full": True})
        command = [sys.executable, "-m", "benchmarks.ours_years", "maintain", asked]
        beside: list[float] = []
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as other:
            number = first + 200
            while other.poll() is None:
                beside.append(timed(partial(commit_small, opened, noise, number)))
                number += 1
        if other.returncode:
            msg = f"maintenance beside the commits failed with {other.returncode}"
            raise RuntimeError(msg)
    return {
        "alone_ms": statistics.median(alone) * 1_000,
        "alone_longest_ms": max(alone) * 1_000,
        "beside_ms": statistics.median(beside) * 1_000,
        "beside_longest_ms": max(beside) * 1_000,
        "beside_commits": len(beside),
    }


def log_directory(store: str) -> dict[str, Any]:
    """List the commits that changed one directory, each time with a store that was just opened; the medians."""
    wall: list[float] = []
    cpu: list[float] = []
    changes = 0
    for _ in range(_LOGS):
        with vio.open_store(store) as opened:
            start, cpu_start = time.perf_counter(), time.process_time()
            changes = sum(1 for _ in opened.log(BRANCH, path=WATCHED))
            wall.append((time.perf_counter() - start) / changes)
            cpu.append((time.process_time() - cpu_start) / changes)
    return {
        "log_directory_ms_a_change": statistics.median(wall) * 1_000,
        "log_directory_cpu_ms_a_change": statistics.median(cpu) * 1_000,
        "log_changes": changes,
    }


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    action.__name__: action for action in (grow, maintain, collect, compact, commit_beside, log_directory)
}


if __name__ == "__main__":
    print(json.dumps(ACTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
