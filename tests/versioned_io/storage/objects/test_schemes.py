"""From a URL to an object store."""

import subprocess
import sys
import uuid

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.storage.objects import open_objects
from versioned_io.storage.objects.local import LocalObjects


def test_a_path_and_a_file_url_are_the_same_directory(tmp_path):
    directory = tmp_path / "with space"
    open_objects(str(directory)).put("key", [b"x"])
    assert open_objects(directory.as_uri()).get("key") == b"x"
    assert isinstance(open_objects(str(directory)), LocalObjects)


def test_memory_is_shared_by_name_within_the_process():
    one, other = f"memory://{uuid.uuid4().hex}", f"memory://{uuid.uuid4().hex}"
    open_objects(one).put("key", [b"x"])
    assert open_objects(one).get("key") == b"x"
    assert list(open_objects(other).list("")) == []


def test_an_unknown_scheme_is_refused_with_what_would_do():
    with pytest.raises(InvalidInputError, match=r"ftp://.*s3://"):
        open_objects("ftp://host/path")


def test_a_local_store_never_imports_the_client_of_remote_ones(tmp_path):
    program = (
        "import sys; from versioned_io.storage.objects import open_objects;"
        f"open_objects({str(tmp_path)!r}).put('key', [b'x']); sys.exit('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket/x", {"access_key_id": "a", "secret_access_key": "b"}),
        ("s3://bucket/x", {"skip_signature": "true"}),
        ("az://bucket/x", {"account_name": "a", "account_key": "YQ=="}),
    ],
)
def test_plain_http_is_refused_by_the_name_of_the_option_that_allows_it(url, options):
    with pytest.raises(InvalidInputError, match="allow_http=true"):
        open_objects(url, {**options, "endpoint": "http://127.0.0.1:9"})
    open_objects(url, {**options, "endpoint": "http://127.0.0.1:9", "allow_http": "true"})
