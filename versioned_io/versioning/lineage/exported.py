"""Exports of a lineage graph: the choice of a format, and the document in JSON."""

import json
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any

from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.model.withholding import withhold, withhold_in_text
from versioned_io.versioning.lineage.diagrams import Diagram
from versioned_io.versioning.lineage.openlineage import OpenLineage
from versioned_io.versioning.lineage.tracing import LineageGraph

DOCUMENT_FORMAT = 1


class ExportFormat(StrEnum):
    """The forms in which a lineage graph leaves the store."""

    JSON = "json"
    """One document; the reference describes it."""
    OPENLINEAGE = "openlineage"
    """Run events, one on each line."""
    MERMAID = "mermaid"
    """A flowchart for Markdown."""
    DOT = "dot"
    """A directed graph for Graphviz."""


def export_graph(graph: LineageGraph, form: ExportFormat, *, namespace: str) -> str:
    """Return a graph as text, which ends with a newline; equal graphs give equal texts.

    Values that look like secrets are withheld from the metadata of commits, and from addresses outside of the store.
    """
    external = tuple(replace(use, uri=withhold_in_text(use.uri)) for use in graph.external)
    told = replace(graph, external=external)
    return "".join(f"{line}\n" for line in _lines(told, form, namespace=namespace))


def _lines(graph: LineageGraph, form: ExportFormat, *, namespace: str) -> Iterator[str]:
    match form:
        case ExportFormat.JSON:
            document = json.dumps(build_document(graph), indent=2, sort_keys=True)
            return iter([document.replace("\x7f", "\\u007f")])
        case ExportFormat.OPENLINEAGE:
            return OpenLineage(graph, namespace=namespace).lines()
        case ExportFormat.MERMAID:
            return Diagram.of(graph).mermaid()
        case ExportFormat.DOT:
            return Diagram.of(graph).dot()


def build_document(graph: LineageGraph) -> dict[str, Any]:
    """Return a graph as JSON takes it: roots, commits in their order, and edges with their files, sorted."""
    files: dict[tuple[CommitId, CommitId], list[dict[str, str]]] = {edge: [] for edge in graph.edges}
    for use in graph.files:
        one = use.file
        fields = {"path": one.path, "digest": one.digest, "output": one.output, "read_at": one.commit}
        files.setdefault((use.consumer, one.made_by), []).append({**fields, "written_by": one.written_by})
    edges: list[dict[str, Any]] = [
        {
            "commit": commit,
            "source": source,
            "files": sorted(found, key=lambda file: (file["path"], file["output"], file["read_at"])),
        }
        for (commit, source), found in sorted(files.items())
    ]
    external = [
        {"commit": use.consumer, "uri": use.uri, "digest": use.digest, "output": use.output} for use in graph.external
    ]
    return {
        "format": DOCUMENT_FORMAT,
        "roots": sorted(graph.roots),
        "commits": [_commit_fields(commit) for commit in graph.commits],
        "edges": edges,
        "external": sorted(external, key=lambda one: (one["commit"], one["uri"], one["output"])),
        "datums": [one._asdict() for one in sorted(graph.datums)],
    }


def _commit_fields(commit: Commit) -> dict[str, Any]:
    known = {"inputs_are_complete": commit.inputs_are_complete, "tree_digest": commit.tree_digest}
    return {**commit.to_json(), **known, "state": commit.state.value, "metadata": withhold(dict(commit.metadata))}
