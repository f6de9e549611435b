"""Modification times of checked-out files with contents elsewhere; only the times reveal a later modification."""

import os

import pyarrow as pa

from versioned_io.model.columns import bool_column
from versioned_io.storage.chunks.chunk_columns import chunk_refs
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.versioning.snapshots.local_state import LocalState, open_directory
from versioned_io.versioning.snapshots.manifest import RACY_NS


def date_back_references(dest: int, rows: pa.Table, state: LocalState, reader: ChunkReader) -> None:
    """Set the time of just-written files with contents elsewhere to a slightly earlier one.

    Their digests are not of their bytes, so only an unchanged status proves such a file unmodified. The status proves
    nothing if the file's time equals that of the manifest. With the earlier time, every later change is visible.

    Args:
        dest: The open directory that they were checked out into.
        rows: The written files: path, chunks.
        state: The local state; the new times are set in it.

    Cost: that of `ChunkReader.fetch_content`, for the files of the last 50 ms.
    """
    paths = rows.column("path").to_pylist()
    # A file that somebody has already deleted is not in *state*.
    times = {path: state.files[path][1] for path in paths if path in state.files}
    oldest = max(times.values(), default=0) - RACY_NS
    young = rows.filter(bool_column(times.get(path, -1) >= max(oldest, 0) for path in paths))
    for path in _elsewhere(young, reader):
        size, time_ns = state.files[path]
        earlier = time_ns - 2 * RACY_NS
        directory, _, name = path.rpartition("/")
        with open_directory(directory or ".", below=dest) as parent:
            os.utime(name, ns=(earlier, earlier), dir_fd=parent, follow_symlinks=False)
        state.files[path] = (size, earlier)


def _elsewhere(rows: pa.Table, reader: ChunkReader) -> list[str]:
    """Return the paths of the files whose first part is elsewhere."""
    frames = {
        path: chunk_refs(chunks[:1])[0].frame
        for path, chunks in zip(*(rows.column(name).to_pylist() for name in ("path", "chunks")), strict=True)
        if chunks
    }
    kinds = [kind for kind, _ in reader.fetch_content(list(frames.values()))]
    return [path for path, kind in zip(frames, kinds, strict=True) if kind is FrameKind.SOURCE]
