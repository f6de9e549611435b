"""Long answers go through the user's pager, on a terminal only."""

import functools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, ParamSpec, TypeVar

from versioned_io.interfaces.cli.output import may_page, printing_for_a_terminal

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT: Final = "less"
_LESS: Final = "FRX"
"""The options of less where the user sets none: it ends at once if all fits, and keeps colours and the screen."""


def pages(command: Callable[P, R]) -> Callable[P, R]:
    """Send the output of *command* through a pager, if stdout is a terminal and it prints no JSON."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        pager = None if kwargs.get("as_json") or not may_page() else _pager()
        if pager is None:
            return command(*args, **kwargs)
        with _through(pager):
            return command(*args, **kwargs)

    return wrapped


def _pager() -> list[str] | None:
    """Return the call of the user's pager, or None if there is none."""
    try:
        call = shlex.split(os.environ.get("PAGER", _DEFAULT))
    except ValueError:  # a quote that is not closed
        return None
    return None if not call or call == ["cat"] or shutil.which(call[0]) is None else call


@contextmanager
def _through(call: list[str]) -> Iterator[None]:
    """Send stdout to the process *call*, and wait for its end; a user who quits it early ends the command as well."""
    environment = {"LESS": _LESS, **os.environ}
    process = subprocess.Popen(call, stdin=subprocess.PIPE, env=environment, text=True)
    terminal = sys.stdout
    try:
        with printing_for_a_terminal(), suppress(BrokenPipeError):
            sys.stdout = process.stdin or terminal
            yield
    finally:
        sys.stdout = terminal
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        _wait(process)


def _wait(process: "subprocess.Popen[str]") -> None:
    """Wait for the end of a pager. Ctrl-C reaches it as well, and it may stay: it ends a search in less."""
    while True:
        with suppress(KeyboardInterrupt):
            process.wait()
            return
