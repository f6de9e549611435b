"""Taking in files by reference: what is stored of them says which parts of which objects elsewhere they are."""

from collections.abc import Callable, Iterable
from typing import Final

from versioned_io.chunks.cutting import file_digest
from versioned_io.chunks.local_files import FileColumns
from versioned_io.chunks.writer import DataWriter
from versioned_io.elsewhere.parts import Pin, encode_part, name_part, parts_of

_PARTS_AT_ONCE: Final = 4096


def take_pins(writer: DataWriter, pins: Iterable[Pin], *, on_taken: Callable[[int, int], None]) -> FileColumns:
    """Take in a reference to each object of *pins*, and return what became of them; no byte of them is read.

    Args:
        on_taken: Called now and then, at least for every 4,096 parts, with the number of files that were taken in since
            the last call, and of their bytes.

    Raises:
        StorageError: The object store failed; give up this transaction.

    Cost: 1 index look-up for every 4,096 parts of 8 MiB, some 250 bytes stored for each new one; 60 us of CPU a part.
    """
    columns = FileColumns()
    waiting: list[tuple[bytes, bytes, int]] = []
    files = size_bytes = 0
    for pin in pins:
        digests: list[bytes] = []
        sizes: list[int] = []
        for part in parts_of(pin):
            payload = encode_part(part)
            digests.append(name_part(payload))
            sizes.append(part.size)
            waiting.append((digests[-1], payload, part.size))
            if len(waiting) >= _PARTS_AT_ONCE:
                writer.take_references(waiting)
                waiting = []
                on_taken(files, size_bytes)
                files = size_bytes = 0
        if len(digests) != 1:
            columns.several[len(columns.sizes)] = b"".join(digests)
        columns.sizes.append(pin.size)
        columns.digests += file_digest(digests, sizes)
        files, size_bytes = files + 1, size_bytes + pin.size
    writer.take_references(waiting)
    on_taken(files, size_bytes)
    return columns
