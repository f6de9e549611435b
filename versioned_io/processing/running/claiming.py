"""Claims on fingerprints, so that two runs rarely evaluate one datum, and their renewal while a run works."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from versioned_io.catalog.evaluated import claim_fingerprints, end_claims, find_results, renew_claims
from versioned_io.errors import StorageError
from versioned_io.model.identifiers import CommitId
from versioned_io.versioning.backend.backend import Backend

_LEASE: Final = timedelta(seconds=60)
"""After a crash others wait so long for the datums that were claimed."""
_RENEWALS: Final = 3


def claim(backend: Backend, fingerprints: Collection[bytes], owner: str) -> set[bytes]:
    """Return the fingerprints that *owner* holds now, of those without a result. Cost: 1 SQL transaction."""
    with backend.catalog.write() as connection:
        return claim_fingerprints(connection, fingerprints, owner, backend.clock(), _LEASE)


def results_of(backend: Backend, fingerprints: Collection[bytes]) -> dict[bytes, CommitId]:
    """Return the commits that hold the results of *fingerprints*. Cost: 1 SELECT for each 500."""
    with backend.catalog.look_up() as connection:
        return find_results(connection, fingerprints)


@contextmanager
def renewed_claims(backend: Backend, owner: str) -> Iterator[None]:
    """Renew the claims of *owner* in the block, and end those that are left.

    A renewal that fails is tried again. Without it, another run may evaluate the same datums, and the first result
    stays.
    """
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(_LEASE.total_seconds() / _RENEWALS):
            try:
                with backend.catalog.write() as connection:
                    renew_claims(connection, owner, backend.clock(), _LEASE)
            except StorageError:
                continue

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with backend.catalog.write() as connection:
            end_claims(connection, None, owner)
