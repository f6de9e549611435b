"""Datums of a large tree, and their lineage: ``python -m benchmarks.ours_datums ask JSON``."""

import json
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
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


def evaluate(store: str, datums: int) -> dict[str, Any]:
    """Make a store with a pipeline's output of this number of datums."""
    with vio.create_store(store) as opened:
        for repo in ("inputs", "outputs"):
            opened.create_repo(repo)
        with opened.transaction("inputs@main") as tx:
            for number in range(datums):
                tx.write(_path(number), b"%d" % number)
        run = opened.pipeline(copy_all).run()
    return {"evaluated": run.counts["run"]}


def trace(store: str, datums: int, repeats: int) -> dict[str, Any]:
    """Return the milliseconds of questions about one output, and the bytes of the index for each datum."""
    path = _path(datums // 2)
    with vio.open_store(store) as opened:
        digest = opened.snapshot("inputs@main").stat(path).digest
        asked: dict[str, Callable[[], object]] = {
            "upstream": lambda: opened.upstream(f"outputs@main:{path}"),
            "downstream": lambda: opened.downstream(f"inputs@main:{path}"),
            "digest": lambda: opened.downstream(digest=digest),
        }
        measured: dict[str, Any] = {}
        for name, action in asked.items():
            action()
            measured[f"{name}_ms"] = statistics.median(timed(action) for _ in range(10 * repeats)) * 1_000
    with closing(sqlite3.connect(Path(store) / "catalog.db")) as raw:
        pages = "SELECT sum(pgsize) FROM dbstat WHERE name = 'datum_uses'"
        measured["sql_bytes"] = raw.execute(pages).fetchone()[0] / datums
    return measured


@vio.pipeline("copy", inputs=vio.glob("inputs@main", "/*/*"), output="outputs@main", code_version="1")
def copy_all(datum: vio.Datum, out: vio.DatumOutput) -> None:
    """Copy a file."""
    out.write(datum["inputs"].path, datum["inputs"].read())


def _path(number: int) -> str:
    return f"{number // 1_000:04}/{number:07}"


def _fingerprints(found: Any) -> list[bytes]:  # noqa: ANN401 (a `DatumSet`, which is not in the front door)
    return fingerprints(computation_digest(_CODE, {}), found.seen_page(0, len(found)))


if __name__ == "__main__":
    print(json.dumps({"ask": ask, "evaluate": evaluate, "trace": trace}[sys.argv[1]](**json.loads(sys.argv[2]))))
