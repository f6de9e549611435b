"""Ranges of paths in UTF-8 byte order, which is also the order of Python's strings."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_LAST_CODE_POINT: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class PathRange:
    """The paths from *start*, inclusive, to *end*, exclusive; no end means all that follow."""

    start: str
    end: str | None

    @staticmethod
    def of_path(path: str) -> "PathRange":
        """Return the range that holds only *path*."""
        return PathRange(path, successor(path))

    @staticmethod
    def of_prefix(prefix: str) -> "PathRange":
        """Return the range of all paths that start with *prefix*, as text: ``a/`` is a directory, ``a`` is not."""
        stem = prefix
        while stem:
            code = ord(stem[-1]) + 1
            if code in _SURROGATES:
                code = _SURROGATES.stop
            if code <= _LAST_CODE_POINT:
                return PathRange(prefix, stem[:-1] + chr(code))
            stem = stem[:-1]
        return PathRange(prefix, None)

    @staticmethod
    def of_directory(directory: str) -> "PathRange":
        """Return the range of everything below *directory*, which has no slash at its end; ``""`` is the root."""
        return PathRange.of_prefix(f"{directory}/" if directory else "")

    def rows_of(self, paths: Sequence[str]) -> tuple[int, int]:
        """Return the slice of the sorted *paths* that is in the range: its start, and its exclusive end."""
        first = bisect_left(paths, self.start)
        return first, len(paths) if self.end is None else bisect_left(paths, self.end, lo=first)


def successor(path: str) -> str:
    """Return the smallest text above *path*; no path lies between them, since none holds a NUL."""
    return path + "\0"


def merge_ranges(ranges: Iterable[PathRange]) -> list[PathRange]:
    """Return the same paths as sorted ranges that neither overlap nor touch."""
    merged: list[PathRange] = []
    for piece in sorted(ranges, key=lambda piece: piece.start):
        if merged and (merged[-1].end is None or piece.start <= merged[-1].end):
            last_end = merged[-1].end
            end = None if last_end is None or piece.end is None else max(last_end, piece.end)
            merged[-1] = PathRange(merged[-1].start, end)
        else:
            merged.append(piece)
    return merged


def contains(ranges: Sequence[PathRange], path: str) -> bool:
    """Return whether one of the merged *ranges* holds *path*."""
    number = bisect_right(ranges, path, key=lambda piece: piece.start) - 1
    if number < 0:
        return False
    end = ranges[number].end
    return end is None or path < end
