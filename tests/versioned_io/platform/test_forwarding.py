import inspect

import pytest

from versioned_io.platform.forwarding import forward


class Part:
    def double(self, number: int, *, plus: int = 0) -> int:
        """Return twice the number."""
        return 2 * number + plus


class Owner:
    double = forward("_part", Part.double)

    def __init__(self):
        self._part = Part()


def test_a_forwarded_call_looks_and_works_like_that_of_the_part():
    assert Owner().double(2, plus=1) == 5
    assert Owner.double(Owner(), 2) == 4
    assert inspect.signature(Owner.double) == inspect.signature(Part.double)
    assert inspect.isfunction(Owner.double)
    assert inspect.getdoc(Owner.double) == "Return twice the number."
    with pytest.raises(TypeError, match="positional"):
        Owner().double(2, 1)


def forwarded(cls):
    """Yield each forwarded method of a class, with what finds its part."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if hasattr(method, "__wrapped__"):
            yield name, method.__wrapped__, inspect.getclosurevars(method).nonlocals["find"]


def test_every_call_goes_to_the_part_that_has_it(store):
    store.create_repo("r")
    tx = store.transaction("r@main")
    for owner, least in ((store, 40), (tx, 10), (tx.branch("r@main"), 10), (store.snapshot("r@main"), 14)):
        calls = list(forwarded(type(owner)))
        assert len(calls) > least
        for name, method, find in calls:
            assert getattr(find(owner), name).__func__ is method
