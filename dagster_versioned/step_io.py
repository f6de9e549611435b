"""One output or input of a step as a value. The IO manager reads it from Dagster's context once, on entry."""

import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any, Self

import dagster as dg

from dagster_versioned import compat, tags
from dagster_versioned.compat import Step
from dagster_versioned.naming import OP_OUTPUTS_REPO, repo_of_asset, stem_of_asset, stem_of_op_output
from dagster_versioned.partition_keys import as_keys_of, in_definition_order
from dagster_versioned.partitioned_output import split_by_partition
from versioned_io import formats

ALLOW_MISSING_PARTITIONS = "allow_missing_partitions"
"""The metadata of a `dagster.AssetIn` that leaves out partitions without a value, as in Dagster's managers."""

COLUMNS, FILTERS = "columns", "filters"
"""The metadata of a `dagster.AssetIn` that select a part of a table; Dagster's own integrations use the first."""

_READ_AS = (bytes, str, Path)
"""Other annotations that say how a committed file is read."""

_TABLE_PACKAGES = frozenset({"pandas", "polars", "pyarrow"})


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an output's or an input's value: a repo, and a path without extension for each partition.

    A value without partitions has one path, under the key ``None``.
    """

    repo: str
    stems: Mapping[str | None, str]

    @classmethod
    def of(cls, context: dg.InputContext | dg.OutputContext, *, repo: str | None, prefix: str) -> Self:
        """Return the place of the value that *context* is about.

        Args:
            repo: One repo for all assets; None for one repo for each.
            prefix: Added in front of the name of each asset's own repo.
        """
        if not context.has_asset_key:
            return cls(prefix + OP_OUTPUTS_REPO, {None: stem_of_op_output(context.get_identifier())})
        keys: list[str] | list[None] = _partition_keys_of(context) if context.has_asset_partitions else [None]
        return cls.of_asset(context.asset_key, keys, repo=repo, prefix=prefix)

    @classmethod
    def of_asset(cls, asset_key: dg.AssetKey, keys: Sequence[str | None], *, repo: str | None, prefix: str) -> Self:
        """Return the place of an asset's partitions *keys*, or of its value if they are ``[None]``; see `of`."""
        shared = repo is not None
        name = repo if repo is not None else repo_of_asset(asset_key, prefix=prefix)
        return cls(name, {key: stem_of_asset(asset_key, key, in_shared_repo=shared) for key in keys})


@dataclass(frozen=True, slots=True)
class StepOutput:
    """An output that a step returned.

    Attributes:
        step: None outside of a run.
        asset_key: None for the output of an op.
        values: The value of each partition; of an output without partitions the value under ``None``.
        message: The message of its commit.
        retry_key: The key by which a retry of the step recognises its commit; None outside of a run.
    """

    step: Step | None
    asset_key: dg.AssetKey | None
    place: Place
    values: Mapping[str | None, Any]
    message: str
    retry_key: str | None

    @classmethod
    def of(cls, context: dg.OutputContext, obj: object, place: Place) -> Self:
        """Return the output *obj* of the step of *context*.

        Raises:
            DagsterInvariantViolationError: *obj* does not hold one value per partition of the run.
        """
        step = compat.step_of(context)
        return cls(
            step=step,
            asset_key=context.asset_key if context.has_asset_key else None,
            place=place,
            values=_values_of(obj, place),
            message=_message_of(context),
            retry_key=None if step is None else _retry_key(context, step, place),
        )

    @property
    def directories(self) -> dict[str, str]:
        """Each partition with the directory of its value."""
        return {key: stem.rpartition("/")[0] for key, stem in self.place.stems.items() if key is not None}

    @property
    def executor(self) -> str:
        """The name of the executor that runs the step."""
        return compat.executor_name_of(self.step)


@dataclass(frozen=True, slots=True)
class StepInput:
    """An input that a step takes.

    Attributes:
        context: Dagster's context, for an older IO manager that is asked for the value.
        step: None outside of a run.
        pinned: The ref to read instead of the branch's head; None for the head.
        annotation: The annotation of the input's parameter; None if it has none.
        may_be_missing: Whether a partition that was never stored is left out.
        selection: The columns and rows of the table to load; empty for the whole value.
    """

    context: dg.InputContext
    step: Step | None
    place: Place
    pinned: str | None
    annotation: object
    may_be_missing: bool
    selection: "formats.Selection"
    log: Logger

    @classmethod
    def of(cls, context: dg.InputContext, place: Place, *, ref: str | None) -> Self:
        """Return the input of *context*; *ref* is read if the input's own metadata names none.

        Raises:
            InvalidInputError: The metadata ``columns`` or ``filters`` have a wrong form.
        """
        metadata = context.definition_metadata or {}
        return cls(
            context=context,
            step=compat.step_of(context),
            place=place,
            pinned=metadata.get(tags.REF, ref),
            annotation=compat.annotation_of(context),
            may_be_missing=context.has_asset_partitions and bool(metadata.get(ALLOW_MISSING_PARTITIONS, False)),
            selection=formats.Selection.parse(*(_plain(metadata.get(name)) for name in (COLUMNS, FILTERS))),
            log=context.log,
        )

    @property
    def table_type(self) -> object:
        """The annotation if it names a kind of table, bytes, text or a path.

        A stored table of another kind is converted to it, and a file that was committed as it is is read so.

        Any other value is returned as it was stored, and Dagster's own type check applies. For example, that check
        allows an input annotated ``list`` to be loaded element by element.
        """
        return _table_type(self.annotation)

    @property
    def table_type_of_partition(self) -> object:
        """The same for one of several partitions, from ``V`` of the annotation ``dict[str, V]``."""
        arguments = typing.get_args(self.annotation)
        return _table_type(arguments[1] if len(arguments) == 2 and not _is_union(self.annotation) else None)


def _plain(value: object) -> object:
    return value.value if isinstance(value, dg.MetadataValue) else value


def _partition_keys_of(context: dg.InputContext | dg.OutputContext) -> list[str]:
    keys = context.asset_partition_keys
    definition = compat.partitions_def_of(context)
    if definition is None:
        return list(keys)
    return as_keys_of(in_definition_order(keys, definition, compat.instance_of(context)), definition)


def _values_of(obj: object, place: Place) -> dict[str | None, Any]:
    keys = [key for key in place.stems if key is not None]
    if not keys:
        return {None: obj}
    split = split_by_partition(obj, keys)
    return {key: split[key] for key in keys}


def _message_of(context: dg.OutputContext) -> str:
    if not context.has_asset_key:
        return "/".join(context.get_identifier()[1:])
    name = context.asset_key.to_user_string()
    if not context.has_asset_partitions:
        return name
    keys = context.asset_partition_keys
    return f"{name} [{keys[0]}]" if len(keys) == 1 else f"{name} [{len(keys)} partitions]"


def _retry_key(context: dg.OutputContext, step: Step, place: Place) -> str:
    """Return a key that tells runs, steps, outputs and partitions apart."""
    facts = [
        step.run_id,
        compat.key_of_step(step),
        context.name,
        context.mapping_key,
        place.repo,
        *place.stems.values(),
    ]
    return f"dagster {hashlib.blake2b(json.dumps(facts).encode(), digest_size=20).hexdigest()}"


def _table_type(annotation: object) -> object:
    if annotation in _READ_AS:
        return annotation
    alternatives = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    packages = {one.__module__.partition(".")[0] for one in alternatives if isinstance(one, type)}
    return annotation if packages & _TABLE_PACKAGES else None


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in {typing.Union, types.UnionType}
