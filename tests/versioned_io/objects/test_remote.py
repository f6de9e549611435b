"""The object stores that obstore speaks to."""

import uuid

import pytest

from versioned_io.errors import InvalidInputError, StorageError
from versioned_io.objects.remote import RemoteObjects, open_memory, open_remote
from versioned_io.testing import ObjectStoreContract


class TestMemoryObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self):
        return open_memory(f"memory://{uuid.uuid4().hex}")


def test_memory_is_not_remote_and_a_bucket_is():
    assert not open_memory("memory://x").is_remote
    bucket = open_remote("s3://bucket/prefix", {"skip_signature": "true"})
    assert bucket.is_remote
    assert bucket.url == "s3://bucket/prefix"


def test_a_url_that_makes_no_sense_is_refused():
    with pytest.raises(InvalidInputError, match="ftp://"):
        open_remote("ftp://bucket")


def test_a_store_out_of_reach_is_a_storage_error():
    from obstore.store import HTTPStore

    unreachable = HTTPStore.from_url(
        "http://127.0.0.1:9/", client_options={"allow_http": True}, retry_config={"max_retries": 0}
    )
    objects = RemoteObjects("http://127.0.0.1:9/", unreachable)
    for call in (
        lambda: objects.get("key"),
        lambda: objects.get_range("key", 0, 1),
        lambda: objects.size("key"),
        lambda: list(objects.list("")),
        lambda: objects.delete(["key"]),
    ):
        with pytest.raises(StorageError, match=r"127\.0\.0\.1:9"):
            call()
