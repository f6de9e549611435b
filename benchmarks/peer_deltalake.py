"""Delta Lake, told ten changes at a time: run with its own interpreter, never imported by the benchmarks.

``python peer_deltalake.py JSON`` makes a table with one row a file. Its columns are the main ones of our trees. Then it
merges changes into the table with the defaults of `deltalake`. It prints one line of JSON.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


def make_rows(numbers: list[int], noise: random.Random) -> pa.Table:
    """Return the rows of those files: path, size, and a digest of 32 bytes."""
    paths = [f"region={n // 100_000:04d}/day={n // 1_000:06d}/part-{n:09d}.csv" for n in numbers]
    return pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "size": pa.array([noise.randrange(4_096) for _ in numbers], pa.int64()),
            "digest": pa.array([noise.randbytes(32) for _ in numbers], pa.binary()),
        }
    )


def size_of(directory: str) -> int:
    """Return the bytes of all files below *directory*."""
    return sum(Path(parent, name).stat().st_size for parent, _, names in os.walk(directory) for name in names)


def run(*, directory: str, entries: int, changes: int, repeats: int, seed: int) -> dict[str, Any]:
    """Make the table, then commit *changes* scattered rows, *repeats* times; return the seconds and bytes of each."""
    noise = random.Random(seed)
    start = time.perf_counter()
    write_deltalake(directory, make_rows(list(range(entries)), noise))
    made_s = time.perf_counter() - start
    times, added = [], []
    for _ in range(repeats):
        rows = make_rows(sorted(noise.sample(range(entries), changes)), noise)
        before = size_of(directory)
        start = time.perf_counter()
        merge = DeltaTable(directory).merge(rows, "t.path = s.path", source_alias="s", target_alias="t")
        done = merge.when_matched_update_all().execute()
        times.append(time.perf_counter() - start)
        if done["num_target_rows_updated"] != changes:
            msg = f"the merge changed {done['num_target_rows_updated']} rows instead of {changes}"
            raise RuntimeError(msg)
        added.append(size_of(directory) - before)
    return {"made_s": made_s, "times_s": times, "added_bytes": added}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
