"""The files that the benchmarks store: made from a seed, the same on every machine."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

MIB = 1024 * 1024
_TEXT = b"2012-01-01,seattle,drizzle,12.8,5.0,4.7,0.0\n" * 100


def make_small_files(directory: Path, count: int, seed: int) -> int:
    """Write *count* files of 1-4 KiB, 1,000 to a directory, a quarter of each compressible; return their bytes."""
    noise = random.Random(seed)
    total = 0
    for number in range(count):
        if number % 1_000 == 0:
            (directory / f"day={number // 1_000:04d}").mkdir(parents=True)
        size = noise.randrange(1024, 4096)
        path = directory / f"day={number // 1_000:04d}" / f"part-{number:06d}.csv"
        path.write_bytes(noise.randbytes(size - size // 4) + _TEXT[: size // 4])
        total += size
    return total


def _noise(size_bytes: int, seed: int) -> Iterator[bytes]:
    noise = random.Random(seed)
    for start in range(0, size_bytes, MIB):
        yield noise.randbytes(min(MIB, size_bytes - start))


def make_large_file(path: Path, size_bytes: int, seed: int) -> None:
    """Write one file of that many incompressible bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for block in _noise(size_bytes, seed):
            file.write(block)


def make_edited_file(
    source: Path, target: Path, *, overwrite: tuple[int, int], insert: tuple[int, int], seed: int
) -> int:
    """Write *source* to *target* with bytes overwritten and inserted, and return how many bytes are new.

    Args:
        overwrite, insert: Offset in *source* and number of bytes; the insertion lies behind the overwriting. Zero
            bytes change nothing.
    """
    noise = random.Random(seed)
    at, length = overwrite
    where, added = insert
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original, target.open("wb") as edited:
        _copy(original.read, edited.write, at)
        edited.write(noise.randbytes(length))
        original.seek(at + length)
        _copy(original.read, edited.write, where - at - length)
        edited.write(noise.randbytes(added))
        _copy(original.read, edited.write, None)
    return length + added


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], int], size_bytes: int | None) -> None:
    left = size_bytes
    while left is None or left > 0:
        block = read(MIB if left is None else min(MIB, left))
        if not block:
            return
        write(block)
        left = None if left is None else left - len(block)


def tree_path(number: int) -> str:
    """Return the path of a file of the synthetic large trees: 1,000 files to a directory."""
    return f"region={number // 100_000:04d}/day={number // 1_000:06d}/part-{number:09d}.csv"
