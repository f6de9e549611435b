"""What the tests of the Dagster integration share: a store's location, and a Dagster instance of each kind."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedIOManager


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The location of a store that does not exist yet."""
    return str(tmp_path / "store")


@pytest.fixture
def io_manager(store_url: str) -> VersionedIOManager:
    return VersionedIOManager(store=store_url)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def sqlite_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster_home"
    home.mkdir()
    with dg.instance_for_test(temp_dir=str(home)) as on_disk:
        yield on_disk


@pytest.fixture
def opened(store_url: str) -> Iterator[vio.Store]:
    """The store, made and open."""
    with vio.open_or_create_store(store_url) as store:
        yield store
