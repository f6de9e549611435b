"""Executing a commit of a pipeline again, with exactly its inputs, and comparing the bytes. Nothing is published."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.datum_uses import find_states, find_trees
from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.errors.root import quoted
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.model.refs import parse_commit_ref
from versioned_io.model.repo_kinds import STATE_KEY
from versioned_io.processing.datums.basis import read_basis
from versioned_io.processing.datums.datum_tree import (
    DatumFacts,
    list_facts,
    place_of_name,
    read_datums,
    read_makers,
    read_manifest,
)
from versioned_io.processing.fingerprints.code_manifest import CodeManifest, code_difference
from versioned_io.processing.inputs.datum_set import DatumSet
from versioned_io.processing.inputs.selecting import list_datums
from versioned_io.processing.inputs.specs import refs_of
from versioned_io.processing.results.batches import Produced, ProducedFile
from versioned_io.processing.running.committing import FUNCTION_KEY
from versioned_io.processing.running.definition import PipelineDefinition
from versioned_io.processing.running.evaluating import DatumTask, evaluate
from versioned_io.storage.pages.read import FileRow, file_rows, lookup_many
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.file_info import encode_attributes
from versioned_io.versioning.snapshots.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Rerun:
    """The comparison of a commit with a repeated evaluation of its datums.

    Attributes:
        datums: The keys of the datums that were evaluated, sorted.
        files: The number of files that were compared.
        code_is_same: Whether code and parameters are those that made the commit.
        differing: The paths that are not equal. ``differs`` is another content, ``missing`` a file that was not written
            now, and ``new`` one that the commit does not have.
        failed: The errors of datums that failed now, by key.
        left_out: The keys of datums whose outputs the commit kept from an older state, and those without exact inputs.
    """

    commit: Commit
    pipeline: str
    datums: tuple[str, ...]
    files: int
    code_is_same: bool
    differing: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether every datum was evaluated, and gave the same bytes."""
        return not (self.differing or self.failed or self.left_out)


def function_place_of(commit: Commit) -> str | None:
    """Return the place of the function that made a commit, as ``module:name``; None of a command.

    Raises:
        InvalidInputError: No pipeline made the commit.
    """
    if STATE_KEY not in commit.metadata:
        msg = f"no pipeline made the commit {commit.id} of {commit.repo}: name a commit of a pipeline's output"
        raise InvalidInputError(msg)
    place = commit.metadata.get(FUNCTION_KEY)
    return place if isinstance(place, str) else None


def rerun_commit(
    backend: Backend, definition: PipelineDefinition, commit: Commit, *, path: str | None, any_code: bool
) -> Rerun:
    """Evaluate the datums of *commit* again, and compare the bytes.

    Args:
        path: An output: only its datum is evaluated. None for all.
        any_code: Whether other code or parameters than those of the commit are accepted.

    Raises:
        InvalidInputError: The code or the parameters differ, or the pipeline reads other refs than the commit's.
        PathNotFoundError: No datum wrote *path*.
        CommitForgottenError: The data of an input has expired.
    """
    root = _datums_of(backend, commit, set(refs_of(definition.inputs)))
    chosen = list_facts(backend, root) if path is None else [_owner(backend, commit, root, path)]
    _refuse_other_code(backend, root, definition, chosen, any_code=any_code)
    snapshots = _inputs_of(backend, root, definition)
    exact = _Exact(definition, list_datums(definition.inputs, snapshots))
    tasks = {facts.key: exact.task(facts) for facts in chosen}
    produced = [evaluate(task) for task in tasks.values() if task is not None]
    differing, files = _compare(backend, commit, {facts.key: facts for facts in chosen}, produced)
    return Rerun(
        commit,
        str(commit.metadata.get("pipeline", "")),
        tuple(one.key for one in produced),
        files,
        all(facts.identity == definition.identity for facts in chosen),
        differing,
        {one.key: one.error for one in produced if one.error is not None},
        tuple(key for key, task in tasks.items() if task is None),
    )


class _Exact(NamedTuple):
    """The datums of the pipeline, for the inputs of the commit."""

    definition: PipelineDefinition
    datums: DatumSet

    def task(self, facts: DatumFacts) -> DatumTask | None:
        """Return the evaluation of a datum; None if these inputs are not those that made it."""
        row = self.datums.find(facts.key)
        if row is None:
            return None
        files = self.datums.datum(row).inputs
        now = {name: tuple((file.path, str(file.digest)) for file in some) for name, some in files.items()}
        if now != dict(facts.inputs):
            return None
        return DatumTask(self.definition.evaluation, facts.fingerprint, facts.key, files)


def _datums_of(backend: Backend, commit: Commit, refs: Collection[str]) -> PageRef | None:
    """Return the newest datum tree of a commit, of the branches with one that was made from these refs."""
    with backend.catalog.ask() as connection:
        states = find_states(connection, [commit.id]).get(commit.id, [])
        trees = find_trees(connection, states)
    if not states:
        msg = f"the datums of {commit.id} are not known any more, so its exact inputs are not: run the pipeline instead"
        raise InvalidInputError(msg)
    newest = {trees[one].branch: one for one in states}
    roots = [trees[one].root for one in states if one in newest.values()]
    bases = [read_basis(backend, root) for root in roots]
    read = [root for root, basis in zip(roots, bases, strict=True) if basis and basis.commits.keys() >= set(refs)]
    return read[-1] if read else roots[-1]


def _owner(backend: Backend, commit: Commit, root: PageRef | None, path: str) -> DatumFacts:
    name = read_makers(backend, root, [path]).get(path)
    if name is None:
        raise PathNotFoundError(path, f"{commit.repo}@{commit.id}", "no datum wrote it")
    (facts,) = read_datums(backend, root, [place_of_name(name)]).values()
    return facts


def _refuse_other_code(
    backend: Backend,
    root: PageRef | None,
    definition: PipelineDefinition,
    chosen: Iterable[DatumFacts],
    *,
    any_code: bool,
) -> None:
    other = next((facts.identity for facts in chosen if facts.identity != definition.identity), None)
    if other is None or any_code:
        return
    was = read_manifest(backend, root, other.code)
    changes = code_difference(CodeManifest.from_json(was), CodeManifest.from_json(definition.code)) if was else ()
    named = ", ".join(f"{one.name} ({one.change})" for one in changes)
    what = "parameters" if other.code == definition.identity.code else f"code{f': {named}' if named else ''}"
    msg = f"the pipeline has other {what} now than at the commit: check that out, or pass any_code=True (--any-code)"
    raise InvalidInputError(msg)


def _inputs_of(backend: Backend, root: PageRef | None, definition: PipelineDefinition) -> dict[str, Snapshot]:
    """Return the snapshots that the datum tree describes, by the refs of the pipeline."""
    basis = read_basis(backend, root)
    refs = set(refs_of(definition.inputs))
    if basis is None or not refs <= basis.commits.keys():
        known = "none that are recorded" if basis is None else ", ".join(map(quoted, sorted(basis.commits)))
        msg = f"the pipeline reads {', '.join(map(quoted, sorted(refs)))}, and the commit was made from {known}"
        raise InvalidInputError(msg)
    with backend.catalog.ask() as connection:
        commits = get_commits(connection, sorted({CommitId(one) for one in basis.commits.values() if one is not None}))
    found = {}
    for ref in refs:
        commit_id = basis.commits[ref]
        commit = None if commit_id is None else commits[CommitId(commit_id)]
        found[ref] = Snapshot(backend, parse_commit_ref(ref).repo, ref, commit, is_noted=False)
    return found


def _compare(
    backend: Backend, commit: Commit, chosen: Mapping[str, DatumFacts], produced: Iterable[Produced]
) -> tuple[dict[str, str], int]:
    """Return the paths that differ, and how many were compared."""
    differing: dict[str, str] = {}
    files = 0
    for one in produced:
        if one.error is None:
            there = _rows(backend, commit, {*chosen[one.key].outputs, *(file.path for file in one.outputs)})
            found = dict(_differences(backend, there, chosen[one.key], one))
            files += len(there)
            differing |= found
    return dict(sorted(differing.items())), files


def _rows(backend: Backend, commit: Commit, paths: Iterable[str]) -> dict[str, FileRow]:
    return {row.path: row for row in file_rows(lookup_many(commit.readable_root, list(paths), source=backend.pages))}


def _differences(
    backend: Backend, there: Mapping[str, FileRow], facts: DatumFacts, one: Produced
) -> Iterator[tuple[str, str]]:
    now = {file.path: file for file in one.outputs}
    for path in {*facts.outputs, *now}:
        row, file = there.get(path), now.get(path)
        if file is None:
            yield path, "missing"
        elif row is None:
            yield path, "new"
        elif not is_equal_file(backend, row, file):
            yield path, "differs"


def is_equal_file(backend: Backend, row: FileRow, file: ProducedFile) -> bool:
    """Return whether a stored file has the content and the attributes of one that was produced. Cost: its content."""
    told = (row.size, row.attributes) == (len(file.data), encode_attributes(file.attributes))
    return told and backend.chunks.read_file(row.chunks) == file.data
