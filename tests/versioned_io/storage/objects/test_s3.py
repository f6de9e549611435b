"""Objects in a real S3 server, over the network."""

from importlib.util import find_spec

import pytest

import versioned_io as vio
from tests.versioned_io.storage.objects.stores import CountingObjects
from versioned_io.errors import ConflictError, InvalidInputError, ObjectNotFoundError, StorageError, StoreNotFoundError
from versioned_io.storage.objects import open_objects
from versioned_io.storage.objects.clients import open_client
from versioned_io.testing import ObjectStoreContract

needs_boto3 = pytest.mark.skipif(find_spec("boto3") is None, reason="boto3 comes with versioned-io[s3]")
SECRET = "wJalrXUtnFEMI-secret"


class TestS3Objects(ObjectStoreContract):
    @pytest.fixture
    def objects(self, s3_place):
        url, options = s3_place
        return open_objects(url, options)


def test_many_objects_are_deleted_with_one_request(s3_place):
    url, options = s3_place
    objects = open_objects(url, options)
    keys = [f"k/{number}" for number in range(20)]
    for key in keys:
        objects.put(key, [b"1"])
    objects.delete([*keys[:15], "missing"])
    assert {info.key for info in objects.list("k/")} == set(keys[15:])
    objects.delete([])


def test_a_bucket_that_is_not_there_is_said_to_be_missing(s3_server):
    with pytest.raises(StorageError, match="no bucket"):
        open_objects("s3://no-such-bucket/x", s3_server.options).get("key")
    with pytest.raises(StorageError, match="no bucket"):
        vio.open_store("s3://no-such-bucket/x", storage_options=s3_server.options, catalog="sqlite:////tmp/none.db")


def test_an_endpoint_that_nobody_answers_at_is_a_storage_error_soon():
    options = {
        "endpoint": "http://127.0.0.1:9",
        "allow_http": "true",
        "access_key_id": "x",
        "secret_access_key": SECRET,
    }
    objects = open_objects("s3://bucket/x", {**options, "max_retries": "1", "connect_timeout_s": "1"})
    with pytest.raises(StorageError) as caught:
        objects.get("key")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acces_key_id": SECRET}, "did you mean 'access_key_id'"),
        ({"allow_http": SECRET}, "'allow_http' must be true or false"),
        ({"timeout_s": SECRET}, "'timeout_s' must be a number"),
        ({"timeout_s": "-1"}, "'timeout_s' must be a number"),
        pytest.param({"profile": "no-such-profile"}, "no-such-profile", marks=needs_boto3),
        ({"access_key_id": "x", "secret_access_key": SECRET, "endpoint": "no url"}, "'endpoint' must be a URL"),
    ],
)
def test_options_that_make_no_sense_are_named_and_their_values_are_not(options, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        open_objects("s3://bucket/prefix", options)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("url", ["somewhere", "file:///somewhere", "memory://x"])
def test_a_store_that_is_no_bucket_takes_no_options(url):
    with pytest.raises(InvalidInputError, match="takes no storage options"):
        open_objects(url, {"region": "x"})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("gs://bucket/prefix", {"skip_signature": "true"}),
        ("az://container/prefix", {"account_name": "account", "account_key": "MTIz"}),
        ("abfss://container@account.dfs.core.windows.net/prefix", {}),
        ("s3a://bucket/prefix", {"skip_signature": "true", "virtual_hosted_style": "true"}),
    ],
)
def test_other_kinds_of_stores_and_public_buckets_open_without_a_request(url, options):
    objects = open_objects(url, options)
    assert (objects.url, objects.is_remote) == (url, True)


@needs_boto3
def test_without_credentials_it_says_where_they_come_from(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="no credentials"):
        open_objects("s3://bucket/prefix", {})


@needs_boto3
def test_credentials_and_endpoint_come_from_a_profile(monkeypatch, tmp_path, s3_server):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "config"
    config.write_text(
        f"[profile work]\nregion = eu-west-1\nendpoint_url = {s3_server.url}\n"
        f"aws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    url = f"s3://{s3_server.create_bucket()}/p"
    options = {"profile": "work", "allow_http": "true"}
    objects = open_objects(url, options)
    objects.put("key", [b"1"])
    assert open_objects(url, s3_server.options).get("key") == b"1"
    assert SECRET not in repr(objects) + repr(open_client(url, options))
    with pytest.raises(ObjectNotFoundError):
        objects.get("nothing")


@pytest.fixture(params=["sqlite", "postgresql"])
def s3_store(request, s3_place, tmp_path):
    url, options = s3_place
    catalog = (
        request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/catalog.db"
    )
    with vio.create_store(url, catalog=catalog, storage_options=options) as store:
        yield store, lambda **more: vio.open_store(url, catalog=catalog, storage_options=options, **more)


def test_a_whole_store_works_in_a_bucket(s3_store, write, files_of, tmp_path):
    store, reopen = s3_store
    store.create_repo("r")
    files = {f"d/{number:03}": b"%d" % number for number in range(300)} | {"large": bytes(3_000_000)}
    write(store, "r@main", files)
    write(store, "r@main", {"d/007": b"changed", "large": None})
    del files["large"]
    files["d/007"] = b"changed"
    with reopen() as other:
        assert files_of(other, "r@main") == files
        assert other.diff("r@main~1", "r@main").column("path").to_pylist() == ["d/007", "large"]
        late = other.transaction("r@main")
        late.write("d/007", b"late")
        write(store, "r@main", {"d/007": b"first"})
        with pytest.raises(ConflictError):
            late.finish()
        assert other.snapshot("r@main").checkout(tmp_path / "out") == 300
        assert other.fsck().is_clean
        assert other.compact(small_bytes=0).packs == 0
        assert other.gc().deleted == 0


def test_a_small_commit_is_one_put_and_little_is_read(s3_store, write):
    store, reopen = s3_store
    store.create_repo("r")
    write(store, "r@main", {f"d/{number:05}": b"%d" % number for number in range(5000)})
    with reopen() as other:
        counted = CountingObjects(other._backend.objects)
        other._backend.pages._objects = other._backend.chunks._objects = counted
        assert other.snapshot("r@main").read("d/04321") == b"4321"
        assert counted.calls["get_ranges"] <= other.commit("r@main").root.level + 2
        assert set(counted.calls) <= {"get_ranges", "ranges"}
    counted = CountingObjects(store._backend.objects)
    tx = store.transaction("r@main")
    tx._data.packs._objects = counted
    tx.write("d/00007", b"changed")
    tx.finish()
    assert counted.calls["put"] == 1


def test_a_store_that_is_not_there_is_not_found(s3_place, tmp_path):
    url, options = s3_place
    with pytest.raises(StoreNotFoundError):
        vio.open_store(url, catalog=f"sqlite:///{tmp_path}/c.db", storage_options=options)
    with pytest.raises(InvalidInputError, match="needs a catalog"):
        vio.create_store(url, storage_options=options)


def test_what_was_read_is_kept_on_the_disk(s3_store, write, tmp_path):
    store, reopen = s3_store
    store.create_repo("r")
    write(store, "r@main", {"a": b"1" * 1000})
    for _ in range(2):
        with reopen(cache=tmp_path / "cache") as other:
            assert other.snapshot("r@main").read("a") == b"1" * 1000
    with reopen(cache=tmp_path / "cache") as other:
        counted = CountingObjects(other._backend.objects._inner)
        other._backend.objects._inner = counted
        assert other.snapshot("r@main").read("a") == b"1" * 1000
        assert counted.calls == {}


@pytest.mark.skipif(find_spec("boto3") is not None, reason="boto3 is there")
def test_without_boto3_it_says_what_to_install():
    with pytest.raises(InvalidInputError, match=r"versioned-io\[s3\]"):
        open_objects("s3://bucket/prefix", {})
