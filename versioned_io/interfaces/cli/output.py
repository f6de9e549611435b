"""How values look on a terminal, and as JSON."""

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from versioned_io.model.identifiers import is_id

if TYPE_CHECKING:
    from rich.console import Console

    from versioned_io.model.commits import Commit, RepoInfo
    from versioned_io.store import Store
    from versioned_io.versioning.lineage.run_origin import RunOrigin
    from versioned_io.versioning.lineage.tracing import DatumOrigin, LineageGraph
    from versioned_io.versioning.snapshots.file_info import FileInfo

_FEW_DIGITS = 12
_FEW_PATHS = 6
_DIGITS = 12
# C0, DEL and C1; what turns the direction of text or ends a line for some; and halves of characters, which no stream
# takes.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_WITHOUT_STYLES: Final = ("", "dumb", "unknown")
_BETWEEN: Final = "  "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def visible(text: str) -> str:
    r"""Return *text* with every character that would control a terminal escaped, such as ``\x1b`` or ``\u202e``.

    Names, messages and authors may come from a stranger's store. An escape sequence in them could retitle the window,
    overwrite earlier output, or make one name look like another.
    """
    return _STEERING.sub(lambda found: _escaped(ord(found[0]), is_json=False), text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return *value* as JSON in which no character steers a terminal: those are JSON's own escapes."""
    document = json.dumps(value, indent=indent, ensure_ascii=False)
    # JSON escapes the others of C0 itself, and between its values puts no other than the newline.
    return _STEERING.sub(
        lambda found: found[0] if found[0] == "\n" else _escaped(ord(found[0]), is_json=True), document
    )


def _escaped(code: int, *, is_json: bool) -> str:
    return f"\\x{code:02x}" if code < 0x100 and not is_json else f"\\u{code:04x}"


@dataclass(slots=True)
class _Output:
    """How a command prints.

    Attributes:
        level: -1 with ``--quiet``, 1 with ``--verbose``, else 0.
        may_page: Whether it may use a pager.
        is_paging: Whether stdout is a pager that shows it on a terminal.
        full_ids: Whether people see whole IDs, too.
        short: The short forms of commit IDs, by the ID.
    """

    level: int = 0
    may_page: bool = True
    is_paging: bool = False
    full_ids: bool = False
    short: dict[str, str] = field(default_factory=dict)


_output: Final = _Output()


def set_output(level: int, *, may_page: bool, full_ids: bool) -> None:
    """Set how the commands of this process print from now on."""
    _output.level, _output.may_page, _output.full_ids = max(-1, min(level, 1)), may_page, full_ids
    _output.short = {}


def learn_short_ids(store: "Store", commit_ids: Iterable[str | None]) -> None:
    """Load the short forms of *commit_ids* for `shown_id`, if a person reads them.

    That is on a terminal and without ``--full-ids``. Cost: as `Store.short_ids`, or none.
    """
    if _is_terminal() and not _output.full_ids:
        _output.short |= store.short_ids([one for one in commit_ids if one is not None and is_id(one)])


def shown_id(commit_id: str) -> str:
    """Return a commit's ID as it is printed: short if `learn_short_ids` was told of it."""
    return _output.short.get(commit_id, commit_id)


def shown_head(head: str | None) -> str:
    """Return the head of a branch as it is printed."""
    return "no commit yet" if head is None else shown_id(head)


def shown_digest(digest: str) -> str:
    """Return a content digest as it is printed: cut on a terminal, without ``--full-ids``."""
    return digest[:_DIGITS] if _is_terminal() and not _output.full_ids else digest


def may_page() -> bool:
    """Return whether an answer may go through a pager: stdout is a terminal that can show one."""
    return _output.may_page and not is_quiet() and _knows_styles()


@contextmanager
def printing_for_a_terminal() -> Iterator[None]:
    """Print as for a terminal, though stdout is a pager."""
    width = shutil.get_terminal_size().columns
    _output.is_paging, before = True, os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        _output.is_paging = False
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _is_terminal() -> bool:
    return _output.is_paging or sys.stdout.isatty()


def _knows_styles() -> bool:
    return _is_terminal() and os.environ.get("TERM", "").lower() not in _WITHOUT_STYLES


def is_verbose() -> bool:
    """Return whether ``--verbose`` was given."""
    return _output.level > 0


def is_quiet() -> bool:
    """Return whether ``--quiet`` was given."""
    return _output.level < 0


def echo(line: str, *, err: bool = False, colour: str | None = None) -> None:
    """Print one line, on stderr with *err*; the newline at its end is the only one.

    With ``--quiet`` nothing is printed on stdout: such a line tells what was done. Answers are printed by `print_line`,
    `print_table` and `print_json`.
    """
    if is_quiet() and not err:
        return
    typer.secho(visible(line), err=err, fg=colour)


def echo_lines(text: str, *, err: bool = False) -> None:
    """Print several lines."""
    for line in text.split("\n"):
        echo(line, err=err)


def tell(line: str) -> None:
    """Print one line on stderr if ``--verbose`` was given."""
    if is_verbose():
        echo(f"versioned: {line}", err=True)


class WarningLines(logging.Handler):
    """Prints each log record as one line on stderr; a record may repeat text from a stranger's store."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; with ``--verbose`` from the level INFO on, and with ``--quiet`` errors only."""
        least = logging.ERROR if is_quiet() else logging.INFO if is_verbose() else logging.WARNING
        if record.levelno < least:
            return
        echo(f"versioned: {record.levelname.lower()}: {self.format(record)}", err=True)


def say_how_to_undo(command: str | None) -> None:
    """Print the command that undoes the last action, if there is one."""
    if command is not None:
        echo(f"`{command}` undoes this, until gc deletes the commits that only this name led to")


def print_json(value: object) -> None:
    """Print *value* as one JSON document."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def with_times(value: Any) -> Any:  # noqa: ANN401 (whatever JSON can hold)
    """Return *value* with each time as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: with_times(one) for name, one in value.items()}
    return [with_times(one) for one in value] if isinstance(value, list | tuple) else value


def commit_json(commit: "Commit") -> dict[str, Any]:
    """Return what is known of a commit, as JSON takes it."""
    more = {"order": commit.order, "inputs_are_complete": commit.inputs_are_complete}
    return {**commit.to_json(), **more, "tree_digest": commit.tree_digest}


def repo_json(repo: "RepoInfo") -> dict[str, Any]:
    """Return what is known of a repo, as JSON takes it."""
    return {
        "name": repo.name,
        "description": repo.description,
        "created_at": repo.created_at.isoformat(),
        "branches": [
            {"name": one.name, "head": one.head, "number": one.number, "is_protected": one.is_protected}
            for one in repo.branches
        ],
    }


def file_json(info: "FileInfo") -> dict[str, Any]:
    """Return what is known of a file or directory, as JSON takes it."""
    if info.is_directory:
        return {"path": info.path, "kind": info.kind.value}
    return {
        "path": info.path,
        "kind": info.kind.value,
        "size": info.size,
        "digest": info.digest,
        "attributes": dict(info.attributes),
    }


def graph_json(graph: "LineageGraph") -> dict[str, Any]:
    """Return a lineage graph as JSON takes it."""
    return {
        "roots": list(graph.roots),
        "commits": [commit_json(commit) for commit in graph.commits],
        "edges": [list(edge) for edge in graph.edges],
        "files": [{"consumer": use.consumer, **asdict(use.file)} for use in graph.files],
        "asked": [asdict(file) for file in graph.asked],
        "external": [asdict(use) for use in graph.external],
        "datums": [one._asdict() for one in graph.datums],
    }


def recorded_run_json(made: "RunOrigin") -> dict[str, Any]:
    """Return the run that made a commit, with its exact inputs, as JSON takes it."""
    return {
        "commit": commit_json(made.commit),
        "inputs": [asdict(file) for file in made.inputs],
        "whole_inputs": [str(commit) for commit in made.whole_inputs],
        "refs": list(made.refs),
        "external": [asdict(use) for use in made.external],
        "lacks": list(made.lacks),
    }


def console() -> "Console":
    """Return a console on stdout: colours only on a terminal, text never re-highlighted."""
    from rich.console import Console

    return Console(highlight=False, force_terminal=_output.is_paging or None)


def print_line(text: str, *, heading: str = "") -> None:
    """Print one line, however long: a terminal folds what is too wide for it, and it stays whole when copied.

    Args:
        heading: Text to print before it, in bold on a terminal.
    """
    bold, end = _bold()
    sys.stdout.write((f"{bold}{visible(heading)}{end} " if heading else "") + visible(text) + "\n")


def _bold() -> tuple[str, str]:
    """Return what makes the text between bold; nothing where stdout is not a terminal that knows it."""
    return ("\x1b[1m", "\x1b[0m") if _knows_styles() else ("", "")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. On a terminal long cells fold to its width; elsewhere each row is one line, however long."""
    lines = [tuple(visible(cell) for cell in row) for row in (headings, *rows)]
    widths = [max(map(_columns_of, column)) for column in zip(*lines, strict=True)]
    if not _fits(widths):
        _print_folded(lines)
        return
    bold, end = _bold()
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - _columns_of(cell)) for cell, width in zip(line, widths, strict=True))
        text = _BETWEEN.join(cells)
        sys.stdout.write((text if number else f"{bold}{text}{end}") + "\n")


def _columns_of(cell: str) -> int:
    """Return how many columns of a terminal *cell* takes; only wide letters need rich, which is slow to import."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)


def _fits(widths: Sequence[int]) -> bool:
    """Return whether no cell has to fold: stdout is not a terminal, or the table is as wide as it at most."""
    return not _is_terminal() or (sum(widths) + len(_BETWEEN) * (len(widths) - 1) <= shutil.get_terminal_size().columns)


def _print_folded(lines: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    headings, *rows = lines
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def print_findings(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of findings, if there are any: the heading alone, such as "damaged", would read as an alarm."""
    found = list(rows)
    if found:
        print_table(headings, found)


def print_commit(commit: "Commit", *, indent: str = "") -> None:
    """Print a commit in three or four lines: where it is, what it says, who made it."""
    print_line(shown_id(commit.id), heading=f"{indent}{commit.repo}@{commit.branch} #{commit.number}")
    details = [describe_change(commit), commit.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")]
    first, *rest = commit.message.split("\n")
    print_line(f"{indent}  {'  '.join(filter(None, [first, *details]))}")
    for line in rest:
        print_line(f"{indent}  {line}")
    for line in describe_run(commit):
        print_line(f"{indent}  {line}")
    if not commit.inputs_are_complete:
        print_line(f"{indent}  worker processes may have read more than is known")


def describe_change(commit: "Commit") -> str:
    """Return how much a commit changed, as text."""
    stats = commit.stats
    counts = {"added": stats.added, "modified": stats.modified, "deleted": stats.deleted, "healed": stats.healed}
    shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"[{shown or 'nothing changed'}]"


def describe_run(commit: "Commit") -> list[str]:
    """Return which run made a commit, in no, one or two lines."""
    run = commit.run
    if run is None:
        return []
    of_run = f"run {run.run_id}" if run.run_id else ""
    partition = f"partition {run.partition_key}" if run.partition_key else ""
    first = "  ".join(filter(None, [f"by {run.orchestrator} {run.job}", partition, of_run]))
    return [first, run.url] if run.url else [first]


def print_graph(graph: "LineageGraph", *, newest_first: bool, every_file: bool) -> None:
    """Print each commit of a lineage graph once, with the exact files that it was made from, or the first few."""
    names: dict[str, str] = {commit.id: f"{commit.repo}@{commit.branch} #{commit.number}" for commit in graph.commits}
    files: dict[tuple[str, str], list[str]] = {edge: [] for edge in graph.edges}
    for use in graph.files:
        files.setdefault((use.consumer, use.file.made_by), []).append(use.file.path)
    confirmed = [file for file in graph.asked if file.made_by != file.written_by]
    for file in confirmed if every_file else confirmed[:_FEW_PATHS]:
        line = f"{file.path}: made by {names.get(file.made_by, file.made_by)}; {file.written_by} wrote the same before"
        print_line(line)
    for commit in reversed(graph.commits) if newest_first else graph.commits:
        print_commit(commit)
        for (consumer, source), paths in files.items():
            if consumer == commit.id:
                shown = _shown(sorted(set(paths)), every_file=every_file)
                print_line(f"  from {names.get(source, source)}: {shown}")
        _print_datums([one for one in graph.datums if one.commit == commit.id], every_file=every_file)
        outside = sorted({f"{use.uri} {use.digest}" for use in graph.external if use.consumer == commit.id})
        for line in outside if every_file or len(outside) <= _FEW_PATHS + 1 else outside[:_FEW_PATHS]:
            print_line(f"  from outside of the store: {line}")
        if not every_file and len(outside) > _FEW_PATHS + 1:
            print_line(f"  and {len(outside) - _FEW_PATHS} more outside of the store (--files shows all)")


def _print_datums(datums: "Sequence[DatumOrigin]", *, every_file: bool) -> None:
    few = datums if every_file or len(datums) <= _FEW_PATHS + 1 else datums[:_FEW_PATHS]
    for one in few:
        print_line(f"  {one.path}: by the datum {one.key!r}, code {one.code[:_FEW_DIGITS]}, in the run {one.run_id}")
    if len(few) < len(datums):
        print_line(f"  and {len(datums) - len(few)} more outputs of datums (--files shows all)")


def _shown(paths: Sequence[str], *, every_file: bool) -> str:
    if not paths:
        return "all of it"
    few = paths if every_file or len(paths) <= _FEW_PATHS + 1 else paths[:_FEW_PATHS]
    more = f" and {len(paths) - len(few)} more (--files shows all)" if len(few) < len(paths) else ""
    counted = f"{len(paths)} files: " if len(paths) > 1 else ""
    return counted + ", ".join(few) + more


def describe_size(size_bytes: int) -> str:
    """Return a number of bytes with a unit that a person reads."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size_bytes} B"
