"""New packs that are filled one after the other."""

from dataclasses import dataclass, field

from versioned_io.model.places import FrameRef, PackInfo
from versioned_io.storage.objects.port import Buffer
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.pack_session import ROLL_BYTES
from versioned_io.storage.packs.writer import PackWriter
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.transactions.lease import Lease


@dataclass(slots=True)
class PackSeries:
    """New packs that are filled one after the other; a `PageSink`. A lease protects them until the switch."""

    backend: Backend
    lease: Lease
    infos: list[PackInfo] = field(default_factory=list)
    open: PackWriter | None = None

    def current(self) -> PackWriter:
        """Return the pack to append to."""
        if self.open is not None and self.open.size_bytes >= ROLL_BYTES:
            self.close()
        if self.open is None:
            self.open = PackWriter(self.backend.objects)
        return self.open

    def read_open(self, ref: FrameRef, kind: FrameKind) -> memoryview | None:
        """Return the payload of a frame that is still in memory; for `PageSource.overlaid`."""
        return self.open.read(ref, kind) if self.open is not None and self.open.pack == ref.pack else None

    def close(self) -> None:
        """Store the open pack."""
        if self.open is not None and not self.open.is_empty:
            self.lease.hold()
            self.infos.append(self.open.close())
        self.open = None

    def put_page(self, payload: Buffer) -> FrameRef:
        """Append a page, and return its place."""
        return self.current().append(FrameKind.PAGE, payload)
