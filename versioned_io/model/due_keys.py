"""A partition key that new data asks to be processed."""

from dataclasses import dataclass
from datetime import datetime

from versioned_io.model.identifiers import CommitId, LineageId


@dataclass(frozen=True, slots=True)
class DueKey:
    """A request to process a partition key, of one subscription.

    Attributes:
        commit: The newest commit that touched the key; process the data as of this commit.
        lineage_id: That commit's; the work carries it onward.
        number: That commit's place in its branch.
        sequence: Which request for this key it is.
        announced_at: When it was last announced to an orchestrator, or None.
        owner: The present or last owner of its lease, or None.
        claimed_until: When the owner's lease ends or ended; if there is no owner, when the last one completed its work.
        is_done: Whether it is already completed: then the claim is a retry of its owner, or a request by hand.
        done_by: The owner that completed an earlier request, or this one; None if no owner has.
    """

    subscription_id: int
    subscription: str
    key: str
    commit: CommitId
    lineage_id: LineageId
    number: int
    sequence: int
    requested_at: datetime
    announced_at: datetime | None
    owner: str | None
    claimed_until: datetime | None
    is_done: bool
    done_by: str | None
