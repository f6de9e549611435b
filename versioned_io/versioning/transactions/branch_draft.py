"""The changes that are staged on one branch, shared by the parts of a transaction, merges and the commit."""

from dataclasses import dataclass

from versioned_io.catalog.repo_rows import BranchRow
from versioned_io.errors import InvalidInputError, TransactionClosedError
from versioned_io.model.commits import Commit, InputFile
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.paths import parse_path
from versioned_io.platform.process import HomeProcess
from versioned_io.storage.chunks.chunk_columns import TakenFile
from versioned_io.storage.chunks.intake import FileIntake
from versioned_io.storage.pages.read import FileRow
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.runs.run import Run
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.staging import StagedFile, Staging


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for a branch: its newest commit, and whether this transaction made it."""

    commit: Commit | None
    changed: bool


class BranchDraft:
    """The changes that are staged on one branch, the head that they were staged on, and their outcome.

    Users see it as a `StagedBranch`; `draft_of` returns the draft of one.
    """

    def __init__(
        self, backend: Backend, intake: FileIntake, branch: BranchRow, base: Commit | None, *, run: Run
    ) -> None:
        self.target = branch
        self.base = base
        self.staging = Staging()
        self.is_fresh = False
        self.is_exact = False
        self.intake = intake
        self.run = run
        # Reads of the branch itself are not inputs of its change: the parent records them already.
        self.snapshot = Snapshot(backend, branch.ref.repo, branch.ref.branch, base, is_noted=False)
        self._process = HomeProcess()
        self._is_open = True
        self._outcome = Outcome(None, changed=False)
        self._why_no_commit = "the transaction is not committed yet"

    @property
    def is_open(self) -> bool:
        """Whether the transaction has not ended yet."""
        return self._is_open

    @property
    def is_here(self) -> bool:
        """Whether the transaction was begun in this process, and not before a ``fork()``."""
        return self._process.is_here

    @property
    def commit(self) -> Commit:
        """The commit that this made, or the unchanged head.

        Raises:
            InvalidInputError: There is none.
        """
        if self._outcome.commit is None:
            msg = f"there is no commit: {self._why_no_commit}"
            raise InvalidInputError(msg)
        return self._outcome.commit

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return self._outcome.changed

    def check_open(self, action: str) -> None:
        """Raise unless changes can be staged.

        Raises:
            TransactionClosedError: The transaction has ended. Begin another one.
        """
        self._process.check("the open transaction", "begin another one here; it continues where it was begun")
        if not self._is_open:
            raise TransactionClosedError(action)

    def take_over(self, path: str, row: FileRow, *, origin: Commit, keeps_author: bool) -> None:
        """Stage a file of the commit *origin* by reference, with or without its author.

        With its author it keeps its origin. Without, *origin* is recorded as an input of the run.

        Cost: none.
        """
        self.check_open("take a file over")
        if not keeps_author:
            writer, digest = CommitId(row.commit.hex()), Digest(row.digest.hex())
            with self.run.making(path):
                self.run.note(origin, InputFile(origin.repo, origin.id, row.path, digest, writer))
        self.staging.write(path, StagedFile(row, row.attributes, author=row.commit if keeps_author else None))

    def begin_afresh(self) -> None:
        """Make the staged files the whole tree of the commit, whatever the head is then; it never conflicts.

        Cost: none.
        """
        self.check_open("begin a fresh tree")
        self.is_fresh = True

    def stay_on_base(self) -> None:
        """Refuse to commit on any other head than `base`: the changes follow from all of it, and can't be replayed.

        Cost: none.
        """
        self.check_open("stay on its base")
        self.is_exact = True

    def adopt(self, path: str, row: FileRow) -> None:
        """Stage a file of another commit by reference. It does not count as read, so the commit's inputs lack it.

        Cost: none.
        """
        self.check_open("adopt a file")
        self.staging.write(parse_path(path), StagedFile(row, row.attributes))

    def take_in(self, path: str, data: bytes, attributes: str | None) -> TakenFile:
        """Stage new bytes at a path that this library made, which obeys the path rules.

        Args:
            attributes: As `encode_attributes` returns them.

        Cost: as `FileIntake.write`; a third of the CPU time of `Transaction.write`.
        """
        taken = self.intake.write(data)
        self.staging.write(path, StagedFile(taken, attributes))
        return taken

    def delete_exactly(self, path: str) -> None:
        """Stage the deletion of the file *path*, and of nothing below it. Cost: none."""
        self.check_open("delete")
        self.staging.delete_file(parse_path(path))

    def close(self, outcome: Outcome, why_no_commit: str) -> None:
        """End the staging with its outcome; only the transaction calls this."""
        self._is_open = False
        self._outcome = outcome
        self._why_no_commit = why_no_commit
