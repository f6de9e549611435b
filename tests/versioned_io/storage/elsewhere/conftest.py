"""Objects that are not the store's: in a local directory and in a bucket of a real S3 server, seen alike."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.storage.elsewhere import parts

PART = 1000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of 1,000 bytes, so that a few kilobytes are many of them."""
    monkeypatch.setattr(parts, "_PART_BYTES", PART)


class Directory:
    """A local directory as somebody else uses it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.as_uri() + "/"
        self.options: dict[str, str] = {}
        root.mkdir()

    def put(self, key, data):
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # A new file, as tools that write safely leave it: whatever the clock says, the inode is another one.
        new = path.with_name(f".new-{path.name}")
        new.write_bytes(data)
        new.rename(path)

    def delete(self, key):
        (self.root / key).unlink()


@dataclass
class Bucket:
    """A prefix of a bucket as somebody else uses it, through boto3."""

    client: object
    bucket: str
    options: dict[str, str]
    prefix: str = "in/put/"

    @property
    def url(self):
        return f"s3://{self.bucket}/{self.prefix}"

    def put(self, key, data):
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def keep_versions(self):
        self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})


def boto3_client(options):
    boto3 = pytest.importorskip("boto3")
    return boto3.client(
        "s3",
        endpoint_url=options["endpoint"],
        aws_access_key_id=options["access_key_id"],
        aws_secret_access_key=options["secret_access_key"],
        region_name=options["region"],
    )


@pytest.fixture
def directory(tmp_path):
    return Directory(tmp_path / "outside")


@pytest.fixture
def bucket(s3_server):
    options = s3_server.options
    return Bucket(boto3_client(options), s3_server.create_bucket(), options)


@pytest.fixture(params=["directory", "bucket"])
def place(request):
    """A place outside of the store: put, delete, url, options."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def open_again(tmp_path):
    """A function that opens the store of `refers` again, by default without any source."""
    opened = []

    def reopen(**options):
        opened.append(vio.open_store(tmp_path / "store", **options))
        return opened[-1]

    yield reopen
    for one in opened:
        one.close()


@pytest.fixture
def refers(place, tmp_path):
    """A store in a directory that may read *place*, with the repo r."""
    with vio.create_store(tmp_path / "store", sources={place.url: place.options}) as store:
        store.create_repo("r")
        yield store
