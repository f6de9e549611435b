"""The run context of each Dagster step: its reads so far, and the lineage ID that its commits will carry.

Loading an input, running the compute function and storing outputs happen in one process, but in calls that don't
nest. So the core's run is kept as long as Dagster keeps the step, and is made active around each of these calls.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import versioned_io as vio
from dagster_versioned import compat, tags
from dagster_versioned.causes import cause_of
from dagster_versioned.compat import Step
from dagster_versioned.fallback import OlderInput
from versioned_io.model.identifiers import LineageId, parse_lineage_id

ORCHESTRATOR = "dagster"

EXTERNAL_INPUTS = "external_inputs"
"""Metadata of a commit: the inputs that lie outside of the store, each with its address and digest."""

_RUNS_REMEMBERED = 1_000
_MAX_PARAMS_BYTES = 16_384

_lock = threading.Lock()
_run_of_step: "WeakKeyDictionary[Step, vio.Run]" = WeakKeyDictionary()
_older_of_step: "WeakKeyDictionary[Step, dict[OlderInput, None]]" = WeakKeyDictionary()
_lineage_of_run: OrderedDict[str, LineageId] = OrderedDict()


def run_of_step(
    step: Step, store: "vio.Store", *, webserver_url: str | None = None, git_commit: str | None = None
) -> "vio.Run":
    """Return the run context of *step*: one for each attempt at it, made by the first call.

    Args:
        webserver_url: The address of the Dagster UI, for the link to the run.
        git_commit: The version of the code, if it is known.
    """
    lineage_id = _known_lineage(step) or _caused_lineage(step)
    with _lock:
        run = _run_of_step.get(step)
        if run is None:
            run = _run_of_step[step] = store.run(
                step.job_name,
                orchestrator=ORCHESTRATOR,
                run_id=step.run_id,
                partition_key=compat.partition_of_run(step.run_tags),
                url=f"{webserver_url.rstrip('/')}/runs/{step.run_id}" if webserver_url else None,
                code_version=compat.code_version_of(step),
                git_commit=git_commit,
                params=_params_of(compat.config_of_op(step)),
                lineage_id=lineage_id,
            )
        return run


def note_older(step: Step, read: OlderInput) -> None:
    """Record that *step* read a value from an older IO manager."""
    with _lock:
        _older_of_step.setdefault(step, {})[read] = None


def older_inputs_of(step: Step | None) -> list[OlderInput]:
    """Return the values that *step* has read from an older IO manager so far, sorted by address."""
    with _lock:
        found = [] if step is None else list(_older_of_step.get(step, ()))
    return sorted(found, key=lambda one: (one.uri, one.output))


def metadata_of_older(step: Step | None, directories: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the metadata with which a commit of *step* records those values; empty if there are none.

    Args:
        directories: Each partition of the commit with the directory of its value.
    """
    older = older_inputs_of(step)
    return external_inputs(older, directories) if older else {}


def external_inputs(older: Iterable[OlderInput], directories: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the metadata of a commit that was made from these values; ``path`` is what was made from each."""
    paths = directories or {}
    return {
        EXTERNAL_INPUTS: [one.to_json() | ({"path": paths[one.output]} if one.output in paths else {}) for one in older]
    }


def settle_lineage(step: Step, run: "vio.Run") -> LineageId:
    """Return the lineage ID for a commit made in *step*, and make it the whole Dagster run's.

    It is the one in the run's tag, or else the one of the step's inputs. Otherwise it is a new one, equal in every
    process of the run and in every run of a backfill. A run without the tag gets it, so that the run is found by it and
    its later steps carry it.

    Cost: nothing once the run has the tag; the first time in a process, 1 or 2 queries of the instance.
    """
    known = _known_lineage(step)
    if known is not None:
        return known
    lineage_id = run.lineage_id or mint_lineage(step)
    _tag_run(step, {tags.LINEAGE_ID: lineage_id}, lineage_id)
    return lineage_id


def mint_lineage(step: Step) -> LineageId:
    """Return the lineage ID of a run that no commit caused: a UUIDv7 made from the time and the ID of its start.

    Steps that run at the same time in different processes, and retries, get the same one.

    Cost: 1 query of the instance.

    Source: RFC 9562, section 5.7; the 74 free bits are a digest, not random.
    """
    cause, started_at = compat.cause_of_run(step.instance, step.dagster_run)
    free = int.from_bytes(hashlib.blake2b(cause.encode(), digest_size=16).digest()) >> (128 - 74)
    value = (
        int(started_at.timestamp() * 1_000) << 80 | 0x7 << 76 | (free >> 62) << 64 | 0b10 << 62 | free & ((1 << 62) - 1)
    )
    return LineageId(f"{value:032x}")


def _caused_lineage(step: Step) -> LineageId | None:
    """Return the lineage ID of the commit that caused the run, if its backfill has one for each partition.

    The run gets it as a tag, with the commit, so that it looks as if the commit's own run had been requested.

    Cost: nothing for other runs; 2 queries of the instance.
    """
    if tags.CAUSES not in step.run_tags:
        return None
    cause = cause_of(step.instance, step.run_tags, compat.partition_keys_of(step))
    if cause is None:
        return None
    _tag_run(step, {tags.LINEAGE_ID: cause.lineage_id, tags.COMMIT: cause.commit}, cause.lineage_id)
    return cause.lineage_id


def _tag_run(step: Step, added: Mapping[str, str], lineage_id: LineageId) -> None:
    """Add tags to the run, and remember its lineage ID."""
    step.instance.add_run_tags(step.run_id, dict(added))
    with _lock:
        _lineage_of_run[step.run_id] = lineage_id
        while len(_lineage_of_run) > _RUNS_REMEMBERED:
            _lineage_of_run.popitem(last=False)


def _known_lineage(step: Step) -> LineageId | None:
    tagged = step.run_tags.get(tags.LINEAGE_ID)
    return parse_lineage_id(tagged) if tagged is not None else _lineage_of_run.get(step.run_id)


def _params_of(config: object) -> Mapping[str, Any]:
    """Return the op's config as a record of parameters, or only its length if it is too long for a record."""
    if config is None:
        return {}
    text = json.dumps(config, default=str)
    if len(text) > _MAX_PARAMS_BYTES:
        return {"config_size_bytes": len(text)}
    params = json.loads(text)
    return params if isinstance(params, dict) else {"config": params}
