"""The changes that a transaction makes to one branch, as users see them."""

from versioned_io.model.commits import Commit
from versioned_io.platform.forwarding import forward
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.branch_draft import BranchDraft
from versioned_io.versioning.transactions.in_place import InPlace
from versioned_io.versioning.transactions.local_tree import NotKept
from versioned_io.versioning.transactions.rearranging import Rearranging, SnapshotResolver
from versioned_io.versioning.transactions.viewing import StagedView
from versioned_io.versioning.transactions.writing import Writing


class StagedBranch:
    """The changes that a transaction makes to one branch.

    Others see nothing of them before the transaction commits; `read`, `exists` and `list` see what is staged.
    """

    def __init__(self, backend: Backend, draft: BranchDraft, resolve: SnapshotResolver) -> None:
        self._draft = draft
        self._view = StagedView(draft, backend.chunks)
        self._writing = Writing(draft, self._view)
        self._rearranging = Rearranging(draft, self._view, resolve)
        self._in_place = InPlace(draft, backend.elsewhere)

    @property
    def base(self) -> Commit | None:
        """The head of the branch when the transaction began; None if it had no commit."""
        return self._draft.base

    @property
    def commit(self) -> Commit:
        """The commit that this made, or, when nothing changed and none was made, the unchanged head.

        Raises:
            InvalidInputError: The transaction is still open or was abandoned, or the branch never had a commit.
        """
        return self._draft.commit

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return self._draft.changed

    @property
    def not_kept(self) -> NotKept:
        """The modes and empty directories of imported local directories that are not kept: see `write_tree`."""
        return self._writing.not_kept

    write = forward("_writing", Writing.write)
    write_tree = forward("_writing", Writing.write_tree)

    copy = forward("_rearranging", Rearranging.copy)
    move = forward("_rearranging", Rearranging.move)
    delete = forward("_rearranging", Rearranging.delete)
    delete_glob = forward("_rearranging", Rearranging.delete_glob)

    reference = forward("_in_place", InPlace.reference)
    reference_tree = forward("_in_place", InPlace.reference_tree)

    read = forward("_view", StagedView.read)
    exists = forward("_view", StagedView.exists)
    list = forward("_view", StagedView.list)
