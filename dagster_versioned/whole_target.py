"""The request of a commit sensor whose assets are not partitioned: one run when all that a write led to has landed."""

from datetime import UTC, datetime

import dagster as dg

from dagster_versioned import compat, tags
from dagster_versioned.commit_watch import CommitWatch
from dagster_versioned.sensor_cursor import SensorCursor
from versioned_io import Changes


def request_whole(context: dg.SensorEvaluationContext, watch: CommitWatch, changes: Changes) -> dg.SensorResult:
    """Return one request for the branch's head if its content changed and nothing that led to it is still running.

    While runs or backfills of this instance carry the lineage ID of one of the new commits and are
    unfinished, more commits are on their way: the cursor stays, and the next evaluation looks again. So 48
    partitions that one write led to are one request, for the last of them. After `max_wait_s` it no longer waits.
    """
    head = changes.head
    if head is None or not changes.commits:
        return dg.SensorResult(skip_reason=f"no new commit on {watch.ref}")
    news = f"{len(changes.commits)} new commit(s) on {watch.ref}"
    after = str(SensorCursor(head.id))
    if not (changes.keys or changes.deleted):
        what = "files" if watch.partitions is None else f"partitions of {watch.partitions!r}"
        return dg.SensorResult(skip_reason=f"{news} left its {what} as they were", cursor=after)
    unfinished = _unfinished(context, watch, changes)
    if unfinished is not None:
        return dg.SensorResult(
            skip_reason=f"{news} wait for {unfinished}, which may add more under the same lineage ID"
        )
    request = dg.RunRequest(
        run_key=watch.run_key_for(head.id), run_config=watch.run_config, tags=watch.tags_for(head.id, head.lineage_id)
    )
    return dg.SensorResult(run_requests=[request], cursor=after)


def _unfinished(context: dg.SensorEvaluationContext, watch: CommitWatch, changes: Changes) -> str | None:
    oldest = min(commit.created_at for commit in changes.commits)
    if watch.max_wait_s is not None and (datetime.now(UTC) - oldest).total_seconds() > watch.max_wait_s:
        return None
    lineage_ids = sorted({commit.lineage_id for commit in changes.commits})
    return compat.describe_unfinished_work(context.instance, tags.LINEAGE_ID, lineage_ids)
