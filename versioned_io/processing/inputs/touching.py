"""The datums that changed files touch: only of these may code see something else."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import text_column, text_scalar, whole_column
from versioned_io.processing.inputs.chosen import Chosen
from versioned_io.processing.inputs.combining import Beside, Combinations, join_of
from versioned_io.processing.inputs.datum_set import DatumSource
from versioned_io.processing.inputs.globbing import ROOT_KEY, matches_among
from versioned_io.processing.inputs.grouping import group_of
from versioned_io.processing.inputs.narrowing import matches_with_values
from versioned_io.processing.inputs.selecting import Snapshots, are_outer, as_glob, snapshot_of, source_of
from versioned_io.processing.inputs.specs import (
    CronInput,
    CrossInput,
    GlobInput,
    GroupInput,
    InputSpec,
    JoinInput,
    TableInput,
    UnionInput,
)
from versioned_io.processing.inputs.table_cuts import Cuts, table_matches
from versioned_io.storage.pages.diff import diff
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.glob import Glob, directories_of, parse_glob
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.staged_snapshot import StagedSnapshot


class Touched(NamedTuple):
    """The touched datums as they were and as they are: every datum that differs, and perhaps some that don't."""

    before: DatumSource
    after: DatumSource


def touched_datums(
    backend: Backend,
    spec: InputSpec,
    before: Snapshots,
    after: Snapshots,
    *,
    also: Mapping[str, Collection[str]] | None = None,
) -> Touched:
    """Return the datums of *spec* that have a file which differs between *before* and *after*.

    Args:
        also: Paths of files that count as if they differed, by the name of the input.

    Cost: reads the pages that differ, and those of the touched datums. A join and a group read those of the datums with
        the touched values; see `matches_with_values`. A cross reads its other arms whole. Tables that differ are read
        whole, both times.
    """
    return _Touching(backend, before, after, also or {}).touched(spec)


def changed_files(backend: Backend, before: Snapshot, after: Snapshot, prefix: str = "") -> pa.Table:
    """Return the files whose content differs; those of which only the attributes do are left out."""
    if not (before.is_empty or after.is_empty) and before.commit.id == after.commit.id:
        before = after
    roots = (None if one.is_empty else one.commit.readable_root for one in (before, after))
    found = diff(*roots, source=backend.pages, prefix=prefix)
    same = pc.fill_null(pc.equal(found["old_digest"], found["new_digest"]), False)  # noqa: FBT003 (Arrow takes it so)
    return found.filter(pc.invert(same))


def _changed_paths(
    backend: Backend, before: Snapshot, after: Snapshot, prefix: str, *, are_names_only: bool
) -> list[str]:
    """Return the paths of the files that differ, with staged changes those that may."""
    staged: list[str] = []
    if isinstance(after, StagedSnapshot):
        staged, after = after.changed_paths(prefix), after.base
    found = changed_files(backend, before, after, prefix)
    if are_names_only:
        found = found.filter(pc.not_equal(found["change"], text_scalar("modified")))
    return [*whole_column(found["path"]).to_pylist(), *staged]


def touched_paths(pattern: Glob, paths: pa.StringArray) -> tuple[list[str], list[str]]:
    """Return the directories above *paths* that match a pattern, and those of *paths* that do."""
    if not len(paths):
        return [], []
    parents = directories_of(paths)
    directories = parents.filter(pattern.mask(parents)).to_pylist() if len(parents) else []
    return directories, [] if pattern.is_directory else paths.filter(pattern.mask(paths)).to_pylist()


@dataclass(frozen=True, slots=True)
class _Touching:
    """A question for the touched datums of an input."""

    backend: Backend
    before: Snapshots
    after: Snapshots
    also: Mapping[str, Collection[str]]
    cuts: Cuts = field(default_factory=dict)

    def touched(self, spec: InputSpec) -> Touched:
        """Return the touched datums of *spec*."""
        match spec:
            case GlobInput():
                pattern, keys = self._keys(spec)
                return self._each(lambda sides: matches_among(spec, pattern, snapshot_of(spec.ref, sides), keys))
            case CronInput():
                return self.touched(as_glob(spec))
            case TableInput():
                _, keys = self._keys(GlobInput(spec.ref, spec.path, spec.name))
                return self._each(lambda sides: table_matches(spec, snapshot_of(spec.ref, sides), self.cuts, only=keys))
            case UnionInput():
                each = [self.touched(arm) for arm in spec.arms]
                return Touched(*(Beside.of(arms) for arms in zip(*each, strict=True)))
            case CrossInput():
                each = [self.touched(arm) for arm in spec.arms]
                arms_of = zip(*each, strict=True)
                return Touched(*map(self._crossed, [spec, spec], [self.before, self.after], arms_of))
            case JoinInput():
                return self._by_value(spec, "join_on", lambda arms: join_of(arms, are_outer=are_outer(spec)))
            case GroupInput():
                return self._by_value(spec, "group_by", group_of)

    def _each(self, source: Callable[[Snapshots], DatumSource]) -> Touched:
        return Touched(source(self.before), source(self.after))

    def _keys(self, spec: GlobInput) -> tuple[Glob, list[str]]:
        """Return the pattern of a glob, and the keys of what it matches that is touched."""
        pattern = parse_glob(spec.pattern, has_fields=True)
        sides = snapshot_of(spec.ref, self.before), snapshot_of(spec.ref, self.after)
        changed = {
            path
            for prefix in pattern.prefixes
            for path in _changed_paths(self.backend, *sides, prefix, are_names_only=spec.empty_files)
        }
        paths = sorted({*changed, *self.also.get(spec.name, ())})
        if pattern.is_root:
            return pattern, [ROOT_KEY] if paths else []
        directories, files = touched_paths(pattern, text_column(paths))
        return pattern, sorted({*directories, *files})

    def _crossed(self, spec: CrossInput, sides: Snapshots, touched: Sequence[DatumSource]) -> DatumSource:
        """Return the combinations that have a touched row of some arm: for each arm those with no touched one before.

        Args:
            touched: The touched rows of each arm.
        """
        parts = []
        for at, own in enumerate(touched):
            if not len(own):
                continue
            arms: list[DatumSource] = []
            for number, (arm, some) in enumerate(zip(spec.arms, touched, strict=True)):
                if number == at:
                    arms.append(own)
                    continue
                whole = source_of(arm, sides, cuts=self.cuts)
                is_without = number < at and len(some)
                arms.append(_without(whole, some) if is_without else whole)
            parts.append(Combinations.of(arms))
        return Chosen.one_after_other(parts) if parts else Combinations.of(touched)

    def _by_value(
        self, spec: JoinInput | GroupInput, rule: str, combine: Callable[[Sequence[DatumSource]], DatumSource]
    ) -> Touched:
        """Return all datums of a join or a group that have a value which a touched row has."""
        each = [self.touched(arm) for arm in spec.arms]
        sources = [source for touched in each for source in touched]
        found = [values.drop_null() for source in sources if (values := source.values(rule)) is not None]
        values = pc.unique(pa.concat_arrays([text_column([]), *found]))
        if not len(values):
            return Touched(*(combine([Chosen(arm, np.arange(0)) for arm in arms]) for arms in zip(*each, strict=True)))
        return self._each(lambda sides: combine([self._with_values(arm, sides, rule, values) for arm in spec.arms]))

    def _with_values(self, spec: InputSpec, sides: Snapshots, rule: str, values: pa.StringArray) -> DatumSource:
        match spec:
            case GlobInput() if getattr(spec, rule) is not None:
                return matches_with_values(spec, snapshot_of(spec.ref, sides), rule, values)
            case UnionInput():
                return Beside.of([self._with_values(arm, sides, rule, values) for arm in spec.arms])
        return Chosen.with_values(source_of(spec, sides, cuts=self.cuts), rule, values)


def _without(whole: DatumSource, some: DatumSource) -> Chosen:
    keys = some.keys_at(np.arange(len(some), dtype=np.int64))
    return Chosen.with_keys(whole, keys.to_pylist(), are_left_out=True)
