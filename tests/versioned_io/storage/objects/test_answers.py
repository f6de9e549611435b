"""A server's refusal is named by its code, with what to do, and nothing secret of it is repeated."""

import traceback

import pytest

from tests.versioned_io.fault.faulty_http import REPLY_LOST, FaultyHTTP
from versioned_io.errors import ExistsError, ObjectNotFoundError, StorageError
from versioned_io.storage.objects import open_objects

SECRET = "wJalrXUtnFEMI-secret"


def xml(code):
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{SECRET}</Message>'
        f"<AWSAccessKeyId>{SECRET}</AWSAccessKeyId><StringToSign>{SECRET}</StringToSign></Error>"
    ).encode()


@pytest.fixture
def server():
    with FaultyHTTP("http://127.0.0.1:9") as proxy:
        yield proxy


@pytest.fixture
def objects(server):
    options = {"endpoint": server.url, "allow_http": "true", "access_key_id": SECRET, "secret_access_key": SECRET}
    return open_objects("s3://bucket/x", {**options, "max_retries": "1"})


CALLS = {
    "put": lambda objects: objects.put("key", [b"1"]),
    "get": lambda objects: objects.get("key"),
    "range": lambda objects: objects.get_range("key", 0, 1),
    "list": lambda objects: list(objects.list("")),
    "delete": lambda objects: objects.delete(["a", "b"]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        (400, "ExpiredToken", "have expired: get new ones"),
        (403, "ExpiredToken", "have expired: get new ones"),
        (403, "InvalidAccessKeyId", "does not know the access key"),
        (403, "SignatureDoesNotMatch", "check secret_access_key"),
        (403, "RequestTimeTooSkewed", "clock of this machine is wrong"),
        (403, "AccessDenied", "refuses the credentials"),
        (503, "SlowDown", "fewer writers at once"),
        (301, "PermanentRedirect", "another region"),
        (400, "SomethingNew", "its server answers 400 SomethingNew"),
    ],
)
def test_a_refusal_is_named_with_what_to_do(server, objects, call, answer):
    status, code, advice = answer
    server.arm(1, REPLY_LOST, each=1, answer=(status, xml(code)))
    with pytest.raises(StorageError) as caught:
        CALLS[call](objects)
    assert code in str(caught.value)
    assert advice in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("status", "body"), [(400, SECRET.encode()), (403, b""), (418, b"<Code>" + b"x" * 999)])
def test_a_refusal_without_a_code_is_named_by_its_status(server, objects, status, body):
    server.arm(1, REPLY_LOST, each=1, answer=(status, body))
    with pytest.raises(StorageError, match=str(status)) as caught:
        objects.get("key")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("call", ["put", "get", "list"])
def test_a_bucket_that_is_gone_is_said_to_be_missing_and_not_the_object(server, objects, call):
    server.arm(1, REPLY_LOST, each=1, answer=(404, xml("NoSuchBucket")))
    with pytest.raises(StorageError, match="there is no bucket"):
        CALLS[call](objects)


def test_a_bucket_may_have_no_such_object(server, objects):
    server.arm(1, REPLY_LOST, each=1, answer=(404, xml("NoSuchKey")))
    with pytest.raises(ObjectNotFoundError):
        objects.get("key")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "ConditionalRequestConflict"),
        (409, "OperationAborted"),
        (412, "PreconditionFailed"),
        (409, "SomethingNew"),
    ],
)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_put_that_is_refused_says_exists_only_when_the_object_does(s3_server, s3_place, status, code, is_there):
    url, options = s3_place
    with FaultyHTTP(s3_server.url) as proxy:
        objects = open_objects(url, {**options, "endpoint": proxy.url, "max_retries": "0"})
        if is_there:
            open_objects(url, options).put("key", [b"1"])
        proxy.arm(1, REPLY_LOST, answer=(status, xml(code)))
        with pytest.raises(ExistsError if is_there else StorageError, match="exists" if is_there else code):
            objects.put("key", [b"1"])


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_put_waits_for_another_one_that_is_under_way(s3_server, s3_place, code):
    url, options = s3_place
    with FaultyHTTP(s3_server.url) as proxy:
        objects = open_objects(url, {**options, "endpoint": proxy.url})
        proxy.arm(1, REPLY_LOST, answer=(409, xml(code)))
        objects.put("key", [b"1"])
        assert (proxy.struck, objects.get("key")) == (1, b"1")
