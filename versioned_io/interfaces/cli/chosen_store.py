"""The store that a command works on: as a flag, the environment or the nearest settings file names it."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from versioned_io.interfaces.settings import CATALOG, STORE, StoreSettings
from versioned_io.interfaces.settings_file import SettingsFile, find_settings_file

_file: Final[ContextVar[SettingsFile | None]] = ContextVar("file", default=None)
"""The settings file that names the store of the present command."""


def settings_file() -> SettingsFile | None:
    """Return the settings file that names the store of the present command, if one does."""
    return _file.get()


def environment() -> Mapping[str, str]:
    """Return the environment, with what a settings file adds to it."""
    file = _file.get()
    return os.environ if file is None else {**file.environment, **os.environ}


def fill_from_file(arguments: dict[str, Any]) -> None:
    """Set the store and the catalog of a command from the nearest settings file, if nothing else names a store.

    The settings of a file belong together: where a flag or the environment names the store, the file is not used.
    """
    _file.set(None)
    is_named = arguments.get("store") or arguments.get("location") or "store" not in arguments
    if is_named:
        return
    home = os.environ.get("HOME")
    file = find_settings_file(Path.cwd(), Path(home) if home else None)
    if file is None:
        return
    _file.set(file)
    arguments["store"] = file.environment.get(STORE)
    if "catalog" in arguments:
        arguments["catalog"] = arguments["catalog"] or file.environment.get(CATALOG)


def settings_for(store: str | None, catalog: str | None) -> StoreSettings:
    """Return the settings of the store that a command with these options opens.

    Raises:
        InvalidInputError: As `open_named_store`.
    """
    arguments: dict[str, Any] = {"store": store or os.environ.get(STORE), "catalog": catalog or os.environ.get(CATALOG)}
    fill_from_file(arguments)
    return StoreSettings.from_environment(arguments["store"], arguments["catalog"], environment=environment())
