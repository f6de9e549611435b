"""The state of the inputs that a datum tree describes, so that the next plan asks only for what changed since.

It is a row of the datum tree. Other rows name the datums that have no result yet; these are asked for again each time.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from blake3 import blake3

from versioned_io.errors import IntegrityError
from versioned_io.model.commits import Commit
from versioned_io.model.places import PageRef
from versioned_io.processing.datums.datum_tree import (
    DATUMS,
    INVALID,
    DatumFacts,
    EncodedDatum,
    encode_datum,
    scan_facts,
)
from versioned_io.processing.inputs.specs import InputSpec
from versioned_io.storage.pages.read import lookup
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.file_info import decode_attributes

BASIS_PLACE: Final = "s/basis"
_UNSETTLED: Final = "u/"
_CONTEXT: Final = "versioned-io 2026 inputs of a plan v1"
_TREES_CONTEXT: Final = "versioned-io 2026 trees of a plan v1"
_FORMAT: Final = 1
"""To be raised when the same inputs give other datums, or the same datums other fingerprints."""


@dataclass(frozen=True, slots=True)
class Basis:
    """The inputs and the computation that a datum tree describes.

    Attributes:
        spec: The digest of the input, as it is declared.
        computation: The digest of all that is equal in the fingerprints of its datums.
        commits: The commit of each ref of the input; None for a branch without one.
        trees: The digest of the trees of these commits, which a purge changes; empty if it was not recorded.
    """

    spec: str
    computation: str
    commits: Mapping[str, str | None]
    trees: str

    @classmethod
    def of(cls, spec: InputSpec, computation: bytes, commits: Mapping[str, Commit | None]) -> "Basis":
        """Return the basis of an input at these commits."""
        text = f"{_FORMAT} {spec!r}"
        return cls(
            blake3(text.encode(), derive_key_context=_CONTEXT).hexdigest(),
            computation.hex(),
            {ref: None if one is None else str(one.id) for ref, one in commits.items()},
            digest_of_trees(commits.values()),
        )

    def is_comparable(self, other: "Basis") -> bool:
        """Return whether datums of both differ only where files do."""
        return (self.spec, self.computation, self.commits.keys()) == (
            other.spec,
            other.computation,
            other.commits.keys(),
        )

    def encoded(self) -> EncodedDatum:
        """Return the row of the datum tree."""
        return EncodedDatum(
            BASIS_PLACE,
            b"",
            {
                "spec": self.spec,
                "computation": self.computation,
                "commits": json.dumps(self.commits, sort_keys=True),
                "trees": self.trees,
            },
        )


def digest_of_trees(commits: Iterable[Commit | None]) -> str:
    """Return a digest of the files in some commits."""
    trees = {str(one.id): str(one.tree_digest) for one in commits if one is not None}
    return blake3(json.dumps(trees, sort_keys=True).encode(), derive_key_context=_TREES_CONTEXT).hexdigest()


def read_basis(backend: Backend, root: PageRef | None) -> Basis | None:
    """Return the basis of a datum tree; None if it does not say. Cost: reads 1 page of each level."""
    row = lookup(root, BASIS_PLACE, source=backend.pages)
    if row is None:
        return None
    attributes = decode_attributes(row.attributes)
    try:
        commits: dict[str, Any] = json.loads(attributes["commits"])
        return Basis(attributes["spec"], attributes["computation"], commits, attributes.get("trees", ""))
    except (KeyError, ValueError) as error:
        msg = f"the basis of a datum tree is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error


def unsettled_place(place: str) -> str:
    """Return the path at which the datum tree names the datum at *place* as one without a result."""
    return _UNSETTLED + place.removeprefix(DATUMS)


def encode_unsettled(facts: DatumFacts) -> EncodedDatum:
    """Return the row that names a datum as one without a result."""
    row = encode_datum(replace(facts, fingerprint=INVALID, outputs=()))
    return row._replace(path=unsettled_place(row.path))


def read_unsettled(backend: Backend, root: PageRef | None) -> dict[str, DatumFacts]:
    """Return the datums without a result, by path. Cost: reads their pages."""
    return dict(scan_facts(backend, root, _UNSETTLED))


def files_of_datums(datums: Iterable[DatumFacts]) -> dict[str, Collection[str]]:
    """Return the paths of all files of some datums, by the name of the input."""
    found: dict[str, set[str]] = {}
    for facts in datums:
        for name, files in facts.inputs.items():
            found.setdefault(name, set()).update(path for path, _ in files)
    return dict(found)
