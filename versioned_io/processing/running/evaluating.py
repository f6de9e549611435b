"""Evaluating one datum: the function, its time limit, its tries and its error handler."""

import copy
import os
import pickle
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from versioned_io.errors import UncertainCodeError
from versioned_io.model.commits import JSONValue
from versioned_io.processing.fingerprints.of_function import code_of_function
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.results.batches import Produced, ProducedFile
from versioned_io.processing.running.as_command import CommandProgram
from versioned_io.processing.running.datum_access import Datum, DatumOutput, finish_output
from versioned_io.processing.running.printed import kept_text
from versioned_io.processing.running.process_groups import CommandFailedError
from versioned_io.processing.running.time_limit import call_within

DatumFunction = Callable[[Datum, DatumOutput], object]
ErrorHandler = Callable[[Datum, BaseException], object]


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
                _print_error(raised)
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


def _print_error(error: BaseException) -> None:
    """Print an error for the datum's log; that of a command without a traceback, which shows no code of the user."""
    if isinstance(error, CommandFailedError):
        print(_told(error))  # noqa: T201 (it is kept)
    else:
        traceback.print_exception(error)


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
    return [replace(evaluate(task), sources=_sources(task)) for task in group.load()]


def _sources(task: DatumTask) -> tuple[tuple[str, tuple[str, ...]], ...]:
    paths: dict[str, list[str]] = {}
    for files in task.files.values():
        for file in files:
            paths.setdefault(file.snapshot.commit.id, []).append(file.path)
    return tuple((commit, tuple(found)) for commit, found in paths.items())


def _handle(how: Evaluation, datum: Datum, error: BaseException) -> bool:
    """Return whether the error handler returned."""
    if how.handler is None:
        return False
    try:
        how.handler(datum, error)
    except (Exception, SystemExit) as raised:  # noqa: BLE001 (it is part of the datum's log)
        _print_error(raised)
        return False
    return True


def _try_once(how: Evaluation, datum: Datum) -> tuple[ProducedFile, ...]:
    out = DatumOutput()
    if isinstance(how.function, CommandProgram):
        how.function.run(datum, out, how.timeout_s)
    else:
        call_within(partial(how.function, datum, out), how.timeout_s)
    return finish_output(out)
