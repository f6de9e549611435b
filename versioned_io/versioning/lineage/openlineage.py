"""A lineage graph as OpenLineage run events, which catalogs of data and of jobs read."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from versioned_io.catalog.lineage import Use
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.versioning.lineage.tracing import ExternalUse, LineageGraph

Fields: TypeAlias = dict[str, Any]

_SPEC: Final = "https://openlineage.io/spec"
_EVENT: Final = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs"
_PRODUCER: Final = "urn:versioned-io:lineage-export"
_MANUAL: Final = "versioned"
"""The namespace of the job of a commit that no run made."""


class OpenLineage:
    """Makes run events of a lineage graph, each valid by the published schema 2-0-2.

    Each commit is a run of its own, whose ID is the commit's. It begins with a START event and ends with a COMPLETE
    event; both have the time of the commit. Datasets are branches, as ``repo@branch``. Their version is the ID of the
    commit that made or confirmed the files, and a facet names the files.

    Args:
        namespace: The namespace of all datasets of the store.

    Source: https://openlineage.io/spec/2-0-2/OpenLineage.json
    """

    def __init__(self, graph: LineageGraph, *, namespace: str) -> None:
        self._graph = graph
        self._namespace = namespace
        self._names = {commit.id: f"{commit.repo}@{commit.branch}" for commit in graph.commits}

    def lines(self) -> Iterator[str]:
        """Yield each event as one line of JSON in ASCII, in the order of commits."""
        for event in self.events():
            yield json.dumps(event, sort_keys=True).replace("\x7f", "\\u007f")

    def events(self) -> Iterator[Fields]:
        """Yield the events, in the order of commits."""
        sources: dict[CommitId, dict[CommitId, list[Use]]] = {}
        for consumer, source in self._graph.edges:
            sources.setdefault(consumer, {}).setdefault(source, [])
        for use in self._graph.files:
            sources.setdefault(use.consumer, {}).setdefault(use.file.made_by, []).append(use)
        external: dict[CommitId, list[ExternalUse]] = {}
        for outside in self._graph.external:
            external.setdefault(outside.consumer, []).append(outside)
        for commit in self._graph.commits:
            inputs = [self._input(source, uses) for source, uses in sorted(sources.get(commit.id, {}).items())]
            outside_of = _by_address(external.get(commit.id, ()))
            inputs += [self._outside(address, uses) for address, uses in sorted(outside_of.items())]
            yield from self._events_of(commit, inputs)

    def _events_of(self, commit: Commit, inputs: list[Fields]) -> Iterator[Fields]:
        shared = {
            "eventTime": commit.created_at.isoformat(),
            "producer": _PRODUCER,
            "schemaURL": f"{_EVENT}/RunEvent",
            "run": {"runId": str(UUID(commit.id)), "facets": self._run_facets(commit)},
            "job": self._job(commit),
            "inputs": inputs,
        }
        yield {**shared, "eventType": "START", "outputs": []}
        yield {**shared, "eventType": "COMPLETE", "outputs": [self._output(commit)]}

    def _job(self, commit: Commit) -> Fields:
        if commit.run is None:
            return {"namespace": _MANUAL, "name": f"commit to {commit.repo}@{commit.branch}"}
        integration = commit.run.orchestrator.upper()
        facet = self._facet("JobTypeJobFacet", "2-0-4", processingType="BATCH", integration=integration, jobType="JOB")
        return {"namespace": commit.run.orchestrator, "name": job_name(commit), "facets": {"jobType": facet}}

    def _run_facets(self, commit: Commit) -> Fields:
        own: Fields = {"lineageId": commit.lineage_id, "commit": commit.id}
        own |= {"repo": commit.repo, "branch": commit.branch}
        own |= {"number": commit.number, "inputsAreComplete": commit.inputs_are_complete}
        run = commit.run
        if run is None:
            return {"versioned_commit": self._own_facet("RunFacet", own)}
        told = {
            "orchestratorRunId": run.run_id,
            "partitionKey": run.partition_key,
            "url": run.url,
            "codeVersion": run.code_version,
            "gitCommit": run.git_commit,
        }
        own |= {name: value for name, value in told.items() if value is not None}
        facets = {"versioned_commit": self._own_facet("RunFacet", own)}
        if run.params:
            parameters = [{"key": key, "value": _as_text(value)} for key, value in sorted(run.params.items())]
            facets["executionParameters"] = self._facet("ExecutionParametersRunFacet", "1-0-0", parameters=parameters)
        return facets

    def _input(self, source: CommitId, uses: Iterable[Use]) -> Fields:
        files = [
            {"path": use.file.path, "digest": use.file.digest, "readAt": use.file.commit, "output": use.file.output}
            for use in uses
        ]
        files.sort(key=lambda file: (file["path"], file["output"], file["readAt"]))
        facets = self._version_of(source)
        facets["versioned_files"] = self._own_facet("DatasetFacet", {"files": files, "isWhole": not files})
        return {"namespace": self._namespace, "name": self._names[source], "facets": facets}

    def _outside(self, address: "_Address", uses: Iterable[ExternalUse]) -> Fields:
        digests = sorted({use.digest for use in uses})
        facets = self._version_of(digests[0]) if len(digests) == 1 and digests[0] else {}
        return {"namespace": address.namespace, "name": address.name, "facets": facets}

    def _output(self, commit: Commit) -> Fields:
        stats = {"size": commit.stats.bytes_written, "fileCount": commit.stats.added + commit.stats.modified}
        statistics = self._facet("OutputStatisticsOutputDatasetFacet", "1-0-2", **stats)
        facets = self._version_of(commit.id)
        facets["versioned_tree"] = self._own_facet("DatasetFacet", {"digest": commit.tree_digest})
        output_facets = {"outputStatistics": statistics}
        return {
            "namespace": self._namespace,
            "name": self._names[commit.id],
            "facets": facets,
            "outputFacets": output_facets,
        }

    def _version_of(self, version: str) -> Fields:
        return {"version": self._facet("DatasetVersionDatasetFacet", "1-0-1", datasetVersion=version)}

    def _facet(self, name: str, version: str, **fields: object) -> Fields:
        url = f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}"
        return {"_producer": _PRODUCER, "_schemaURL": url, **fields}

    def _own_facet(self, kind: str, fields: Mapping[str, object]) -> Fields:
        """Return a facet that the specification does not name: it is valid as any facet of its kind."""
        return {"_producer": _PRODUCER, "_schemaURL": f"{_EVENT}/{kind}", **fields}


def namespace_of(url: str) -> str:
    """Return the namespace of a store's datasets: ``versioned+s3://bucket/prefix``, ``versioned+file:///data/store``."""
    return f"versioned+{url}" if "://" in url else f"versioned+file://{url}"


def job_name(commit: Commit) -> str:
    """Return the name of the job that made a commit, with the task, which Airflow's runs record as a parameter."""
    if commit.run is None:
        return ""
    task = commit.run.params.get("task")
    return f"{commit.run.job}.{task}" if isinstance(task, str) and task else commit.run.job


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


class _Address(NamedTuple):
    """The namespace and the name that OpenLineage gives a place outside of the store."""

    namespace: str
    name: str


def _by_address(uses: Iterable[ExternalUse]) -> dict[_Address, list[ExternalUse]]:
    found: dict[_Address, list[ExternalUse]] = {}
    for use in uses:
        found.setdefault(_address_of(use.uri), []).append(use)
    return found


def _address_of(uri: str) -> _Address:
    """Return an address as a namespace and a name, such as ``s3://bucket`` and ``a/b``, or ``file`` and ``/a/b``."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return _Address("file", uri)
    if not parts.scheme:
        return _Address("file", uri)
    if not parts.netloc:
        return _Address(parts.scheme, uri.partition(":")[2].removeprefix("//") or "/")
    return _Address(f"{parts.scheme}://{parts.netloc}", uri.partition("://")[2].partition("/")[2] or "/")
