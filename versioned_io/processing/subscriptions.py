"""Durable cursors: a consumer reads the commits after its cursor, decides, and advances it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from versioned_io.catalog import due_keys as due_catalog
from versioned_io.catalog import subscriptions as catalog
from versioned_io.catalog.collection import catalog_time
from versioned_io.catalog.commits import get_commit
from versioned_io.catalog.ref_resolution import resolve_ref, resolve_watched
from versioned_io.catalog.row_locks import hold_due_keys
from versioned_io.catalog.subscriptions import SubscriptionRow
from versioned_io.errors import InvalidInputError, NotFoundError, PartitionKeyError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import (
    parse_flag,
    parse_items,
    parse_number,
    parse_optional_count,
    parse_text,
)
from versioned_io.model.commits import Commit
from versioned_io.model.due_keys import DueKey
from versioned_io.model.due_states import Repetition
from versioned_io.model.identifiers import CommitId, parse_commit_id
from versioned_io.model.partitions import PartitionTemplate
from versioned_io.model.refs import BranchRef, Ref
from versioned_io.processing.changes import WHOLE_BRANCH, Changes, find_changes, keys_at
from versioned_io.versioning.backend.backend import Backend

DEFAULT_LEASE_S = 3600.0
"""How long a claim lasts when its owner dies without releasing it."""


class Subscription:
    """A named, durable cursor over the commits of a branch, and the partition keys that are due for it.

    It is used in one of two ways. *By commit*: `pending`, then `advance`. *By key*: `collect` moves the cursor to the
    head and records the changed keys as due, both or neither. `claim` leases a key to a worker. The worker's
    transaction, begun with ``completes=[due]``, stores the result and marks the key done in one SQL transaction. A
    wake-up that is lost, late or doubled does not change the due keys, so no work is lost or done twice.

    >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
    >>> retrain.collect()
    2
    >>> due = retrain.claim("2012-02", owner="worker-1")
    >>> _ = store.create_repo("models")
    >>> with store.transaction("models@main", completes=[due]) as tx:
    ...     _ = tx.write("2012-02.bin", b"model")
    >>> [due.key for due in retrain.due()]
    ['2012-01']

    Without a template, the one key is ``"*"``: the branch as a whole.

    Attributes:
        id: Its row in the catalog; no other subscription of the store ever has the same.
        relay: The deployment whose `Relay` announces its keys; None without a relay.
        consumer: The consumer to which the relay announces them; None for the relay's own subscription.
    """

    def __init__(self, backend: Backend, row: SubscriptionRow) -> None:
        self._backend = backend
        self.id = row.id
        self.name = row.name
        self.branch: BranchRef = row.branch
        self.partitions = row.partitions
        self.key = row.key_template
        self.relay = row.relay
        self.consumer = row.consumer
        self._template = None if row.partitions is None else PartitionTemplate.parse(row.partitions, row.key_template)

    def __repr__(self) -> str:
        return f"Subscription({self.name!r}, {str(self.branch)!r})"

    @property
    def cursor(self) -> CommitId | None:
        """The last commit that was advanced to or collected.

        Cost: 1 SELECT.
        """
        with self._backend.catalog.read() as connection:
            return catalog.get_cursor(connection, self.id)

    def is_behind(self) -> bool:
        """Return whether the branch's head differs from the cursor; cheap enough for a poll every second.

        >>> store.subscription("retrain", "weather@main").is_behind()
        True

        Cost: 1 SELECT.
        """
        with self._backend.catalog.read() as connection:
            return catalog.is_behind(connection, self.id)

    def pending(self, limit: int | None = None) -> list[Commit]:
        """Return the commits after the cursor, oldest first, at most *limit*.

        >>> retrain = store.subscription("retrain", "weather@main")
        >>> [commit.message for commit in retrain.pending()]
        ['first load', 'correct February']

        Cost: 5 SELECTs when nothing happened, else 9 to 11 SELECTs, and 2 more for each 200 commits between the
            cursor and the head.
        """
        return list(self._changes(self.cursor, by_key=False).commits[: _parse_limit(limit)])

    def advance(self, to: Commit | CommitId) -> None:
        """Move the cursor to a commit of the branch, usually the last of `pending`.

        >>> retrain = store.subscription("retrain", "weather@main")
        >>> retrain.advance(retrain.pending()[-1])
        >>> retrain.is_behind()
        False

        Raises:
            InvalidInputError: The commit is of another repo.
            CommitNotFoundError: The commit does not exist.

        Cost: 1 SQL transaction of 3 statements.
        """
        target = to.id if isinstance(to, Commit) else parse_commit_id(to)
        with self._backend.catalog.write() as connection:
            commit = get_commit(connection, target)
            if commit.repo != self.branch.repo:
                msg = f"commit {target} is of repo {commit.repo!r}: subscription {self.name!r} follows {self.branch}"
                raise InvalidInputError(msg)
            catalog.set_cursor(connection, self.id, commit.id)

    def collect(self) -> int:
        """Move the cursor to the head and make the keys that changed since then due, both or neither.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> retrain.collect()
        2
        >>> retrain.collect()
        0

        Returns:
            The number of recorded keys. A change that was reverted between cursor and head does not count, and a key
            whose last file was deleted is no longer due.

        Raises:
            PartitionKeyError: A changed path can be read as a key in two ways; the cursor stays. Make a subscription
                whose template has a ``key``.

        Cost: 1 SELECT when nothing happened. Else 11 or 12 SELECTs and the pages, as `find_changes`, and 1 SQL
            transaction of 4 statements, 1 more for each 400 keys. If keys were deleted, PostgreSQL takes 1
            SELECT more for each 500.
        """
        while self.is_behind():
            cursor = self.cursor
            changes = self._changes(cursor, by_key=True)
            if changes.head is None or changes.head.id == cursor:
                return 0
            with self._backend.catalog.write() as connection:
                if not catalog.advance_cursor(connection, self.id, expected=cursor, target=changes.head.id):
                    continue  # another process collected meanwhile: look again from where it left the cursor
                if changes.keys and changes.deleted:
                    hold_due_keys(connection, self.id, [*changes.keys, *changes.deleted])  # all in one order
                now = self._now(connection)
                due_catalog.request_keys(
                    connection, self.id, {key: commit.id for key, commit in changes.keys.items()}, now
                )
                due_catalog.withdraw_keys(connection, self.id, list(changes.deleted))
            return len(changes.keys)
        return 0

    def due(self, limit: int | None = None) -> list[DueKey]:
        """Return the keys that are due, oldest request first.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> [due.key for due in retrain.due(limit=1)]
        ['2012-01']

        Raises:
            NotFoundError: The subscription was deleted.

        Cost: 1 SELECT, 1 more when nothing is due.
        """
        with self._backend.catalog.read() as connection:
            found = due_catalog.list_due(connection, self.id, limit=_parse_limit(limit))
            if not found:
                catalog.get_cursor(connection, self.id)
            return found

    def unannounced(
        self, *, redeliver_after_s: float | None, limit: int | None = None, but: str | None = None
    ) -> list[DueKey]:
        """Return the due keys whose wake-up was never sent, or was probably lost, oldest request first.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> [due.key for due in retrain.unannounced(redeliver_after_s=300)]
        ['2012-01', '2012-02']

        Args:
            redeliver_after_s: The seconds after which an announced key that nobody claimed counts as lost. The wait
                doubles with each announcement, up to an hour. None: it never counts as lost.
            but: An owner whose leases don't count; the keys of other leases are left out.

        Cost: 1 SELECT.
        """
        if redeliver_after_s is not None:
            parse_number(redeliver_after_s, "redeliver_after_s")
        most = _parse_limit(limit)
        with self._backend.catalog.read() as connection:
            now = self._now(connection)
            after_s = {self.id: redeliver_after_s}
            return due_catalog.list_waiting(connection, after_s, now=now, limit=most, but=but)

    def mark_announced(self, dues: Sequence[DueKey]) -> None:
        """Note that a wake-up was sent for these requests.

        Call it after sending, so that a crash repeats one and never loses one.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> retrain.mark_announced(retrain.unannounced(redeliver_after_s=300))
        >>> retrain.unannounced(redeliver_after_s=300)
        []

        Cost: 1 SQL transaction of 1 statement, and 1 more for each request; none without requests.
        """
        sent = parse_items(dues, DueKey, "dues")
        if not sent:
            return
        with self._backend.catalog.write() as connection:
            due_catalog.mark_announced(connection, sent, self._now(connection))

    def find(self, key: str) -> DueKey | None:
        """Return the newest request for *key*, due or done, if there ever was one.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> retrain.find("2012-02").is_done
        False
        >>> retrain.find("1999-12") is None
        True

        Cost: 1 SELECT.
        """
        with self._backend.catalog.read() as connection:
            return due_catalog.get_key(connection, self.id, parse_text(key, "key"))

    def request(self, keys: Iterable[str] | None = None) -> Repetition:
        """Request keys again at the branch's head, each once, such as after a change of the code that processes them.

        Changes that were not collected are collected first. A key that waits unclaimed already is left as it is, so two
        calls in a row ask for one run of each key. A key that an owner works on now is due again after that.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv", start="now")
        >>> retrain.request(["2012-01"]).requested
        ('2012-01',)
        >>> retrain.request().requested
        ('2012-02',)

        Args:
            keys: By default every key that has a file at the head.

        Raises:
            PartitionKeyError: The template can't produce one of *keys*.
            InvalidInputError: No file of the branch belongs to one of *keys*, or the branch has no commit.

        Cost: as `collect`; then 3 SELECTs, every page of the tree, and 1 SQL transaction of 3 statements if all keys
            wait already. Else of 5 statements, 2 more for each further 400 keys. If the branch moves meanwhile, as
            `collect` once more.
        """
        named = None if keys is None else sorted(set(parse_items(keys, str, "keys")))
        for key in named or ():
            self._check_key(key)
        is_relay = self.relay is not None and self.consumer is None
        before: Commit | None = None
        there: Collection[str] = ()
        while True:
            self.collect()
            head = resolve_watched(
                self._backend.catalog, Ref(self.branch.repo, self.branch.branch), self._backend.clock()
            )
            there = () if head is None else self._keys_at(head, before, there)
            wanted = sorted(there) if named is None else named
            missing = sorted(set(wanted).difference(there))
            if head is None or missing:
                what = f"{self.branch} has no " + (f"file of {quoted(missing[0])}" if missing else "commit")
                msg = f"{what}, so there is nothing to process again"
                raise InvalidInputError(msg)
            with self._backend.catalog.write() as connection:
                now = self._now(connection)
                fresh = due_catalog.repeat_keys(connection, self.id, wanted, now, head=head.id, is_relay=is_relay)
            if fresh is not None:
                return Repetition(tuple(fresh), tuple(sorted(set(wanted).difference(fresh))), head)
            before = head  # the branch has moved since

    def _keys_at(self, head: Commit, before: Commit | None, keys: Collection[str]) -> Collection[str]:
        """Return the keys of the files of *head*; *keys* are those of *before*, which is compared with it."""
        if before is None or self._template is None:
            return keys_at(self._backend, head, self._template)
        since = find_changes(self._backend, head, before.id, self._template)
        return {*keys, *since.keys} - since.deleted.keys()

    def claim(
        self,
        key: str,
        *,
        owner: str,
        lease_s: float = DEFAULT_LEASE_S,
        force: bool = False,
        repeat: bool = True,
        instead_of: str | None = None,
    ) -> DueKey | None:
        """Lease *key* to *owner*, or return None if it is not due or another owner's lease is running.

        The same owner may claim a key again, also a completed one. So a retry learns that its first attempt stored the
        result.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> retrain.claim("2012-02", owner="worker-1").key
        '2012-02'
        >>> retrain.claim("2012-02", owner="worker-2") is None
        True

        Args:
            owner: The worker, such as a DAG run's ID. The same text again means a retry of the same work.
            lease_s: The seconds after which others may claim the key when the owner has died.
            force: Claim the key at the branch's head also when it is not due, for a request by hand.
            repeat: Also claim a request that another owner has claimed before, and failed to complete.
            instead_of: An owner that is known to have died: its lease is void.

        Raises:
            PartitionKeyError: The template can't produce *key*.

        Cost: 1 SQL transaction of 3 statements; with *force*, for a key that is not due, of 9 statements.
        """
        self._check_key(parse_text(key, "key"))
        parse_text(owner, "owner")
        parse_number(lease_s, "lease_s")
        parse_flag(force, "force")
        parse_flag(repeat, "repeat")
        if instead_of is not None:
            parse_text(instead_of, "instead_of")
        with self._backend.catalog.write() as connection:
            claimant = due_catalog.Claimant(owner, self._now(connection), lease_s, instead_of)
            claimed = due_catalog.claim_key(connection, self.id, key, claimant, repeat=repeat or force)
            if claimed is not None or not force:
                return claimed
            head = resolve_ref(connection, Ref(self.branch.repo, self.branch.branch), self._backend.clock())
            if head is None:
                return None
            return due_catalog.force_key(connection, self.id, key, claimant, head=head.id)

    def release(self, due: DueKey) -> None:
        """End the lease after a failure: the key stays due, for a retry of the same owner or for anybody.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> due = retrain.claim("2012-02", owner="worker-1")
        >>> retrain.release(due)
        >>> retrain.claim("2012-02", owner="worker-2").owner
        'worker-2'

        Cost: 1 SQL transaction of 3 statements.
        """
        with self._backend.catalog.write() as connection:
            due_catalog.release_key(connection, _parse_due(due), self._now(connection))

    def complete(self, due: DueKey) -> None:
        """Note that a claimed key was done by work that stored nothing; else begin the transaction with ``completes``.

        >>> retrain = store.subscription("retrain", "weather@main", partitions="{year}/{month}.csv")
        >>> _ = retrain.collect()
        >>> retrain.complete(retrain.claim("2012-02", owner="worker-1"))
        >>> [due.key for due in retrain.due()]
        ['2012-01']

        Raises:
            ClaimLostError: Another owner holds the claim; discard the work.

        Cost: 1 SQL transaction of 2 statements.
        """
        with self._backend.catalog.write() as connection:
            due_catalog.complete_key(connection, _parse_due(due), self._now(connection))

    def _now(self, connection: Connection) -> datetime:
        """Return the reference time for leases and announcements: PostgreSQL's, which is one for all hosts."""
        return catalog_now(self._backend, connection)

    def _check_key(self, key: str) -> None:
        if self._template is not None:
            self._template.fields_of(key)
        elif key != WHOLE_BRANCH:
            msg = f"subscription {self.name!r} has no template, so its only key is {WHOLE_BRANCH!r}, not {key!r}"
            raise PartitionKeyError(msg)

    def _changes(self, cursor: CommitId | None, *, by_key: bool) -> Changes:
        ref = Ref(self.branch.repo, self.branch.branch)
        head = resolve_watched(self._backend.catalog, ref, self._backend.clock())
        return find_changes(self._backend, head, cursor, self._template if by_key else None)


def open_subscription(
    backend: Backend,
    name: str,
    branch: BranchRef,
    *,
    partitions: str | None,
    key: str | None,
    start: str = "beginning",
    relay: str | None = None,
    consumer: str | None = None,
) -> Subscription:
    """Return the subscription *name* of *branch*, created if it is missing; see `ensure_subscription`.

    Cost: 2 SELECTs if it exists; 1 SQL transaction of 7 statements more if it does not.
    """
    row = _find(backend, parse_text(name, "name of a subscription"), branch)
    wanted = (partitions, key, relay, consumer)
    if row is not None and catalog.is_start(start):
        announced_by = (None, None) if relay is None else (row.relay, row.consumer)
        if (row.partitions, row.key_template, *announced_by) == wanted:
            return Subscription(backend, row)
    with backend.catalog.write() as connection:
        row = catalog.ensure_subscription(
            connection,
            name,
            branch,
            partitions=partitions,
            key_template=key,
            start=start,
            now=backend.clock(),
            relay=relay,
            consumer=consumer,
        )
    return Subscription(backend, row)


def _find(backend: Backend, name: str, branch: BranchRef) -> SubscriptionRow | None:
    try:
        with backend.catalog.read() as connection:
            return catalog.find_subscription(connection, name, branch)
    except NotFoundError:
        return None  # the writing transaction raises it, unless the catalog is older than the packs


def catalog_now(backend: Backend, connection: Connection) -> datetime:
    """Return the reference time for leases and announcements. Cost: 1 SELECT on PostgreSQL."""
    return catalog_time(connection, backend.clock())


def _parse_due(due: DueKey) -> DueKey:
    return parse_items([due], DueKey, "due")[0]


def _parse_limit(limit: int | None) -> int | None:
    return parse_optional_count(limit, "limit")
