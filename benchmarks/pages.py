"""What a tree of pages costs: build, edit, diff, look up, list, scan, at a number of files.

Run it from the repository's root, with the library installed::

    python benchmarks/pages.py --files 1000000

It prints one line a measurement: the median of the repeats, in milliseconds, with a cold page cache of ours (the
operating system's stays warm) unless it says otherwise.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from versioned_io.chunks import CHUNK_FIELDS, CHUNKS_TYPE, DataWriter, NoIndex
from versioned_io.objects import ObjectStore, open_objects
from versioned_io.pages import (
    ROWS,
    PageRef,
    PageSource,
    build_tree,
    diff,
    edit_tree,
    list_directory,
    lookup,
    scan,
    stat_directory,
)


def make_paths(files: int) -> list[str]:
    """Return that many paths, 1,000 to a directory, sorted."""
    return [f"data/region={n // 100_000:04d}/day={n // 1_000:06d}/part-{n:09d}.csv" for n in range(files)]


def make_rows(paths: list[str], seed: int) -> pa.Table:
    """Return rows of small files, ten to a block."""
    noise = random.Random(seed)
    count = len(paths)
    names = pa.py_buffer(noise.randbytes(32 * count))
    digests = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), count, [None, names])
    packs = pa.array([noise.randbytes(16)] * count, pa.binary(16))
    sizes = [noise.randrange(1_000, 4_000) for _ in paths]
    columns = [
        digests,
        packs,
        pa.array([row // 10 * 700_000 for row in range(count)], pa.uint64()),
        pa.array([700_000] * count, pa.uint32()),
        pa.array([row % 10 * 4_000 for row in range(count)], pa.uint32()),
        pa.array(sizes, pa.uint32()),
    ]
    structs = pa.StructArray.from_arrays(columns, fields=CHUNK_FIELDS)
    chunks = pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), structs, type=CHUNKS_TYPE)
    commits = pa.array([noise.randbytes(16)] * count, pa.binary(16))
    values = [pa.array(paths), pa.array(sizes, pa.int64()), digests, chunks, pa.nulls(count, pa.string()), commits]
    return pa.Table.from_arrays(values, schema=ROWS)


def measure(name: str, repeats: int, action: Callable[[], object]) -> None:
    """Print the median time of *action*."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1_000)
    print(f"{name:<44} {statistics.median(times):10.2f} ms")


def edit(objects: ObjectStore, root: PageRef | None, rows: pa.Table) -> tuple[PageRef | None, int]:
    """Apply *rows* and store the pages; return the new root and the bytes stored."""
    writer = DataWriter(objects, NoIndex())
    new = edit_tree(root, rows, [], source=PageSource(objects), sink=writer)
    writer.close_pack()
    return new, writer.bytes_stored


def run(files: int, directory: str) -> None:
    """Print the measurements for a tree of *files* files."""
    objects = open_objects(directory)
    paths = make_paths(files)
    rows = make_rows(paths, 1)
    writer = DataWriter(objects, NoIndex())
    start = time.perf_counter()
    root = build_tree(rows, sink=writer)
    writer.close_pack()
    seconds = time.perf_counter() - start
    print(f"{f'build and store {files:,} files':<44} {seconds * 1_000:10.2f} ms")
    pages = sum(pack.frames for pack in writer.packs())
    levels = root.level + 1 if root else 0
    print(f"{'bytes a file; pages; levels':<44} {writer.bytes_stored / files:10.1f} {pages} {levels}")

    noise = random.Random(2)
    for count in (1, 10, 100, 10_000):
        changed = make_rows(sorted(noise.sample(paths, min(count, files))), 3)
        new, stored = edit(objects, root, changed)
        repeats = 15 if count <= 100 else 3
        print(f"{f'bytes stored by {count:,} scattered changes':<44} {stored:10,}")
        measure(f"edit {count:,} scattered", repeats, lambda changed=changed: edit(objects, root, changed))
        measure(f"diff {count:,} scattered", repeats, lambda new=new: diff(root, new, source=PageSource(objects)))
    middle = paths[files // 2]
    measure("look up 1", 15, lambda: lookup(root, middle, source=PageSource(objects)))
    day = middle.rpartition("/")[0]
    measure("list a directory of 1,000", 15, lambda: list_directory(root, day, source=PageSource(objects)))
    top = middle.partition("/")[0]
    measure("list the directories below data/", 15, lambda: list_directory(root, top, source=PageSource(objects)))
    measure("files and bytes below a directory", 15, lambda: stat_directory(root, day, source=PageSource(objects)))
    measure("scan all", 3, lambda: sum(batch.num_rows for batch in scan(root, source=PageSource(objects))))


def main() -> None:
    """Run the benchmark in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        run(arguments.files, directory)


if __name__ == "__main__":
    main()
