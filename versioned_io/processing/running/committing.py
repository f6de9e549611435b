"""Committing a run: the outputs of changed datums and the datum tree, in one transaction, on the heads of the plan."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.datum_uses import NewDatums, enter_datums
from versioned_io.catalog.evaluated import forget_results
from versioned_io.errors import ConflictError, InvalidInputError, PathCollisionError
from versioned_io.model.commits import Commit, JSONValue
from versioned_io.model.idempotency import parse_idempotency
from versioned_io.model.identifiers import CommitId, new_uuid7
from versioned_io.model.refs import BranchRef
from versioned_io.model.repo_kinds import STATE_KEY
from versioned_io.processing.datums.basis import encode_unsettled, unsettled_place
from versioned_io.processing.datums.datum_changes import DatumReads, TreeChange, change_tree, confirmed_outputs
from versioned_io.processing.datums.datum_plan import DatumPlan, PlannedDatum
from versioned_io.processing.datums.datum_tree import INVALID, DatumFacts, encode_datum, manifest_place, read_datums
from versioned_io.processing.datums.exact_outputs import NewOutputs, OutputChange, change_outputs, name_claimants
from versioned_io.processing.datums.located import OutputState, settle_datum_branch
from versioned_io.processing.results.stored_results import StoredResult, read_results
from versioned_io.processing.running.definition import PipelineDefinition
from versioned_io.storage.pages.read import lookup
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.runs.run import Run
from versioned_io.versioning.snapshots.file_info import encode_attributes
from versioned_io.versioning.transactions.facts import CommitFacts, Empty
from versioned_io.versioning.transactions.transaction import Transaction, draft_of, stage_system_branch

_MOST_NAMED = 100
COMPLETE_KEY = "complete"
"""False in the metadata of a commit that lacks outputs of failed or recovered datums."""
CODE_KEY = "code"
"""In the metadata of a commit: the digest of the code of the pipeline that made it."""
FUNCTION_KEY = "function"
"""The place of the pipeline's function in the metadata of a commit, as ``module:name``; a command has none."""


class ResultsLostError(Exception):
    """Results were purged or have expired since they were found: plan again. The index does not have them any more.

    Args: the fingerprints.
    """

    def __init__(self, lost: Collection[bytes]) -> None:
        super().__init__(lost)
        self.lost = lost


@dataclass(frozen=True, slots=True)
class Lacking:
    """The datums without a result, by the errors of their fingerprints.

    Attributes:
        keeps_old: Whether failed datums keep their old outputs; recovered ones never do.
    """

    failed: Mapping[bytes, str]
    recovered: Mapping[bytes, str]
    keeps_old: bool

    def keeps(self, one: PlannedDatum) -> bool:
        """Return whether a datum stays as it was."""
        return self.keeps_old and one.fingerprint in self.failed

    def has(self, one: PlannedDatum) -> bool:
        """Return whether a datum has no result."""
        return one.fingerprint in self.failed or one.fingerprint in self.recovered


class _Change(NamedTuple):
    """The changes of a commit: of the output, of the datum tree, and of the index for lineage."""

    output: OutputChange
    tree: TreeChange
    lineage: NewDatums

    @property
    def is_empty(self) -> bool:
        """Whether the datum tree stays as it is."""
        return not (self.tree.writes or self.tree.deletes)


@dataclass(frozen=True, slots=True)
class RunCommit:
    """The commit of one round of a run.

    Attributes:
        run: The run whose provenance and lineage ID the commit gets.
        key: By this a repeated try of the round is recognised.
    """

    backend: Backend
    definition: PipelineDefinition
    plan: DatumPlan
    run: Run
    key: str

    def commit(self, results: Mapping[bytes, CommitId], lacking: Lacking) -> Commit | None:
        """Commit the plan, and return the head of the output afterwards.

        Nothing is copied: the outputs refer to the bytes of the results.

        Raises:
            ResultsLostError: Plan again.
            ConflictError: Another run has committed meanwhile. Plan again.
            PathClaimedError: Two datums write one path, or a path and one below it.
            StorageError: Nothing is visible. A repeated run reuses all results.

        Cost: for small changes 1 PUT and 1 SQL transaction.
        """
        change = self._change(results, lacking)
        told = self._completeness(lacking)
        head = self.plan.output.head
        before = (
            {}
            if head is None
            else {key: head.metadata[key] for key in (COMPLETE_KEY, "failed") if key in head.metadata}
        )
        is_taken_over = head is not None and head.metadata.get("pipeline") != self.definition.name
        writes_output = head is None or not change.output.is_empty or before != told or is_taken_over
        if not writes_output and change.is_empty and self.plan.is_partial:
            return head
        try:
            return self._write(change, told, writes_output=writes_output)
        except PathCollisionError as error:
            raise name_claimants(self.backend, self.plan.output, change.output, error) from error

    def _change(self, results: Mapping[bytes, CommitId], lacking: Lacking) -> _Change:
        plan, backend = self.plan, self.backend
        changed = [one for one in plan.changed if not lacking.keeps(one)]
        done = [one for one in changed if not lacking.has(one)]
        found = self._read(done, results)
        reads = DatumReads(plan.datums)
        new = [
            NewOutputs(self._facts(one, found[one.fingerprint], reads), found[one.fingerprint].outputs) for one in done
        ]
        known = [one.place for one in changed if one.place in plan.known]
        old = read_datums(backend, plan.output.root, [*known, *plan.gone])
        dropped = [one.place for one in changed if lacking.has(one) and one.place in plan.known]
        output = change_outputs(backend, plan.output, new, old.values())
        facts = [one.facts for one in new]
        unsettled, settled = self._unsettled(lacking)
        tree = change_tree(facts, unsettled, old, [*plan.gone, *dropped, *settled])
        return _Change(output, tree, NewDatums(reads.uses, confirmed_outputs(facts, old, output.stays)))

    def _unsettled(self, lacking: Lacking) -> tuple[list[DatumFacts], list[str]]:
        """Return the datums to name as without a result, and the paths of those that are not so any more."""
        named, reads = self.plan.unsettled, DatumReads(self.plan.datums)
        now = {unsettled_place(one.place): one for one in self.plan.changed if lacking.has(one)}
        facts = {place: self._facts(one, None, reads) for place, one in now.items()}
        new = [one for place, one in facts.items() if place not in named or named[place].inputs != one.inputs]
        return new, sorted(named.keys() - now.keys())

    def _read(self, done: Sequence[PlannedDatum], results: Mapping[bytes, CommitId]) -> dict[bytes, StoredResult]:
        places = {one.fingerprint: results[one.fingerprint] for one in done}
        found = read_results(self.backend, places)
        lost = places.keys() - found.keys()
        if lost:
            with self.backend.catalog.write() as connection:
                forget_results(connection, lost, {places[one] for one in lost})
            raise ResultsLostError(lost)
        return found

    def _facts(self, one: PlannedDatum, result: StoredResult | None, reads: DatumReads) -> DatumFacts:
        inputs, read_at = reads.of(one.key, one.row)
        outputs, run_id = ((), "") if result is None else (tuple(sorted(result.outputs)), result.run_id)
        return DatumFacts(one.key, one.fingerprint, outputs, inputs, self.definition.identity, run_id, read_at)

    def _completeness(self, lacking: Lacking) -> dict[str, JSONValue]:
        keys = sorted(one.key for one in self.plan.changed if lacking.has(one))
        named: list[JSONValue] = [*keys[:_MOST_NAMED]]
        return {COMPLETE_KEY: False, "failed": named} if keys else {}

    def _write(self, change: _Change, told: Mapping[str, JSONValue], *, writes_output: bool) -> Commit | None:
        plan, output = self.plan, self.plan.output
        datums = settle_datum_branch(self.backend, output)
        state_id = new_uuid7() if writes_output else output.state_id
        place = self.definition.function_place
        known: dict[str, JSONValue] = {} if place is None else {FUNCTION_KEY: place}
        metadata: dict[str, JSONValue] = {
            "pipeline": self.definition.name,
            CODE_KEY: self.definition.identity.code,
            **known,
            STATE_KEY: state_id,
            **told,
        }

        def enter(connection: Connection, made: Mapping[BranchRef, Commit]) -> None:
            _refuse_rewritten(connection, plan)
            described = made.get(output.branch) or output.head
            if datums in made and described is not None:
                enter_datums(connection, made[datums].id, described.id, described.order, change.lineage)

        with self.run.active():
            tx = Transaction(
                self.backend,
                output.branch if writes_output else datums,
                facts=CommitFacts(self._message(), "", metadata, None, (), {}),
                empty=Empty.ALLOW,
                completes=(),
                resolve=_refuse,
                idempotency_key=parse_idempotency(self.key, "any"),
                alongside=(enter,),
            )
            with tx:
                if writes_output:
                    self._stage_output(tx, change.output)
                self._stage_datums(tx, datums, change)
        if not writes_output:
            return plan.output.head
        return tx.commit

    def _stage_output(self, tx: Transaction, change: OutputChange) -> None:
        draft = draft_of(tx)
        _stay(draft.base, self.plan.output.head, self.plan.output.branch)
        draft.stay_on_base()
        for path in change.deletes:
            draft.delete_exactly(path)
        for path, row in change.writes.items():
            draft.adopt(path, row)

    def _stage_datums(self, tx: Transaction, branch: BranchRef, change: _Change) -> None:
        staged = stage_system_branch(tx, branch)
        draft = draft_of(staged)
        _stay(draft.base, self.plan.output.datums, branch)
        draft.stay_on_base()
        for path in change.tree.deletes:
            draft.delete_exactly(path)
        place = manifest_place(self.definition.identity.code)
        if change.tree.writes and lookup(self.plan.output.root, place, source=self.backend.pages) is None:
            staged.write(place, self.definition.code.encode())
        for row in [*change.tree.writes, self.plan.basis.encoded()]:
            draft.take_in(row.path, row.content, encode_attributes(row.attributes))

    def _message(self) -> str:
        return f"{self.definition.name}: {len(self.plan.changed)} datums changed, {len(self.plan.gone)} deleted"


def mark_invalid(backend: Backend, output: OutputState, pipeline: str, datums: Sequence[DatumFacts]) -> None:
    """Commit to the datum tree that these *datums* have no result that counts. The output stays as it is.

    Raises:
        ConflictError: A run has committed meanwhile. Call again.

    Cost: that of one commit.
    """
    branch = settle_datum_branch(backend, output)
    metadata: dict[str, JSONValue] = {"pipeline": pipeline, STATE_KEY: output.state_id}

    def enter(connection: Connection, made: Mapping[BranchRef, Commit]) -> None:
        if branch in made and output.head is not None:
            enter_datums(connection, made[branch].id, output.head.id, output.head.order, NewDatums())

    tx = Transaction(
        backend,
        branch,
        facts=CommitFacts(f"{pipeline}: {len(datums)} datums invalidated", "", metadata, None, (), {}),
        empty=Empty.SKIP,
        completes=(),
        resolve=_refuse,
        alongside=(enter,),
    )
    with tx:
        _stay(draft_of(tx).base, output.datums, branch)
        draft_of(tx).stay_on_base()
        for facts in datums:
            for row in (encode_datum(replace(facts, fingerprint=INVALID)), encode_unsettled(facts)):
                tx.write(row.path, row.content, attributes=row.attributes)


def _stay(base: Commit | None, planned: Commit | None, branch: BranchRef) -> None:
    """Raise unless the transaction begins at the head of the plan."""
    if (None if base is None else base.id) != (None if planned is None else planned.id):
        raise ConflictError(str(branch), (), "" if base is None else base.id)


def _refuse_rewritten(connection: Connection, plan: DatumPlan) -> None:
    """Raise if the tree of an input was rewritten since it was read: a file may have been purged from it."""
    for commit in get_commits(connection, sorted(plan.generations)).values():
        if commit.generation != plan.generations[commit.id]:
            raise ConflictError(str(plan.output.branch), (), "")


def _refuse(_ref: str) -> NoReturn:
    msg = "a run copies no files"
    raise InvalidInputError(msg)
