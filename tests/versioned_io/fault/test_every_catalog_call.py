"""Every statement and every COMMIT fails once in a day's work, on both catalogs: what was told of each step is so."""

import uuid
from functools import partial
from itertools import count

import pytest

from tests.versioned_io.fault.days_work import STEPS, Databases, Mornings, state
from versioned_io.errors import StorageError

pytestmark = pytest.mark.slow

BEFORE = "before"
"""The call does not reach the catalog."""
AFTER = "after"
"""The call is done, and its reply is lost: what a statement did ends with the transaction, a COMMIT stays."""
GONE = "gone"
"""As AFTER, and then nothing answers any more until the step has ended."""

WAYS = [BEFORE, AFTER, GONE]
STRIDE = 23
"""One call in so many is struck in `make test`, and every COMMIT."""


class Calls:
    """Makes the n-th call to the catalog of *engine* fail, and notes all; it stands where the driver is called."""

    def __init__(self, engine, number=0, way=BEFORE):
        self.names = []
        self._number, self._way, self._is_over = number, way, False
        self._error = engine.dialect.dbapi.OperationalError
        for name in ("do_execute", "do_executemany", "do_execute_no_params", "do_commit"):
            setattr(engine.dialect, name, partial(self._call, getattr(engine.dialect, name), name))

    def end(self):
        self._is_over = True

    def _call(self, function, name, *arguments, **options):
        if self._is_over:
            return function(*arguments, **options)
        self.names.append("COMMIT" if name == "do_commit" else str(arguments[1]).split(maxsplit=1)[0])
        strikes = len(self.names) == self._number
        if (strikes and self._way == BEFORE) or (self._way == GONE and 0 < self._number < len(self.names)):
            raise self._error("the connection is gone")
        result = function(*arguments, **options)
        if strikes:
            raise self._error("no reply came")
        return result


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    return Mornings(tmp_path_factory.mktemp("mornings"))


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory, postgres_server):
    return Mornings(tmp_path_factory.mktemp("mornings"), Databases(postgres_server, f"day_{uuid.uuid4().hex[:8]}"))


def fail_once(mornings, position, number, way):
    """Let the n-th call of a step fail, and return its name, or None when there were fewer."""
    step, (old, new) = STEPS[position], mornings.states[position : position + 2]
    place = mornings.copy(position)
    with place.open() as store:
        calls = Calls(store._backend.catalog.engine, number, way)
        try:
            step(store)
            is_done = True
        except StorageError:
            is_done = False
        calls.end()
    name = calls.names[number - 1] if len(calls.names) >= number else None
    # Only the reply to a COMMIT can leave somebody in doubt, and whoever can asks before it says that it failed.
    may_be_done = name == "COMMIT" and (way == GONE or (way == AFTER and not step.recognises))
    with place.open() as store:
        found = state(store)
        told = f"{name}, call {number} of step {position}, {'succeeded' if is_done else 'failed'}"
        assert found == (new if is_done else old) or (may_be_done and found == new), told
        assert store.fsck().problems == (), told
        if found == old:
            step(store)
            assert state(store) == new, told
            assert store.fsck().problems == (), told
    mornings.remove(place)
    return name


def fail_every_call(mornings, way):
    struck = set()
    for position in range(len(STEPS)):
        for number in count(1):
            name = fail_once(mornings, position, number, way)
            if name is None:
                break
            struck.add(name)
    return struck


def calls_of(mornings, position):
    place = mornings.copy(position)
    with place.open() as store:
        calls = Calls(store._backend.catalog.engine)
        STEPS[position](store)
    mornings.remove(place)
    return calls.names


@pytest.mark.parametrize("way", WAYS)
def test_each_step_survives_the_failure_of_any_commit_and_of_some_statements(sqlite, way):
    struck = []
    for position in range(len(STEPS)):
        for number, name in enumerate(calls_of(sqlite, position), 1):
            if name == "COMMIT" or number % STRIDE == position % STRIDE:
                struck.append(fail_once(sqlite, position, number, way))
    assert {"COMMIT", "SELECT", "INSERT"} <= set(struck)


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("catalog", ["sqlite", "postgresql"])
def test_each_step_survives_the_failure_of_any_call(request, catalog, way):
    struck = fail_every_call(request.getfixturevalue(catalog), way)
    assert {"COMMIT", "SELECT", "INSERT", "UPDATE", "DELETE"} <= struck
    assert ("BEGIN" in struck) == (catalog == "sqlite")
