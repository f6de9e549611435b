"""The metadata of a materialisation in Dagster: the commit that holds it, and its inputs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

import versioned_io as vio
from dagster_versioned import tags
from dagster_versioned.fallback import OlderInput
from dagster_versioned.row_metadata import TableChanges, metadata_of_change
from versioned_io import formats

_INPUTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """The stored form of one output of a step.

    Attributes:
        commit: The commit that holds it: a new one, or the branch's head if nothing changed.
        lineage_id: The run's lineage ID. If nothing changed, *commit* may be an older one, of another lineage.
        objects: The stored objects, by partition key, or under ``None`` for an output without partitions.
        nothing: The keys whose value is ``None``. Their places are not shown: such an asset usually wrote its data
            elsewhere, and Dagster's own managers don't show them either.
        inputs: The files that the step has read so far.
        older: The values that it has read from an older IO manager.
        changes: How each table differs from the commit before, by partition key; a table that is new there is left out.
    """

    commit: "vio.Commit"
    lineage_id: str
    objects: "Mapping[str | None, formats.StoredObject]"
    nothing: frozenset[str | None]
    inputs: "Sequence[vio.InputFile]"
    older: Sequence[OlderInput] = ()
    changes: TableChanges = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the whole output; for an output with one object, also its place and size."""
        metadata: dict[str, Any] = {
            tags.LINEAGE_ID: self.lineage_id,
            tags.COMMIT: str(self.commit.id),
            tags.REPO: self.commit.repo,
            tags.BRANCH: self.commit.branch,
        }
        metadata |= _metadata_of_inputs(self.inputs, self.older)
        if len(self.objects) == 1:
            ((key, stored),) = self.objects.items()
            return metadata | self._metadata_of_object(key, stored)
        return metadata | {"dagster/size_bytes": sum(stored.size for stored in self.objects.values())}

    @property
    def partition_metadata(self) -> dict[str, dict[str, Any]]:
        """The metadata of each partition, if there are several; otherwise empty."""
        if len(self.objects) == 1:
            return {}
        return {
            key: self._metadata_of_object(key, one)
            | _metadata_of_inputs(self._inputs_of(key), [one for one in self.older if one.output in {"", key}])
            for key, one in self.objects.items()
            if key is not None
        }

    @property
    def data_version(self) -> str:
        """A version that is equal for equal content: the content's digest, or a digest over all partitions."""
        digests = {str(key): stored.digest for key, stored in self.objects.items()}
        if len(digests) == 1:
            return next(iter(digests.values()))
        lines = "".join(f"{key}\0{digest}\n" for key, digest in sorted(digests.items()))
        return hashlib.blake2b(lines.encode(), digest_size=32).hexdigest()

    def _inputs_of(self, key: str) -> "list[vio.InputFile]":
        """Return the files that were read for this partition, or for all of them."""
        return [file for file in self.inputs if file.output in {"", key}]

    def _metadata_of_object(self, key: str | None, stored: "formats.StoredObject") -> dict[str, Any]:
        metadata: dict[str, Any] = {"dagster/size_bytes": stored.size}
        if stored.rows is not None:
            metadata["dagster/row_count"] = stored.rows
            if key in self.changes:
                metadata |= metadata_of_change(self.changes[key])
        if key not in self.nothing:
            metadata["path"] = dg.MetadataValue.path(f"{self.commit.repo}@{self.commit.id}:{stored.path}")
            metadata["dagster/uri"] = f"versioned://{self.commit.repo}@{self.commit.id}/{stored.path}"
        return metadata


def _metadata_of_inputs(inputs: "Sequence[vio.InputFile]", older: Sequence[OlderInput]) -> dict[str, Any]:
    """Return the files as refs: at most the first hundred, and the number of others; empty if there are none."""
    refs = [f"{file.repo}@{file.commit}:{file.path}" for file in inputs]
    files = list(dict.fromkeys([*refs, *(f"{one.uri} {one.digest}" for one in older)]))
    if not files:
        return {}
    shown = {"files": files[:_INPUTS_SHOWN]}
    more = len(files) - _INPUTS_SHOWN
    return {
        tags.INPUTS: dg.MetadataValue.json({**shown, "more": more} if more > 0 else shown),
        tags.MADE_FROM: dg.MetadataValue.md(_table_of_inputs(inputs, older)),
    }


def _table_of_inputs(inputs: "Sequence[vio.InputFile]", older: Sequence[OlderInput]) -> str:
    """Return the inputs as a table in Markdown: a line for each repo and commit, with its number of files."""
    paths: dict[tuple[str, str], dict[str, None]] = {}
    for file in inputs:
        paths.setdefault((file.repo, str(file.commit)), {})[file.path] = None
    rows = [(repo, commit, list(found)) for (repo, commit), found in paths.items()]
    if older:
        rows.append(("outside of the store", "", list(dict.fromkeys(one.uri for one in older))))
    lines = [
        f"| {repo} | {commit} | {len(found)} | {_cell(found[0])}{', …' if len(found) > 1 else ''} |"
        for repo, commit, found in rows[:_INPUTS_SHOWN]
    ]
    more = [f"| and {len(rows) - _INPUTS_SHOWN} more | | | |"] if len(rows) > _INPUTS_SHOWN else []
    return "\n".join(["| repo | commit | files | first file |", "|---|---|---|---|", *lines, *more])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
