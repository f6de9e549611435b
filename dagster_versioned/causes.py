"""The commit behind each partition of a backfill that many commits caused, kept in Dagster's instance.

A backfill has one set of tags, and a tag is too small for thousands of commits. So the tag names a text in the
instance's storage of small values, and each run looks up its own partition there.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache

import dagster as dg

from dagster_versioned import compat, tags
from dagster_versioned.sensor_cursor import CausedBy, SensorCursor, parse_sensor_cursor

KEPT_FOR_S = 60 * 24 * 60 * 60.0
"""Two months: a run of a backfill that is older gets a lineage ID of its own."""

_KEY = "versioned/causes/"
_LIST = "versioned/causes_of/"
_TEXTS_REMEMBERED = 16


def keep_causes(instance: dg.DagsterInstance, causes: Mapping[str, CausedBy], *, sensor_name: str, now_s: float) -> str:
    """Keep the commit that caused each partition's run, and return the value of the tag that finds it.

    Equal causes give an equal tag, so a repeated evaluation of a sensor keeps nothing twice. Texts that the sensor kept
    more than `KEPT_FOR_S` ago are emptied; Dagster's storage of small values deletes nothing.

    Cost: 3 queries, and 1 for each emptied text, for a text of some 80 bytes for each commit and the partition keys.
    """
    text = str(SensorCursor(None, causes))
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    kept: dict[str, float] = json.loads(compat.kept_text(instance, _LIST + sensor_name) or "{}")
    old = [one for one, kept_s in kept.items() if kept_s < now_s - KEPT_FOR_S and one != name]
    listed = {one: kept_s for one, kept_s in kept.items() if one not in old} | {name: now_s}
    changed = {_KEY + name: text, **{_KEY + one: "" for one in old}, _LIST + sensor_name: json.dumps(listed)}
    for one, content in changed.items():
        compat.keep_text(instance, one, content)
    return name


def cause_of(instance: dg.DagsterInstance, run_tags: Mapping[str, str], keys: Iterable[str]) -> CausedBy | None:
    """Return the newest commit that caused a run of *keys*; None if its tags name no causes.

    Cost: 1 query, once for each backfill in a process.
    """
    causes = _causes_of(instance, run_tags)
    own = [causes[key] for key in keys if key in causes] or list(causes.values())
    return max(own, key=lambda cause: cause.place, default=None)


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
        found = compat.kept_text(instance, _KEY + name)
        if not found:
            return {}  # it was emptied
        text.append(found)
    return parse_sensor_cursor(text[0]).waiting


@lru_cache(maxsize=_TEXTS_REMEMBERED)
def _remembered(name: str) -> list[str]:  # noqa: ARG001 (the key of the cache)
    """Return a list for the text of a name, which says what it holds: a digest."""
    return []
