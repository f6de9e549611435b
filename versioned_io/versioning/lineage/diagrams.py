"""A lineage graph as a diagram in Mermaid or DOT; names from a stranger's store can't become markup."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.versioning.lineage.openlineage import job_name
from versioned_io.versioning.lineage.tracing import LineageGraph

_PLAIN: Final = re.compile(r"[^A-Za-z0-9 _.,:/@=+-]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ID_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class _Box:
    """A commit, or an input outside of the store, with the lines of its label."""

    id: str
    lines: tuple[str, ...]
    is_outside: bool = False


@dataclass(frozen=True, slots=True)
class _Arrow:
    """The way of data from a source to the commit that was made from it."""

    source: str
    target: str
    label: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes and arrows. Data flows along the arrows, from sources to the commits that were made from them."""

    boxes: tuple[_Box, ...]
    arrows: tuple[_Arrow, ...]

    @classmethod
    def of(cls, graph: LineageGraph) -> "Diagram":
        """Return the diagram of a graph: one box a commit, and one arrow an edge, with its number of files."""
        names = {commit.id: f"n{number}" for number, commit in enumerate(graph.commits)}
        outside = {address: f"x{number}" for number, address in enumerate(sorted({use.uri for use in graph.external}))}
        boxes = [_Box(names[commit.id], _lines_of(commit)) for commit in graph.commits]
        boxes += [_Box(name, (address,), is_outside=True) for address, name in outside.items()]
        arrows = _arrows(graph, names)
        external = sorted({(outside[use.uri], names[use.consumer]) for use in graph.external})
        return cls(tuple(boxes), (*arrows, *(_Arrow(source, target, "") for source, target in external)))

    def mermaid(self) -> Iterator[str]:
        """Yield the lines of a Mermaid flowchart; every character that could be markup is written as its number."""
        yield "flowchart LR"
        for box in self.boxes:
            label = "<br/>".join(map(_mermaid_text, box.lines))
            yield f'  {box.id}(["{label}"])' if box.is_outside else f'  {box.id}["{label}"]'
        for arrow in self.arrows:
            label = f'|"{_mermaid_text(arrow.label)}"|' if arrow.label else ""
            yield f"  {arrow.source} -->{label} {arrow.target}"

    def dot(self) -> Iterator[str]:
        """Yield the lines of a directed graph in DOT, the language of Graphviz."""
        yield "digraph lineage {"
        yield "  rankdir=LR;"
        yield "  node [shape=box];"
        for box in self.boxes:
            shape = ", shape=ellipse" if box.is_outside else ""
            yield f"  {box.id} [label={_quoted(box.lines)}{shape}];"
        for arrow in self.arrows:
            label = f" [label={_quoted([arrow.label])}]" if arrow.label else ""
            yield f"  {arrow.source} -> {arrow.target}{label};"
        yield "}"


def _lines_of(commit: Commit) -> tuple[str, ...]:
    place = f"{commit.repo}@{commit.branch} #{commit.number}"
    made_by = (f"{commit.run.orchestrator} {job_name(commit)}",) if commit.run is not None else ()
    return (place, *made_by, commit.id[:_ID_SHOWN])


def _arrows(graph: LineageGraph, names: Mapping[CommitId, str]) -> list[_Arrow]:
    paths: dict[tuple[CommitId, CommitId], set[str]] = {edge: set() for edge in graph.edges}
    for use in graph.files:
        paths.setdefault((use.consumer, use.file.made_by), set()).add(use.file.path)
    return [_Arrow(names[source], names[made], _described(found)) for (made, source), found in sorted(paths.items())]


def _described(paths: set[str]) -> str:
    if not paths:
        return "all of it"
    return next(iter(paths)) if len(paths) == 1 else f"{len(paths)} files"


def _mermaid_text(text: str) -> str:
    """Return *text* for a quoted label, with each unusual character as an entity of Mermaid, such as ``#60;``."""
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", _visible(text))


def _quoted(lines: "tuple[str, ...] | list[str]") -> str:
    """Return the lines of a label as a quoted string of DOT."""
    return '"' + "\\n".join(map(_dot_text, lines)) + '"'


def _dot_text(line: str) -> str:
    """Return *line* for a quoted string of DOT. Graphviz decodes entities such as ``&#8238;``, so no ``&`` stays."""
    return _visible(line).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def _visible(text: str) -> str:
    """Return *text* with every character that would control a terminal or a line as its code."""
    return _CONTROL.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)
