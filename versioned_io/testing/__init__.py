"""Contracts that every object store and every catalog must pass, as classes of tests for pytest to run.

Derive a test class from the contract and give it the fixture that the contract asks for, of an adapter of your own::

    from versioned_io.testing import ObjectStoreContract

    class TestMyObjects(ObjectStoreContract):
        @pytest.fixture
        def objects(self, tmp_path):
            return MyObjects(tmp_path)      # an empty store, a new one for each test

A `CatalogContract` asks for ``catalog_url``, the SQLAlchemy URL of an empty database. pytest is needed, and is not
installed with the library.
"""

import pytest

# Before the import, so that a failing check says what it compared.
pytest.register_assert_rewrite("versioned_io.testing.objects", "versioned_io.testing.catalogs")

from versioned_io.testing.catalogs import CatalogContract  # noqa: E402
from versioned_io.testing.objects import ObjectStoreContract  # noqa: E402

__all__ = ["CatalogContract", "ObjectStoreContract"]
