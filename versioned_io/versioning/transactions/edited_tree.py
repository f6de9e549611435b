"""Editing a branch's tree with staged rows, and rebuilding damaged pages whose rows are known.

Source: docs/design/0011-healing.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from versioned_io.errors import IntegrityError
from versioned_io.model.commits import Commit
from versioned_io.model.damages import Healed
from versioned_io.model.places import ChunkRef, PageRef
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.objects.cached import past_cache
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.mend import Moves, TreeMend, moves_of
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.conflicts import BranchChanges, refuse_collisions
from versioned_io.versioning.transactions.staging import EffectiveRows, effective_rows


@dataclass(frozen=True, slots=True)
class EditedTree:
    """The result of editing a branch's tree.

    Attributes:
        base: The edited tree: the head's, or one of the same digest with rebuilt pages.
        root: The new tree.
        healed: The damaged pages that were rebuilt.
    """

    base: PageRef | None
    root: PageRef | None
    rows: EffectiveRows
    healed: tuple[Healed, ...] = ()

    @property
    def changes_content(self) -> bool:
        """Whether the digest of the tree has changed."""
        return _digest(self.root) != _digest(self.base)


@dataclass(frozen=True, slots=True)
class TreeEdit:
    """The edit of one branch's tree, in one attempt to commit."""

    backend: Backend
    data: DataWriter
    branch: BranchChanges
    head: Commit | None
    stated: pa.Table

    def run(self) -> EditedTree:
        """Write the new tree.

        Files that are staged but unchanged are read back from the store, so a commit never acknowledges a file that
        can't be read.

        Raises:
            IntegrityError: A needed page is damaged, and its rows are not known. Run fsck.
            PathCollisionError, ConflictError: As for `refuse_collisions`.

        Cost: that of `effective_rows`, `refuse_collisions` and `edit_tree`. For staged rows that are unchanged, their
            pages are read once more, from the store, and so are the contents of their files.
        """
        root = None if self.head is None else self.head.root
        if root is None or self.branch.is_fresh:
            return self._edit(None)
        if self.data.placer.healed():
            return self._edit_mended(root)
        try:
            edited = self._edit(root)
        except IntegrityError as error:
            if "" in self.branch.staging.deletes:
                return replace(self._edit(None), base=root)
            return self._edit_mended(root, because=error)
        return self._edit_mended(root, otherwise=edited) if self._leaves_some(edited) else edited

    def _leaves_some(self, edited: EditedTree) -> bool:
        """Return whether a staged row was already in the tree, so that it was not written."""
        return bool(len(edited.rows.changed) < self.stated.num_rows)

    def _edit_mended(
        self, root: PageRef, *, otherwise: EditedTree | None = None, because: IntegrityError | None = None
    ) -> EditedTree:
        """Rebuild damaged pages and edit the tree; without rebuilt pages return *otherwise*, or raise *because*.

        Raises:
            IntegrityError: The rows of a damaged page are not known. Run fsck.
        """
        mend = self._mend()
        base = mend.run(root)
        if base == root and because is not None:
            raise because
        if base == root and otherwise is not None:
            return otherwise
        return replace(self._edit(base), healed=tuple(mend.healed))

    def _mend(self) -> TreeMend:
        author = bytes(16) if self.head is None else bytes.fromhex(self.head.id)
        source = PageSource(past_cache(self.backend.objects), damages=self.backend.damages)
        return TreeMend(
            self.stated,
            author,
            self._moves,
            source.overlaid(self.data.packs.read_open_frame),
            self.data.packs,
            kept=self.backend.pages,
        )

    def _moves(self, refs: Sequence[ChunkRef]) -> Moves:
        return moves_of(self.data.placer.healed_of(refs))

    def _edit(self, root: PageRef | None) -> EditedTree:
        staging = self.branch.staging
        # A tree with rebuilt pages has pages that are not stored yet.
        backend = replace(self.backend, pages=self.backend.pages.overlaid(self.data.packs.read_open_frame))
        rows = effective_rows(
            self.stated,
            root,
            deletes=bool(staging.deletes),
            source=backend.pages,
            has_local_bit=staging.has_local_bit,
        )
        head = None if self.head is None or self.branch.is_fresh else replace(self.head, root=root)
        refuse_collisions(backend, self.branch, head, rows)
        new = edit_tree(root, rows.table, staging.deletes, source=backend.pages, sink=self.data.packs)
        return EditedTree(root, new, rows)


def _digest(root: PageRef | None) -> bytes | None:
    return None if root is None else root.digest
