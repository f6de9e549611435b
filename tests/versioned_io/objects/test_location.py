"""From a URL to an object store."""

import subprocess
import sys
import uuid

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.objects import open_objects
from versioned_io.objects.local import LocalObjects


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
        "import sys; from versioned_io.objects import open_objects;"
        f"open_objects({str(tmp_path)!r}).put('key', [b'x']); sys.exit('obstore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
