"""Leaf pages are led to where their chunks lie now, also when most of a page is known from the version before it."""

import random

import pyarrow as pa
import pytest

from tests.versioned_io.storage.pages.trees import rows
from versioned_io.maintenance.compaction.moved_places import MovedPlaces
from versioned_io.model.places import FrameRef
from versioned_io.storage.pages.schema import ROWS, decode_page, encode_page


def leaf_of(packs):
    """One file for each pack's number; its chunk lies at offset 32 of that pack."""
    tables = [rows({f"{number:03}": (number % 6, None)}, commit=pack) for number, pack in enumerate(packs)]
    return pa.concat_tables(tables).combine_chunks().to_batches()[0]


def page_of(leaf):
    return decode_page(encode_page(0, leaf))


def places_in(leaf):
    chunks = leaf.column("chunks").flatten()
    fields = (chunks.field(name).to_pylist() for name in ("pack", "offset", "stored"))
    return [FrameRef(*place) for place in zip(*fields, strict=True)]


def led_by_page(places, leaf):
    return places.lead(page_of(leaf))


def led_by_rows(places, leaf):
    return places.lead_rows(leaf)


@pytest.mark.parametrize("lead", [led_by_page, led_by_rows])
@pytest.mark.parametrize("blank", [frozenset(), frozenset([rows({"x": (3, None)}).column("digest")[0].as_py()])])
def test_each_chunk_is_led_where_the_place_says(blank, lead):
    numbers = random.Random(4)
    moved = {
        FrameRef(pack.to_bytes(16, "big"), 32, 100): FrameRef((pack + 1000).to_bytes(16, "big"), pack * 7, 90)
        for pack in range(1, 40, 2)
    }
    places = MovedPlaces(blank)
    places.of.update(moved)
    packs = [numbers.randrange(40) for _ in range(30)]
    for step in range(60):
        packs[numbers.randrange(len(packs))] = numbers.randrange(40)
        if step % 10 == 9:
            packs.append(numbers.randrange(40))
        leaf = leaf_of(packs) if step % 7 else leaf_of([0, *packs]).slice(1)
        digests = leaf.column("digest").to_pylist()
        olds = places_in(leaf)
        expected = [
            place if digest in blank else moved.get(place, place) for digest, place in zip(digests, olds, strict=True)
        ]
        payload = lead(places, leaf)
        assert payload is not None
        led = decode_page(payload).batch
        assert places_in(led) == expected
        others = [name for name in ROWS.names if name != "chunks"]
        assert led.select(others).equals(leaf.select(others))
        for name in ("digest", "inner", "size"):
            assert led.column("chunks").flatten().field(name).equals(leaf.column("chunks").flatten().field(name))


def test_a_page_of_which_nothing_moved_is_left_alone():
    places = MovedPlaces(frozenset())
    places.of[FrameRef((1).to_bytes(16, "big"), 32, 100)] = FrameRef((2).to_bytes(16, "big"), 1, 1)
    assert places.lead(page_of(leaf_of([3, 4, 5]))) is None
    assert places.lead(page_of(leaf_of([3, 1, 5]))) is not None
    assert places.lead(page_of(leaf_of([3, 4, 5]))) is None
