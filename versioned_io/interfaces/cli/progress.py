"""Progress of long work, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import is_quiet, visible

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.file_info import TransferProgress


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


@contextmanager
def transferring() -> "Iterator[Callable[[TransferProgress], None]]":
    """Yield a function that shows a transfer's progress by a bar on stderr, or nothing if that is not a terminal."""
    if is_quiet() or not sys.stderr.isatty():
        yield lambda progress: None  # noqa: ARG005 (what the caller passes)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), TaskProgressColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(progress: "TransferProgress") -> None:
            bar.update(
                task,
                description=f"{progress.files} of {counted(progress.total_files, 'file')}",
                completed=progress.size_bytes,
                total=progress.total_bytes,
            )

        yield report
