"""A pipeline and its store, as a run sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from versioned_io.model.refs import BranchRef
from versioned_io.processing.datums.datum_tree import Identity
from versioned_io.processing.inputs.specs import InputSpec
from versioned_io.processing.running.evaluating import Evaluation
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.snapshot import Snapshot

OnFailure = Literal["refuse", "keep", "drop"]


@dataclass(frozen=True, slots=True)
class PipelineDefinition:
    """A pipeline as a run sees it.

    Attributes:
        output: The branch that it owns.
        on_failure: If a datum fails, no commit is made, or one with its old outputs, or one without them.
        fingerprints: Returns the fingerprints of datums, of the bytes that their code can see.
        code: The text of the code's manifest, kept once for each digest.
        uses_index: Whether results are shared between runs.
        replaces: The name of the pipeline that owned the output before; None if it was this one.
        function_place: The function as ``module:name``; None for a command.
    """

    name: str
    inputs: InputSpec
    output: BranchRef
    on_failure: OnFailure
    evaluation: Evaluation
    identity: Identity
    fingerprints: Callable[[Sequence[bytes]], list[bytes]]
    code: str
    uses_index: bool = True
    replaces: str | None = None
    function_place: str | None = None


@dataclass(frozen=True, slots=True)
class PipelineStore:
    """The store that a pipeline reads and writes.

    Attributes:
        snapshot: Returns the snapshot of a ref, whose reads no run counts.
    """

    backend: Backend
    snapshot: Callable[[str], Snapshot]

    def snapshots(self, refs: Mapping[str, object] | tuple[str, ...]) -> dict[str, Snapshot]:
        """Return the snapshots of *refs*. Cost: 1 SELECT for each."""
        return {ref: self.snapshot(ref) for ref in refs}
