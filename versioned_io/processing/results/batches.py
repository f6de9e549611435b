"""Storing the products of evaluations: one commit of the repo of results for each batch, and its index rows with it."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, NoReturn

from blake3 import blake3
from sqlalchemy import Connection

from versioned_io.catalog.evaluated import Evaluated, end_claims, enter_evaluated
from versioned_io.errors import InvalidInputError
from versioned_io.model.commits import Commit, JSONValue
from versioned_io.model.identifiers import CommitId
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import (
    FAILURES,
    INDEXED_KEY,
    INPUTS,
    INVALIDATED,
    LOGS,
    MANIFESTS,
    OUTPUTS,
    SOURCES_KEY,
)
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.file_info import encode_attributes
from versioned_io.versioning.transactions.facts import CommitFacts, Empty
from versioned_io.versioning.transactions.plan import Alongside
from versioned_io.versioning.transactions.transaction import Transaction, draft_of

_LONGEST_ATTRIBUTE: Final = 2048
_CONTEXT: Final = "versioned-io 2026 outputs of a datum v1"


class ProducedFile(NamedTuple):
    """One output of an evaluation, still in memory.

    Attributes:
        attributes: Text to keep with the file, or None.
    """

    path: str
    data: bytes
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Produced:
    """The product of one evaluation: outputs, or an error.

    Attributes:
        key: The key of the datum that was evaluated.
        error: The failure as text; None if the evaluation succeeded.
        log: The text that it printed.
        is_recovered: Whether the error was handled, so that the run ends without the datum's outputs.
        sources: The input files: pairs of a commit's ID and the paths that were read at it.
    """

    fingerprint: bytes
    key: str
    outputs: tuple[ProducedFile, ...] = ()
    error: str | None = None
    log: str = ""
    seconds: float = 0.0
    is_recovered: bool = False
    sources: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def size_bytes(self) -> int:
        """The size of the outputs and the log."""
        return sum(len(one.data) for one in self.outputs) + len(self.log)


class StoredBatch(NamedTuple):
    """A batch that is durable.

    Attributes:
        beaten: The fingerprints that had a result before; theirs counts.
    """

    commit: CommitId
    beaten: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """Where a run stores its batches, and in whose name.

    Attributes:
        branch: The run's branch of the repo of results.
        is_indexed: Whether other runs may find the results.
        owner: The name under which the run claims datums; empty for its ID.
    """

    branch: BranchRef
    run_id: str
    pipeline: str
    is_indexed: bool = True
    owner: str = ""


def store_batch(backend: Backend, place: BatchPlace, produced: Sequence[Produced]) -> StoredBatch:
    """Store *produced* as one commit, enter it in the index, and end the run's claims on it, all or nothing.

    After this call nothing of it is evaluated again. The first result of a fingerprint stays.

    Raises:
        StorageError: Nothing is visible; the evaluations are repeated.

    Cost: that of one commit, and 4 statements for each 500 fingerprints.
    """
    beaten: set[bytes] = set()
    tx = _begin(backend, place, f"{len(produced)} datums of {place.pipeline}", partial(_enter, place, produced, beaten))
    with tx:
        for one in produced:
            _write(tx, place, one)
    return StoredBatch(tx.commit.id, frozenset(beaten))


def invalidate_results(backend: Backend, place: BatchPlace, fingerprints: Collection[bytes]) -> None:
    """End the results of *fingerprints*, for every pipeline. Outputs that were made of them stay.

    Cost: that of one commit, and 2 statements for each 500 fingerprints.
    """
    found = Evaluated(invalidated=sorted(fingerprints))

    def enter(connection: Connection, made: Mapping[BranchRef, Commit]) -> None:
        enter_evaluated(connection, made[place.branch].id, found)

    with _begin(backend, place, f"{len(fingerprints)} results invalidated by {place.pipeline}", enter) as tx:
        for one in fingerprints:
            tx.write(f"{INVALIDATED}{one.hex()}", b"")


def _begin(backend: Backend, place: BatchPlace, message: str, alongside: Alongside) -> Transaction:
    """Return a transaction whose commit has a tree of its own, without the batches before it."""
    metadata: dict[str, JSONValue] = {"run": place.run_id, "pipeline": place.pipeline}
    if not place.is_indexed:
        metadata[INDEXED_KEY] = False
    tx = Transaction(
        backend,
        place.branch,
        facts=CommitFacts(message, "", metadata, None, (), {}),
        empty=Empty.SKIP,
        completes=(),
        resolve=_refuse,
        alongside=(alongside,),
    )
    draft_of(tx).begin_afresh()
    return tx


def _write(tx: Transaction, place: BatchPlace, one: Produced) -> None:
    name, draft = one.fingerprint.hex(), draft_of(tx)
    facts = {"key": one.key, "run": place.run_id, "seconds": f"{one.seconds:.6f}"}
    sources = json.dumps(one.sources, separators=(",", ":"), ensure_ascii=False)
    if len(sources) <= _LONGEST_ATTRIBUTE:
        facts[SOURCES_KEY] = sources
    else:
        tx.write(f"{INPUTS}{name}", sources.encode())
    if one.log:
        draft.take_in(f"{LOGS}{name}", one.log.encode(), None)
    if one.error is not None:
        draft.take_in(f"{FAILURES}{name}", one.error.encode(), encode_attributes(facts))
        return
    listed = []
    for file in one.outputs:
        attributes = file.attributes or {}
        taken = draft.take_in(f"{OUTPUTS}{name}/{file.path}", file.data, encode_attributes(attributes))
        listed.append([file.path, taken.digest.hex(), dict(sorted(attributes.items()))])
    digest = blake3(json.dumps(sorted(listed)).encode(), derive_key_context=_CONTEXT).hexdigest()
    size = sum(len(file.data) for file in one.outputs)
    facts |= {"files": str(len(listed)), "outputs": digest, "bytes": str(size)}
    draft.take_in(f"{MANIFESTS}{name}", b"", encode_attributes(facts))


def _enter(
    place: BatchPlace,
    produced: Sequence[Produced],
    beaten: set[bytes],
    connection: Connection,
    made: Mapping[BranchRef, Commit],
) -> None:
    commit = made[place.branch]
    found = Evaluated(
        [one.fingerprint for one in produced if one.error is None] if place.is_indexed else (),
        [one.fingerprint for one in produced if one.error is not None],
    )
    beaten.clear()
    beaten.update(enter_evaluated(connection, commit.id, found))
    end_claims(connection, [one.fingerprint for one in produced], place.owner or place.run_id)


def _refuse(_ref: str) -> NoReturn:
    msg = "a batch of results copies no files"
    raise InvalidInputError(msg)
