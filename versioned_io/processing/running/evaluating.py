"""Evaluating one datum: the function, its time limit, its tries and its error handler."""

import contextvars
import copy
import os
import pickle
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from versioned_io.errors import UncertainCodeError
from versioned_io.model.commits import JSONValue
from versioned_io.processing.fingerprints.of_function import code_of_function
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.results.batches import Produced, ProducedFile
from versioned_io.processing.running.datum_access import Datum, DatumOutput, finish_output
from versioned_io.processing.running.printed import kept_text

DatumFunction = Callable[[Datum, DatumOutput], object]
ErrorHandler = Callable[[Datum, BaseException], object]


class DatumTimeoutError(TimeoutError):
    """An evaluation took longer than it may."""


class _TimeOver(BaseException):
    """The time of a try is over. A function that catches every `Exception` does not catch this."""


_checked: dict[tuple[int, bytes], DatumFunction] = {}


def _here() -> tuple[str, int]:
    return platform.node(), os.getpid()


@dataclass(frozen=True, slots=True)
class ExpectedCode:
    """The code of which the results get the fingerprints. A worker may have loaded an older one.

    Attributes:
        digest: The digest that the code of the function has in the process *home*.
        home: The machine and the process where the run is.
    """

    digest: bytes
    code_version: str | None
    home: tuple[str, int] = field(default_factory=_here)

    def check(self, function: DatumFunction) -> None:
        """Raise if this process has other code for *function*.

        Raises:
            UncertainCodeError: It has. Start the executor's processes again.
        """
        if self.home == _here() or (id(function), self.digest) in _checked:
            return
        plain: DatumFunction = getattr(function, "function", function)
        found = code_of_function(plain, code_version=self.code_version)
        if found.digest != self.digest:
            what = "other code in a process of the executor than where the run is (start the executor again)"
            raise UncertainCodeError(found.parts[0].name, what)
        _checked[id(function), self.digest] = function


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a pipeline evaluates a datum. It pickles if its functions do.

    Attributes:
        timeout_s: The time limit of one try; None for none.
        tries: How often a datum is tried.
        handler: Called after the last failed try. If it returns, the datum is recovered, without outputs.
        code: Checked in every other process that evaluates; None for nothing.
    """

    function: DatumFunction
    parameters: Mapping[str, JSONValue]
    timeout_s: float | None = None
    tries: int = 1
    handler: ErrorHandler | None = None
    code: ExpectedCode | None = None


@dataclass(frozen=True, slots=True)
class DatumTask:
    """One datum to be evaluated, here or in another process."""

    evaluation: Evaluation
    fingerprint: bytes
    key: str
    files: Mapping[str, tuple[DatumFile, ...]]


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """Several datums to be evaluated by one call of an executor.

    The tasks are unpickled by the call, so an error is the call's. Raised earlier, it would end the process. Examples
    are a module that does not exist there, and a catalog that needs a password.
    """

    load: Callable[[], tuple[DatumTask, ...]]

    @classmethod
    def of(cls, tasks: Iterable[DatumTask]) -> "TaskGroup":
        """Return the group of *tasks*."""
        return cls(partial(tuple[DatumTask, ...], tuple(tasks)))

    def __reduce__(self) -> tuple[object, ...]:
        return TaskGroup, (partial(pickle.loads, pickle.dumps(self.load())),)


def evaluate(task: DatumTask) -> Produced:
    """Return what a datum evaluates to. An exception of its function is a failed evaluation, and not raised here."""
    began = time.perf_counter()
    how = task.evaluation
    with kept_text() as printed:
        error: BaseException | None = None
        for _ in range(how.tries):
            try:
                if how.code is not None:
                    how.code.check(how.function)
                outputs = _try_once(how, _datum_of(task))
            except (Exception, SystemExit) as raised:  # noqa: BLE001 (recorded as the datum's failure)
                traceback.print_exc()
                error = raised
                continue
            seconds = time.perf_counter() - began
            return Produced(task.fingerprint, task.key, outputs, None, _storable(printed.getvalue()), seconds)
        is_recovered = error is not None and _handle(how, _datum_of(task), error)
        text, log = _storable(_told(error)), _storable(printed.getvalue())
        seconds = time.perf_counter() - began
        return Produced(task.fingerprint, task.key, (), text, log, seconds, is_recovered)


def _datum_of(task: DatumTask) -> Datum:
    """Return the datum with parameters of its own: what a function changes in them, no other evaluation sees.

    They are sorted, since their order is not in the fingerprint.
    """
    return Datum(task.files, copy.deepcopy(dict(sorted(task.evaluation.parameters.items()))))


def _told(error: BaseException | None) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (the text of an error is code of the user, too)
        return f"{type(error).__name__}, whose text can't be shown"


def _storable(text: str) -> str:
    """Return *text* with escapes for lone surrogates, which UTF-8 can't encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def evaluate_all(group: TaskGroup) -> list[Produced]:
    """Return what several datums evaluate to: one call for an executor, whose calls cost more than small datums do."""
    return [evaluate(task) for task in group.load()]


def _handle(how: Evaluation, datum: Datum, error: BaseException) -> bool:
    """Return whether the error handler returned."""
    if how.handler is None:
        return False
    try:
        how.handler(datum, error)
    except (Exception, SystemExit):  # noqa: BLE001 (it is part of the datum's log)
        traceback.print_exc()
        return False
    return True


def _try_once(how: Evaluation, datum: Datum) -> tuple[ProducedFile, ...]:
    out = DatumOutput()
    if how.timeout_s is None:
        how.function(datum, out)
    elif threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        with _alarm(how.timeout_s):
            how.function(datum, out)
    else:
        _in_thread(how, datum, out)
    return finish_output(out)


@contextmanager
def _alarm(timeout_s: float) -> Iterator[None]:
    """Raise `DatumTimeoutError` in the block when its time is over; an alarm that was set before comes afterwards."""
    is_active = True

    def stop(_number: int, _frame: FrameType | None) -> None:
        if is_active:
            raise _TimeOver

    before, began = signal.signal(signal.SIGALRM, stop), time.monotonic()
    outer_s, every_s = signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        try:
            yield
        finally:
            is_active = False
    except _TimeOver:
        raise _late(timeout_s) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer_s:  # an alarm of the caller's, such as the time limit of a task of an orchestrator
            signal.setitimer(signal.ITIMER_REAL, max(outer_s - (time.monotonic() - began), 1e-3), every_s)


def _in_thread(how: Evaluation, datum: Datum, out: DatumOutput) -> None:
    """Call the function in a thread that is abandoned when its time is over: only the main thread gets alarms."""
    limit = how.timeout_s or 0.0
    raised: list[BaseException] = []
    context = contextvars.copy_context()

    def call() -> None:
        try:
            context.run(how.function, datum, out)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        raise _late(limit)
    if raised:
        raise raised[0]


def _late(timeout_s: float) -> DatumTimeoutError:
    return DatumTimeoutError(f"it took longer than {timeout_s:g} s")
