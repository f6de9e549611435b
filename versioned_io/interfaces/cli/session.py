"""The shared parts of all commands: their options, the open store, and the exit after an error."""

import functools
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Final, ParamSpec, TypeVar

import typer

from versioned_io.errors import (
    CatalogOlderError,
    ConflictError,
    FormatError,
    GateError,
    IntegrityError,
    InvalidInputError,
    MergeConflictError,
    NotFoundError,
    StorageError,
    VersionedError,
)
from versioned_io.interfaces.cli.advice import sentence_of
from versioned_io.interfaces.cli.chosen_store import environment, fill_from_file, settings_file
from versioned_io.interfaces.cli.completing import complete_ref
from versioned_io.interfaces.cli.output import echo, is_quiet, json_text, tell
from versioned_io.interfaces.settings import CATALOG, STORAGE_OPTIONS, STORE, StoreSettings
from versioned_io.model.setting_texts import parse_storage_options

if TYPE_CHECKING:
    from versioned_io.store import Store

P = ParamSpec("P")
R = TypeVar("R")

StoreOption = Annotated[
    str | None,
    typer.Option("--store", "-s", envvar=STORE, help="Where the store is: a directory or a URL."),
]
CatalogOption = Annotated[
    str | None,
    typer.Option("--catalog", envvar=CATALOG, help="The catalog's SQLAlchemy URL, if not in the directory."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BranchArgument = Annotated[str, typer.Argument(help="repo@branch", autocompletion=complete_ref)]
RefArgument = Annotated[str, typer.Argument(help="repo@ref", autocompletion=complete_ref)]
TagArgument = Annotated[str, typer.Argument(help="repo@tag", autocompletion=complete_ref)]
CommitArgument = Annotated[str, typer.Argument(help="repo@ref or a commit's ID.", autocompletion=complete_ref)]
KeyOption = Annotated[str | None, typer.Option("--key", help="How the fields make a key: {year}|{month}")]
MessageOption = Annotated[str, typer.Option("--message", "-m", help="The commit's message.")]
AuthorOption = Annotated[str, typer.Option("--author", help="The commit's author.")]
ReasonOption = Annotated[str, typer.Option(help="The reason; the journal keeps it.")]
JournalAuthorOption = Annotated[str, typer.Option(help="The author; the journal keeps it.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; show the changes that would be made.")]

_warning: Final[ContextVar[str | None]] = ContextVar("warning", default=None)
"""The warning about the store that the present command has opened."""

_EXIT_CODES: tuple[tuple[type[VersionedError], int], ...] = (
    (InvalidInputError, 2),
    (NotFoundError, 3),
    (ConflictError, 4),
    (StorageError, 5),
    (IntegrityError, 6),
    (FormatError, 7),
    (GateError, 8),
)


def open_named_store(store: str | None, catalog: str | None) -> "Store":
    """Open the store that the options or the environment name; the command says at its end what is wrong with it.

    Raises:
        InvalidInputError: Neither names one; pass --store or set VERSIONED_STORE.
    """
    opened = StoreSettings.from_environment(store, catalog, environment=environment()).open()
    _warning.set(opened.warning)
    tell(f"the store is {opened.url}")
    if (file := settings_file()) is not None:
        tell(f"the settings are from {str(file.path)!r}")
    return opened


def storage_options() -> dict[str, str]:
    """Return the storage options that ``VERSIONED_STORAGE_OPTIONS`` or the settings file holds.

    No flag sets them: a command line is seen by everybody on the machine, and some of these are secrets.

    Raises:
        InvalidInputError: It is malformed.
    """
    return parse_storage_options(environment().get(STORAGE_OPTIONS, ""), STORAGE_OPTIONS)


def require_store(store: str | None) -> str:
    """Return where the store is.

    Raises:
        InvalidInputError: Nobody said; pass --store or set VERSIONED_STORE.
    """
    if not store:
        msg = "no store was named: pass --store, set VERSIONED_STORE, or write versioned.toml"
        raise InvalidInputError(msg)
    return store


def exit_code_of(error: VersionedError) -> int:
    """Return the exit code for an error, by its branch: what the caller does next."""
    return next((code for branch, code in _EXIT_CODES if isinstance(error, branch)), 1)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Make *command* end with one sentence on stderr and an exit code, instead of a traceback, on an error of ours."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        _warning.set(None)
        try:
            fill_from_file(kwargs)
            return command(*args, **kwargs)
        except VersionedError as error:
            if isinstance(error, CatalogOlderError):
                _warning.set(None)  # it is the same sentence
            _print_error(
                error.code, sentence_of(error, kwargs), as_json=bool(kwargs.get("as_json")), **_facts_of(error)
            )
            raise typer.Exit(exit_code_of(error)) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            # A local file that can't be read or written: the store's own failures are errors of ours.
            message = f"{error.strerror or error}: {error.filename!r}" if error.filename else str(error)
            _print_error("local_file", message, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(1) from None
        finally:
            if (warning := _warning.get()) is not None and not is_quiet():
                echo(f"versioned: warning: {warning}", err=True)

    return wrapped


def _facts_of(error: VersionedError) -> dict[str, object]:
    """Return what of an error a script may want to have apart from the sentence."""
    if isinstance(error, MergeConflictError):
        return {"conflicts": [one._asdict() for one in error.conflicts]}
    return {"paths": list(error.paths)} if type(error) is ConflictError else {}


def _print_error(code: str, message: str, *, as_json: bool, **facts: object) -> None:
    if as_json:
        print_error_json(code, message, **facts)
    else:
        echo(f"versioned: {message}", err=True, colour=typer.colors.RED if sys.stderr.isatty() else None)


def print_error_json(code: str, message: str, **facts: object) -> None:
    """Print an error as JSON on stderr; stdout stays empty."""
    echo(json_text({"error": {"code": code, "message": message, **facts}}), err=True)
