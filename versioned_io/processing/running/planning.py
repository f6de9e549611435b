"""Planning a run: of what changed since the last one, if that is known to be enough, or else of everything."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from versioned_io.catalog.commits import get_commits
from versioned_io.errors import BoundBranchError, CommitForgottenError, PackLostError, RefNotFoundError
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId, is_id
from versioned_io.model.refs import BranchRef, parse_commit_ref
from versioned_io.processing.datums.basis import Basis, digest_of_trees, read_basis
from versioned_io.processing.datums.datum_plan import DatumPlan, Planning
from versioned_io.processing.datums.located import OutputState, find_output
from versioned_io.processing.inputs.specs import refs_of
from versioned_io.processing.running.definition import PipelineDefinition, PipelineStore
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.staged_snapshot import staged_snapshots
from versioned_io.versioning.transactions.transaction import Transaction

_NO_FILES: Final = b""


def make_plan(store: PipelineStore, definition: PipelineDefinition) -> DatumPlan:
    """Return the plan of a pipeline for the heads as they are now. Nothing is written.

    Raises:
        RepoNotFoundError, RefNotFoundError: An input or the output does not exist.
        InvalidInputError: The head of the output was not made by a pipeline.
        BoundBranchError: Another pipeline made it. Name another output, or declare what this one replaces.

    Cost: if code, parameters and input are those of the datum tree, that of `Planning.since`: it depends on what
        changed. Otherwise that of `Planning.whole`.
    """
    planning = begin_planning(store, definition)
    before = _snapshots_before(store.backend, planning)
    if before is None:
        return planning.whole()
    try:
        return planning.since(before)
    except (CommitForgottenError, PackLostError):  # the data of a commit of the basis has expired just now
        return planning.whole()


def begin_planning(store: PipelineStore, definition: PipelineDefinition) -> Planning:
    """Return what the plan of a pipeline is made of, for the heads as they are now.

    Raises:
        RepoNotFoundError, RefNotFoundError, InvalidInputError, BoundBranchError: As for `make_plan`.

    Cost: some SELECTs, and 1 for each ref of the input.
    """
    output = find_output(store.backend, definition.output)
    _refuse_output_of_another(output, definition)
    snapshots = store.snapshots(tuple(refs_of(definition.inputs)))
    read = [commit for one in snapshots.values() if (commit := commit_of(one)) is not None]
    return Planning(
        store.backend,
        output,
        snapshots,
        definition.inputs,
        _basis_of(definition, snapshots),
        definition.fingerprints,
        definition.uses_index,
        {commit.id: commit.generation for commit in read},
    )


def with_staged(store: PipelineStore, tx: Transaction) -> PipelineStore:
    """Return *store* as it would be after the commit of *tx* on the heads as they are now.

    Raises:
        TransactionClosedError: The transaction has ended.
    """
    staged = staged_snapshots(tx, lambda branch: commit_of(store.snapshot(str(branch))))

    def snapshot(text: str) -> Snapshot:
        ref = None if is_id(text) else parse_commit_ref(text)
        found = None if ref is None or ref.at else staged.get(BranchRef(ref.repo, ref.name))
        if ref is None or found is None or (ref.ancestor and not found.changed_paths()):
            return store.snapshot(text)
        # The commit will be the head, and the present head the one before it.
        return found if not ref.ancestor else store.snapshot(f"{ref.repo}@{ref.name}~{ref.ancestor - 1}")

    return replace(store, snapshot=snapshot)


def _basis_of(definition: PipelineDefinition, snapshots: Mapping[str, Snapshot]) -> Basis:
    (computation,) = definition.fingerprints([_NO_FILES])
    return Basis.of(definition.inputs, computation, {ref: commit_of(one) for ref, one in snapshots.items()})


def _snapshots_before(backend: Backend, planning: Planning) -> dict[str, Snapshot] | None:
    """Return the snapshots that the datum tree describes; None if the plan needs more than what changed since."""
    basis = read_basis(backend, planning.output.root)
    if basis is None or not basis.is_comparable(planning.basis):
        return None
    wanted = sorted({CommitId(one) for one in basis.commits.values() if one is not None})
    with backend.catalog.look_up() as connection:
        commits = get_commits(connection, wanted)
    if any(one not in commits or commits[one].state is not CommitState.LIVE for one in wanted):
        return None
    if digest_of_trees(commits.values()) != basis.trees:
        return None  # files were purged, and their datums are in the datum tree
    found = {}
    for ref, now in planning.snapshots.items():
        commit_id = basis.commits[ref]
        commit = None if commit_id is None else commits[CommitId(commit_id)]
        found[ref] = Snapshot(backend, now.repo, ref, commit, is_noted=False)
    return found


def _refuse_output_of_another(output: OutputState, definition: PipelineDefinition) -> None:
    owner = definition.name if output.head is None else output.head.metadata.get("pipeline", definition.name)
    if owner not in {definition.name, definition.replaces}:
        raise BoundBranchError(str(output.branch), str(owner), definition.name)


def commit_of(snapshot: Snapshot) -> Commit | None:
    """Return the commit of a snapshot; None of a branch that has none yet."""
    try:
        return snapshot.commit
    except RefNotFoundError:
        return None
