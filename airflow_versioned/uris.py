"""The one way to write the URI of a branch, or of a branch's partitions, as an Airflow asset.

``versioned://<repo>/<branch>`` is the branch; ``versioned://<repo>/<branch>/<template>`` is the branch seen through
a partition template, for example ``versioned://weather/main/{year}/{month}.csv``. A connection other than the default
is written before the repo: ``versioned://archive@weather/main``. The branch is percent-encoded, so the first part of
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
    """

    repo: str
    branch: str
    connection: str = DEFAULT_CONNECTION
    template: str | None = None
    key: str | None = None

    @property
    def uri(self) -> str:
        """The canonical URI: two addresses are equal exactly when their URIs are."""
        authority = (
            self.repo if self.connection == DEFAULT_CONNECTION else f"{quote(self.connection, safe='')}@{self.repo}"
        )
        text = f"{SCHEME}://{authority}/{quote(self.branch, safe='')}"
        if self.template is not None:
            text += "/" + quote(self.template, safe=_TEMPLATE_SAFE)
        if self.key is not None:
            text += "?" + urlencode({"key": self.key})
        return text


def parse_address(parts: SplitResult) -> AssetAddress:
    """Return the address in a split asset URI; percent-encoding and equivalent spellings make no difference.

    Raises:
        ValueError: The URI names no repo or no branch, or has an unknown part; the message shows the valid form.
    """
    shown = parts.geturl()
    connection, at, repo = parts.netloc.rpartition("@")
    branch, _, template = parts.path.removeprefix("/").partition("/")
    query = parse_qsl(parts.query)
    if parts.scheme.lower() != SCHEME or not repo or not branch or (at and not connection):
        msg = f"{shown!r} is not a versioned asset: write versioned://<repo>/<branch>[/<template>]"
        raise ValueError(msg)
    if any(name != "key" for name, _ in query) or len(query) > 1 or (query and not template):
        msg = f"{shown!r} is not a versioned asset: only ?key=<template of the keys> may follow a partition template"
        raise ValueError(msg)
    return AssetAddress(
        repo=unquote(repo),
        branch=unquote(branch),
        connection=unquote(connection) if at else DEFAULT_CONNECTION,
        template=unquote(template) if template else None,
        key=query[0][1] if query else None,
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
