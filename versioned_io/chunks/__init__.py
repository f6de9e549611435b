"""Chunks: content-defined pieces of files, named by their content, stored once."""

from versioned_io.chunks.cutting import digest_of
from versioned_io.chunks.index import ChunkIndex, NoIndex
from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.refs import CHUNK_FIELDS, CHUNKS_TYPE, NEW_CHUNKS, ChunkRef, StoredFile, chunk_refs
from versioned_io.chunks.sources import Source
from versioned_io.chunks.writer import DataWriter

__all__ = [
    "CHUNKS_TYPE",
    "CHUNK_FIELDS",
    "NEW_CHUNKS",
    "ChunkIndex",
    "ChunkReader",
    "ChunkRef",
    "DataWriter",
    "NoIndex",
    "Source",
    "StoredFile",
    "chunk_refs",
    "digest_of",
]
