"""The rule that cuts a level of a tree into pages; it depends only on the paths."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import xxhash


@dataclass(frozen=True, slots=True)
class CutRule:
    """A rule for the end of a page, by the hashes of its rows.

    From *minimum* rows on, a page ends after a row whose hash has all *strict* bits zero. From *target* rows on, all
    *loose* bits zero are enough. At *maximum* rows it ends in any case. The two masks keep the sizes close to the
    target, as normalised chunking does for bytes.
    """

    minimum: int
    target: int
    maximum: int
    strict: int
    loose: int

    def find_cuts(self, hashes: Sequence[int]) -> list[int]:
        """Return the ends of the pages that these rows fill, as row numbers, exclusive, ascending.

        The rows after the last end belong to a page that is not full yet. The first row must begin a page.
        """
        strict, loose = self.strict, self.loose
        loose_rows = [row for row, value in enumerate(hashes) if not value & loose]
        strict_rows = [row for row in loose_rows if not hashes[row] & strict]
        cuts: list[int] = []
        start = 0
        while True:
            end = min(
                _next_at_least(strict_rows, start + self.minimum - 1),
                _next_at_least(loose_rows, start + self.target - 1),
                start + self.maximum - 1,
            )
            if end >= len(hashes):
                return cuts
            start = end + 1
            cuts.append(start)


@dataclass(frozen=True, slots=True)
class CutRules:
    """The rules of all levels. Other rules would give other pages for the same rows, so a store has only one set."""

    leaf: CutRule
    index: CutRule


# The strict bits include the loose ones.
FORMAT_RULES: Final = CutRules(
    leaf=CutRule(minimum=512, target=1024, maximum=4096, strict=(1 << 11) - 1, loose=(1 << 8) - 1),
    index=CutRule(minimum=16, target=32, maximum=128, strict=(1 << 6) - 1, loose=(1 << 3) - 1),
)
"""The rules of format 1. For the reasons see docs/design/0001-pages-and-packs.md."""

_NEVER: Final = 1 << 62


def hash_rows(paths: pa.Array) -> list[int]:
    """Return the hash of every path of a leaf: XXH3-64 of its UTF-8 bytes, seed 0.

    A Python loop over bytes takes 53 ns a row. Slicing the Arrow buffers by hand takes 77 ns.
    """
    return list(map(xxhash.xxh3_64_intdigest, paths.cast(pa.binary()).to_pylist()))


def hash_entries(lasts: Sequence[str], level: int) -> list[int]:
    """Return the hash of every row of an index page of *level*: XXH3-64 of its last path, the level as the seed.

    The seed makes the levels independent: a path that ends a leaf has a special hash under seed 0.
    """
    return [xxhash.xxh3_64_intdigest(last.encode(), level) for last in lasts]


def _next_at_least(rows: list[int], row: int) -> int:
    position = bisect_left(rows, row)
    return rows[position] if position < len(rows) else _NEVER
