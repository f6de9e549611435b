"""Which datums of an input differ between two sets of snapshots, found in the changed files."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import text_scalar, whole_column
from versioned_io.processing.inputs.combining import union_labels
from versioned_io.processing.inputs.datum_set import DatumSet, DatumSource
from versioned_io.processing.inputs.globbing import ROOT_KEY
from versioned_io.processing.inputs.selecting import Snapshots, as_glob, snapshot_of
from versioned_io.processing.inputs.specs import CronInput, GlobInput, InputSpec, UnionInput, names_of
from versioned_io.processing.inputs.touching import changed_files, touched_datums, touched_paths
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.glob import Glob, parse_glob
from versioned_io.versioning.snapshots.snapshot import Snapshot


class AffectedKeys(NamedTuple):
    """The keys of the datums that differ, each list sorted as UTF-8 bytes.

    Attributes:
        changed: Code sees other files, or other contents.
        added: They exist only after.
        gone: They existed only before.
    """

    changed: tuple[str, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]


class _Trees(NamedTuple):
    """A ref of an input at both times."""

    before: Snapshot
    after: Snapshot


def affected_datums(backend: Backend, spec: InputSpec, before: Snapshots, after: Snapshots) -> AffectedKeys:
    """Return the keys of the datums of *spec* that differ between *before* and *after*.

    A datum differs if `DatumSet.seen` does. So attributes do not count, nor do contents with ``empty_files``.

    Args:
        before: Finds the earlier snapshot of each ref.
        after: Finds the later one.

    Cost: of a glob or a union of globs, the pages that differ, and at most 2 look-ups for each directory. Of any other
        input, that of `touched_datums`.
    """
    match spec:
        case GlobInput():
            return _of_glob(backend, spec, before, after)
        case CronInput():
            return _of_glob(backend, as_glob(spec), before, after)
        case UnionInput():
            labels = union_labels([names_of(arm) for arm in spec.arms])
            each = [affected_datums(backend, arm, before, after) for arm in spec.arms]
            labelled = [
                AffectedKeys(*(tuple(f"{label}{key}" for key in keys) for keys in found))
                for label, found in zip(labels, each, strict=True)
            ]
            return AffectedKeys(*(_in_order(key for found in labelled for key in found[at]) for at in range(3)))
    touched = touched_datums(backend, spec, before, after)
    olds, news = _seen_by_key(touched.before), _seen_by_key(touched.after)
    changed = (key for key in olds.keys() & news.keys() if olds[key] != news[key])
    return AffectedKeys(_in_order(changed), _in_order(news.keys() - olds.keys()), _in_order(olds.keys() - news.keys()))


def _of_glob(backend: Backend, spec: GlobInput, before: Snapshots, after: Snapshots) -> AffectedKeys:
    pattern = parse_glob(spec.pattern, has_fields=True)
    trees = _trees(spec.ref, before, after)
    found = pa.concat_tables([changed_files(backend, *trees, prefix) for prefix in pattern.prefixes])
    if spec.empty_files:
        found = found.filter(pc.not_equal(found["change"], text_scalar("modified")))
    if pattern.is_root:
        was, remains = not trees.before.is_empty, not trees.after.is_empty
        return _sorted_out({ROOT_KEY: (was, remains)} if found.num_rows else {})
    return _sorted_out(_states(pattern, trees, found))


def _states(pattern: Glob, trees: _Trees, found: pa.Table) -> dict[str, tuple[bool, bool]]:
    """Return for each key that is touched whether it existed before, and whether it does after."""
    paths = whole_column(found["path"])
    states: dict[str, tuple[bool, bool]] = {}
    if not len(paths):
        return states
    directories, _ = touched_paths(pattern, paths)
    for directory in directories:
        states[directory] = trees.before.is_directory(directory), trees.after.is_directory(directory)
    if not pattern.is_directory:
        matching = found.filter(pattern.mask(paths))
        for path, change in zip(matching["path"].to_pylist(), matching["change"].to_pylist(), strict=True):
            was, remains = states.get(path, (False, False))
            states[path] = was or change != "added", remains or change != "deleted"
    return states


def _sorted_out(states: dict[str, tuple[bool, bool]]) -> AffectedKeys:
    return AffectedKeys(
        _in_order(key for key, (was, remains) in states.items() if was and remains),
        _in_order(key for key, (was, remains) in states.items() if remains and not was),
        _in_order(key for key, (was, remains) in states.items() if was and not remains),
    )


def _seen_by_key(source: DatumSource) -> dict[str, bytes]:
    found = DatumSet(source)
    return dict(zip(found.keys.to_pylist(), found.seen_page(0, len(found)), strict=True))


def _trees(ref: str, before: Snapshots, after: Snapshots) -> _Trees:
    return _Trees(snapshot_of(ref, before), snapshot_of(ref, after))


def _in_order(keys: Iterable[str] | Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(keys))
