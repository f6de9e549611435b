"""Reading stored results: the rows of their outputs, to be adopted by reference, their logs and their failures."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from versioned_io.catalog.commits import get_commits
from versioned_io.errors import PackLostError
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import FAILURES, INPUTS, LOGS, MANIFESTS, OUTPUTS, SOURCES_KEY, fingerprint_in
from versioned_io.storage.pages.read import FileRow, file_rows, lookup, lookup_many, scan
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.file_info import decode_attributes

_FEW: Final = 8
"""Up to this many results of a batch are read one by one; of more, all outputs of the batch are read at once."""
_NAME: Final = slice(len(OUTPUTS), len(OUTPUTS) + 64)
_PATH: Final = slice(len(OUTPUTS) + 65, None)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as it is stored.

    Attributes:
        outputs: The rows of the outputs, by the paths that the datum wrote.
        digest: A digest of the outputs: equal for equal outputs.
        run_id: The run that evaluated it.
        key: The key of the datum that was evaluated.
    """

    outputs: Mapping[str, FileRow]
    digest: str
    run_id: str
    key: str
    seconds: float


def read_results(backend: Backend, places: Mapping[bytes, CommitId]) -> dict[bytes, StoredResult]:
    """Return the results that are stored whole; one that was purged in part, or whose data has expired, is left out.

    Args:
        places: The commit that holds the result of each fingerprint.

    Cost: 1 SELECT for each 500 commits; of each commit the pages of the results.
    """
    by_commit: dict[CommitId, list[bytes]] = {}
    for fingerprint, commit_id in places.items():
        by_commit.setdefault(commit_id, []).append(fingerprint)
    with backend.catalog.look_up() as connection:
        commits = get_commits(connection, sorted(by_commit))
    found: dict[bytes, StoredResult] = {}
    for commit_id, wanted in by_commit.items():
        commit = commits.get(commit_id)
        if commit is not None and commit.state is CommitState.LIVE:
            found |= _read_batch(backend, commit, wanted)
    return found


class EvaluationCost(NamedTuple):
    """The time that an evaluation took, and the size of its outputs."""

    seconds: float
    size_bytes: int


def read_costs(backend: Backend, places: Mapping[bytes, CommitId]) -> dict[bytes, EvaluationCost]:
    """Return the costs of evaluations whose results are stored; others are left out.

    Args:
        places: The commit that holds the result of each fingerprint.

    Cost: 1 SELECT for each 500 commits; of each commit the pages of the manifests.
    """
    by_commit: dict[CommitId, list[bytes]] = {}
    for fingerprint, commit_id in places.items():
        by_commit.setdefault(commit_id, []).append(fingerprint)
    with backend.catalog.look_up() as connection:
        commits = get_commits(connection, sorted(by_commit))
    found: dict[bytes, EvaluationCost] = {}
    for commit_id, wanted in by_commit.items():
        commit = commits.get(commit_id)
        if commit is not None and commit.state is CommitState.LIVE:
            paths = [f"{MANIFESTS}{one.hex()}" for one in wanted]
            for row in file_rows(lookup_many(commit.root, paths, source=backend.pages)):
                facts = decode_attributes(row.attributes)
                cost = EvaluationCost(float(facts["seconds"]), int(facts["bytes"]))
                found[bytes.fromhex(row.path.removeprefix(MANIFESTS))] = cost
    return found


def read_log(backend: Backend, commit_id: CommitId, fingerprint: bytes) -> str:
    """Return the text that an evaluation printed. Cost: 1 SELECT; reads the pages and the text."""
    return _read_text(backend, commit_id, f"{LOGS}{fingerprint.hex()}")


def read_failure(backend: Backend, commit_id: CommitId, fingerprint: bytes) -> str:
    """Return the error of an evaluation that failed. Cost: as `read_log`."""
    return _read_text(backend, commit_id, f"{FAILURES}{fingerprint.hex()}")


def read_sources(
    backend: Backend, root: PageRef | None, prefix: str
) -> Iterator[tuple[bytes, list[tuple[CommitId, str]]]]:
    """Yield the fingerprints of a batch with the input files, each with the commit that it was read from.

    Args:
        prefix: That of manifests or failures.

    Cost: reads the pages of the manifests or failures.
    """
    for batch in scan(root, prefix, source=backend.pages):
        for row in file_rows(batch):
            text = decode_attributes(row.attributes).get(SOURCES_KEY)
            if text is None:
                own = lookup(root, f"{INPUTS}{row.path.removeprefix(prefix)}", source=backend.pages)
                text = "[]" if own is None else backend.chunks.read_file(own.chunks).decode()
            sources = [(CommitId(commit), path) for commit, paths in json.loads(text) for path in paths]
            yield fingerprint_in(row.path), sources


def _read_text(backend: Backend, commit_id: CommitId, path: str) -> str:
    with backend.catalog.look_up() as connection:
        (commit,) = get_commits(connection, [commit_id]).values()
    row = lookup(commit.readable_root, path, source=backend.pages)
    return "" if row is None else backend.chunks.read_file(row.chunks).decode()


def _read_batch(backend: Backend, commit: Commit, wanted: Collection[bytes]) -> dict[bytes, StoredResult]:
    try:
        return _read_tree(backend, commit.root, wanted)
    except PackLostError:
        # A compaction may have moved the tree since the commit was looked up.
        with backend.catalog.look_up() as connection:
            (again,) = get_commits(connection, [commit.id]).values()
        if again.generation == commit.generation:
            raise
        return _read_tree(backend, again.root, wanted)


def _read_tree(backend: Backend, root: PageRef | None, wanted: Collection[bytes]) -> dict[bytes, StoredResult]:
    manifests = lookup_many(root, [f"{MANIFESTS}{one.hex()}" for one in wanted], source=backend.pages)
    outputs: dict[str, dict[str, FileRow]] = {}
    for row in _outputs(backend, root, [one.hex() for one in wanted]):
        outputs.setdefault(row.path[_NAME], {})[row.path[_PATH]] = row
    found: dict[bytes, StoredResult] = {}
    for row in file_rows(manifests):
        name, facts = row.path.removeprefix(MANIFESTS), decode_attributes(row.attributes)
        files = outputs.get(name, {})
        if len(files) == int(facts["files"]):
            result = StoredResult(files, facts["outputs"], facts["run"], facts["key"], float(facts["seconds"]))
            found[bytes.fromhex(name)] = result
    return found


def _outputs(backend: Backend, root: PageRef | None, names: Collection[str]) -> Iterator[FileRow]:
    prefixes = [f"{OUTPUTS}{name}/" for name in names] if len(names) <= _FEW else [OUTPUTS]
    chosen = set(names)
    for prefix in prefixes:
        for batch in scan(root, prefix, source=backend.pages):
            yield from (row for row in file_rows(batch) if row.path[_NAME] in chosen)
