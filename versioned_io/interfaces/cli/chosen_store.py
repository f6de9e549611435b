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


def fill_from_file(arguments: dict[str, Any], *, only_home: bool = False) -> None:
    """Set the store and the catalog of a command from the nearest settings file, if nothing else names a store.

    The settings of a file belong together: where a flag or the environment names the store, the file is not used.

    Args:
        only_home: Whether the file in the home directory alone is used, and no file near the working directory.
    """
    _file.set(None)
    is_named = arguments.get("store") or arguments.get("location") or "store" not in arguments
    if is_named:
        return
    home = Path(os.environ["HOME"]) if os.environ.get("HOME") else None
    file = find_settings_file(None if only_home else Path.cwd(), home)
    if file is None:
        return
    _file.set(file)
    arguments["store"] = file.environment.get(STORE)
    if "catalog" in arguments:
        arguments["catalog"] = arguments["catalog"] or file.environment.get(CATALOG)


def settings_to_complete(store: str | None, catalog: str | None) -> StoreSettings:
    """Return the settings of the store whose names complete a command with these options.

    A file near the working directory names no store here. It may have come with a stranger's clone, and nobody who
    presses the tab key has asked for a store to be opened.

    Raises:
        InvalidInputError: As `open_named_store`.
    """
    arguments: dict[str, Any] = {"store": store or os.environ.get(STORE), "catalog": catalog or os.environ.get(CATALOG)}
    fill_from_file(arguments, only_home=True)
    return StoreSettings.from_environment(arguments["store"], arguments["catalog"], environment=environment())
