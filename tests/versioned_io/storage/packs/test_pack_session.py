"""The packs of one transaction."""

import time

from tests.versioned_io.storage.chunks.data import new_objects, noise
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.pack_session import PackSession
from versioned_io.storage.packs.reader import read_frame

MIB = 1024 * 1024


def test_many_pages_roll_into_several_packs():
    objects = new_objects()
    session = PackSession(objects, roll_bytes=MIB)
    refs = [session.put_page(noise(300_000, number)) for number in range(10)]
    for number, ref in enumerate(refs):
        held = session.read_open_frame(ref, FrameKind.PAGE)
        page = held if held is not None else read_frame(objects, ref, FrameKind.PAGE)
        assert page == noise(300_000, number)
    session.close()
    assert len(session.stored) == 3
    assert session.bytes_stored == sum(info.size_bytes for info in session.stored)


def test_a_commit_record_is_stored_when_all_pages_before_it_are():
    order = []
    objects = new_objects()
    put = objects.put

    class Slow:
        def __getattr__(self, name):
            return getattr(objects, name)

        def put(self, key, data):
            order.append(("begin", key))
            time.sleep(0.05)  # so that one that does not wait for those before it is seen
            put(key, data)
            order.append(("end", key))

    session = PackSession(Slow(), roll_bytes=MIB)
    for number in range(8):
        session.put_page(noise(400_000, number))
    record = session.put_commit(b"one")
    for number in range(8, 14):
        session.put_page(noise(400_000, number))
    second = session.put_commit(b"two")
    session.close()
    for ref in (record, second):
        key = next(key for _, key in order if ref.pack.hex() in key)
        begun = order.index(("begin", key))
        earlier = [info.name for info in session.stored]
        earlier = earlier[: earlier.index(ref.pack.hex())]
        assert all(any(name in done for what, done in order[:begun] if what == "end") for name in earlier)
        assert bytes(read_frame(objects, ref, FrameKind.COMMIT)) in {b"one", b"two"}
    assert session.own == {info.name for info in session.stored}
