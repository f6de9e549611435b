"""Why a datum runs, is reused or is skipped, in one sentence."""

from collections.abc import Iterator, Mapping
from typing import Final

from versioned_io.catalog.evaluated import find_failures
from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.model.places import PageRef
from versioned_io.processing.datums.datum_plan import DatumPlan, PlannedDatum
from versioned_io.processing.datums.datum_tree import (
    INVALID,
    DatumFacts,
    Identity,
    InputFiles,
    place_of,
    read_datums,
    read_manifest,
)
from versioned_io.processing.datums.located import OutputState
from versioned_io.processing.fingerprints.code_manifest import CodeChange, CodeManifest, code_difference
from versioned_io.processing.results.stored_results import read_failure, read_results
from versioned_io.processing.running.definition import PipelineDefinition
from versioned_io.versioning.backend.backend import Backend

_SHOWN: Final = 12


def explain_datum(backend: Backend, plan: DatumPlan, definition: PipelineDefinition, key: str) -> str:
    """Return one sentence: what happens to the datum *key* in the next run, and why.

    Raises:
        InvalidInputError: Neither the inputs nor the output have such a datum.
    """
    place = place_of(key)
    old = read_datums(backend, plan.output.root, [place]).get(place)
    planned = {one.key: one for one in plan.changed}.get(key)
    if planned is None:
        return _explain_unchanged(plan.output, old, key, is_gone=place in plan.gone)
    reason = _failed_before(backend, planned.fingerprint) or _why(backend, plan, planned, old, definition)
    if planned.fingerprint not in plan.results:
        shares = planned not in plan.runs
        return f"{key!r} shares the result of a datum that runs: {reason}" if shares else f"{key!r} runs: {reason}"
    result = read_results(backend, {planned.fingerprint: plan.results[planned.fingerprint]}).get(planned.fingerprint)
    if result is None:
        return f"{key!r} runs: {reason}, and its stored result is no longer whole"
    return f"{key!r} is reused from the run {result.run_id}, which evaluated it as {result.key!r}: {reason}"


def _explain_unchanged(output: OutputState, old: DatumFacts | None, key: str, *, is_gone: bool) -> str:
    if old is None:
        msg = f"the datum {key!r} does not exist: neither the inputs nor {output.branch} have it"
        raise InvalidInputError(msg)
    if is_gone:
        return f"{key!r} is deleted with {counted(len(old.outputs), 'output')}: the inputs do not have it any more"
    return f"{key!r} is skipped: nothing changed since the run {old.run_id} evaluated it"


def _failed_before(backend: Backend, fingerprint: bytes) -> str:
    with backend.catalog.look_up() as connection:
        failed = find_failures(connection, [fingerprint]).get(fingerprint)
    return "" if failed is None else f"it failed before ({read_failure(backend, failed, fingerprint)})"


def _why(
    backend: Backend, plan: DatumPlan, planned: PlannedDatum, old: DatumFacts | None, definition: PipelineDefinition
) -> str:
    if old is None:
        return "it is new"
    if old.fingerprint == INVALID:
        return "it was invalidated"
    files = plan.datums.files_of(planned.row)
    now = {name: tuple((file.path, str(file.digest)) for file in some) for name, some in files.items()}
    changes = [*_changed_files(old.inputs, now), *_changed_parts(backend, plan.output.root, old.identity, definition)]
    return ", and ".join(changes) or "a path or a capture changed"


def _changed_parts(
    backend: Backend, root: PageRef | None, old: Identity, definition: PipelineDefinition
) -> Iterator[str]:
    new = definition.identity
    if old.code != new.code:
        yield f"the code changed{_changed_symbols(read_manifest(backend, root, old.code), definition.code)}"
    if old.parameters != new.parameters:
        yield "a parameter changed"
    if old.salt != new.salt:
        yield "the pipeline's name or its sharing changed"


def code_changes(backend: Backend, output: OutputState, definition: PipelineDefinition, key: str) -> list[CodeChange]:
    """Return the symbols and files that differ between the code that evaluated a datum and the code now."""
    place = place_of(key)
    old = read_datums(backend, output.root, [place]).get(place)
    if old is None or old.identity.code == definition.identity.code:
        return []
    return _differences(read_manifest(backend, output.root, old.identity.code), definition.code)


def _differences(old: str | None, new: str) -> list[CodeChange]:
    return [] if old is None else code_difference(CodeManifest.from_json(old), CodeManifest.from_json(new))


def _changed_symbols(old: str | None, new: str) -> str:
    """Return the names of the symbols and files that differ, as the end of a sentence."""
    changes = _differences(old, new)
    named = [f"{one.name} ({one.change})" for one in changes]
    return f": {', '.join(named)}" if named else ""


def _changed_files(old: InputFiles, new: Mapping[str, tuple[tuple[str, str], ...]]) -> list[str]:
    before = {(name, path): digest for name, files in old.items() for path, digest in files}
    after = {(name, path): digest for name, files in new.items() for path, digest in files}
    found = []
    for name, path in sorted(before.keys() | after.keys()):
        was, now = before.get((name, path)), after.get((name, path))
        if was == now:
            continue
        if was is None:
            found.append(f"the input {name!r} has the new file {path!r} ({str(now)[:_SHOWN]})")
        elif now is None:
            found.append(f"the input {name!r} lost the file {path!r} ({was[:_SHOWN]})")
        else:
            found.append(f"the input {name!r} changed: {path!r} was {was[:_SHOWN]} and is {now[:_SHOWN]}")
    more = len(found) - 3
    return found if more <= 0 else [*found[:3], f"{more} more files changed"]
