"""The object stores that obstore speaks to."""

import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from versioned_io.errors import IntegrityError, InvalidInputError, StorageError
from versioned_io.storage.objects.remote import RemoteObjects, open_memory, open_remote
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


@pytest.mark.parametrize("path", ["", "oranges/"])
def test_a_store_out_of_reach_is_a_storage_error_whatever_it_is_called(path):
    from obstore.store import HTTPStore

    url = f"http://127.0.0.1:9/{path}"
    unreachable = HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config={"max_retries": 0})
    objects = RemoteObjects(url, unreachable)
    for call in (
        lambda: objects.get("key"),
        lambda: objects.get_range("key", 0, 1),
        lambda: objects.size("key"),
        lambda: list(objects.list("")),
        lambda: objects.delete(["key"]),
    ):
        with pytest.raises(StorageError, match=r"127\.0\.0\.1:9"):
            call()


class _OnlyHeads(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        self.end_headers()

    def do_GET(self):
        self.send_error(503)

    def log_message(self, *_):
        pass


def test_a_range_that_a_server_fails_to_read_is_no_object_that_ends_too_soon():
    from obstore.store import HTTPStore

    with HTTPServer(("127.0.0.1", 0), _OnlyHeads) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/oranges/"
        client = HTTPStore.from_url(url, client_options={"allow_http": True}, retry_config={"max_retries": 0})
        objects = RemoteObjects(url, client)
        assert objects.size("key") == 10
        for call in (lambda: objects.get("key"), lambda: objects.get_range("key", 0, 10)):
            with pytest.raises(StorageError, match="503"):
                call()
        with pytest.raises(IntegrityError, match="up to byte 11"):
            objects.get_range("key", 0, 11)
        server.shutdown()
