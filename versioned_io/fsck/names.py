"""Checking names: heads, histories, records and the journal, each against what the packs say."""

from collections.abc import Callable
from dataclasses import dataclass, field

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, pack_of
from versioned_io.catalog.consistency import broken_links, dangling_sources, named_heads
from versioned_io.catalog.journal import Action, decode_entry, entries_of
from versioned_io.catalog.lineage import inputs_of
from versioned_io.catalog.repos import list_repos
from versioned_io.catalog.values import Commit, CommitState
from versioned_io.fsck.findings import DAMAGES, Findings
from versioned_io.history import walk_history
from versioned_io.identifiers import CommitId
from versioned_io.packs.frames import FrameKind
from versioned_io.packs.reader import read_frames_of
from versioned_io.pages.schema import PageRef
from versioned_io.transactions.record import decode_record


@dataclass(slots=True)
class NameCheck:
    """A check of names under way.

    Attributes:
        check_tree: Called for each commit whose data is kept and that has a tree.
    """

    findings: Findings
    backend: Backend
    check_tree: Callable[[Commit, PageRef], None]
    commits: set[CommitId] = field(default_factory=set)

    def check(self) -> None:
        """Check all names, the commits that they lead to, and the rows about commits."""
        for head in self._heads():
            try:
                self._check_history(head)
            except DAMAGES as error:
                self.findings.add("history", head, f"its history breaks off: {error}")
        with self.backend.catalog.read() as connection:
            for commit_id, found in broken_links(connection):
                self.findings.add("history", commit_id, found)
            for commit_id, found in dangling_sources(connection):
                self.findings.add("lineage", commit_id, found)
        self._check_journal()

    def _heads(self) -> list[Commit]:
        wanted: dict[str, Commit] = {}
        with self.backend.catalog.read() as connection:
            for name, head, there in named_heads(connection):
                if head is not None and there is None:
                    self.findings.add("head", name, f"it points at the commit {head}, which is missing")
                elif head is not None and head not in wanted:
                    wanted[head] = get_commit(connection, head)
        return list(wanted.values())

    def _check_history(self, head: Commit) -> None:
        """Check *head* and the commits before it that were not checked yet."""
        number = head.number
        for commit in walk_history(self.backend, head):
            if commit.number != number or (commit.parent is None) != (number == 1):
                self.findings.add("commit", commit, f"it has the number {commit.number} where {number} must be")
            number = commit.number - 1
            if commit.id in self.commits:
                return
            self.commits.add(commit.id)
            self.findings.progress("commits", len(self.commits))
            self._check_record(commit)
            if commit.root is not None and commit.state is CommitState.LIVE:
                self.check_tree(commit, commit.root)

    def _check_record(self, commit: Commit) -> None:
        """The catalog and the commit's record in its pack must say the same."""
        with self.backend.catalog.read() as connection:
            pack = pack_of(connection, commit.id)
            inputs = {use.file for use in inputs_of(connection, [commit.id])}
        try:
            payloads = read_frames_of(self.backend.objects, pack, FrameKind.COMMIT)
            records = [decode_record(bytes(payload)) for payload in payloads]
        except DAMAGES as error:
            self.findings.add("commit", commit, error)
            return
        if not any(record.commit == commit and set(record.inputs) == inputs for record in records):
            self.findings.add("commit", commit, f"pack {pack} holds no record that says what the catalog says")

    def _check_journal(self) -> None:
        """The catalog and the entries in the packs must say the same of every name."""
        with self.backend.catalog.read() as connection:
            entries = [found for repo in list_repos(connection) for found in entries_of(connection, repo.name)]
        for recorded, pack in entries:
            if recorded.entry.action is Action.LOST:
                continue  # in no pack, as the rebuild that noted this has said
            where = f"{recorded.entry.action} of {recorded.entry.repo}@{recorded.entry.name}"
            try:
                payloads = read_frames_of(self.backend.objects, pack, FrameKind.JOURNAL)
                stored = [decode_entry(bytes(payload)) for payload in payloads]
            except DAMAGES as error:
                self.findings.add("journal", where, error)
                continue
            if recorded not in stored:
                self.findings.add("journal", where, f"pack {pack} holds no entry that says what the catalog says")
