"""The requests of each operation to an object store: ``python -m benchmarks.ours_requests count_requests JSON``.

The store is in memory and behaves like a remote one. Every operation gets a newly opened store without a cache, so
nothing was read before. The requests of opening are a row of their own.
"""

import json
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import versioned_io as vio
from benchmarks.data import tree_path
from benchmarks.ours import BRANCH, KEY, TEMPLATE, how_many
from versioned_io.storage.objects.counted import CountedObjects
from versioned_io.storage.objects.port import Buffer
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.store import locating

URL = "memory://requests"
READ_MANY = 100
CHECKED_OUT = 1_000

Operation = Callable[[vio.Store], object]


class CountedAsRemote(CountedObjects):
    """Counts as its parent does, and makes the library treat a store in memory as a remote one.

    Beacons are not counted: a thread renews them beside the commits, at most once a second.
    """

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """Count a write unless it is of a beacon that is renewed."""
        if _is_renewal():
            self._inner.put(key, data)
        else:
            super().put(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        """Count deletions unless they are of beacons that are replaced."""
        if _is_renewal():
            self._inner.delete(keys)
        else:
            super().delete(keys)

    @property
    def is_remote(self) -> bool:
        """Always true: so the library probes and fetches as on S3."""
        return True


def _is_renewal() -> bool:
    return threading.current_thread().name == "versioned-io-beacons"


@contextmanager
def counting() -> Iterator[CountedObjects]:
    """Count the requests of every store that is made or opened at `URL` in the ``with`` block."""
    counted = CountedAsRemote(open_objects(URL))
    # There is no public way to open a store over an adapter of one's own.
    with patch.object(locating, "open_objects", lambda *_: counted):
        yield counted


def commit(store: vio.Store, numbers: list[int], noise: random.Random) -> None:
    """Commit files of 1-4 KiB."""
    with store.transaction(BRANCH, message="files") as tx:
        for number in numbers:
            tx.write(tree_path(number), noise.randbytes(noise.randrange(1_024, 4_096)))


def operations(files: int, noise: random.Random, scratch: Path) -> dict[str, Operation]:
    """Return the counted operations, by the name of the row, in the order of their execution."""
    middle = files // 2 // CHECKED_OUT * CHECKED_OUT
    directory = tree_path(middle).rpartition("/")[0]
    many = [tree_path(number) for number in sorted(noise.sample(range(files), READ_MANY))]
    last = (f"{BRANCH}~1", BRANCH)
    return {
        "commit of 1 file": lambda store: commit(store, [middle], noise),
        "commit of 10 scattered files": lambda store: commit(store, noise.sample(range(files), 10), noise),
        "snapshot": lambda store: store.snapshot(BRANCH),
        "diff of 10 changes": lambda store: store.diff(*last),
        "affected of 10 changes": lambda store: store.affected(*last, TEMPLATE, key=KEY),
        "stat": lambda store: store.snapshot(BRANCH).stat(tree_path(middle)),
        "read 1 file": lambda store: store.snapshot(BRANCH).read(tree_path(middle)),
        f"list {CHECKED_OUT:,} files": lambda store: how_many(store.snapshot(BRANCH).list(directory)),
        "glob over all": lambda store: how_many(store.snapshot(BRANCH).glob("**/*55.csv")),
        f"read_many of {READ_MANY} scattered": lambda store: how_many(store.snapshot(BRANCH).read_many(many)),
        f"checkout of {CHECKED_OUT:,} files": lambda store: store.snapshot(BRANCH).checkout(scratch / "out", directory),
        "log of 1 file": lambda store: how_many(store.log(BRANCH, path=tree_path(middle))),
        "stats": lambda store: store.stats(exact=True),
        "gc": lambda store: store.gc(grace=timedelta(0)),
    }


def count_requests(files: int, seed: int) -> dict[str, Any]:
    """Return the requests of each operation on a tree of *files* files, by row."""
    noise = random.Random(seed)
    rows: dict[str, dict[str, int]] = {}
    with counting() as counted, TemporaryDirectory() as scratch:
        with vio.create_store(URL) as store:
            rows["create"] = asdict(counted.reset())
            store.create_repo("data")
            commit(store, list(range(files)), noise)
        rows[f"commit of {files:,} files"] = asdict(counted.reset())
        vio.open_store(URL).close()
        rows["open"] = asdict(counted.reset())
        for name, operation in operations(files, noise, Path(scratch)).items():
            with vio.open_store(URL) as store:
                counted.reset()
                operation(store)
                rows[name] = asdict(counted.reset())
    return {"rows": rows}


if __name__ == "__main__":
    print(json.dumps({"count_requests": count_requests}[sys.argv[1]](**json.loads(sys.argv[2]))))
