"""Icechunk, told ten changes at a time: run with its own interpreter, never imported by the benchmarks.

``python peer_icechunk.py JSON`` makes an array whose chunks are references to bytes elsewhere, one for each file of our
tree, and writes single references. With *split* a manifest has at most this many references. With 0, the default, there
is one manifest. It prints one line of JSON.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import icechunk
import zarr

_PLACE = "file:///data/"
_AT_ONCE = 100_000


def size_of(directory: str) -> int:
    """Return the bytes of all files below *directory*."""
    return sum(Path(parent, name).stat().st_size for parent, _, names in os.walk(directory) for name in names)


def open_repository(directory: str, split: int) -> icechunk.Repository:
    """Return a new repository."""
    config = icechunk.RepositoryConfig.default()
    store = icechunk.local_filesystem_store("/data")
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(_PLACE, store))
    if split:
        sizes = {icechunk.ManifestSplitCondition.AnyArray(): {icechunk.ManifestSplitDimCondition.Any(): split}}
        config.manifest = icechunk.ManifestConfig(splitting=icechunk.ManifestSplittingConfig.from_dict(sizes))
    return icechunk.Repository.create(icechunk.local_filesystem_storage(directory), config)


def make_array(repository: icechunk.Repository, entries: int) -> None:
    """Commit an array of that many references."""
    session = repository.writable_session("main")
    zarr.create_array(session.store, name="files", shape=(entries,), chunks=(1,), dtype="uint8", compressors=None)
    for first in range(0, entries, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, entries))
        refs = [
            icechunk.VirtualChunkSpec([n], f"{_PLACE}pack-{n // 1_000:06d}", n % 1_000, 1, None, None) for n in numbers
        ]
        session.store.set_virtual_refs("files", refs, validate_containers=False)
    session.commit("tree")


def run(*, directory: str, entries: int, changes: int, repeats: int, seed: int, split: int) -> dict[str, Any]:
    """Make the array, then commit *changes* scattered references, *repeats* times; return seconds and bytes of each."""
    noise = random.Random(seed)
    repository = open_repository(directory, split)
    start = time.perf_counter()
    make_array(repository, entries)
    made_s = time.perf_counter() - start
    times, added = [], []
    for repeat in range(repeats):
        chosen = noise.sample(range(entries), changes)
        before = size_of(directory)
        start = time.perf_counter()
        session = repository.writable_session("main")
        for place, number in enumerate(chosen):
            session.store.set_virtual_ref(
                f"files/c/{number}", f"{_PLACE}new-{repeat:06d}", offset=place, length=1, validate_container=False
            )
        session.commit("change")
        times.append(time.perf_counter() - start)
        added.append(size_of(directory) - before)
    return {"made_s": made_s, "times_s": times, "added_bytes": added}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
