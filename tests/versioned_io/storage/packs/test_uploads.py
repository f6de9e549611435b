"""Packs that are stored in the background."""

import threading
import uuid

import pytest

from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import StorageError
from versioned_io.storage.objects import open_objects
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.uploads import PackUploads
from versioned_io.storage.packs.writer import PackWriter


class SlowObjects(CountingObjects):
    """A store whose puts wait until they are let through."""

    def __init__(self, objects):
        super().__init__(objects)
        self.gate = threading.Event()

    def put(self, key, data):
        assert self.gate.wait(60)
        super().put(key, data)


@pytest.fixture
def objects():
    return open_objects(f"memory://{uuid.uuid4().hex}")


def filled(objects, text: bytes) -> tuple[PackWriter, object]:
    pack = PackWriter(objects)
    return pack, pack.append(FrameKind.BLOCK, text)


def test_a_pack_is_read_from_memory_until_it_is_durable(objects):
    slow = SlowObjects(objects)
    uploads = PackUploads()
    pack, ref = filled(slow, b"text")
    uploads.add(pack)
    assert uploads.stored == []
    assert uploads.size_bytes == pack.size_bytes
    held = uploads.find(ref.pack)
    assert held is not None
    assert held.read(ref, FrameKind.BLOCK) == b"text"
    slow.gate.set()
    uploads.drain()
    assert uploads.find(ref.pack) is None
    assert [info.name for info in uploads.stored] == [pack.name]


def test_packs_are_durable_in_the_order_in_which_they_were_added(objects):
    uploads = PackUploads()
    packs = [filled(objects, b"%d" % number)[0] for number in range(5)]
    for pack in packs[:4]:
        uploads.add(pack)
    uploads.store_now(packs[4])
    assert [info.name for info in uploads.stored] == [pack.name for pack in packs]
    assert len(list(objects.list("packs/"))) == 5


def test_a_failure_is_told_at_the_next_call_and_at_every_one_after(objects):
    failing = CountingObjects(objects, failing_put=1)
    uploads = PackUploads()
    uploads.add(filled(failing, b"1")[0])
    for call in (
        lambda: uploads.add(filled(failing, b"2")[0]),
        uploads.drain,
        lambda: uploads.store_now(filled(failing, b"3")[0]),
    ):
        with pytest.raises(StorageError):
            call()
    assert uploads.stored == []
    uploads.abandon()


def test_no_thread_outlives_a_writer_that_gives_up_or_ends(objects):
    before = threading.active_count()
    for end in ("drain", "abandon"):
        uploads = PackUploads()
        uploads.add(filled(objects, b"1")[0])
        getattr(uploads, end)()
    assert threading.active_count() == before
