"""The one way to write the URI of a branch, or of a branch's partitions, as an Airflow asset.

``versioned://<repo>/<branch>`` is the branch; ``versioned://<repo>/<branch>/<template>`` is the branch seen through
a partition template, for example ``versioned://weather/main/{year}/{month}.csv``. A connection other than the default
is written before the repo: ``versioned://archive@weather/main``. A store without a connection is a parameter:
``versioned://weather/main?store=%2Fdata%2Fstore``. The branch is percent-encoded, so the first part of
the path is always the whole branch.

This module imports no Airflow: the provider info names it, and Airflow reads that while it starts.
"""

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode

SCHEME = "versioned"
DEFAULT_CONNECTION = "versioned_default"
_TEMPLATE_SAFE = "/{}*=,+@!()~"  # the characters of a template that stay unescaped, so that people can read it


@dataclass(frozen=True, slots=True)
class AssetAddress:
    """The parts of an asset URI.

    Attributes:
        connection: The ID of the Airflow connection to the store.
        template: The partition template, or ``None`` for the branch as a whole.
        key: The template of the key, if it is not the default.
        store: The store's URL, if it is declared instead of a connection.
    """

    repo: str
    branch: str
    connection: str = DEFAULT_CONNECTION
    template: str | None = None
    key: str | None = None
    store: str | None = None

    @property
    def uri(self) -> str:
        """The canonical URI: two addresses are equal exactly when their URIs are."""
        authority = (
            self.repo if self.connection == DEFAULT_CONNECTION else f"{quote(self.connection, safe='')}@{self.repo}"
        )
        text = f"{SCHEME}://{authority}/{quote(self.branch, safe='')}"
        if self.template is not None:
            text += "/" + quote(self.template, safe=_TEMPLATE_SAFE)
        query = {name: value for name, value in (("key", self.key), ("store", self.store)) if value is not None}
        return f"{text}?{urlencode(query)}" if query else text


def parse_address(parts: SplitResult) -> AssetAddress:
    """Return the address in a split asset URI; percent-encoding and equivalent spellings make no difference.

    Raises:
        ValueError: The URI names no repo or no branch, or has an unknown part; the message shows the valid form.
    """
    shown = parts.geturl()
    connection, at, repo = parts.netloc.rpartition("@")
    branch, _, template = parts.path.removeprefix("/").partition("/")
    query = parse_qsl(parts.query)
    values = dict(query)
    if parts.scheme.lower() != SCHEME or not repo or not branch or (at and not connection):
        msg = f"{shown!r} is not a versioned asset: write versioned://<repo>/<branch>[/<template>]"
        raise ValueError(msg)
    if not values.keys() <= {"key", "store"} or len(values) < len(query) or ("key" in values and not template):
        msg = (
            f"{shown!r} is not a versioned asset: only ?store=<URL>, and after a partition template "
            f"?key=<template of the keys>, may follow"
        )
        raise ValueError(msg)
    return AssetAddress(
        repo=unquote(repo),
        branch=unquote(branch),
        connection=unquote(connection) if at else DEFAULT_CONNECTION,
        template=unquote(template) if template else None,
        key=values.get("key"),
        store=values.get("store"),
    )


def sanitize_uri(parts: SplitResult) -> SplitResult:
    """Return the canonical form of a split asset URI; Airflow calls this for every URI of scheme ``versioned``.

    Raises:
        ValueError: The URI is not that of a versioned asset; Airflow shows the message as a DAG import error.
    """
    canonical = parse_address(parts).uri
    head, _, query = canonical.partition("?")
    authority, _, path = head.removeprefix(f"{SCHEME}://").partition("/")
    return SplitResult(scheme=SCHEME, netloc=authority, path=f"/{path}", query=query, fragment="")
