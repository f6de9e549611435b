"""Squashing: replacing several commits of a branch by one with the same files, without rewriting pages.

The files keep the commits that wrote them, whose records stay, so their lineage is unchanged.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.compute as pc
from sqlalchemy import Connection

from versioned_io.catalog.commits import ancestor_at, get_commit, history_batch
from versioned_io.catalog.lineage import inputs_of
from versioned_io.catalog.publishing import Publication, hold_trees, insert_beside
from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.catalog.repos import hold_commit, set_head
from versioned_io.errors import HeadMovedError, InvalidInputError
from versioned_io.model.commits import Commit, CommitStats, InputFile
from versioned_io.model.identifiers import CommitId, new_commit_id
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.refs import BranchRef
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.storage.pages.touched import touched_filter
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry
from versioned_io.versioning.backend.leftovers import note_stored
from versioned_io.versioning.history.log import diff_trees
from versioned_io.versioning.naming.naming import head_of, held_branch
from versioned_io.versioning.transactions.facts import CommitFacts
from versioned_io.versioning.transactions.record import CommitRecord, encode_record

_NO_EPOCH = 0
"""The epoch of a commit that a journal entry puts on its branch, so that a rebuild follows only the entry to it."""


def squash(backend: Backend, ref: BranchRef, since: Commit | None, facts: CommitFacts) -> Commit:
    """Replace all commits of a branch after *since*, or all commits, by one, and return it.

    Raises:
        RepoNotFoundError, RefNotFoundError: The branch does not exist.
        InvalidInputError: The branch is protected or has no commit, or *since* is not in its history.
        CommitForgottenError: The data of the head or of *since* has expired.

    Cost: reads the pages in which the two differ. 2 PUTs, and 1 SQL transaction with 1 SELECT for each 200 commits.
    """
    squashing = _Squashing(backend, ref, since, facts)
    while True:
        _, head = head_of(backend, ref)
        if head is None:
            msg = f"can't squash {ref}: the branch has no commit"
            raise InvalidInputError(msg)
        changes = _changes_since(backend, since, head)
        try:
            return squashing.replace(head.id, changes)
        except HeadMovedError:
            continue


@dataclass(frozen=True, slots=True)
class _Changes:
    """The differences between the head and the commit below the squash: file counts by kind, and a path filter."""

    counts: dict[str, int]
    touched: bytes


def _changes_since(backend: Backend, since: Commit | None, head: Commit) -> _Changes:
    differences = diff_trees(backend, since, head)
    counts = {one["values"]: one["counts"] for one in pc.value_counts(differences.column("change")).to_pylist()}
    return _Changes(counts, touched_filter(differences.column("path")))


@dataclass(frozen=True, slots=True)
class _Squashing:
    backend: Backend
    ref: BranchRef
    since: Commit | None
    facts: CommitFacts

    def replace(self, expected: CommitId, changes: _Changes) -> Commit:
        """Replace the commits if *expected* is still the branch's head, or raise."""
        with held_branch(self.backend, self.ref, "squash") as (connection, row):
            if row.head != expected:
                raise HeadMovedError(str(self.ref), expected, row.head)
            taken = self._taken(connection, expected)
            if len(taken) < 2:
                return get_commit(connection, expected)
            commit = self._describe(row, taken, changes)
            self._enter(connection, row, commit, taken)
        return commit

    def _taken(self, connection: Connection, head: CommitId) -> list[Commit]:
        """Return the commits to squash, newest first, with the head and *since* locked against expiry."""
        since = self.since
        if since is not None and ancestor_at(connection, head, since.number) != since.id:
            msg = (
                f"can't squash {self.ref} down to {since}: that commit is not in its history; name one that `log` shows"
            )
            raise InvalidInputError(msg)
        ends = [head] if since is None else [head, since.id]
        hold_trees(connection, [hold_commit(connection, end) for end in sorted(ends)])
        return _commits_after(connection, head, 0 if since is None else since.number)

    def _describe(self, row: BranchRow, taken: list[Commit], changes: _Changes) -> Commit:
        head, own = taken[0], {commit.id for commit in taken}
        sources = {source for commit in taken for source in commit.provenance}
        return Commit(
            id=new_commit_id(),
            lineage_id=head.lineage_id,
            repo=row.ref.repo,
            recorded_repo=row.recorded_repo,
            branch=row.ref.branch,
            number=1 if self.since is None else self.since.number + 1,
            parent=None if self.since is None else self.since.id,
            provenance=tuple(sorted(sources - own)),
            message=self.facts.message or "\n\n".join(commit.message for commit in reversed(taken) if commit.message),
            author=self.facts.author,
            metadata=dict(self.facts.metadata),
            created_at=self.backend.clock(),
            run=None,
            stats=CommitStats(
                added=changes.counts.get("added", 0),
                modified=changes.counts.get("modified", 0),
                deleted=changes.counts.get("deleted", 0),
                files=head.stats.files,
                size_bytes=head.stats.size_bytes,
                bytes_written=sum(commit.stats.bytes_written for commit in taken),
                bytes_stored=sum(commit.stats.bytes_stored for commit in taken),
                healed=sum(commit.stats.healed for commit in taken),
            ),
            root=head.root,
            # The newest merge shows how far the other history was merged, so that it isn't merged again.
            merged=next((commit.merged for commit in taken if commit.merged is not None), None),
            epoch=_NO_EPOCH,
            touched=changes.touched,
            order=row.latest + 1,
            inputs_are_complete=all(commit.inputs_are_complete for commit in taken),
        )

    def _enter(self, connection: Connection, row: BranchRow, commit: Commit, taken: list[Commit]) -> None:
        inputs = tuple(_inputs_of(connection, taken))
        now = self.backend.clock()
        pack = PackWriter(self.backend.objects)
        pack.append(FrameKind.COMMIT, encode_record(CommitRecord(commit, inputs)))
        note_stored(connection, self.backend.objects, pack)
        insert_beside(connection, Publication(row, commit, pack.name, inputs, frozenset()), [pack.close()], now)
        details = {"since": commit.parent, "squashed": len(taken)}
        entry = JournalEntry(row.ref.repo, row.ref.branch, Action.SQUASH, row.head, commit.id, details, commit.author)
        set_head(connection, row.id, commit.id, append_entry(connection, self.backend.objects, entry, now))


def _commits_after(connection: Connection, head: CommitId, number: int) -> list[Commit]:
    """Return the commits of a history down to the one after *number*, newest first."""
    found: list[Commit] = []
    newest: CommitId | None = head
    while newest is not None:
        batch = history_batch(connection, newest, after=found[-1] if found else None)
        found += [commit for commit in batch if commit.number > number]
        newest = batch[-1].parent if batch[-1].number > number + 1 else None
    return found


def _inputs_of(connection: Connection, taken: list[Commit]) -> Iterable[InputFile]:
    """Return the input files of the commits, except for files of each other."""
    own = {commit.id for commit in taken}
    files = (use.file for use in inputs_of(connection, [commit.id for commit in taken]))
    return dict.fromkeys(file for file in files if file.made_by not in own and file.commit not in own)
