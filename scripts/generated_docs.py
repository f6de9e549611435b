"""Texts of pages that are generated from the code: its names, its errors, the options of its commands."""

import importlib
import inspect
import re
from collections.abc import Callable

from typer.testing import CliRunner

from versioned_io import errors

_BRANCH_DOES = re.compile(r"^\| `(?P<name>\w+)` \| (?P<does>.*) \|$", re.MULTILINE)
_COMMON_OPTION = re.compile(r"  (-s, --store|--catalog|--json|--help)\b")


def make_api(module: str) -> str:
    """Return a heading and the reference of every public name of a module, in the order of ``__all__``."""
    names = [name for name in importlib.import_module(module).__all__ if not name.startswith("__")]
    return "\n\n".join(f"::: {module}.{name}" for name in names)


def make_errors(_: str) -> str:
    """Return the table of codes, one row for each class, by branch."""
    does = dict(_BRANCH_DOES.findall(inspect.getdoc(errors) or ""))
    lines = []
    for branch, does_next in does.items():
        lines += [f"## {branch}", "", f"The caller {does_next}.", "", "| code | class | when |", "|---|---|---|"]
        lines += [describe_error(error) for error in list_errors() if branch_of(error, does) == branch]
        lines.append("")
    return "\n".join(lines)


def list_errors() -> list[type[errors.VersionedError]]:
    """Return every class, a branch before its leaves."""
    values = [getattr(errors, name) for name in errors.__all__]
    found: list[type[errors.VersionedError]] = [one for one in values if issubclass(one, errors.VersionedError)]
    return sorted(found, key=lambda error: (len(error.__mro__), error.__name__))


def branch_of(error: type[errors.VersionedError], branches: dict[str, str]) -> str | None:
    """Return the branch that a class belongs to."""
    return next((base.__name__ for base in error.__mro__ if base.__name__ in branches), None)


def describe_error(error: type[errors.VersionedError]) -> str:
    """Return the row of one class: the first paragraph of its docstring, without the arguments."""
    paragraph = (inspect.getdoc(error) or "").split("\n\n", 1)[0]
    summary = re.split(r"\s*Args:", paragraph)[0].replace("\n", " ").replace("|", "\\|").replace("``", "`")
    return f"| `{error.code}` | `{error.__name__}` | {summary} |"


def make_help(command: str) -> str:
    """Return the output of ``versioned COMMAND --help``, without the options that every command has."""
    from versioned_io.interfaces.cli.app import app

    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    if shown.exit_code:
        msg = f"versioned {command} --help ended with {shown.exit_code}: {shown.output}"
        raise ValueError(msg)
    kept, is_common = [], False
    for line in shown.output.strip().splitlines():
        if line.startswith("  ") and line[2] != " ":
            is_common = _COMMON_OPTION.match(line) is not None
        if not is_common or not line.strip():
            kept.append(line.rstrip())
    return "\n".join(["```text", *kept, "```"])


MAKERS: dict[str, Callable[[str], str]] = {"api": make_api, "errors": make_errors, "help": make_help}
"""The kinds of ``generated`` comments, each with the function that makes the text from the argument."""
