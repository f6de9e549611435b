"""Bytes for chunk tests, the same in every run, and the shape of a store of chunks."""

import random
import uuid

from versioned_io.objects import open_objects


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def new_objects():
    return open_objects(f"memory://{uuid.uuid4().hex}")
