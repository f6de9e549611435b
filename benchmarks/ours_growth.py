"""The cost of each question on a tree of any size and history: ``python -m benchmarks.ours_growth ACTION JSON``."""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import versioned_io as vio
from benchmarks.data import tree_path
from benchmarks.ours import BRANCH, KEY, TEMPLATE, how_many, memory_mib, timed


def ask(store: str, files: int, changes: int, repeats: int, seed: int) -> dict[str, Any]:
    """Commit *changes* told changes, *repeats* times, then ask each question as often; return medians in milliseconds.

    Exactly these commits change one file, so its log is equally long in every history. The first question finds a cold
    cache and is one of the repeats.
    """
    noise = random.Random(seed)
    watched = tree_path(files // 2)
    directory = watched.rpartition("/")[0]
    with vio.open_store(store) as opened:
        baseline = memory_mib("VmRSS")
        told = [timed(lambda: _commit(opened, noise, files, changes, watched)) for _ in range(repeats)]
        snapshot = opened.snapshot(BRANCH)
        asked: dict[str, Callable[[], object]] = {
            "diff": lambda: opened.diff(f"{BRANCH}~1", BRANCH),
            "affected": lambda: opened.affected(f"{BRANCH}~1", BRANCH, TEMPLATE, key=KEY),
            "stat": lambda: snapshot.stat(watched),
            "list_directory": lambda: how_many(snapshot.list(directory)),
            "glob_all": lambda: how_many(snapshot.glob("**/*5555.csv")),
            "log_100_commits": lambda: how_many(opened.log(BRANCH, limit=100)),
            "log_file": lambda: how_many(opened.log(BRANCH, path=watched)),
        }
        times = {name: [timed(action) for _ in range(repeats)] for name, action in asked.items()}
        # As long as the history, so once is enough.
        times["log_directory"] = [timed(lambda: how_many(opened.log(BRANCH, path=directory)))]
        memory = memory_mib("VmHWM") - baseline
    measured = {
        f"{name}_ms": statistics.median(values) * 1_000 for name, values in {"told_commit": told, **times}.items()
    }
    return {**measured, "questions_memory_mib": memory}


def _commit(store: vio.Store, noise: random.Random, files: int, changes: int, watched: str) -> None:
    chosen = noise.sample(range(files), min(changes, files) - 1)
    with store.transaction(BRANCH, message="told") as tx:
        for path in {watched, *map(tree_path, chosen)}:
            tx.write(path, noise.randbytes(32))


def collect(store: str) -> dict[str, Any]:
    """Run a collection of garbage as a dry run."""
    with vio.open_store(store) as opened:
        baseline = memory_mib("VmRSS")
        start = time.perf_counter()
        opened.gc(dry_run=True)
        inside_s = time.perf_counter() - start
    return {"gc_dry_run_s": inside_s, "gc_memory_mib": memory_mib("VmHWM") - baseline}


def measure(store: str) -> dict[str, Any]:
    """Measure the size of the store."""
    with vio.open_store(store) as opened:
        baseline = memory_mib("VmRSS")
        start = time.perf_counter()
        found = opened.stats(exact=True)
        inside_s = time.perf_counter() - start
    return {
        "stats_s": inside_s,
        "stats_memory_mib": memory_mib("VmHWM") - baseline,
        "packs": found.packs,
        "packs_mib": found.physical_bytes / 2**20,
    }


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {action.__name__: action for action in (ask, collect, measure)}


if __name__ == "__main__":
    print(json.dumps(ACTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
