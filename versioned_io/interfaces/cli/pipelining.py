"""Commands about pipelines and their datums: ``pipeline`` and ``datums``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.near_words import Commands
from versioned_io.interfaces.cli.output import echo, print_json, print_line
from versioned_io.interfaces.cli.paging import pages
from versioned_io.interfaces.cli.session import (
    CatalogOption,
    JsonOption,
    StoreOption,
    open_named_store,
    reports_errors,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from versioned_io.processing.datums.datum_tree import DatumFacts
    from versioned_io.processing.fingerprints.code_manifest import CodeChange
    from versioned_io.processing.pipelines.pipeline import Pipeline
    from versioned_io.processing.pipelines.pipeline_history import PipelineVersion
    from versioned_io.store import Store

Target = Annotated[
    str, typer.Argument(help="The pipeline: file.py:name, module:name, or a spec: file.yaml, file.json.")
]
Key = Annotated[str, typer.Argument(help="The key of a datum, as `versioned datums list` prints it.")]

pipeline_app = typer.Typer(cls=Commands, help="Run pipelines, and show them.", no_args_is_help=True)
datums_app = typer.Typer(
    cls=Commands, help="The datums of a pipeline, and the reasons to run them.", no_args_is_help=True
)

_FAILED = 1
_PLANNED = {"runs": "to run", "reuses": "to reuse", "skips": "to skip", "deletes": "to delete"}
_SPEC = re.compile(r"(?P<path>.+\.(json|yaml|yml))(:(?P<name>[^:/]+))?", re.DOTALL)


@pipeline_app.command("run", short_help="Evaluate the datums that changed, and commit the output.")
@reports_errors
def run(
    target: Target,
    workers: Annotated[int | None, typer.Option("--workers", help="How many processes evaluate datums.")] = None,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the datums that changed, and commit the output. If failed datums refuse the commit, exit with 1."""
    with open_named_store(store, catalog) as opened:
        done = open_pipeline(opened, target).run(max_workers=workers)
    if as_json:
        commit = None if done.commit is None else done.commit.id
        print_json(
            {
                "run": done.id,
                "state": done.state,
                "commit": commit,
                "counts": dict(done.counts),
                "failed": dict(done.failed),
            }
        )
    else:
        echo(f"{done.state}: {_counts(done.counts)}")
        for key, error in sorted({**done.failed, **done.recovered}.items()):
            echo(f"  {key}: {error}")
    if done.state == "failed":
        if not as_json:
            echo("nothing was committed; `versioned datums log` prints what a datum printed")
        raise typer.Exit(_FAILED)


@pipeline_app.command("show", short_help="Show a pipeline, and how far its output is behind.")
@reports_errors
def show(target: Target, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """Show a pipeline, and what the next run would do."""
    with open_named_store(store, catalog) as opened:
        pipe = open_pipeline(opened, target)
        plan, disagreements = pipe.plan(), pipe.disagreements
    if as_json:
        print_json({"name": pipe.name, "output": pipe.output, "plan": plan.counts, "disagreements": disagreements})
        return
    print_line(f"{pipe.name} -> {pipe.output}")
    print_line(f"  next run: {_counts(plan.counts)}")
    if disagreements:
        print_line(f"  not deterministic: {disagreements} evaluations gave other bytes than the first one")


@pipeline_app.command("list", short_help="List the branches that pipelines made.")
@reports_errors
@pages
def list_pipelines(store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False) -> None:
    """List the branches whose newest commit a pipeline made, with the pipeline."""
    with open_named_store(store, catalog) as opened:
        found = [{"output": one.output, "name": one.name, "complete": one.is_complete} for one in opened.pipelines()]
    if as_json:
        print_json({"pipelines": found})
        return
    for one in found:
        print_line(f"{one['output']}  {one['name']}" + ("" if one["complete"] else "  incomplete"))


@pipeline_app.command("create", short_help="Create the output of a pipeline, and show its first plan.")
@reports_errors
def create(
    target: Target, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Create the repo and the branch of a pipeline's output if they are missing, and show the work of the next run."""
    with open_named_store(store, catalog) as opened:
        pipe = open_pipeline(opened, target)
        repo, _, branch = pipe.output.partition("@")
        found = opened.create_repo(repo, exist_ok=True)
        if branch not in {one.name for one in found.branches}:
            opened.create_branch(pipe.output, at=f"{repo}@{found.branches[0].name}")
        plan = pipe.plan()
    if as_json:
        print_json({"name": pipe.name, "output": pipe.output, "plan": plan.counts, "warnings": plan.warnings})
        return
    echo(f"{pipe.name} -> {pipe.output}")
    echo(f"  next run: {_counts(plan.counts)}")
    for warning in plan.warnings:
        echo(f"warning: {warning}", err=True)


@pipeline_app.command("history", short_help="Show the codes that a pipeline had, with their diffs.")
@reports_errors
@pages
def history(
    target: Target, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Show the codes that made a pipeline's output, newest first, with the diff to the one before."""
    with open_named_store(store, catalog) as opened:
        versions = open_pipeline(opened, target).history()
    if as_json:
        print_json({"versions": [_version_json(one) for one in versions]})
        return
    for one in versions:
        print_line(f"{one.number}  {one.created_at:%Y-%m-%d %H:%M}  {one.code[:12]}  {counted(one.runs, 'commit')}")
        _print_changes(one.changes)


@pipeline_app.command("schema", short_help="Print the JSON Schema of a pipeline's spec.")
@reports_errors
def schema(as_json: JsonOption = False) -> None:  # noqa: ARG001 (it is JSON in each case)
    """Print the JSON Schema of the YAML and JSON files that declare pipelines. Editors and checkers read it."""
    from versioned_io.processing.pipelines.own_specs import spec_schema

    print_json(spec_schema())


@datums_app.command("list", short_help="List the datums of an output, with their files.")
@reports_errors
@pages
def list_all(
    target: Target, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """List the datums of the output as it is, with the files of each."""
    with open_named_store(store, catalog) as opened:
        found = open_pipeline(opened, target).datums()
    if as_json:
        print_json({"datums": [_datum_json(one) for one in found]})
        return
    for one in found:
        print_line(f"{one.key}  ->  {', '.join(one.outputs) or 'no files'}")


@datums_app.command("plan", short_help="Show which datums the next run evaluates, reuses or deletes.")
@reports_errors
@pages
def plan_datums(
    target: Target, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Show which datums the next run evaluates, reuses or deletes. Nothing is written."""
    with open_named_store(store, catalog) as opened:
        plan = open_pipeline(opened, target).plan()
        lists = {"runs": plan.runs, "reuses": plan.reuses, "deletes": plan.deletes}
        expected = {"seconds": plan.seconds, "bytes": plan.bytes}
        if as_json:
            print_json({**lists, "skips": plan.skips, "counts": plan.counts, **expected, "warnings": plan.warnings})
            return
        warnings = plan.warnings
    for name, keys in lists.items():
        for key in keys:
            print_line(f"{name.removesuffix('s')}  {key}")
    print_line(_counts(plan.counts))
    if plan.runs and expected["seconds"] is not None:
        print_line(f"expected: {expected['seconds']:.1f} s of evaluations, {expected['bytes']:,} bytes of outputs")
    for warning in warnings:
        echo(f"warning: {warning}", err=True)


@datums_app.command("explain", short_help="Explain why a datum runs, is reused or is skipped.")
@reports_errors
def explain(
    target: Target, key: Key, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Explain in one sentence why a datum runs, is reused or is skipped."""
    with open_named_store(store, catalog) as opened:
        pipe = open_pipeline(opened, target)
        sentence, changes = pipe.explain(key), pipe.code_changes(key)
    if as_json:
        print_json({"key": key, "explanation": sentence, "changes": [one._asdict() for one in changes]})
        return
    print_line(sentence)
    _print_changes(changes)


@datums_app.command("invalidate", short_help="End the results of datums, so that the next run evaluates them.")
@reports_errors
def invalidate(
    target: Target,
    keys: Annotated[list[str], typer.Argument(help="The keys of datums.")],
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the results of datums permanently, so that the next run evaluates them. Their outputs stay until then."""
    with open_named_store(store, catalog) as opened:
        count = open_pipeline(opened, target).invalidate(keys)
    print_json({"invalidated": count}) if as_json else echo(f"the next run evaluates {counted(count, 'datum')}")


@datums_app.command("verify", short_help="Evaluate some datums again, and compare with their results.")
@reports_errors
def verify(
    target: Target,
    share: Annotated[float, typer.Option(help="The share of datums to evaluate, from 0 to 1.")] = 0.01,
    store: StoreOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a random share of the datums again, and compare with their results. A difference exits with 1."""
    with open_named_store(store, catalog) as opened:
        done = open_pipeline(opened, target).verify(share)
    if as_json:
        print_json({"checked": list(done.checked), "differing": list(done.differing), "failed": dict(done.failed)})
    else:
        echo(f"{counted(len(done.checked), 'datum')} evaluated again, {len(done.differing)} with other bytes")
        for key in done.differing:
            echo(f"  differs  {key}")
        for key, error in sorted(done.failed.items()):
            echo(f"  failed  {key}: {error}")
    if not done.is_deterministic:
        raise typer.Exit(_FAILED)


@datums_app.command("log", short_help="Print the text that the last evaluation of a datum printed.")
@reports_errors
def log(
    target: Target, key: Key, store: StoreOption = None, catalog: CatalogOption = None, as_json: JsonOption = False
) -> None:
    """Print the text that the last evaluation of a datum printed, with the traceback of one that failed."""
    with open_named_store(store, catalog) as opened:
        text = open_pipeline(opened, target).log(key)
    if as_json:
        print_json({"key": key, "log": text})
        return
    for line in text.rstrip("\n").split("\n"):
        print_line(line)


def _print_changes(changes: "Iterable[CodeChange]") -> None:
    for change in changes:
        print_line(f"  {change.change} {change.name}")
        for line in change.diff.splitlines()[2:]:
            print_line(f"    {line}")


def _version_json(version: "PipelineVersion") -> dict[str, object]:
    return {
        "number": version.number,
        "code": version.code,
        "created_at": version.created_at.isoformat(),
        "commits": version.runs,
        "changes": [one._asdict() for one in version.changes],
    }


def _datum_json(facts: "DatumFacts") -> dict[str, object]:
    inputs = {name: [path for path, _ in files] for name, files in facts.inputs.items()}
    return {"key": facts.key, "outputs": list(facts.outputs), "inputs": inputs, "run": facts.run_id}


def open_pipeline(store: "Store", target: str) -> "Pipeline":
    """Return the pipeline that ``file.py:name``, ``module:name``, ``file.yaml`` or ``file.json:name`` names.

    Raises:
        InvalidInputError: The file, the module or the name does not exist, or it is not a pipeline.
    """
    from versioned_io.processing.pipelines.code_loading import load_object
    from versioned_io.processing.pipelines.declaring import PipelineFunction

    spec = _SPEC.fullmatch(target)
    if spec is not None:
        return store.load_pipeline(spec["path"], spec["name"])
    found = load_object(target, Path.cwd())
    if not isinstance(found, PipelineFunction):
        place, _, name = target.rpartition(":")
        msg = f"{name!r} in {place!r} is not a pipeline: decorate a function with @vio.pipeline(...)"
        raise InvalidInputError(msg)
    return store.pipeline(found)


def _counts(counts: object) -> str:
    if not isinstance(counts, dict):
        return ""
    return ", ".join(f"{number} {_PLANNED.get(name, name)}" for name, number in counts.items())
