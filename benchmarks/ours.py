"""The actions of versioned-io in a benchmark, in a process of its own: ``python -m benchmarks.ours ACTION JSON``.

An action prints one line of JSON: its measurements inside the process, with the store open.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import versioned_io as vio
from benchmarks.data import tree_path

BRANCH = "data@main"
FILES_AT_ONCE = 1_000_000
"""The files of a synthetic tree in one commit: each file that is staged by itself takes some 1 KB of memory."""
TEMPLATE = "region={region}/day={day}/{part}.csv"
KEY = "{region}|{day}|{part}"


def memory_mib(name: str) -> float:
    """Return what ``/proc/self/status`` says under *name*: ``VmRSS`` is now, ``VmHWM`` the most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    msg = f"/proc/self/status has no {name}: the benchmarks need Linux"
    raise RuntimeError(msg)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that *action* takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def how_many(items: Iterable[object]) -> int:
    """Return how many there are."""
    return sum(1 for _ in items)


def init(store: str, catalog: str | None = None) -> dict[str, Any]:
    """Make an empty store with one repo."""
    with vio.create_store(store, catalog=catalog) as opened:
        opened.create_repo("data")
    return {}


def ingest(store: str, source: str) -> dict[str, Any]:
    """Commit a directory."""
    with vio.open_store(store) as opened:
        baseline = memory_mib("VmRSS")
        start = time.perf_counter()
        with opened.transaction(BRANCH, message="ingest") as tx:
            tx.write_tree(source)
        inside_s = time.perf_counter() - start
    return {"inside_s": inside_s, "memory_mib": memory_mib("VmHWM") - baseline}


def restore(store: str, dest: str, *, fsync: bool = False) -> dict[str, Any]:
    """Check the head out."""
    with vio.open_store(store) as opened:
        return {"inside_s": timed(lambda: opened.snapshot(BRANCH).checkout(dest, fsync=fsync))}


def tree(store: str, files: int, at_once: int = FILES_AT_ONCE) -> dict[str, Any]:
    """Commit a tree of that many tiny files, told one by one, at most *at_once* to a commit."""
    with vio.create_store(store) as opened:
        opened.create_repo("data")
        baseline = memory_mib("VmRSS")
        start = time.perf_counter()
        for first in range(0, files, at_once):
            with opened.transaction(BRANCH, message="tree") as tx:
                for number in range(first, min(first + at_once, files)):
                    tx.write(tree_path(number), b"%d" % number)
        inside_s = time.perf_counter() - start
    return {"inside_s": inside_s, "memory_mib": memory_mib("VmHWM") - baseline}


def commits(store: str, files: int, count: int, changes: int, seed: int) -> dict[str, Any]:
    """Make *count* commits of *changes* scattered, told changes; return the seconds of each."""
    noise = random.Random(seed)
    times, cpu = [], []
    with vio.open_store(store) as opened:
        for _ in range(count):
            chosen = noise.sample(range(files), min(changes, files))
            content = noise.randbytes(32)
            start, cpu_start = time.perf_counter(), time.process_time()
            with opened.transaction(BRANCH, message="change") as tx:
                for number in chosen:
                    tx.write(tree_path(number), content)
            times.append(time.perf_counter() - start)
            cpu.append(time.process_time() - cpu_start)
    return {"times_s": times, "cpu_s": cpu}


def questions(store: str, files: int, repeats: int) -> dict[str, Any]:
    """Run each question several times with an open store; return the seconds of each."""
    middle = tree_path(files // 2)
    directory = middle.rpartition("/")[0]
    with vio.open_store(store) as opened:
        snapshot = opened.snapshot(BRANCH)
        asked: dict[str, Callable[[], object]] = {
            "diff": lambda: opened.diff(f"{BRANCH}~1", BRANCH),
            "affected": lambda: opened.affected(f"{BRANCH}~1", BRANCH, TEMPLATE, key=KEY),
            "stat": lambda: snapshot.stat(middle),
            "list": lambda: how_many(snapshot.list(directory)),
            # Matches scattered over the whole tree, so every path is looked at; a class of characters takes a regular
            # expression.
            "glob": lambda: how_many(snapshot.glob("**/*5555.csv")),
            "glob_class": lambda: how_many(snapshot.glob("**/part-*55[0-9]5.csv")),
        }
        times = {name: [timed(action) for _ in range(repeats)] for name, action in asked.items()}
        listed = how_many(snapshot.list(directory))
        changed = opened.diff(f"{BRANCH}~1", BRANCH).num_rows
    return {"times_s": times, "listed": listed, "changed": changed}


def writer(store: str, catalog: str | None, number: int, commits: int, start: str) -> dict[str, Any]:
    """Commit *commits* files of its own to the one branch, once there is a file *start*.

    That this process has imported everything and opened the store is said by a file beside it.
    """
    gate = Path(start)
    with vio.open_store(store, catalog=catalog) as opened:
        opened.snapshot(BRANCH)
        gate.with_name(f"ready-{number}").touch()
        while not gate.exists():
            time.sleep(0.002)
        began = time.monotonic()
        for commit in range(commits):
            with opened.transaction(BRANCH, message="mine") as tx:
                tx.write(f"writer={number:02d}/{commit:04d}.txt", b"%d %d" % (number, commit))
        ended = time.monotonic()
    return {"began": began, "ended": ended}


def landed(store: str, catalog: str | None) -> dict[str, Any]:
    """Count the commits and files of the branch."""
    with vio.open_store(store, catalog=catalog) as opened:
        return {"files": how_many(opened.snapshot(BRANCH).walk()), "commits": how_many(opened.log(BRANCH))}


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    action.__name__: action for action in (init, ingest, restore, tree, commits, questions, writer, landed)
}


if __name__ == "__main__":
    print(json.dumps(ACTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
