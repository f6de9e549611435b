"""Packs, written and read."""

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import ExistsError, IntegrityError, InvalidInputError, PackLostError, StorageError
from versioned_io.model.identifiers import PackName, new_pack_name
from versioned_io.model.places import FrameRef, pack_key
from versioned_io.storage.objects import open_objects
from versioned_io.storage.packs.footer import FooterChunk
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import fetch_frames, iterate_frames, read_footer, read_frame
from versioned_io.storage.packs.writer import PackWriter

TEXT = b"versioned " * 10


@pytest.fixture
def objects():
    return open_objects(f"memory://{uuid.uuid4().hex}")


def small_pack(objects, name: PackName | None = None) -> PackWriter:
    writer = PackWriter(objects, name=name)
    writer.append_block(b"firstsecond", [(b"1" * 32, 0, 5), (b"2" * 32, 5, 6)])
    writer.append(FrameKind.PAGE, TEXT)
    writer.append(FrameKind.COMMIT, b"{}")
    return writer


@given(st.lists(st.tuples(st.sampled_from(list(FrameKind)[:3]), st.binary(max_size=300)), max_size=8))
def test_every_frame_is_read_back_by_its_place_and_in_order(frames):
    objects = open_objects(f"memory://{uuid.uuid4().hex}")
    writer = PackWriter(objects)
    refs = [writer.append(kind, payload) for kind, payload in frames]
    for ref, (kind, payload) in zip(refs, frames, strict=True):
        assert writer.read(ref, kind) == payload
    info = writer.close()
    assert info.size_bytes == objects.size(pack_key(info.name))
    assert info.frames == len(frames)
    for ref, (kind, payload) in zip(refs, frames, strict=True):
        assert read_frame(objects, ref, kind) == payload
        assert writer.read(ref, kind) == payload
    found = [(kind, ref, bytes(payload)) for kind, ref, payload in iterate_frames(objects, info.name)]
    assert found == [(kind, ref, payload) for ref, (kind, payload) in zip(refs, frames, strict=True)]


def test_the_footer_lists_frames_and_the_chunks_inside_blocks(objects):
    info = small_pack(objects).close()
    footer = read_footer(objects, info.name)
    assert [frame.kind for frame in footer.frames] == [FrameKind.BLOCK, FrameKind.PAGE, FrameKind.COMMIT]
    assert [frame.raw_size for frame in footer.frames] == [11, len(TEXT), 2]
    assert footer.chunks == (FooterChunk(b"1" * 32, 0, 0, 5), FooterChunk(b"2" * 32, 0, 5, 6))
    assert info.chunks == 2


def test_a_pack_is_one_put_and_a_frame_is_one_read(objects):
    counting = CountingObjects(objects)
    writer = small_pack(counting)
    ref = writer.append(FrameKind.PAGE, b"last")
    assert not counting.calls
    writer.close()
    assert counting.calls == {"put": 1}
    assert read_frame(counting, ref, FrameKind.PAGE) == b"last"
    assert counting.calls == {"put": 1, "get_ranges": 1, "ranges": 1}


def test_neighbouring_frames_are_one_read_and_come_in_the_order_asked_for(objects):
    counting = CountingObjects(objects)
    first, second = PackWriter(counting), PackWriter(counting)
    payloads = [b"%d" % number * 50 for number in range(20)]
    refs = [(first if number % 2 else second).append(FrameKind.PAGE, data) for number, data in enumerate(payloads)]
    first.append(FrameKind.BLOCK, os.urandom(100_000))
    last = first.append(FrameKind.PAGE, b"far away")
    first.close()
    second.close()
    counting.calls.clear()
    order = [*reversed(refs), last, refs[3]]
    got = [bytes(payload) for payload in fetch_frames(counting, order, FrameKind.PAGE)]
    assert got == [*reversed(payloads), b"far away", payloads[3]]
    assert counting.calls["get_ranges"] == 2
    assert counting.calls["ranges"] == 3


def test_every_flipped_bit_of_a_pack_is_noticed(objects):
    """Exhaustive over a small pack: head, frames, footer, trailer."""
    name = small_pack(objects).close().name
    good = objects.get(pack_key(name))
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert_damaged(name, bytes(bad))


def test_every_cut_and_every_addition_to_a_pack_is_noticed(objects):
    name = small_pack(objects).close().name
    good = objects.get(pack_key(name))
    for length in range(len(good)):
        assert_damaged(name, good[:length])
    assert_damaged(name, good + b"\0")
    assert_damaged(name, good + good)


def test_a_pack_under_another_name_is_noticed(objects):
    data = objects.get(pack_key(small_pack(objects).close().name))
    assert_damaged(new_pack_name(), data)


def assert_damaged(name: PackName, data: bytes) -> None:
    damaged = open_objects(f"memory://{uuid.uuid4().hex}")
    damaged.put(pack_key(name), [data])
    with pytest.raises(IntegrityError):
        list(iterate_frames(damaged, name))


def test_a_pack_that_is_gone_is_told_as_a_loss(objects):
    name = new_pack_name()
    for read in (
        lambda: read_footer(objects, name),
        lambda: list(iterate_frames(objects, name)),
        lambda: read_frame(objects, FrameRef(bytes.fromhex(name), 32, 30), FrameKind.PAGE),
    ):
        with pytest.raises(PackLostError, match=name):
            read()


def test_a_pack_that_was_never_closed_leaves_nothing(objects):
    small_pack(objects)
    small_pack(objects).abort()
    assert list(objects.list("")) == []


def test_nothing_is_appended_to_a_closed_pack(objects):
    writer = small_pack(objects)
    writer.close()
    for call in (lambda: writer.append(FrameKind.PAGE, b""), writer.close):
        with pytest.raises(InvalidInputError, match="closed"):
            call()


def test_a_put_that_arrived_though_its_reply_was_lost_is_recognised(objects):
    """A client that tries again finds its own object."""

    class Retrying(CountingObjects):
        def put(self, key, data):
            self.objects.put(key, data)
            super().put(key, data)

    writer = small_pack(Retrying(objects))
    assert writer.close().size_bytes == objects.size(pack_key(writer.name))


def test_a_name_that_somebody_else_took_is_refused(objects):
    writer = small_pack(objects)
    objects.put(pack_key(writer.name), [b"not this pack"])
    with pytest.raises(ExistsError):
        writer.close()
    assert objects.get(pack_key(writer.name)) == b"not this pack"


def test_a_put_that_fails_is_told_and_leaves_nothing(objects):
    writer = small_pack(CountingObjects(objects, failing_put=1))
    with pytest.raises(StorageError):
        writer.close()
    assert list(objects.list("")) == []


# The bytes of one pack of format 1, frozen. If this fails, stores that exist can't be read any more.
GOLDEN_NAME = PackName("01a1fc2bb0f778f6b8137ba496771d87")
GOLDEN = bytes.fromhex(
    "56494f5041434b3101a1fc2bb0f778f6b8137ba496771d874e0b9af42f119d227666310a010000000b0000000b0000007d91f362"
    "6143300966697273747365636f6e647666310a020100001a00000064000000e5e381ad39174d0328b52ffd20648d000050766572"
    "73696f6e6564200100d7a920017666310a0300000002000000020000007cc5cba931da3a5e7b7d7666310a0401000057000000a8"
    "0000002ba0cf44ad3fcff728b52ffd20a8750200340303000000020000002000230000000b00000001004300320000006475001a"
    "0300310005000000320000000005000000060000000b00a029c818ae3599436ee60b0641084f650d0606030d00098f0000000000"
    "00006f0000000000000089fa7e5e47a4a7ff314b4341504f4956"
)


def test_the_bytes_of_format_1_are_read(objects):
    objects.put(pack_key(GOLDEN_NAME), [GOLDEN])
    frames = [(kind, bytes(payload)) for kind, _, payload in iterate_frames(objects, GOLDEN_NAME)]
    assert frames == [(FrameKind.BLOCK, b"firstsecond"), (FrameKind.PAGE, TEXT), (FrameKind.COMMIT, b"{}")]
    assert read_footer(objects, GOLDEN_NAME).chunks == (
        FooterChunk(b"1" * 32, 0, 0, 5),
        FooterChunk(b"2" * 32, 0, 5, 6),
    )


def test_the_bytes_of_format_1_are_written(objects):
    """All but those that zstd chooses: a newer zstd may compress better."""
    small_pack(objects, GOLDEN_NAME).close()
    written = objects.get(pack_key(GOLDEN_NAME))
    first_frame_end = 32 + 24 + 11
    assert written[:first_frame_end] == GOLDEN[:first_frame_end]
    assert written[-8:] == GOLDEN[-8:]
