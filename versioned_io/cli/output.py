"""How values look on a terminal, and as JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from versioned_io.catalog.values import Commit, RepoInfo
    from versioned_io.lineage import LineageGraph
    from versioned_io.snapshots.values import FileInfo

_FEW_PATHS = 6
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: object) -> None:
    """Print *value* as one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def commit_json(commit: "Commit") -> dict[str, Any]:
    """Return what is known of a commit, as JSON takes it."""
    return {**commit.to_json(), "tree_digest": commit.tree_digest}


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
    }


def console() -> Console:
    """Return a console on stdout: colours only on a terminal, text never re-highlighted."""
    return Console(highlight=False)


def print_line(text: Text | str, *more: Text | str) -> None:
    """Print one line, however long: what is too wide for the terminal is folded by it, and stays whole when copied."""
    console().print(text, *more, soft_wrap=True, markup=False)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that fits the terminal; long cells fold."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def print_commit(commit: "Commit", *, indent: str = "") -> None:
    """Print a commit in three or four lines: where it is, what it says, who made it."""
    print_line(Text(f"{indent}{commit.repo}@{commit.branch} #{commit.number}", style="bold"), Text(commit.id))
    details = [describe_change(commit), commit.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")]
    print_line(f"{indent}  {'  '.join(filter(None, [commit.message, *details]))}")
    for line in describe_run(commit):
        print_line(f"{indent}  {line}")


def describe_change(commit: "Commit") -> str:
    """Return how much a commit changed, as text."""
    stats = commit.stats
    counts = {"added": stats.added, "modified": stats.modified, "deleted": stats.deleted}
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
        files.setdefault((use.consumer, use.file.written_by), []).append(use.file.path)
    for commit in reversed(graph.commits) if newest_first else graph.commits:
        print_commit(commit)
        for (consumer, source), paths in files.items():
            if consumer == commit.id:
                shown = _shown(sorted(set(paths)), every_file=every_file)
                console().print(Text(f"  from {names.get(source, source)}: {shown}"))


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
