"""The times of files that were checked out from elsewhere: only by them can these be told from modified ones."""

import os

import pyarrow as pa

from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.refs import chunk_refs
from versioned_io.columns import bool_column
from versioned_io.packs.frames import FrameKind
from versioned_io.snapshots.local_state import LocalState, open_directory
from versioned_io.snapshots.manifest import RACY_NS


def date_back_references(dest: int, rows: pa.Table, state: LocalState, reader: ChunkReader) -> None:
    """Give files whose content lies elsewhere, and that were written in the last instant, a time before it.

    Their digests are not those of their bytes, so that only their status can prove them unmodified, and that of a file
    of the same instant as the notes proves nothing. Whoever changes one later gives it a later time than it has now.

    Args:
        dest: The open directory that they were checked out into.
        rows: The files that were written: path, chunks.
        state: What is there; the new times are noted in it.

    Cost: as `ChunkReader.fetch_content`, for the files of the last 50 ms.
    """
    paths = rows.column("path").to_pylist()
    # One that somebody has deleted already is in no state.
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
    """Return the paths of the files whose first part lies elsewhere."""
    frames = {
        path: chunk_refs(chunks[:1])[0].frame
        for path, chunks in zip(*(rows.column(name).to_pylist() for name in ("path", "chunks")), strict=True)
        if chunks
    }
    kinds = [kind for kind, _ in reader.fetch_content(list(frames.values()))]
    return [path for path, kind in zip(frames, kinds, strict=True) if kind is FrameKind.SOURCE]
