"""Progress of long work, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from versioned_io.interfaces.cli.output import is_quiet, visible


@contextmanager
def counting(*, show: bool = True) -> Iterator[Callable[[str, int], None]]:
    """Yield a function that shows the stage and its progress, or nothing if stderr is not a terminal."""
    if not show or is_quiet() or not sys.stderr.isatty():
        yield lambda stage, done: None  # noqa: ARG005 (what the caller passes)
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("working", total=None)
        yield lambda stage, done: progress.update(task, description=visible(stage), completed=done)
