"""Pages that break the rules under right checksums, as only a stranger can make them: no endless repair."""

import pytest

import versioned_io as vio
from tests.versioned_io.fault.forging import Forger, make_base
from versioned_io.maintenance.fsck.remaking import remake_pages
from versioned_io.storage.packs.frames import FrameKind


@pytest.fixture(scope="module")
def forger(tmp_path_factory):
    base = tmp_path_factory.mktemp("forging") / "base"
    make_base(base)
    return Forger(base)


@pytest.fixture
def forged(forger, tmp_path):
    """Return a function that opens a store of which the given page has lost its second half."""

    def open_forged(target):
        place = tmp_path / f"{target[0]}-{target[1]}"
        forger.forge(place, target, lambda payload, _around: payload[: len(payload) // 2], renames=False)
        vio.adopt_store(place)
        return vio.open_store(place)

    return open_forged


def pages_of(forger):
    return [one for one in forger.targets if forger.kind_of(one) is FrameKind.PAGE]


@pytest.mark.timeout(120)
def test_maintenance_ends_whichever_page_it_is(forger, forged):
    pages = pages_of(forger)
    assert len(pages) > 20
    for target in pages:
        with forged(target) as store:
            store.fsck(repair=True)
            store.compact(small_bytes=1 << 20)
            store.maintain(full=True)
            assert store.fsck(repair=True).repaired == ()


def test_a_page_that_was_made_again_is_not_made_a_second_time(forger, forged):
    """A page equal to the lost one can be made of its neighbours, but no reader looks for it while that is readable."""
    first = []
    for target in pages_of(forger):
        with forged(target) as store:
            first.append(remake_pages(store._backend))
            assert remake_pages(store._backend) == 0
    assert 0 in first
