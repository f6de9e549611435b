"""Durable cursors: a consumer reads the commits after its cursor, decides, and advances it."""

from collections.abc import Sequence

from versioned_io.arguments import parse_flag, parse_items, parse_number, parse_optional_count, parse_text
from versioned_io.backend import Backend
from versioned_io.catalog import due_keys as due_catalog
from versioned_io.catalog import subscriptions as catalog
from versioned_io.catalog.commits import get_commit, resolve_ref
from versioned_io.catalog.due_keys import DueKey
from versioned_io.catalog.subscriptions import SubscriptionRow
from versioned_io.catalog.values import Commit
from versioned_io.changes import WHOLE_BRANCH, Changes, find_changes
from versioned_io.errors import InvalidInputError, PartitionKeyError
from versioned_io.identifiers import CommitId, parse_commit_id
from versioned_io.partitions import PartitionTemplate
from versioned_io.refs import BranchRef, Ref

DEFAULT_LEASE_S = 3600.0
"""How long a claim holds when its owner dies without a word."""


class Subscription:
    """A named, durable cursor over the commits of a branch, and the partition keys that are due for it.

    Two ways of use. *By commit*: `pending`, then `advance`. *By key*: `collect` moves the cursor to the head and
    records the keys that changed as due, both or neither; `claim` gives one to a worker; the transaction that stores
    the result is begun with ``completes=[due]`` and marks it done in the same instant. A wake-up that is lost, late or
    doubled changes nothing about what is due, so nothing is lost and nothing is done twice.

    Where the store has no template for it, the one key is ``"*"``: the branch as a whole.
    """

    def __init__(self, backend: Backend, row: SubscriptionRow) -> None:
        self._backend = backend
        self._id = row.id
        self.name = row.name
        self.branch: BranchRef = row.branch
        self.partitions = row.partitions
        self.key = row.key_template
        self._template = None if row.partitions is None else PartitionTemplate.parse(row.partitions, row.key_template)

    def __repr__(self) -> str:
        return f"Subscription({self.name!r}, {str(self.branch)!r})"

    @property
    def cursor(self) -> CommitId | None:
        """The last commit that was advanced to or collected.

        Cost: 1 SELECT.
        """
        with self._backend.catalog.read() as connection:
            return catalog.get_cursor(connection, self._id)

    def is_behind(self) -> bool:
        """Say whether the branch's head is another commit than the cursor; cheap enough to ask every second.

        Cost: 1 SELECT.
        """
        with self._backend.catalog.read() as connection:
            return catalog.is_behind(connection, self._id)

    def pending(self, limit: int | None = None) -> list[Commit]:
        """Return the commits after the cursor, oldest first, at most *limit*.

        Cost: 3 SELECTs for each 200 commits between the cursor and the head.
        """
        return list(self._changes(self.cursor, by_key=False).commits[: _parse_limit(limit)])

    def advance(self, to: Commit | CommitId) -> None:
        """Move the cursor to a commit of the branch, usually the last of `pending`.

        Raises:
            InvalidInputError: It is no commit of the branch's repo.
            CommitNotFoundError: There is no such commit.

        Cost: 1 or 2 SELECTs, 1 UPDATE.
        """
        target = to.id if isinstance(to, Commit) else parse_commit_id(to)
        with self._backend.catalog.write() as connection:
            commit = get_commit(connection, target)
            if commit.repo != self.branch.repo:
                msg = f"commit {target} is of repo {commit.repo!r}: subscription {self.name!r} follows {self.branch}"
                raise InvalidInputError(msg)
            catalog.set_cursor(connection, self._id, commit.id)

    def collect(self) -> int:
        """Move the cursor to the head and make the keys that changed since then due, both or neither.

        Returns:
            How many keys were recorded. What was changed and changed back between cursor and head is not among them,
            and a key whose last file is gone is no longer due.

        Raises:
            PartitionKeyError: A changed path can be read as a key in two ways; the cursor stays. Make a subscription
                whose template has a ``key``.

        Cost: 1 SELECT when nothing happened; else as `find_changes`, and one transaction of about 1 INSERT for each
        400 keys.
        """
        while True:
            cursor = self.cursor
            changes = self._changes(cursor, by_key=True)
            if changes.head is None or changes.head.id == cursor:
                return 0
            with self._backend.catalog.write() as connection:
                if not catalog.advance_cursor(connection, self._id, expected=cursor, target=changes.head.id):
                    continue  # another process collected meanwhile: look again from where it left the cursor
                now = self._backend.clock()
                due_catalog.request_keys(
                    connection, self._id, {key: commit.id for key, commit in changes.keys.items()}, now
                )
                due_catalog.withdraw_keys(connection, self._id, list(changes.deleted))
            return len(changes.keys)

    def due(self, limit: int | None = None) -> list[DueKey]:
        """Return the keys that are due, oldest request first.

        Raises:
            NotFoundError: The subscription was deleted.

        Cost: 1 SELECT, 1 more when nothing is due.
        """
        with self._backend.catalog.read() as connection:
            found = due_catalog.list_due(connection, self._id, limit=_parse_limit(limit))
            if not found:
                catalog.get_cursor(connection, self._id)
            return found

    def unannounced(self, *, redeliver_after_s: float, limit: int | None = None) -> list[DueKey]:
        """Return the keys that are due and whose wake-up was never sent, or was probably lost, oldest request first.

        Args:
            redeliver_after_s: How long to wait for somebody to claim an announced key before it counts as lost. The
                wait doubles with each announcement, up to an hour.

        Cost: 1 SELECT.
        """
        parse_number(redeliver_after_s, "redeliver_after_s")
        with self._backend.catalog.read() as connection:
            now = self._backend.clock()
            return due_catalog.list_unannounced(
                connection, self._id, now=now, redeliver_after_s=redeliver_after_s, limit=_parse_limit(limit)
            )

    def mark_announced(self, dues: Sequence[DueKey]) -> None:
        """Note that a wake-up was sent for these requests.

        Call it after sending, so that a crash repeats one and never loses one.

        Cost: 1 UPDATE a request, in one transaction.
        """
        with self._backend.catalog.write() as connection:
            due_catalog.mark_announced(connection, parse_items(dues, DueKey, "dues"), self._backend.clock())

    def find(self, key: str) -> DueKey | None:
        """Return the newest request for *key*, due or done, if there ever was one.

        Cost: 1 SELECT.
        """
        with self._backend.catalog.read() as connection:
            return due_catalog.get_key(connection, self._id, parse_text(key, "key"))

    def claim(
        self,
        key: str,
        *,
        owner: str,
        lease_s: float = DEFAULT_LEASE_S,
        force: bool = False,
        instead_of: str | None = None,
    ) -> DueKey | None:
        """Give *key* to *owner*, or return None: nothing is due, or another owner's lease is running.

        The same owner may claim again, also what it has completed: that is how a retry learns that its
        first attempt had stored the result.

        Args:
            owner: Who works, such as a DAG run's ID; the same text again means a retry of the same work.
            lease_s: After how many seconds others may take it when the owner has died.
            force: Take it also when it is not due, as of the branch's head: somebody asked for it by hand.
            instead_of: An owner that is known to have ended without a word: its lease is void.

        Raises:
            PartitionKeyError: The template can't produce *key*.

        Cost: 1 UPDATE and 1 SELECT.
        """
        self._check_key(parse_text(key, "key"))
        parse_text(owner, "owner")
        parse_number(lease_s, "lease_s")
        parse_flag(force, "force")
        if instead_of is not None:
            parse_text(instead_of, "instead_of")
        with self._backend.catalog.write() as connection:
            claimant = due_catalog.Claimant(owner, self._backend.clock(), lease_s, instead_of)
            claimed = due_catalog.claim_key(connection, self._id, key, claimant)
            if claimed is not None or not force:
                return claimed
            head = resolve_ref(connection, Ref(self.branch.repo, self.branch.branch))
            if head is None:
                return None
            return due_catalog.force_key(connection, self._id, key, claimant, head=head.id)

    def release(self, due: DueKey) -> None:
        """End the lease after a failure: the key stays due, for a retry of the same owner or for anybody.

        Cost: 2 UPDATEs.
        """
        with self._backend.catalog.write() as connection:
            due_catalog.release_key(connection, _parse_due(due), self._backend.clock())

    def complete(self, due: DueKey) -> None:
        """Note that a claimed key was done by work that stored nothing; else begin the transaction with ``completes``.

        Raises:
            ClaimLostError: The claim is somebody else's by now; throw the work away.

        Cost: 1 UPDATE.
        """
        with self._backend.catalog.write() as connection:
            due_catalog.complete_key(connection, _parse_due(due), self._backend.clock())

    def _check_key(self, key: str) -> None:
        if self._template is not None:
            self._template.fields_of(key)
        elif key != WHOLE_BRANCH:
            msg = f"subscription {self.name!r} has no template, so its only key is {WHOLE_BRANCH!r}, not {key!r}"
            raise PartitionKeyError(msg)

    def _changes(self, cursor: CommitId | None, *, by_key: bool) -> Changes:
        with self._backend.catalog.read() as connection:
            head = resolve_ref(connection, Ref(self.branch.repo, self.branch.branch))
        return find_changes(self._backend, head, cursor, self._template if by_key else None)


def _parse_due(due: DueKey) -> DueKey:
    return parse_items([due], DueKey, "due")[0]


def _parse_limit(limit: int | None) -> int | None:
    return parse_optional_count(limit, "limit")
