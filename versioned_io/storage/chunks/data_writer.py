"""The bytes of one transaction, stored in order: chunks of files, then pages, then commit records."""

from collections.abc import Callable

from versioned_io.storage.chunks.index import ChunkIndex
from versioned_io.storage.chunks.intake import FileIntake, OverlayReader
from versioned_io.storage.chunks.placing import ChunkPlacer
from versioned_io.storage.chunks.read_back import ReadBack
from versioned_io.storage.elsewhere import Elsewhere
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.packs.damages import Damages
from versioned_io.storage.packs.pack_session import ROLL_BYTES, PackSession


class DataWriter:
    """Stores the bytes of one transaction. Each of its parts does one thing, and it keeps their order.

    Threads may call `intake` at once. The rest is for the transaction's own thread.

    Args:
        index: The chunks that are stored already.
        elsewhere: The objects outside of the store that may be read, for files that lie there.
        damages: Where damages are noted that are found in stored chunks.
        roll_bytes, before_early_pack: As for `PackSession`.

    Attributes:
        intake: Takes files in, and reads them back.
        placer: Gives each chunk its place.
        packs: The packs that chunks, pages and commit records go into.
    """

    def __init__(
        self,
        objects: ObjectStore,
        index: ChunkIndex,
        *,
        elsewhere: Elsewhere | None = None,
        damages: Damages | None = None,
        roll_bytes: int = ROLL_BYTES,
        before_early_pack: Callable[[], None] | None = None,
    ) -> None:
        self.packs = PackSession(objects, roll_bytes=roll_bytes, before_early_pack=before_early_pack)
        self.placer = ChunkPlacer(ReadBack(objects, index, damages), self.packs)
        self.intake = FileIntake(self.placer, OverlayReader(objects, elsewhere, self.packs.read_open, damages))

    def begin_pages(self) -> None:
        """Place every chunk, and open the pack for pages and commit records; see `PackSession.begin_pages`.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: as `ChunkPlacer.flush`; 1 PUT when the data was large.
        """
        self.placer.finish()
        self.packs.begin_pages()

    def close_pack(self) -> None:
        """Make everything that was taken in or put into packs durable.

        Afterwards another pack may be begun, for a transaction that has to write its pages again.

        Raises:
            StorageError: The object store failed; nothing refers to the packs of this transaction yet.

        Cost: as `ChunkPlacer.flush`; 1 PUT, none when nothing was written.
        """
        self.placer.finish()
        self.packs.close()

    def abort(self) -> None:
        """Drop everything that is not stored yet; stored packs stay as garbage for the collector."""
        self.placer.abort()
        self.packs.abort()
