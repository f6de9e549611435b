"""One declared branch as a value: the store, the branch, and the partition template."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_versioned.connections import StoreAddress
from versioned_io.errors import NotFoundError
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.refs import parse_branch_ref

if TYPE_CHECKING:
    from versioned_io import Relay, Store

WHOLE_BRANCH = "*"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeclaredBranch:
    """A branch as a DAG file declares it, with `versioned_asset`.

    Attributes:
        partitions: The template that names a partition by its files' paths; None for the branch as a whole.
        key: The template of the key, if it is not the default.
        poll_interval_s: Seconds between two looks of the watcher.
        redeliver_after_s: Seconds after which an unanswered wake-up is repeated.
    """

    repo: str
    branch: str
    partitions: str | None
    key: str | None
    address: StoreAddress
    poll_interval_s: float
    redeliver_after_s: float

    @property
    def ref(self) -> str:
        """The branch as the store writes it: ``repo@branch``."""
        return f"{self.repo}@{self.branch}"

    @cached_property
    def template(self) -> PartitionTemplate | None:
        """The partition template, parsed; None for the branch as a whole."""
        return None if self.partitions is None else PartitionTemplate.parse(self.partitions, self.key)

    @property
    def whole(self) -> "DeclaredBranch":
        """The same branch without a template."""
        return replace(self, partitions=None, key=None)

    def relay_of(self, store: "Store", deployment: str) -> "Relay":
        """Return the relay that announces this branch's keys to the DAGs of *deployment*."""
        name = self.address.relay_of(deployment)
        return store.relay(name, self.ref, partitions=self.partitions, key=self.key)


def make_missing_repo(store: "Store", ref: str) -> None:
    """Create the repo of the branch *ref* if the store has none of this name.

    Cost: 1 SELECT if it exists.
    """
    repo = parse_branch_ref(ref).repo
    try:
        store.repo(repo)
    except NotFoundError:
        store.create_repo(repo, exist_ok=True)
        _log.info("created the repo %r, which a DAG names", repo)
