"""Datums of a large tree: ``python -m benchmarks.ours_datums ask JSON``."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import versioned_io as vio
from benchmarks.ours import BRANCH, timed
from versioned_io.processing.fingerprints.computation import computation_digest, fingerprints

FILES = vio.glob(BRANCH, "/region={region}/day={day}/(*).csv")
DIRECTORIES = vio.glob(BRANCH, "/*/*/")
_CODE = bytes(32)


def ask(store: str, repeats: int) -> dict[str, Any]:
    """Return the milliseconds of each question about the datums of a tree, in process with an open store."""
    with vio.open_store(store) as opened:
        files, directories = opened.inputs(FILES), opened.inputs(DIRECTORIES)
        since = {BRANCH: f"{BRANCH}~1"}
        pairs = vio.cross(vio.glob(BRANCH, "/*/*/"), vio.glob(BRANCH, "/*/*/", name="second"))
        crossed = opened.inputs(pairs).datums()
        asked: dict[str, Callable[[], object]] = {
            "captures": files.datums,
            "fingerprints": lambda: _fingerprints(files.datums()),
            "directories": lambda: _fingerprints(directories.datums()),
            "affected_files": lambda: files.affected(since),
            "affected_directories": lambda: directories.affected(since),
            "cross_page": lambda: crossed.page(len(crossed) // 2, 100),
        }
        measured: dict[str, Any] = {"datums": len(files.datums())}
        for name, action in asked.items():
            start = time.process_time()
            walls = [timed(action) for _ in range(repeats)]
            measured[f"{name}_cpu_ms"] = (time.process_time() - start) / repeats * 1_000
            measured[f"{name}_ms"] = statistics.median(walls) * 1_000
    return measured


def _fingerprints(found: Any) -> list[bytes]:  # noqa: ANN401 (a `DatumSet`, which is not in the front door)
    return fingerprints(computation_digest(_CODE, {}), found.seen_page(0, len(found)))


if __name__ == "__main__":
    print(json.dumps({"ask": ask}[sys.argv[1]](**json.loads(sys.argv[2]))))
