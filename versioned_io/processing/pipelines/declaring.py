"""Declaring a pipeline: the decorator that makes one of a function."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final, Literal

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import check_callable, parse_choice, parse_flag, parse_name, parse_optional_count
from versioned_io.model.commits import JSONValue, parse_json_object
from versioned_io.model.refs import BranchRef, parse_branch_ref, parse_commit_ref
from versioned_io.processing.inputs.specs import INPUT_KINDS, InputSpec, refs_of
from versioned_io.processing.running.as_command import CommandProgram
from versioned_io.processing.running.datum_access import Datum, DatumOutput
from versioned_io.processing.running.definition import OnFailure
from versioned_io.processing.running.evaluating import DatumFunction, ErrorHandler

_ON_FAILURE: Final = ("refuse", "keep", "drop")
_LONGEST_S: Final = 10**9
Caching = Literal["reuse", "never"]


@dataclass(frozen=True, slots=True)
class PipelineFunction:
    """A function of a datum with the facts of its pipeline; still called as the function. Made by `pipeline`.

    It pickles as its place in its module, as functions do. The function may also be a command, made by `command`.
    """

    function: DatumFunction
    name: str
    inputs: InputSpec
    output: BranchRef
    on_failure: OnFailure = "refuse"
    timeout_s: float | None = None
    tries: int = 1
    parameters: Mapping[str, JSONValue] = field(default_factory=dict)
    code_version: str | None = None
    is_shared: bool = True
    is_cached: bool = True
    replaces: str | None = None
    error_handler: ErrorHandler | None = None
    workers: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def input_refs(self) -> tuple[str, ...]:
        """The refs that its inputs read, each once."""
        return tuple(refs_of(self.inputs))

    @property
    def place(self) -> str | None:
        """The place of the function, as ``module:name``; None for a command."""
        if isinstance(self.function, CommandProgram):
            return None
        return f"{self.function.__module__}:{self.function.__qualname__}"

    def __call__(self, datum: Datum, out: DatumOutput) -> object:
        """Call the function, as in a test of it."""
        return self.function(datum, out)

    def __reduce__(self) -> tuple[object, ...]:
        facts = tuple(getattr(self, one.name) for one in dataclasses.fields(self))
        if isinstance(self.function, CommandProgram):
            return PipelineFunction, facts
        module, name = self.function.__module__, self.function.__qualname__
        found = _find(module, name)
        if found is self.function:  # a plain function, which a spec made a pipeline
            return PipelineFunction, facts
        if found is not self:
            msg = (
                f"the pipeline {self.name!r} can't be sent to other processes: {module}.{name} is not its function; "
                f"define it at the top of a module"
            )
            raise InvalidInputError(msg)
        return _find, (module, name)


def pipeline(
    name: str,
    *,
    inputs: InputSpec,
    output: str,
    on_failure: OnFailure = "refuse",
    timeout_s: float | None = None,
    tries: int = 1,
    params: Mapping[str, JSONValue] | None = None,
    code_version: str | None = None,
    share: bool = True,
    cache: Caching = "reuse",
    replaces: str | None = None,
    error_handler: ErrorHandler | None = None,
) -> Callable[[DatumFunction], PipelineFunction]:
    """Return a decorator that makes a pipeline of a function of ``(datum, out)``; `Store.pipeline` runs it.

    The function reads the files of one datum and writes outputs. Whatever it can see decides whether it runs again:
    its code, *params*, and the paths and contents of the datum's files.

    >>> @vio.pipeline("upper", inputs=vio.glob("weather@main", "/2012/(*).csv"), output="upper@main", code_version="1")
    ... def upper(datum, out):
    ...     out.write(datum["weather"].path, datum["weather"].read().upper())
    >>> store.pipeline(upper).run().counts["run"]
    2

    Args:
        name: Shown with its commits; not part of the identity of results.
        inputs: `glob`, or another input.
        output: The branch that the pipeline owns, as ``repo@branch``.
        on_failure: If datums fail: ``refuse`` commits nothing, ``keep`` keeps their old outputs, ``drop`` leaves them
            out. Results of the others are kept in each case.
        timeout_s: The time limit of one try of a datum.
        tries: How often a datum is tried.
        params: Values that the function finds in ``datum.parameters``.
        code_version: Stands for the code instead of its digest, with the name of the function: change it when results
            should be computed again.
        share: Whether other pipelines may use the results. If not, the name is part of their identity.
        cache: ``never`` for functions that are random on purpose: no result is reused.
        replaces: The name of the pipeline whose output this one takes over, for instance its own former name.
        error_handler: Called with the datum and the exception after the last try. If it returns, the datum is
            *recovered*: the commit lacks its outputs, and the next run tries it again.

    Raises:
        InvalidInputError: An argument is not valid. Fix it.
    """
    made = declare(
        name,
        _undeclared,
        inputs=inputs,
        output=output,
        on_failure=on_failure,
        timeout_s=timeout_s,
        tries=tries,
        params=params,
        code_version=code_version,
        share=share,
        cache=cache,
        replaces=replaces,
        error_handler=error_handler,
    )

    def decorate(function: DatumFunction) -> PipelineFunction:
        if function is None:
            msg = "@pipeline needs a function of (datum, out)"
            raise InvalidInputError(msg)
        check_callable(function, "function")
        return dataclasses.replace(made, function=function)

    return decorate


def declare(
    name: str,
    function: DatumFunction,
    *,
    inputs: InputSpec,
    output: str,
    on_failure: OnFailure = "refuse",
    timeout_s: float | None = None,
    tries: int = 1,
    params: Mapping[str, JSONValue] | None = None,
    code_version: str | None = None,
    share: bool = True,
    cache: Caching = "reuse",
    replaces: str | None = None,
    error_handler: ErrorHandler | None = None,
    workers: int | None = None,
) -> PipelineFunction:
    """Return a pipeline of *function*, whose facts are checked. The arguments are those of `pipeline`.

    Args:
        workers: How many datums are evaluated at once if the run does not say.

    Raises:
        InvalidInputError: An argument is not valid. Fix it.
    """
    checked = _check(name, on_failure, timeout_s, tries, cache)
    branch = parse_branch_ref(output)
    if not isinstance(inputs, INPUT_KINDS):
        msg = (
            f"inputs of the pipeline {name!r} must be an input, such as glob('images@main', '/*'), not {quoted(inputs)}"
        )
        raise InvalidInputError(msg)
    _refuse_own_output(name, inputs, branch)
    check_callable(error_handler, "error_handler")
    check_callable(function, "function")
    return PipelineFunction(
        function,
        checked,
        inputs,
        branch,
        on_failure,
        timeout_s,
        tries,
        parse_json_object(params, "params"),
        code_version,
        parse_flag(share, "share"),
        cache == "reuse",
        None if replaces is None else parse_name(replaces, "replaces"),
        error_handler,
        parse_optional_count(workers, "workers"),
    )


def _undeclared(_datum: Datum, _out: DatumOutput) -> None:
    """Stand for the function until the decorator gets it."""


def _check(name: str, on_failure: str, timeout_s: float | None, tries: int, cache: str) -> str:
    parse_choice(on_failure, _ON_FAILURE, "on_failure")
    parse_choice(cache, ("reuse", "never"), "cache")
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if timeout_s is not None and not (is_number and 0 < timeout_s <= _LONGEST_S):
        msg = f"timeout_s={timeout_s!r} is not valid: it must be a positive number of seconds, at most {_LONGEST_S}"
        raise InvalidInputError(msg)
    if isinstance(tries, bool) or not isinstance(tries, int) or tries < 1:
        msg = f"tries={tries!r} is not valid: it must be 1 or more"
        raise InvalidInputError(msg)
    return parse_name(name, "name")


def _refuse_own_output(name: str, inputs: InputSpec, output: BranchRef) -> None:
    for ref in map(parse_commit_ref, refs_of(inputs)):
        # A position at a time stays; ``branch~1`` moves with the branch, so that each run would ask for another one.
        if (ref.repo, ref.name) == (output.repo, output.branch) and ref.at is None:
            msg = f"the pipeline {name!r} reads its own output {output}: write to another branch"
            raise InvalidInputError(msg)


def find_declared(place: str) -> PipelineFunction:
    """Return the pipeline at ``module:name``.

    Raises:
        InvalidInputError: The module can't be imported, or it does not have this pipeline. Pass the pipeline itself.
    """
    module, _, name = place.partition(":")
    advice = "run it where the module can be imported, or pass the pipeline (pipeline=, --pipeline FILE.py:NAME)"
    try:
        found = _find(module, name)
    except ImportError as error:
        msg = f"the function {place} of the commit can't be imported ({error}): {advice}"
        raise InvalidInputError(msg) from error
    if not isinstance(found, PipelineFunction):
        msg = f"{place}, which made the commit, is not a pipeline here: {advice}"
        raise InvalidInputError(msg)
    return found


def _find(module: str, name: str) -> object:
    """Return the object *name* of a module, or None."""
    found: object = sys.modules.get(module) or import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
