"""The metadata that tells, at a materialisation in Dagster, which commit holds it and what it was made from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dagster_versioned import tags
from versioned_io import Commit, InputFile
from versioned_io.formats import StoredObject

_INPUTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """What one output of a step became.

    Attributes:
        commit: The commit that holds it: a new one, or the branch's head where nothing changed.
        lineage_id: The run's; *commit* may be an older one, of another lineage, where nothing changed.
        objects: What is stored, by partition key, or under ``None`` for what is not partitioned.
        nothing: The keys whose value is ``None``. Where they are is not shown: mostly such an asset wrote its data
            elsewhere, and so Dagster's own managers keep silent too.
        inputs: What the step has read so far.
    """

    commit: Commit
    lineage_id: str
    objects: Mapping[str | None, StoredObject]
    nothing: frozenset[str | None]
    inputs: Sequence[InputFile]

    @property
    def metadata(self) -> dict[str, Any]:
        """What holds for the whole output; of an output with one object, also where and how large that is."""
        metadata: dict[str, Any] = {
            tags.LINEAGE_ID: self.lineage_id,
            tags.COMMIT: str(self.commit.id),
            tags.REPO: self.commit.repo,
            tags.BRANCH: self.commit.branch,
        }
        metadata |= _metadata_of_inputs(self.inputs)
        if len(self.objects) == 1:
            ((key, stored),) = self.objects.items()
            return metadata | self._metadata_of_object(key, stored)
        return metadata | {"dagster/size_bytes": sum(stored.size for stored in self.objects.values())}

    @property
    def partition_metadata(self) -> dict[str, dict[str, Any]]:
        """What holds for each partition, where there are several; else nothing."""
        if len(self.objects) == 1:
            return {}
        return {
            key: self._metadata_of_object(key, one) | _metadata_of_inputs(self._inputs_of(key))
            for key, one in self.objects.items()
            if key is not None
        }

    @property
    def data_version(self) -> str:
        """A version that is equal when what is stored is: the content's digest, or of partitions a digest of all."""
        digests = {str(key): stored.digest for key, stored in self.objects.items()}
        if len(digests) == 1:
            return next(iter(digests.values()))
        lines = "".join(f"{key}\0{digest}\n" for key, digest in sorted(digests.items()))
        return hashlib.blake2b(lines.encode(), digest_size=32).hexdigest()

    def _inputs_of(self, key: str) -> list[InputFile]:
        """Return what was read for this partition, or for all of them."""
        return [file for file in self.inputs if file.output in {"", key}]

    def _metadata_of_object(self, key: str | None, stored: StoredObject) -> dict[str, Any]:
        metadata: dict[str, Any] = {"dagster/size_bytes": stored.size}
        if stored.rows is not None:
            metadata["dagster/row_count"] = stored.rows
        if key not in self.nothing:
            metadata["path"] = dg.MetadataValue.path(f"{self.commit.repo}@{self.commit.id}:{stored.path}")
            metadata["dagster/uri"] = f"versioned://{self.commit.repo}@{self.commit.id}/{stored.path}"
        return metadata


def _metadata_of_inputs(inputs: Sequence[InputFile]) -> dict[str, Any]:
    """Return the files as refs: of more than a hundred, the first, and how many more; nothing when there is none."""
    files = list(dict.fromkeys(f"{file.repo}@{file.commit}:{file.path}" for file in inputs))
    if not files:
        return {}
    shown = {"files": files[:_INPUTS_SHOWN]}
    more = len(files) - _INPUTS_SHOWN
    return {tags.INPUTS: dg.MetadataValue.json({**shown, "more": more} if more > 0 else shown)}
