"""The file ``versioned.toml``, which holds the settings of a store for everybody who works below a directory."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.settings import CACHE, CACHE_BYTES, CATALOG, SOURCES, STORAGE_OPTIONS, STORE

NAME: Final = "versioned.toml"

_VARIABLES: Final = {
    "store": STORE,
    "catalog": CATALOG,
    "storage_options": STORAGE_OPTIONS,
    "cache": CACHE,
    "cache_bytes": CACHE_BYTES,
    "sources": SOURCES,
}
"""The keys of the file, with the environment variables that hold the same."""

_PLACES: Final = ("store", "cache")
"""Keys whose relative paths are below the file's directory."""

_BESIDE: Final = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|file:|:memory:)(?=.)")
"""The beginning of a catalog's URL with a relative path, which is below that directory, too."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file that was read.

    Attributes:
        environment: Its settings, as the environment variables of the same meaning hold them.
    """

    path: Path
    environment: Mapping[str, str]


def find_settings_file(directory: Path | None, home: Path | None) -> SettingsFile | None:
    """Return the nearest settings file: in *directory* or a directory above it, or else in *home*; or None.

    Args:
        directory: None to look in *home* alone.

    Raises:
        InvalidInputError: It is malformed, has an unknown key, or holds a secret. Or it, or a link to it, belongs to
            another user, who could redirect writes to a store of his own. Correct it, or pass --store.

    Cost: 1 lstat(2) for each directory.
    """
    for place in _places(directory, home):
        path = place / NAME
        try:
            owner = path.lstat().st_uid
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        # A link of another user to a file of this one would place the store beside the link.
        _refuse_stranger(path, owner)
        text = _read(path)
        if text is not None:
            return SettingsFile(path, _environment_of(path, text))
    return None


def _refuse_stranger(path: Path, owner: int) -> None:
    if owner not in {0, os.geteuid()}:
        msg = f"{str(path)!r} belongs to another user, so it is not used: delete it, or pass --store"
        raise InvalidInputError(msg)


def _read(path: Path) -> str | None:
    """Return the text of the file; None if it is a link to nothing."""
    try:
        with path.open("rb") as file:
            owner, text = os.fstat(file.fileno()).st_uid, file.read().decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # of UTF-8
        raise _unreadable(path, error) from error
    _refuse_stranger(path, owner)
    return text


def _unreadable(path: Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(f"{str(path)!r} can't be read: {error}")


def _places(directory: Path | None, home: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield from (directory, *directory.parents)
    if home is not None:
        yield home


def _environment_of(path: Path, text: str) -> dict[str, str]:
    import tomllib

    try:
        found = tomllib.loads(text.replace("\r\n", "\n"))
    except ValueError as error:
        raise _unreadable(path, error) from error
    for key, value in found.items():
        _check(path, key, value)
    return {_VARIABLES[key]: _text(path, key, value) for key, value in found.items()}


def _check(path: Path, key: str, value: Any) -> None:  # noqa: ANN401 (a value of TOML)
    if key not in _VARIABLES:
        msg = f"{str(path)!r} has the unknown key {key!r}: use {', '.join(_VARIABLES)}"
        raise InvalidInputError(msg)
    from versioned_io.model.withholding import withhold

    if withhold({key: value}) != {key: value}:
        msg = f"{str(path)!r} holds a secret in {key!r}: put it into the environment, in {_VARIABLES[key]}"
        raise InvalidInputError(msg)
    kind: type = int if key == "cache_bytes" else dict if key in {"storage_options", "sources"} else str
    if type(value) is not kind:
        said = {int: "a number", dict: "a table", str: "a text"}[kind]
        msg = f"{key!r} in {str(path)!r} must be {said}"
        raise InvalidInputError(msg)


def _text(path: Path, key: str, value: Any) -> str:  # noqa: ANN401 (a value of TOML)
    if isinstance(value, dict):
        return json.dumps(value)
    if key in _PLACES and "://" not in str(value):
        return str(path.parent / str(value))
    if key == "catalog":
        return _BESIDE.sub(lambda found: f"{found[1]}{path.parent}/", str(value), count=1)
    return str(value)
