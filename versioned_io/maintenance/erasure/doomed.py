"""The target of a purge: one path with everything below it, or all files that match a pattern, also in results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import InvalidInputError
from versioned_io.model.columns import text_column
from versioned_io.model.identifiers import CommitId
from versioned_io.model.paths import parse_directory
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import LOGS, MANIFESTS, OUTPUTS, fingerprint_in
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import lookup_many, scan
from versioned_io.versioning.snapshots.glob import Glob, parse_glob

_OF_RESULT: Final = f"^{OUTPUTS}[0-9a-f]{{64}}/"


@dataclass(frozen=True, slots=True)
class DoomedPath:
    """A file, or a directory with everything below it."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def details(self) -> Mapping[str, str]:
        """The details of the target in the journal."""
        return {"path": self.path}

    def rows(self, root: PageRef | None, source: PageSource) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows of a tree. Cost: 1 GET for each page with such rows, and for each page above."""
        own = lookup_many(root, [self.path], source=source)
        yield from (batch for batch in own.to_batches() if batch.num_rows)
        yield from scan(root, f"{self.path}/", source=source)

    def mask(self, paths: pa.Array) -> pa.Array:
        """Return which of *paths* match, as booleans."""
        return pc.or_(pc.equal(paths, self.path), pc.starts_with(paths, f"{self.path}/"))

    def named(self, paths: pa.Array) -> list[str]:
        """Return the matching paths."""
        named: list[str] = paths.filter(self.mask(paths)).to_pylist()
        return named

    def deletes(self, _root: PageRef, _source: PageSource) -> Sequence[str]:
        """Return the *deletes* of `edit_tree` for a tree."""
        return [self.path, f"{self.path}/"]


@dataclass(frozen=True, slots=True)
class DoomedGlob:
    """The files whose whole paths match a pattern, in any commit."""

    glob: Glob

    def __str__(self) -> str:
        return self.glob.pattern

    @property
    def details(self) -> Mapping[str, str]:
        """The details of the target in the journal."""
        return {"glob": self.glob.pattern}

    def rows(self, root: PageRef | None, source: PageSource) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows of a tree. Cost: 1 GET for each page with paths that start like the pattern."""
        for prefix in self.glob.prefixes:
            for rows in scan(root, prefix, source=source):
                chosen = rows.filter(self.glob.mask(rows.column("path")))
                if chosen.num_rows:
                    yield chosen

    def mask(self, paths: pa.Array) -> pa.Array:
        """Return which of *paths* match, as booleans."""
        return self.glob.mask(paths)

    def named(self, paths: pa.Array) -> list[str]:
        """Return the matching paths."""
        named: list[str] = paths.filter(self.mask(paths)).to_pylist()
        return named

    def deletes(self, root: PageRef, source: PageSource) -> Sequence[str]:
        """Return the *deletes* of `edit_tree` for a tree. Cost: that of `rows`."""
        return [path for rows in self.rows(root, source) for path in rows.column("path").to_pylist()]


@dataclass(frozen=True, slots=True)
class DoomedResults:
    """In a repo of results, the whole results that have one of the *files* of the output, with their logs."""

    files: DoomedPath | DoomedGlob

    def rows(self, root: PageRef | None, source: PageSource) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows of a tree. Cost: 1 GET for each page with outputs of results, and for their logs."""
        for result in self._results(root, source):
            own = lookup_many(root, [MANIFESTS + result, LOGS + result], source=source)
            yield from (batch for batch in own.to_batches() if batch.num_rows)
            yield from scan(root, f"{OUTPUTS}{result}/", source=source)

    def mask(self, paths: pa.Array) -> pa.Array:
        """Return which of *paths* are outputs of results with a matching path, as booleans."""
        return pc.and_(pc.match_substring_regex(paths, _OF_RESULT), self.files.mask(_in_output(paths)))

    def deletes(self, root: PageRef, source: PageSource) -> Sequence[str]:
        """Return the *deletes* of `edit_tree` for a tree. Cost: that of `rows`."""
        found = self._results(root, source)
        return [path for one in found for path in (f"{OUTPUTS}{one}/", MANIFESTS + one, LOGS + one)]

    def named(self, paths: pa.Array) -> list[str]:
        """Return the matching paths as the output has them."""
        named: list[str] = _in_output(paths.filter(self.mask(paths))).to_pylist()
        return named

    def fingerprints(self, root: PageRef | None, source: PageSource) -> set[bytes]:
        """Return the fingerprints of the results that have a matching output. Cost: that of `rows`."""
        return {bytes.fromhex(one) for one in self._results(root, source)}

    def _results(self, root: PageRef | None, source: PageSource) -> list[str]:
        """Return the fingerprints of the results that have a matching output, sorted."""
        found: set[str] = set()
        for rows in scan(root, OUTPUTS, source=source):
            paths = rows.column("path")
            found.update(fingerprint_in(path).hex() for path in paths.filter(self.mask(paths)).to_pylist())
        return sorted(found)


@dataclass(frozen=True, slots=True)
class DoomedRows:
    """Exact rows of a tree.

    Attributes:
        unnamed: Paths that say nothing, so dead pages may name them.
    """

    paths: frozenset[str]
    unnamed: frozenset[str] = frozenset()

    def rows(self, root: PageRef | None, source: PageSource) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows of a tree. Cost: reads the pages of the paths."""
        own = lookup_many(root, sorted(self.paths), source=source)
        yield from (batch for batch in own.to_batches() if batch.num_rows)

    def mask(self, paths: pa.Array) -> pa.Array:
        """Return which of *paths* match, as booleans."""
        return pc.is_in(paths, value_set=text_column(sorted(self.paths - self.unnamed)))

    def deletes(self, _root: PageRef, _source: PageSource) -> Sequence[str]:
        """Return the *deletes* of `edit_tree` for a tree."""
        return sorted(self.paths)

    def named(self, paths: pa.Array) -> list[str]:
        """Return the matching paths."""
        named: list[str] = paths.filter(self.mask(paths)).to_pylist()
        return named


Doomed: TypeAlias = DoomedPath | DoomedGlob
"""The files of a repo."""
DoomedInRepo: TypeAlias = DoomedPath | DoomedGlob | DoomedResults | DoomedRows
"""The target in the trees of one repo."""


@dataclass(frozen=True)
class PurgeTarget:
    """The target of a purge in each repo that has it: the files in their own, and results where it has some.

    Attributes:
        repos: The target in the trees of each repo, by its name.
        commits: The target in the trees of single commits. A tree may move to other packs meanwhile.
    """

    files: Doomed
    repos: Mapping[str, "DoomedInRepo"] = field(default_factory=dict)
    commits: Mapping[CommitId, DoomedRows] = field(default_factory=dict)

    @cached_property
    def _everywhere(self) -> "Sequence[DoomedInRepo]":
        """The targets in any tree."""
        every = self.commits.values()
        paths, unnamed = (one.paths for one in every), (one.unnamed for one in every)
        rows = DoomedRows(frozenset[str]().union(*paths), frozenset[str]().union(*unnamed))
        return [*self.repos.values(), rows]

    def named(self, paths: Sequence[str]) -> list[str]:
        """Return those of *paths* that match in any of the repos, as the repo of the files has them."""
        column = text_column(paths)
        return [path for one in self._everywhere for path in one.named(column)]

    def chosen(self, paths: Sequence[str]) -> list[int]:
        """Return the numbers of the *paths* that match in any of the repos, ascending."""
        column = text_column(paths)
        found = {row for one in self._everywhere for row in pc.indices_nonzero(one.mask(column)).to_pylist()}
        return sorted(found)


def _in_output(paths: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(paths, _OF_RESULT, "")


def parse_doomed_path(path: str) -> DoomedPath:
    """Return the target for *path* and everything below it.

    Raises:
        IllegalPathError: *path* breaks the path rules. Fix it.
        InvalidInputError: *path* is empty. Name a file or a directory.
    """
    if not (directory := parse_directory(path)):
        msg = "the path to purge is empty, which means everything: name a file or a directory"
        raise InvalidInputError(msg)
    return DoomedPath(directory)


def parse_doomed_glob(pattern: str) -> DoomedGlob:
    """Return the target for every file that matches *pattern*.

    Raises:
        InvalidInputError: The pattern is malformed, or matches only directories: end it with ``/**``.
    """
    glob = parse_glob(pattern)
    if glob.is_directory:
        msg = f"the pattern {pattern!r} matches only directories, and a purge needs files: end it with '/**'"
        raise InvalidInputError(msg)
    return DoomedGlob(glob)
