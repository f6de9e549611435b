"""The commit behind each partition of a backfill that many commits caused, kept in Dagster's instance.

A backfill has one set of tags, and a tag is too small for thousands of commits. So the tag names a text in the
instance's storage of small values, and each run looks up its own partition there.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

import dagster as dg

from dagster_versioned import compat, tags
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor, parse_sensor_cursor

_KEY = "versioned/causes/"
_TEXTS_REMEMBERED = 16


def keep_causes(instance: dg.DagsterInstance, causes: Mapping[str, CausedBy]) -> str:
    """Keep the commit that caused each partition's run, and return the value of the tag that finds it.

    Equal causes give an equal tag, so a repeated evaluation of a sensor keeps nothing twice.

    Cost: 1 query, for a text of some 80 bytes for each commit and the partition keys.
    """
    text = str(SensorCursor(None, causes))
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    compat.keep_text(instance, _KEY + name, text)
    return name


def cause_of(instance: dg.DagsterInstance, run_tags: Mapping[str, str], keys: Iterable[str]) -> CausedBy | None:
    """Return the newest commit that caused a run of *keys*; None if its tags name no causes.

    Cost: 1 query, once for each backfill in a process.
    """
    causes = _causes_of(instance, run_tags)
    own = [causes[key] for key in keys if key in causes] or list(causes.values())
    return max(own, key=lambda cause: cause.commit, default=None)


def carries(instance: dg.DagsterInstance, carried: Mapping[str, str], lineage_ids: Iterable[str]) -> bool:
    """Return whether the tags of a run or a backfill have one of *lineage_ids*, by themselves or in their causes."""
    wanted = set(lineage_ids)
    if carried.get(tags.LINEAGE_ID) in wanted:
        return True
    return any(cause.lineage_id in wanted for cause in _causes_of(instance, carried).values())


def _causes_of(instance: dg.DagsterInstance, carried: Mapping[str, str]) -> Mapping[str, CausedBy]:
    name = carried.get(tags.CAUSES)
    if name is None:
        return {}
    text = _remembered(name)
    if not text:
        text.append(compat.kept_text(instance, _KEY + name) or str(SensorCursor()))
    return parse_sensor_cursor(text[0]).waiting


@lru_cache(maxsize=_TEXTS_REMEMBERED)
def _remembered(name: str) -> list[str]:  # noqa: ARG001 (the key of the cache)
    """Return a list for the text of a name, which says what it holds: a digest."""
    return []
