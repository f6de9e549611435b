"""The address of a store, for pickling to another process: without secrets, which that process finds itself."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from versioned_io.catalog.database import plain_file
from versioned_io.model.setting_texts import parse_sources, parse_storage_options
from versioned_io.model.withholding import is_secret_name
from versioned_io.platform.clock import Clock
from versioned_io.platform.process import HomeProcess

Options: TypeAlias = tuple[tuple[str, str], ...]

_OPTIONS: Final = "VERSIONED_STORAGE_OPTIONS"
_SOURCES: Final = "VERSIONED_SOURCES"
_PASSWORD: Final = "the password of the catalog"  # noqa: S105 (its name, not its value)
_TRAVELS: Final = frozenset(
    {
        *("allow_http", "connect_timeout_s", "timeout_s", "max_retries", "profile", "region", "endpoint"),
        *("virtual_hosted_style", "skip_signature", "service_account_path", "account_name", "client_id", "tenant_id"),
        "use_azure_cli",
    }
)
"""Storage options without secrets. All others are withheld, even options that are unknown today."""
_PATHS: Final = frozenset({"passfile", "sslkey", "sslcert", "sslrootcert", "sslcrl"})


@dataclass(frozen=True, slots=True)
class Address:
    """The location of a store and the arguments of `open_store`, without secrets.

    Attributes:
        withheld: Descriptions of the withheld secrets: names of storage options, and the password of the catalog.
        home: The only process that has the store, for a store in memory; None if other processes can open it.
    """

    url: str
    catalog: str | None
    storage_options: Options
    cache: str | None
    cache_bytes: int
    sources: tuple[tuple[str, Options], ...]
    clock: Clock
    withheld: tuple[str, ...]
    home: HomeProcess | None

    @classmethod
    def of(
        cls,
        url: str,
        *,
        catalog: object,
        storage_options: Mapping[str, str] | None,
        cache: str | Path | None,
        cache_bytes: int,
        sources: Mapping[str, Mapping[str, str]] | None,
        clock: Clock,
    ) -> Self:
        """Return the address of a store that is opened with these arguments. Relative paths become absolute."""
        shown, has_password = _without_password(catalog)
        options, left = _without_secrets(storage_options or {})
        places: list[tuple[str, Options]] = []
        for place, given in (sources or {}).items():
            kept, more = _without_secrets(given)
            places.append((place if "://" in str(place) else str(Path(place).absolute()), kept))
            left += more
        return cls(
            url=url,
            catalog=shown,
            storage_options=options,
            cache=None if cache is None else str(Path(cache).absolute()),
            cache_bytes=cache_bytes,
            sources=tuple(places),
            clock=clock,
            withheld=(*left, *((_PASSWORD,) if has_password else ())),
            home=HomeProcess() if url.startswith("memory://") else None,
        )

    def resolve_catalog(self) -> str | None:
        """Return the catalog's URL, with a password if ``VERSIONED_CATALOG`` names this catalog with one.

        Without a password the driver uses its own sources: ``PGPASSWORD``, a password file, a service.
        """
        given = os.environ.get("VERSIONED_CATALOG")
        if given and _PASSWORD in self.withheld and _without_password(given)[0] == self.catalog:
            return given
        return self.catalog

    def resolve_options(self) -> dict[str, str]:
        """Return the storage options, with withheld options from ``VERSIONED_STORAGE_OPTIONS``.

        Raises:
            InvalidInputError: The variable is malformed.
        """
        found = parse_storage_options(os.environ.get(_OPTIONS, ""), _OPTIONS)
        return {name: found[name] for name in self.withheld if name in found} | dict(self.storage_options)

    def resolve_sources(self) -> dict[str, dict[str, str]]:
        """Return the sources, with withheld options from the same place in ``VERSIONED_SOURCES``."""
        found = parse_sources(os.environ.get(_SOURCES, ""), _SOURCES)
        resolved: dict[str, dict[str, str]] = {}
        for place, options in self.sources:
            given = found.get(place, {})
            secret = {name: given[name] for name in self.withheld if name in given}
            resolved[place] = secret | dict(options)
        return resolved

    def explain(self) -> str:
        """Return the part of an error message that lists the withheld secrets and where this process looks for them."""
        if not self.withheld:
            return ""
        names = ", ".join(dict.fromkeys(self.withheld))
        return (
            f"; it was pickled without secrets ({names}), which this process must find: "
            "in PGPASSWORD or a password file, in boto3's credentials, "
            "or in VERSIONED_CATALOG and VERSIONED_STORAGE_OPTIONS"
        )


def _without_secrets(options: Mapping[str, str]) -> tuple[Options, list[str]]:
    kept = tuple((name, str(value)) for name, value in options.items() if name in _TRAVELS)
    return kept, [name for name in options if name not in _TRAVELS]


def _without_password(catalog: object) -> tuple[str | None, bool]:
    """Return the URL without secrets, and whether it had any."""
    if catalog is None:
        return None, False
    if (file := plain_file(catalog)) is not None:
        return f"sqlite:///{file.absolute()}", False
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(catalog)  # type: ignore[arg-type]  # a URL or its text
    except ArgumentError:
        return str(catalog), False
    if url.get_backend_name() == "sqlite" and url.database and "://" not in url.database:
        url = url.set(database=str(Path(url.database).absolute()))
    secret = [name for name in url.query if name not in _PATHS and is_secret_name(name)]
    kept = url.difference_update_query(secret).query
    # URL.set() interprets None as "unchanged".
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, kept)
    return bare.render_as_string(hide_password=False), bool(secret) or url.password is not None
