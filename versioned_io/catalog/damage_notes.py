"""The damages of a store, for readers of frames. SQLAlchemy is loaded only when a reader meets damage.

Source: docs/design/0011-healing.md.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from versioned_io.catalog.connect import Catalog
from versioned_io.errors import StorageError
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.places import FrameRef, pack_name
from versioned_io.platform.clock import Clock


@dataclass(frozen=True, slots=True)
class CatalogDamages:
    """The damages of a store, for readers of frames.

    Args:
        takes_notes: Whether damage that a reader finds is recorded.
    """

    catalog: Catalog
    clock: Clock
    takes_notes: bool = True

    def find(self, frame: FrameRef) -> Sequence[Healed]:
        """See `Damages.find`."""
        from versioned_io.catalog.damages import healed_at

        with self.catalog.look_up() as connection:
            return healed_at(connection, frame)

    def find_page(self, frame: FrameRef) -> FrameRef | None:
        """See `Damages.find_page`. If no repaired copy is recorded, look for another commit with the same tree.

        Cost: 1 SELECT. Without a record 2 more over all commits, and 1 SQL transaction if there is such a commit.
        """
        from versioned_io.catalog.damages import enter_healed, find_twin

        noted = self.find(frame)
        if noted:
            return noted[0].frame
        with self.catalog.look_up() as connection:
            twin = find_twin(connection, frame)
        if twin is not None and self._can_note:
            # Recorded, so that gc keeps the copy while the damaged page is referenced, and later readers find it.
            with suppress(StorageError), self.catalog.write() as connection:
                enter_healed(connection, [twin], self.clock())
        return None if twin is None else twin.frame

    def note(self, frame: FrameRef, contents: Sequence[Content] = (), *, is_lost: bool = False) -> None:
        """See `Damages.note`. Inside a transaction of this thread nothing is recorded; a later read records it."""
        if not self._can_note:
            return
        from versioned_io.catalog.damages import note_damages

        # The caller raises the damage itself; an error from recording it would hide that one.
        with suppress(StorageError), self.catalog.write() as connection:
            offset = None if is_lost else frame.offset
            found = [Damaged(one, frame.pack, frame.offset) for one in contents]
            note_damages(connection, pack_name(frame.pack), found, self.clock(), offset=offset)

    @property
    def _can_note(self) -> bool:
        return self.takes_notes and self.catalog.read_only is None and not self.catalog.is_writing_here
