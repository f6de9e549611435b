"""The whole frames of a damaged pack are found, and nothing else is taken for one."""

import random
import struct
from itertools import islice

import pytest

from versioned_io.errors import IntegrityError
from versioned_io.model.identifiers import new_pack_name
from versioned_io.model.places import pack_key
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.packs.footer import HEAD_SIZE
from versioned_io.storage.packs.frames import HEADER_SIZE, FrameKind, encode_frame
from versioned_io.storage.packs.reader import iterate_frames
from versioned_io.storage.packs.walking import walk_frames
from versioned_io.storage.packs.writer import PackWriter

DICE = random.Random(3)
PAYLOADS = [
    (FrameKind.BLOCK, b"a line\n" * 40),
    (FrameKind.PAGE, DICE.randbytes(70)),
    (FrameKind.BLOCK, b""),
    (FrameKind.COMMIT, DICE.randbytes(30)),
    (FrameKind.JOURNAL, b"vf1\n" * 5),
]


@pytest.fixture
def pack(tmp_path):
    """A pack's name, its bytes, and its frames as (kind, offset, size, payload)."""
    objects = LocalObjects(tmp_path)
    writer = PackWriter(objects)
    for kind, payload in PAYLOADS:
        writer.append(kind, payload)
    name = writer.close().name
    frames = [
        (kind, ref.offset, ref.stored_size, bytes(payload)) for kind, ref, payload in iterate_frames(objects, name)
    ]
    return name, objects.get(pack_key(name)), frames


def walked(name, data):
    return [
        (frame.kind, frame.offset, frame.stored_size, bytes(payload))
        for frame, payload in walk_frames(name, data)
        if frame.kind is not FrameKind.FOOTER
    ]


def test_a_whole_pack_is_walked_as_its_footer_says_and_the_footer_comes_last(pack):
    name, data, frames = pack
    assert walked(name, data) == frames
    assert [(frame[0], frame[3]) for frame in frames] == PAYLOADS
    kinds = [frame.kind for frame, _ in walk_frames(name, data)]
    assert kinds == [*(kind for kind, _ in PAYLOADS), FrameKind.FOOTER]


def test_of_a_pack_cut_anywhere_the_frames_before_the_cut_are_found(pack):
    name, data, frames = pack
    for length in range(len(data)):
        assert walked(name, data[:length]) == [frame for frame in frames if frame[1] + frame[2] <= length]


def test_a_flipped_bit_anywhere_costs_no_frame_but_its_own(pack):
    name, data, frames = pack
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << DICE.randrange(8)
        whole = [frame for frame in frames if not frame[1] <= at < frame[1] + frame[2]]
        assert walked(name, bytes(damaged)) == whole, at


def test_a_lost_range_costs_the_frames_that_it_touches_alone(pack):
    name, data, frames = pack
    for _ in range(200):
        start = DICE.randrange(HEAD_SIZE, len(data))
        end = min(len(data), start + DICE.randrange(1, 200))
        damaged = data[:start] + bytes(end - start) + data[end:]
        touched = [
            frame for frame in frames if data[frame[1] : frame[1] + frame[2]] != damaged[frame[1] : frame[1] + frame[2]]
        ]
        assert walked(name, damaged) == [frame for frame in frames if frame not in touched]


def test_a_stored_file_that_looks_like_a_pack_is_no_frame(tmp_path):
    """Also not where the frame that holds it is damaged, so that its bytes are searched."""
    objects, name = LocalObjects(tmp_path), new_pack_name()
    inner = b"".join(encode_frame(bytes.fromhex(name), HEAD_SIZE, FrameKind.COMMIT, b"a lie"))
    other = b"".join(encode_frame(bytes.fromhex(new_pack_name()), HEAD_SIZE + HEADER_SIZE, FrameKind.COMMIT, b"a lie"))
    writer = PackWriter(objects, name=name)
    writer.append(FrameKind.BLOCK, other + inner + DICE.randbytes(5000))
    writer.append(FrameKind.PAGE, b"the next")
    writer.close()
    data = bytearray(objects.get(pack_key(name)))
    assert inner in data
    data[HEAD_SIZE + HEADER_SIZE + len(other + inner) + 3] ^= 1
    assert [payload for _, _, _, payload in walked(name, bytes(data))] == [b"the next"]


def test_a_pack_in_another_s_place_holds_no_frame(pack):
    _, data, _ = pack
    assert walked(new_pack_name(), data) == []


def of_headers(start, count):
    """Return headers alone, for a pack from byte *start* on, each of which says that its frame reaches to the end."""
    size = HEADER_SIZE * count
    return b"".join(
        struct.pack("<4sBBHIIQ", b"vf1\n", FrameKind.PAGE, 0, 0, size - at - HEADER_SIZE, 1 << 22, start + at)
        for at in range(0, size, HEADER_SIZE)
    )


def test_headers_that_each_lead_over_all_the_others_are_not_all_followed(pack):
    """What was hashed grew with the square of their number."""
    name, data, frames = pack
    at = frames[-1][1] + frames[-1][2]
    walk = walk_frames(name, data[:at] + of_headers(at, 10_000))
    assert [frame.offset for frame, _ in islice(walk, len(frames))] == [frame[1] for frame in frames]
    with pytest.raises(IntegrityError, match="too many bytes only look like frames"):
        next(walk)


def test_what_lies_behind_a_damaged_frame_that_holds_a_whole_pack_is_found(tmp_path):
    objects = LocalObjects(tmp_path)
    inner = PackWriter(objects)
    for number in range(5000):
        inner.append(FrameKind.COMMIT, DICE.randbytes(60 + number % 7))
    stored = objects.get(pack_key(inner.close().name))
    outer = PackWriter(objects)
    outer.append(FrameKind.BLOCK, stored)
    outer.append(FrameKind.COMMIT, b"behind")
    name = outer.close().name
    data = bytearray(objects.get(pack_key(name)))
    data[HEAD_SIZE] ^= 1  # not even a header
    assert [payload for _, _, _, payload in walked(name, bytes(data))] == [b"behind"]
