"""Both catalogs keep the contract that is shipped for others."""

import pytest

from versioned_io.testing import CatalogContract


class TestSqlite(CatalogContract):
    @pytest.fixture
    def catalog_url(self, tmp_path):
        return f"sqlite:///{tmp_path}/catalog.db"


class TestPostgresql(CatalogContract):
    @pytest.fixture
    def catalog_url(self, postgres_url):
        return postgres_url
