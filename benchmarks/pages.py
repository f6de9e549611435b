"""The costs of a tree of pages: build, edit, diff, look up, list, scan, at a number of files.

Run it from the repository's root, with the library installed::

    python benchmarks/pages.py --files 1000000
    python benchmarks/pages.py --leaf-rows 256 --index-rows 32     # other page sizes than the format's
    python benchmarks/pages.py --codecs                            # how one page is best compressed

It prints one line a measurement: the median of the repeats, in milliseconds. Unless stated otherwise, our page cache is
cold, and the operating system's is warm.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import zstandard

from versioned_io.model.places import PageRef
from versioned_io.storage.chunks.chunk_columns import CHUNK_FIELDS, CHUNKS_TYPE
from versioned_io.storage.objects import ObjectStore, open_objects
from versioned_io.storage.packs.pack_session import PackSession
from versioned_io.storage.pages.boundaries import CutRule, CutRules
from versioned_io.storage.pages.build import build_tree
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import list_directory, lookup, scan, stat_directory
from versioned_io.storage.pages.schema import ROWS, encode_page


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


def rule_for(target: int) -> CutRule:
    """Return the rule for pages of about *target* rows (a power of two), with the format's proportions."""
    return CutRule(minimum=target // 2, target=target, maximum=target * 4, strict=target * 2 - 1, loose=target // 4 - 1)


def edit(objects: ObjectStore, root: PageRef | None, rows: pa.Table, rules: CutRules) -> tuple[PageRef | None, int]:
    """Apply *rows* and store the pages; return the new root and the bytes stored."""
    writer = PackSession(objects)
    new = edit_tree(root, rows, [], source=PageSource(objects), sink=writer, rules=rules)
    writer.close()
    return new, writer.bytes_stored


def run_codecs() -> None:
    """Print size, encoding and decoding time of one page of 1,000 files, compressed in three ways."""
    batch = make_rows(make_paths(1_000), 1).to_batches()[0]
    for name in ("zstd", "lz4"):
        options = pa.ipc.IpcWriteOptions(compression=name)
        encoded = encode_ipc(batch, options)
        print(f"{f'Arrow IPC with {name}, bytes':<44} {len(encoded):10,}")
        measure("  encode", 200, lambda options=options: encode_ipc(batch, options))
        measure("  decode", 200, lambda encoded=encoded: pa.ipc.open_stream(encoded).read_next_batch())
    compress, decompress = zstandard.ZstdCompressor(level=1).compress, zstandard.ZstdDecompressor().decompress
    whole = compress(encode_page(0, batch))
    print(f"{'Arrow IPC plain, then zstd 1 as a whole, bytes':<44} {len(whole):10,}")
    measure("  encode", 200, lambda: compress(encode_page(0, batch)))
    measure("  decode", 200, lambda: pa.ipc.open_stream(decompress(whole)).read_next_batch())


def encode_ipc(batch: pa.RecordBatch, options: pa.ipc.IpcWriteOptions) -> bytes:
    """Return *batch* as an Arrow IPC stream."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return stream.getvalue().to_pybytes()


def run(files: int, directory: str, rules: CutRules) -> None:
    """Print the measurements for a tree of *files* files."""
    objects = open_objects(directory)
    paths = make_paths(files)
    rows = make_rows(paths, 1)
    writer = PackSession(objects)
    start = time.perf_counter()
    root = build_tree(rows, sink=writer, rules=rules)
    writer.close()
    seconds = time.perf_counter() - start
    print(f"{f'build and store {files:,} files':<44} {seconds * 1_000:10.2f} ms")
    pages = sum(pack.frames for pack in writer.stored)
    levels = root.level + 1 if root else 0
    print(f"{'bytes a file; pages; levels':<44} {writer.bytes_stored / files:10.1f} {pages} {levels}")

    noise = random.Random(2)
    for count in (1, 10, 100, 10_000):
        changed = make_rows(sorted(noise.sample(paths, min(count, files))), 3)
        new, stored = edit(objects, root, changed, rules)
        repeats = 15 if count <= 100 else 3
        print(f"{f'bytes stored by {count:,} scattered changes':<44} {stored:10,}")
        measure(f"edit {count:,} scattered", repeats, lambda changed=changed: edit(objects, root, changed, rules))
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
    parser.add_argument("--leaf-rows", type=int, default=1024, help="target of a leaf page, a power of two")
    parser.add_argument("--index-rows", type=int, default=32, help="target of an index page, a power of two")
    parser.add_argument("--codecs", action="store_true", help="measure how one page is best compressed instead")
    arguments = parser.parse_args()
    if arguments.codecs:
        run_codecs()
        return
    rules = CutRules(rule_for(arguments.leaf_rows), rule_for(arguments.index_rows))
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        run(arguments.files, directory, rules)


if __name__ == "__main__":
    main()
