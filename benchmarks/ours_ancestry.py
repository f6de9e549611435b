"""Lineage of very many commits: ``python -m benchmarks.ours_ancestry ACTION JSON``.

Only the catalog's rows are made, from those of one real commit: a graph of whole commits reads nothing else.
"""

import json
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import versioned_io as vio
from benchmarks.ours import timed

_REPOS = 20
_FARTHEST = 40
_NEIGHBOURS = 2_000
_REPEATS = 7


def make(store: str, commits: int, seed: int) -> dict[str, Any]:
    """Make a store in which each commit was made from the one before it and from one of the 40 before it."""
    with vio.create_store(store) as opened:
        for number in range(_REPOS):
            opened.create_repo(f"r{number}")
        with opened.run("step", code_version="1"), opened.transaction("r0@main") as tx:
            tx.write("a", b"1")
        first = tx.commit.id
    start = time.perf_counter()
    connection = sqlite3.connect(Path(store) / "catalog.db")
    try:
        _fill(connection, first, commits, random.Random(seed))
    finally:
        connection.close()
    return {"made_s": time.perf_counter() - start}


def _fill(connection: sqlite3.Connection, first: str, commits: int, noise: random.Random) -> None:
    ids = [
        first,
        *(f"{int(first[:12], 16) + number:012x}7{noise.getrandbits(76):019x}" for number in range(1, commits)),
    ]
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(commits)")]
    values = dict(zip(columns, connection.execute("SELECT * FROM commits").fetchone(), strict=True))
    (repo_id,) = connection.execute("SELECT min(id) FROM repos").fetchone()
    segments = [connection.execute("INSERT INTO segments (first_number) VALUES (1)").lastrowid for _ in range(_REPOS)]
    names = ", ".join(f'"{name}"' for name in columns)
    rows, edges = [], []
    for number, commit in enumerate(ids[1:], 1):
        of = number % _REPOS
        own = {"id": commit, "repo_id": repo_id + of, "segment_id": segments[of], "number": number // _REPOS + 1}
        own |= {"parent_id": None, "order": number + 1, "lineage_id": ids[number - number % 5][::-1]}
        rows.append(tuple((values | own).values()))
        near = {number - 1, max(0, number - noise.randint(1, _FARTHEST))}
        edges += [(commit, ids[source], f"2012/{source % 12:02}.csv", "", b"x" * 32, ids[source]) for source in near]
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO commits ({names}) VALUES ({marks})", rows)  # noqa: S608 (columns of the table)
    connection.executemany("INSERT INTO provenance VALUES (?, ?)", [edge[:2] for edge in edges])
    fields = "commit_id, input_id, path, output, digest, written_by"
    connection.executemany(f"INSERT INTO input_files ({fields}) VALUES (?, ?, ?, ?, ?, ?)", edges)  # noqa: S608 (as above)
    connection.commit()


def ask(store: str) -> dict[str, Any]:
    """Return the median milliseconds of graphs of the newest commit and of the oldest, wall and CPU."""
    with vio.open_store(store) as opened:
        connection = sqlite3.connect(Path(store) / "catalog.db")
        ids = [one for (one,) in connection.execute('SELECT id FROM commits ORDER BY "order"')]
        middle = (ids[len(ids) // 2],)
        (lineage_id,) = connection.execute("SELECT lineage_id FROM commits WHERE id = ?", middle).fetchone()
        connection.close()
        asked: dict[str, Callable[[], vio.CommitGraph]] = {
            "ancestry": lambda: opened.lineage_graph(ids[-1]),
            "descent": lambda: opened.lineage_graph(ids[0], way="down"),
            "nearest_1000": lambda: opened.lineage_graph(ids[-1], limit=1_000),
            "three_deep": lambda: opened.lineage_graph(ids[-1], depth=3),
            "near_the_oldest": lambda: opened.lineage_graph(ids[min(_NEIGHBOURS, len(ids) - 1)]),
            "set": lambda: opened.lineage_graph(lineage_id),
        }
        measured: dict[str, Any] = {}
        for name, action in asked.items():
            measured[f"{name}_commits"] = len(action().ids)
            walls, cpus = [], []
            for _ in range(_REPEATS):
                start = time.process_time()
                walls.append(timed(action))
                cpus.append(time.process_time() - start)
            measured[f"{name}_ms"] = statistics.median(walls) * 1_000
            measured[f"{name}_cpu_ms"] = min(cpus) * 1_000
    return measured


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {action.__name__: action for action in (make, ask)}


if __name__ == "__main__":
    print(json.dumps(ACTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
