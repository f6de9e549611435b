"""URLs of objects elsewhere, and which of them a place contains."""

from pathlib import Path

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.storage.elsewhere import Elsewhere
from versioned_io.storage.elsewhere.location import Location, parse_location


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3a://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket/a b%20é", "s3://bucket/a b%20é"),
        ("gs://bucket/k", "gs://bucket/k"),
        ("az://container/k", "az://container/k"),
        ("file:///data/a%20b", "file:///data/a%20b"),
        ("/data/a b/", "file:///data/a%20b"),
        (Path("/data/é"), "file:///data/%C3%A9"),
        ("/", "file:///"),
        ("/data/../etc", "file:///etc"),
    ],
)
def test_a_url_is_written_in_one_way(given, url):
    assert parse_location(given).url == url
    assert parse_location(url) == parse_location(given)


@pytest.mark.parametrize("name", ["a", "a b", "é", "%41", "\udcff"])
def test_a_path_below_a_prefix_is_found_again(name):
    for prefix in (
        Location("file", "", "d/é"),
        Location("file", "", ""),
        Location("s3", "b", "p"),
        Location("s3", "b", ""),
    ):
        assert prefix.relative(prefix.below(name).url) == name


def test_a_relative_path_is_below_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse_location("data") == parse_location(tmp_path / "data")


@pytest.mark.parametrize(
    ("place", "url", "is_inside"),
    [
        ("s3://b/data/", "s3://b/data/x", True),
        ("s3://b/data", "s3://b/data", True),
        ("s3://b/data/", "s3://b/database/x", False),
        ("s3://b/data/", "s3://c/data/x", False),
        ("s3://b/", "s3://b/x", True),
        ("gs://b/", "s3://b/x", False),
        ("/data", "file:///data/x", True),
        ("/data", "file:///data2", False),
        ("/", "file:///etc/passwd", True),
    ],
)
def test_a_place_contains_what_is_below_it_by_whole_parts(place, url, is_inside):
    assert parse_location(place).contains(parse_location(url)) is is_inside


@pytest.mark.parametrize(
    "url",
    [
        "http://host/x",
        "memory://x",
        "file://host/x",
        "s3://",
        "s3:///key",
        "s3://b/a//b",
        "s3://b/a/../b",
        "s3://b/./a",
        "file:///data/../etc/passwd",
        "file:///data/%2e%2e/etc/passwd",
        "s3://b/a\0",
    ],
)
def test_what_is_no_plain_url_is_refused(url):
    with pytest.raises(InvalidInputError):
        parse_location(url)


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "s3://secret@bucket/x", "s3://b/k?X-Amz-Signature=secret", "s3://b/k#secret"]
)
def test_what_may_be_secret_is_not_repeated(url):
    with pytest.raises(InvalidInputError) as caught:
        Elsewhere({url: {}})
    assert "secret" not in str(caught.value)
