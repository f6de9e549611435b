"""Objects in a real Azure blob server, Azurite, over the network."""

import uuid

import pytest

import versioned_io as vio
from versioned_io.errors import StorageError
from versioned_io.storage.objects import open_objects
from versioned_io.testing import ObjectStoreContract

azure = pytest.importorskip("devservers.azure_server", reason="the servers of tests are not there")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(azure.find_azurite() is None, reason="make azurite installs the server"),
]


@pytest.fixture(scope="module")
def azure_server(tmp_path_factory):
    with azure.AzureServer(azure.find_azurite(), tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="module")
def container(azure_server):
    return azure_server.create_container()


class TestAzureObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self, azure_server, container):
        return open_objects(f"az://{container}/{uuid.uuid4().hex}", azure_server.options)


def test_a_whole_store_works_there(azure_server, container, tmp_path):
    place = {"catalog": f"sqlite:///{tmp_path}/catalog.db", "storage_options": azure_server.options}
    url = f"az://{container}/store"
    large = bytes(range(256)) * 12_000
    with vio.create_store(url, **place) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("large", large)
            tx.write("small", b"1")
    with vio.open_store(url, **place) as store:
        assert store.snapshot("r@main").read("large") == large
        store.compact()
        store.gc()
        assert store.fsck().is_clean
        assert store.snapshot("r@main").checkout(tmp_path / "out") == 2


def test_a_wrong_key_is_told_without_showing_it(azure_server, container):
    wrong = {**azure_server.options, "account_key": "c2VjcmV0c2VjcmV0"}
    with pytest.raises(StorageError) as caught:
        open_objects(f"az://{container}/x", wrong).put("key", [b"1"])
    assert "c2VjcmV0" not in str(caught.value)
