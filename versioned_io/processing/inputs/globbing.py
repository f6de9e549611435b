"""The matches of a pattern in a snapshot: files and directories alike, with captures, as columns."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import number_array, number_column, text_column
from versioned_io.model.path_ranges import PathRange, contains, merge_ranges
from versioned_io.processing.inputs.chosen import Chosen
from versioned_io.processing.inputs.matches import FileLists, MatchedPaths, Matches
from versioned_io.processing.inputs.specs import GlobInput
from versioned_io.storage.chunks.chunk_columns import DIGEST_TYPE
from versioned_io.versioning.snapshots.glob import Glob, directories_of, parse_glob
from versioned_io.versioning.snapshots.snapshot import Snapshot, look_up_rows
from versioned_io.versioning.transactions.staged_snapshot import StagedSnapshot

ROOT_KEY = "/"
"""The key of the datum that is the whole tree."""

_READ = pa.schema([("path", pa.string()), ("size", pa.int64()), ("digest", DIGEST_TYPE)])


def glob_matches(spec: GlobInput, snapshot: Snapshot) -> Matches:
    """Return the datums of a glob. Cost: reads the pages of the paths that begin as the pattern does."""
    pattern = parse_glob(spec.pattern, has_fields=True)
    files = files_of(snapshot, pattern)
    return matches_of(spec, pattern, snapshot, files)


def matches_any(spec: GlobInput, snapshot: Snapshot) -> bool:
    """Return whether a glob has a datum. Cost: reads the pages before its first match."""
    pattern = parse_glob(spec.pattern, has_fields=True)
    batches = (batch for prefix in pattern.prefixes for batch in snapshot.batches(prefix=prefix))
    return any(len(matched_paths(pattern, _as_lists([batch])).keys) for batch in batches)


def matches_of(spec: GlobInput, pattern: Glob, snapshot: Snapshot, files: FileLists) -> Matches:
    """Return the datums of a glob among *files*, which hold all that it can match."""
    found = matched_paths(pattern, files)
    rules = {"join_on": spec.join_on, "group_by": spec.group_by}
    return Matches(
        name=spec.name,
        snapshot=snapshot,
        found=found,
        files=files,
        captures=tuple(pattern.capture_columns(found.paths)),
        fields=pattern.fields,
        rules={name: rule for name, rule in rules.items() if rule is not None},
        is_names_only=spec.empty_files,
    )


def files_of(snapshot: Snapshot, pattern: Glob) -> FileLists:
    """Return the files that a match of *pattern* may be, or may have below it."""
    return _as_lists([batch for prefix in pattern.prefixes for batch in snapshot.batches(prefix=prefix)])


def files_at(snapshot: Snapshot, paths: Iterable[str], prefixes: Iterable[str]) -> FileLists:
    """Return those of *paths* that are files, and all files whose paths begin with one of *prefixes*.

    Cost: reads the pages of these paths.
    """
    shortest: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not shortest or not prefix.startswith(shortest[-1]):
            shortest.append(prefix)
    below = merge_ranges(map(PathRange.of_prefix, shortest))
    batches = [batch for prefix in shortest for batch in snapshot.batches(prefix=prefix)]
    alone = [path for path in paths if not contains(below, path)]
    found = _as_lists([*_look_up(snapshot, alone).to_batches(), *batches])
    order = pc.cast(pc.sort_indices(found.paths), pa.int64())
    return FileLists(*(column.take(order) for column in found))


def matches_among(spec: GlobInput, pattern: Glob, snapshot: Snapshot, keys: Sequence[str]) -> Chosen:
    """Return the datums of a glob that have one of *keys*. Cost: reads the pages of their files."""
    if pattern.is_root:
        return Chosen.with_keys(glob_matches(spec, snapshot), keys)
    files = files_at(snapshot, keys, [f"{key}/" for key in keys])
    return Chosen.with_keys(matches_of(spec, pattern, snapshot, files), keys)


def _look_up(snapshot: Snapshot, paths: Sequence[str]) -> pa.Table:
    return snapshot.look_up(paths) if isinstance(snapshot, StagedSnapshot) else look_up_rows(snapshot, paths)


def _as_lists(batches: Sequence[pa.RecordBatch]) -> FileLists:
    selected = [pa.record_batch(one.select(_READ.names).columns, schema=_READ) for one in batches]
    table = pa.Table.from_batches(selected, schema=_READ)
    return FileLists(*(column.combine_chunks() for column in table.columns))


def _root(files: FileLists) -> MatchedPaths:
    """Return the match of the whole tree; none if it has no file."""
    count = min(len(files.paths), 1)
    numbers = np.arange(count)
    sizes = np.full(count, len(files.paths), np.int64)
    return MatchedPaths(
        text_column([ROOT_KEY] * count), text_column([""] * count), numbers, sizes, np.ones(count, np.bool_)
    )


def matched_paths(pattern: Glob, files: FileLists) -> MatchedPaths:
    """Return the files and directories that match; ``/`` matches the whole tree."""
    if pattern.is_root:
        return _root(files)
    starts = np.zeros(0, np.int64)
    if not pattern.is_directory and len(files.paths):
        starts = number_array(pc.indices_nonzero(pattern.mask(files.paths))).astype(np.int64)
    paths = files.paths.take(number_column(starts, pa.int64()))
    directories = _matched_directories(pattern, files.paths)
    if not directories:
        return MatchedPaths(paths, paths, starts, np.ones(len(starts), np.int64))
    return _with_directories(files, starts, paths, directories)


def _matched_directories(pattern: Glob, paths: pa.StringArray) -> Sequence[str]:
    parents = directories_of(paths)
    return sorted(parents.filter(pattern.mask(parents)).to_pylist()) if len(parents) else []


def _with_directories(
    files: FileLists, starts: np.ndarray, paths: pa.StringArray, directories: Sequence[str]
) -> MatchedPaths:
    names = files.paths.to_pylist()
    ranges = [PathRange.of_directory(directory).rows_of(names) for directory in directories]
    first = np.array([start for start, _ in ranges], np.int64)
    counts = np.array([stop - start for start, stop in ranges], np.int64)
    places = np.searchsorted(starts, [bisect_left(names, directory) for directory in directories])
    numbers = np.insert(np.arange(len(starts)), places, len(starts) + np.arange(len(directories)))
    paths = pa.concat_arrays([paths, text_column(directories)]).take(number_column(numbers, pa.int64()))
    return MatchedPaths(
        paths,
        paths,
        np.concatenate([starts, first])[numbers],
        np.concatenate([np.ones(len(starts), np.int64), counts])[numbers],
        numbers >= len(starts),
    )
