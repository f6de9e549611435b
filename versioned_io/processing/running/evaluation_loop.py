"""The loop over pending datums: claim, evaluate, store in batches; each batch is durable before the next one ends."""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Final

from versioned_io.errors import StorageError
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.datums.datum_plan import DatumPlan, PlannedDatum
from versioned_io.processing.results.batches import BatchPlace, Produced, store_batch
from versioned_io.processing.results.disagreeing import note_disagreements
from versioned_io.processing.running.claiming import claim, results_of
from versioned_io.processing.running.evaluating import DatumTask, Evaluation, TaskGroup, evaluate_all
from versioned_io.versioning.backend.backend import Backend

MOST_SECONDS: Final = 0.5
MOST_DATUMS: Final = 1024
MOST_BYTES: Final = 32 * 1024 * 1024
"""A batch is stored after this time, or with this many datums or bytes: small ones lose less in a crash."""
_MOST_TOGETHER: Final = 64
_WORTH_A_CALL_S: Final = 0.05
_PATIENCE_S: Final = 0.1
_MOST_NAMED: Final = 10


@dataclass(slots=True)
class RunResults:
    """The evaluations of a run so far, in all of its rounds.

    Attributes:
        results: The commits that hold the results, by fingerprint.
        ran: The keys of the datums that were evaluated, by fingerprint.
        failed, recovered: The errors, by fingerprint.
    """

    results: dict[bytes, CommitId] = field(default_factory=dict)
    ran: dict[bytes, str] = field(default_factory=dict)
    failed: dict[bytes, str] = field(default_factory=dict)
    recovered: dict[bytes, str] = field(default_factory=dict)

    def lose(self, fingerprints: Collection[bytes]) -> None:
        """Delete results that are no longer stored, so that the next round evaluates them."""
        for one in fingerprints:
            self.results.pop(one, None)

    @property
    def lacking(self) -> set[bytes]:
        """The fingerprints that have no result after this run's tries."""
        return {*self.failed, *self.recovered}


class InProcess(Executor):
    """Evaluates each datum in the thread that submits it."""

    def submit(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Future[object]:  # type: ignore[override]
        """Call the function, and return its result as a future that is done."""
        done: Future[object] = Future()
        done.set_result(function(*args, **kwargs))
        return done


class PendingDatums:
    """Evaluates the datums of a plan that have no result.

    Args:
        make_place: Returns where batches are stored; called before the first one.
        on_batch: Called after each stored batch with the number of datums that are left; returns whether to go on.
    """

    def __init__(
        self,
        backend: Backend,
        plan: DatumPlan,
        evaluation: Evaluation,
        evaluated: RunResults,
        *,
        make_place: Callable[[], BatchPlace],
        on_batch: Callable[[int], bool],
    ) -> None:
        self._backend = backend
        self._plan = plan
        self._evaluation = evaluation
        self._evaluated = evaluated
        self._make_place = make_place
        self._on_batch = on_batch
        lacking = evaluated.lacking
        known = evaluated.results
        self._left = deque(one for one in plan.runs if one.fingerprint not in lacking and one.fingerprint not in known)
        self._flying: dict[Future[list[Produced]], list[str]] = {}
        self._ready: list[Produced] = []
        self._since = time.monotonic()
        self._seconds = 0.0
        self._count = 0
        self._bytes = 0
        self._goes_on = True

    def run(self, executor: Executor, workers: int) -> None:
        """Evaluate everything, or stop early when *on_batch* returns False; everything that ran is stored.

        Raises:
            StorageError: A batch could not be stored, or a process of the executor ended. Earlier batches stay.
        """
        size = max(1, workers)
        try:
            while self._goes_on and (self._left or self._flying):
                if self._left and len(self._flying) < 2 * workers:
                    began = time.monotonic()
                    size = self._submit(executor, size, workers)
                    if not self._flying and not self._ready and time.monotonic() - began < _PATIENCE_S:
                        self._wait_for_others()
                self._gather(block=len(self._flying) >= 2 * workers or not self._left)
            while self._flying:
                self._gather(block=True)
        except BaseException as error:
            self._keep_finished()
            self._close()
            if isinstance(error, BrokenExecutor):
                raise self._worker_lost() from error
            raise
        self._close()

    def _submit(self, executor: Executor, size: int, workers: int) -> int:
        """Claim up to *size* datums and begin their evaluation; return how many to claim next."""
        began = time.monotonic()
        held = self._claim(size)
        group = self._group_size()
        for start in range(0, len(held), group):
            tasks = [self._task(one) for one in held[start : start + group]]
            self._flying[executor.submit(evaluate_all, TaskGroup.of(tasks))] = [one.key for one in tasks]
            self._gather(block=False)
        is_quick = time.monotonic() - began < MOST_SECONDS
        return min(size * 2, max(MOST_DATUMS, workers)) if is_quick else max(workers, size // 2)

    def _claim(self, size: int) -> list[PlannedDatum]:
        wanted = [self._left.popleft() for _ in range(min(size, len(self._left)))]
        place = self._make_place()
        if not place.is_indexed:
            return wanted
        held = claim(self._backend, [one.fingerprint for one in wanted], place.owner or place.run_id)
        others = [one for one in wanted if one.fingerprint not in held]
        if others:
            found = results_of(self._backend, [one.fingerprint for one in others])
            self._evaluated.results |= found
            self._left.extend(one for one in others if one.fingerprint not in found)
        return [one for one in wanted if one.fingerprint in held]

    def _wait_for_others(self) -> None:
        """Wait while other runs evaluate everything that is left."""
        if self._left:
            time.sleep(_PATIENCE_S)

    def _group_size(self) -> int:
        if not self._count:
            return 1
        return max(1, min(_MOST_TOGETHER, int(_WORTH_A_CALL_S / max(self._seconds / self._count, 1e-6))))

    def _task(self, one: PlannedDatum) -> DatumTask:
        files = self._plan.datums.files_of(one.row)
        return DatumTask(self._evaluation, one.fingerprint, one.key, files)

    def _gather(self, *, block: bool) -> None:
        """Take over finished evaluations, and store the batch if it is full or old."""
        done = {future for future in self._flying if future.done()}
        if not done and block and self._flying:
            done = wait(self._flying, timeout=MOST_SECONDS, return_when=FIRST_COMPLETED).done
        for future in done:
            produced = future.result()
            del self._flying[future]
            self._take(produced)
        if self._ready and time.monotonic() - self._since >= MOST_SECONDS:
            self._close()

    def _keep_finished(self) -> None:
        """Take over the evaluations that have finished, and cancel those that have not begun."""
        for future in list(self._flying):
            if not future.cancel() and future.done() and future.exception() is None:
                del self._flying[future]
                self._take(future.result())

    def _worker_lost(self) -> StorageError:
        keys = sorted(key for some in self._flying.values() for key in some)
        more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
        named = ", ".join(map(repr, keys[:_MOST_NAMED]))
        msg = (
            f"a process ended while it evaluated one of {named}{more}, perhaps for lack of memory: "
            f"run again with fewer workers; finished results are kept"
        )
        return StorageError(msg)

    def _take(self, produced: Sequence[Produced]) -> None:
        for one in produced:
            if not self._ready:
                self._since = time.monotonic()
            self._ready.append(one)
            self._seconds, self._count = self._seconds + one.seconds, self._count + 1
            self._bytes += one.size_bytes
            if len(self._ready) >= MOST_DATUMS or self._bytes >= MOST_BYTES:
                self._close()

    def _close(self) -> None:
        """Store what is ready as one batch."""
        if not self._ready:
            return
        produced, self._ready, self._bytes = self._ready, [], 0
        place = self._make_place()
        batch = store_batch(self._backend, place, produced)
        evaluated = self._evaluated
        for one in produced:
            evaluated.ran[one.fingerprint] = one.key
            if one.error is None:
                evaluated.results[one.fingerprint] = batch.commit
            elif one.is_recovered:
                evaluated.recovered[one.fingerprint] = one.error
            else:
                evaluated.failed[one.fingerprint] = one.error
        if batch.beaten:
            self._adopt_first(place, batch.commit, batch.beaten)
        left = len(self._left) + sum(map(len, self._flying.values()))
        self._goes_on = self._on_batch(left) and self._goes_on

    def _adopt_first(self, place: BatchPlace, commit: CommitId, beaten: frozenset[bytes]) -> None:
        """Take the first results in place of this run's, and record those that differ."""
        first = results_of(self._backend, beaten)
        self._evaluated.results |= first
        note_disagreements(self._backend, place, commit, first)
