"""Bytes for chunk tests, the same in every run, and the shape of a store of chunks."""

import random
import uuid

from versioned_io.model.damages import FoundChunks
from versioned_io.model.places import ChunkRef
from versioned_io.storage.chunks.chunk_columns import chunk_refs
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.objects import open_objects


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def new_objects():
    return open_objects(f"memory://{uuid.uuid4().hex}")


class TableIndex:
    """The chunk index of a store, as a dictionary; it counts how often it is asked."""

    def __init__(self):
        self.refs: dict[bytes, ChunkRef] = {}
        self.questions: list[int] = []

    def learn(self, writer: DataWriter) -> None:
        for row in writer.placer.new_chunks().to_pylist():
            self.refs[row["digest"]] = ChunkRef(**row)

    def find(self, digests):
        self.questions.append(len(digests))
        return FoundChunks({digest: self.refs[digest] for digest in digests if digest in self.refs}, [])


def read_back(objects, writer, files):
    reader = ChunkReader(objects)
    return [reader.read_file(chunk_refs(chunks)) for chunks in writer.placer.chunk_lists(files)]
