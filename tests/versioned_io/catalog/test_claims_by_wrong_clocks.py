"""A claim that a wrong clock dated into the future holds up nobody."""

from datetime import timedelta

import pytest

from versioned_io.catalog.evaluated import claim_fingerprints

LEASE = timedelta(seconds=60)
ONE = b"1" * 32


@pytest.mark.parametrize(("ahead", "is_free"), [(timedelta(seconds=30), False), (timedelta(days=30), True)])
def test_a_claim_of_a_clock_that_was_far_ahead_is_free(store, ahead, is_free):
    backend = store._backend
    if not backend.catalog.url.startswith("sqlite"):
        pytest.skip("PostgreSQL's own clock counts")
    now = backend.clock()
    with backend.catalog.write() as connection:
        assert claim_fingerprints(connection, [ONE], "crashed", now + ahead, LEASE) == {ONE}
        assert bool(claim_fingerprints(connection, [ONE], "other", now, LEASE)) is is_free
