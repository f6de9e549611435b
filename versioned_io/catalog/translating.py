"""SQLAlchemy's errors in our words, without the passwords that they repeat."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from versioned_io.catalog.plain import about_full_disk
from versioned_io.errors import StorageError
from versioned_io.model.withholding import WITHHELD, withhold_in_text


@contextmanager
def translated(engine: Engine, shown_url: str) -> Iterator[None]:
    """Raise StorageError, which names the catalog by *shown_url*, for an error of SQLAlchemy in the block."""
    try:
        yield
    except DBAPIError as error:
        # The driver's own words only: SQLAlchemy's would repeat the statement and its parameters, also as the cause.
        words = " ".join(str(error.orig).split())
        hint = about_full_disk(error.orig, engine.url.database)
        msg = f"the catalog {shown_url} failed: {_without_settings(engine.url, words)}{hint}"
        raise StorageError(msg) from None
    except SQLAlchemyError as error:
        # Its first line only, for the same reason.
        msg = f"the catalog {shown_url} failed: {withhold_in_text(str(error).partition(chr(10))[0])}"
        raise StorageError(msg) from None


def _without_settings(url: URL, words: str) -> str:
    """Return what a driver says, without the parts of the URL that it repeats because it could not use them."""
    settings = [url.password or ""]
    for name, value in url.query.items():
        settings += [value] if isinstance(value, str) else value
        if not name.replace("_", "").isalpha():
            settings.append(name)
    for one in filter(None, settings):
        words = words.replace(f"'{one}'", WITHHELD).replace(f'"{one}"', WITHHELD)
    return withhold_in_text(words)
