"""Every call to the object store fails once in a day's work: each step is done or not, and was told of right."""

from itertools import count

import pytest

from tests.versioned_io.fault.days_work import STEPS, Mornings, over, state
from versioned_io.errors import StorageError

pytestmark = pytest.mark.slow


class Failing:
    """An object store of which the n-th call fails, before or after it was done; *calls* says which were made."""

    def __init__(self, objects, number, *, after):
        self._objects, self._number, self._after = objects, number, after
        self.calls = []

    url = property(lambda self: self._objects.url)
    is_remote = property(lambda self: self._objects.is_remote)

    def _call(self, name, *arguments):
        self.calls.append(name)
        strikes = len(self.calls) == self._number
        if strikes and not self._after:
            raise StorageError("the network is gone: try again")
        result = getattr(self._objects, name)(*arguments)
        if strikes:
            raise StorageError("no reply came: try again")
        return result

    def put(self, key, data):
        self._call("put", key, data)

    def get(self, key):
        return self._call("get", key)

    def get_range(self, key, offset, length):
        return self._call("get_range", key, offset, length)

    def get_ranges(self, key, ranges):
        return self._call("get_ranges", key, ranges)

    def size(self, key):
        return self._call("size", key)

    def list(self, prefix):
        yield from list(self._call("list", prefix))

    def delete(self, keys):
        self._call("delete", list(keys))


@pytest.fixture(scope="module")
def mornings(tmp_path_factory):
    return Mornings(tmp_path_factory.mktemp("mornings"))


def fail_once(mornings, position, number, *, after):
    """Let the n-th call of a step fail, and return the name of the call, or None when there were fewer."""
    step, (old, new) = STEPS[position], mornings.states[position : position + 2]
    place = mornings.copy(position)
    with place.open() as store:
        failing = Failing(store._backend.objects, number, after=after)
        try:
            step(over(store, failing))
            is_done = True
        except StorageError:
            is_done = False
    with place.open() as store:
        # What was told of as failed was not done, and nothing was half done.
        assert state(store) == (new if is_done else old), failing.calls
        assert store.fsck().problems == ()
        if not is_done:
            step(store)
            assert state(store) == new, failing.calls
            assert store.fsck().problems == ()
    mornings.remove(place)
    return failing.calls[number - 1] if len(failing.calls) >= number else None


def fail_every(mornings, stride, *, after):
    """Fail every *stride*-th call of each step, and return the names of those that were struck."""
    struck = set()
    for position in range(len(STEPS)):
        for number in count(1 + position % stride, stride):
            name = fail_once(mornings, position, number, after=after)
            if name is None:
                break
            struck.add(name)
    return struck


@pytest.mark.soak
@pytest.mark.parametrize("after", [False, True])
def test_each_step_of_a_days_work_survives_the_failure_of_any_call(mornings, after):
    # A pack is read in ranges, as is a page; whole packs are read by fsck alone.
    assert fail_every(mornings, 1, after=after) == {"put", "get_ranges", "get_range", "list", "delete", "size"}


@pytest.mark.parametrize("after", [False, True])
def test_each_step_of_a_days_work_survives_the_failure_of_one_call_in_ten(mornings, after):
    assert fail_every(mornings, 10, after=after) >= {"put", "get_ranges", "list"}
