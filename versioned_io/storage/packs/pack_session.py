"""The packs of one transaction: frames of data first, then pages and commit records."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkSpan, FrameRef, PackInfo
from versioned_io.platform.process import new_reentrant_lock
from versioned_io.storage.objects.port import Buffer, ObjectStore
from versioned_io.storage.packs.frames import FrameKind, Payload
from versioned_io.storage.packs.uploads import PackUploads
from versioned_io.storage.packs.writer import PackWriter

ROLL_BYTES: Final = 48 * 1024 * 1024
_PACKS_UNDER_WAY: Final = 2  # one is written while the disk syncs the other
_SMALL_PACK_BYTES: Final = 8 * 1024 * 1024


class PackSession:
    """Fills packs one after the other, and uploads each full one in the background while the next one fills.

    Nothing refers to a pack before the catalog commits, so a crash leaves only garbage. A commit record is never
    durable before the pages that it refers to. All methods may be called by several threads.

    Args:
        roll_bytes: A larger pack is closed, and another one is begun. About four are in memory.
        before_early_pack: Called before a full pack is uploaded while more is to come. Until the commit, others take
            that pack for garbage.
    """

    def __init__(
        self,
        objects: ObjectStore,
        *,
        roll_bytes: int = ROLL_BYTES,
        before_early_pack: Callable[[], None] | None = None,
    ) -> None:
        self._objects = objects
        self._roll_bytes = roll_bytes
        self._before_early_pack = before_early_pack
        self._lock = new_reentrant_lock()
        self._pack: PackWriter | None = None
        self._takes_pages = False  # whether the open pack has been chosen for pages
        self._has_record = False  # whether there is a commit record in it
        self._own: set[PackName] = set()
        self._on_stored: dict[bytes, list[Callable[[], None]]] = {}  # by pack
        self._uploads = PackUploads(waiting=_PACKS_UNDER_WAY, on_stored=self._note_stored)

    @property
    def bytes_stored(self) -> int:
        """The bytes of all packs so far, those of the open one included."""
        with self._lock:
            return self._uploads.size_bytes + (self._pack.size_bytes if self._pack is not None else 0)

    @property
    def own(self) -> frozenset[PackName]:
        """The packs that this session began, durable or not."""
        with self._lock:
            return frozenset(self._own)

    @property
    def stored(self) -> list[PackInfo]:
        """The packs that are durable, in the order in which they were filled."""
        with self._lock:
            return self._uploads.stored

    @property
    def begun(self) -> list[tuple[PackName, int]]:
        """The packs whose upload was begun, whether or not it succeeded, each with its size without the footer."""
        with self._lock:
            return self._uploads.begun

    def append_block(
        self, payload: Payload, chunks: Sequence[ChunkSpan], *, on_stored: Callable[[], None] | None = None
    ) -> FrameRef:
        """Add a block of *chunks* and return where it will be; `roll_if_full` is to follow.

        Args:
            on_stored: Called when the pack is durable and the payload's memory is not read any more. It must not call
                this session.

        Cost: none.
        """
        with self._lock:
            pack = self._current_pack()
            frame = pack.append_block(payload, chunks)
            if on_stored is not None:
                self._on_stored.setdefault(pack.pack, []).append(on_stored)
            return frame

    def append_source(self, payload: Buffer, digest: bytes, size: int) -> FrameRef:
        """Add a frame that stands for *size* bytes of an object elsewhere; as `append_block`."""
        with self._lock:
            return self._current_pack().append_source(payload, digest, size)

    def roll_if_full(self) -> None:
        """Begin to upload the open pack if it is full; the next frame begins another one.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: 1 PUT for every 48 MiB of frames.
        """
        with self._lock:
            if self._pack is None or self._pack.size_bytes < self._roll_bytes:
                return
            if self._has_record:
                self._uploads.drain()
                self._has_record = False
            if self._before_early_pack is not None:
                self._before_early_pack()
            full, self._pack = self._pack, None
            self._uploads.add(full)

    def begin_pages(self) -> None:
        """Open the pack for pages and commit records; the second time nothing happens.

        It is the pack with the data when that is small, so that a small commit is one object. Otherwise the data is
        stored first and the pages get a pack of their own, so that listing never touches data.

        Raises:
            StorageError: The object store failed; give up this transaction.

        Cost: none; 1 PUT when the data was large.
        """
        with self._lock:
            if self._takes_pages:
                return
            if self._pack is not None and self._pack.size_bytes >= _SMALL_PACK_BYTES:
                self.close()
            self._takes_pages = True

    def put_page(self, payload: Buffer) -> FrameRef:
        """Add a page of the new tree to the open pack; a `PageSink`. A full pack is stored and another one begun.

        Cost: as `begin_pages` the first time; 1 PUT for every 48 MiB of compressed pages.
        """
        with self._lock:
            self.begin_pages()
            frame = self._current_pack().append(FrameKind.PAGE, payload)
            self.roll_if_full()
            return frame

    def put_commit(self, payload: Buffer) -> FrameRef:
        """Add a commit record to the open pack, behind the pages that it refers to. Cost: as `put_page`.

        A pack with a record is uploaded only when all packs before it are durable.
        """
        with self._lock:
            self.begin_pages()
            frame = self._current_pack().append(FrameKind.COMMIT, payload)
            self._has_record = True
            return frame

    def read_open(self, ref: FrameRef, kinds: Collection[FrameKind]) -> tuple[FrameKind, memoryview] | None:
        """Return the kind and payload of a frame that is still in memory, or ``None``."""
        with self._lock:
            if self._pack is not None and self._pack.pack == ref.pack:
                return self._pack.read_one_of(ref, kinds)
            uploaded_now = self._uploads.find(ref.pack)
            # Under the lock: once the pack is durable, the memory of its blocks is used again.
            return uploaded_now.read_one_of(ref, kinds) if uploaded_now is not None else None

    def read_open_frame(self, ref: FrameRef, kind: FrameKind) -> memoryview | None:
        """Return the payload of a frame that is still in memory, or ``None``; for `PageSource.overlaid`."""
        found = self.read_open(ref, {kind})
        return None if found is None else found[1]

    def close(self) -> None:
        """Make everything that was added durable.

        Afterwards another pack may be begun, for a transaction that has to write its pages again.

        Raises:
            StorageError: The object store failed; nothing refers to the packs of this transaction yet.

        Cost: 1 PUT, none when nothing was added.
        """
        with self._lock:
            if self._pack is not None and not self._pack.is_empty:
                self._uploads.store_now(self._pack)
            else:
                self._uploads.drain()
            self._pack = None
            self._takes_pages = self._has_record = False

    def abort(self) -> None:
        """Drop everything that is not stored yet; stored packs stay as garbage for the collector."""
        with self._lock:
            if self._pack is not None:
                self._pack.abort()
            self._pack = None
            self._uploads.abandon()
            self._on_stored.clear()

    def _current_pack(self) -> PackWriter:
        if self._pack is None:
            self._pack = PackWriter(self._objects)
            self._own.add(self._pack.name)
        return self._pack

    def _note_stored(self, pack: PackWriter) -> None:
        for on_stored in self._on_stored.pop(pack.pack, ()):
            on_stored()
