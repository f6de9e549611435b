"""Asset URIs: one spelling for one meaning."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_versioned.uris import AssetAddress, parse_address, sanitize_uri

REPOS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,20}", fullmatch=True)
BRANCHES = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9._/-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
CONNECTIONS = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)
TEMPLATES = st.from_regex(r"[a-z ?#%é=&]{1,8}/\{[a-z]{1,5}\}\.[a-z]{1,4}", fullmatch=True)


def test_a_branch_is_written_as_repo_and_branch():
    assert AssetAddress("orders", "main").uri == "versioned://orders/main"


def test_a_branch_with_a_slash_stays_one_part_of_the_path():
    assert AssetAddress("orders", "team/fix").uri == "versioned://orders/team%2Ffix"


def test_a_template_is_readable():
    assert AssetAddress("w", "main", template="{year}/{month}.csv").uri == "versioned://w/main/{year}/{month}.csv"


def test_another_connection_is_named():
    assert AssetAddress("orders", "main", connection="archive").uri == "versioned://archive@orders/main"


@given(REPOS, BRANCHES, CONNECTIONS, st.none() | TEMPLATES, st.booleans())
def test_every_address_is_read_back_from_its_uri(repo, branch, connection, template, with_key):
    address = AssetAddress(repo, branch, connection, template, "{a}|{b}" if with_key and template else None)
    assert parse_address(urlsplit(address.uri)) == address


@given(REPOS, BRANCHES, CONNECTIONS, st.none() | TEMPLATES)
def test_the_canonical_uri_is_what_airflow_keeps(repo, branch, connection, template):
    from airflow.sdk import Asset

    uri = AssetAddress(repo, branch, connection, template).uri
    asset = Asset(name=uri, uri=uri)
    assert asset.uri == uri


@pytest.mark.parametrize(
    "spelling",
    [
        "versioned://orders/main/",
        "VERSIONED://orders/main",
        "versioned://orders/m%61in",
        "versioned://versioned_default@orders/main",
        "versioned://orders/main#part",
    ],
)
def test_other_spellings_become_the_canonical_one(spelling):
    from airflow.sdk import Asset

    assert Asset(spelling).uri == "versioned://orders/main"


@pytest.mark.parametrize(
    "wrong",
    [
        "versioned://orders",
        "versioned:///main",
        "versioned://@orders/main",
        "versioned://orders/main?key=x",
        "versioned://orders/main/{a}.csv?keys=x",
        "file://orders/main",
    ],
)
def test_what_is_no_branch_is_refused_with_the_form_to_write(wrong):
    with pytest.raises(ValueError, match="is not a versioned asset"):
        sanitize_uri(urlsplit(wrong))
