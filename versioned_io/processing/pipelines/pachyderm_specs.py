"""Pachyderm's pipeline specs, as they are: each field is honoured, or is named with its line."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from versioned_io.errors import InvalidInputError
from versioned_io.processing.inputs.specs import InputSpec, cron, cross, glob, group, join, union
from versioned_io.processing.pipelines.commanding import command
from versioned_io.processing.pipelines.declaring import PipelineFunction
from versioned_io.processing.pipelines.spec_values import SpecValue
from versioned_io.processing.running.mounting import can_mount

_DEFAULT_TRIES: Final = 3
_HERE: Final = "the command runs on the machine of the run"


class _FieldGroup(NamedTuple):
    """The fields of a mapping in a spec, by what happens to them.

    Attributes:
        honoured: Their names, with spaces between.
        elsewhere: Fields that decide about the result and can't be honoured, with another way.
        how_only: Fields that only decide where, when or how fast a pipeline runs, with the reason.
    """

    name: str
    honoured: str
    elsewhere: Mapping[str, str] = {}
    how_only: Mapping[str, str] = {}


_PIPELINE: Final = _FieldGroup(
    "a pipeline",
    "pipeline description transform input parallelism_spec output_branch datum_tries datum_timeout reprocess_spec salt "
    "update reprocess",
    {
        "spout": "a program of yours commits to a repo, and pipelines read the repo",
        "service": "run the program beside the store",
        "egress": "a task of your orchestrator copies the output, or `versioned checkout` does",
        "s3_out": "write files below $PFS_ROOT/out",
        "tf_job": "run it by your orchestrator",
    },
    {
        "job_timeout": "give the task of your orchestrator a time limit; datum_timeout is honoured",
        "autoscaling": "workers start with a run and end with it",
        "datum_set_spec": "batches close by time, count and bytes",
        "chunk_spec": "batches close by time, count and bytes",
        "resource_requests": _HERE,
        "resource_limits": _HERE,
        "sidecar_resource_requests": "there is no sidecar",
        "sidecar_resource_limits": "there is no sidecar",
        "scheduling_spec": _HERE,
        "pod_spec": "there are no pods",
        "pod_patch": "there are no pods",
        "tolerations": "there are no pods",
        "metadata": "there are no pods",
        "max_queue_size": "the run decides how many datums wait",
        "standby": "workers start with a run and end with it",
        "cache_size": "the store's cache is set where it is opened",
        "maximum_expected_uptime": "give the task of your orchestrator a time limit",
        "determined": "it is of another system",
        "spec_commit": "the spec is this file",
        "dry_run": "`versioned datums plan` shows what a run would do",
    },
)
_TRANSFORM: Final = _FieldGroup(
    "transform",
    "cmd stdin env err_cmd err_stdin accept_return_code image",
    {
        "secrets": "declare what the command needs in env, or give the machine credentials in a file",
        "datum_batching": "declare a command with keep_alive: true in a spec of versioned-io",
    },
    {
        "working_dir": "the working directory has the files beside the spec that the command names",
        "image_pull_secrets": _HERE,
        "user": _HERE,
        "dockerfile": _HERE,
        "build": _HERE,
        "debug": _HERE,
        "memory_volume": _HERE,
    },
)
_PFS: Final = _FieldGroup(
    "pfs",
    "project name repo repo_type branch commit glob join_on outer_join group_by empty_files s3",
    {},
    {
        "lazy": "files are copied before the command starts",
        "trigger": "`versioned trigger set` lets a branch follow another",
        "propagation_spec": "a pipeline runs when its plan has work",
        "reference": "a pipeline runs when its plan has work",
    },
)
_CRON: Final = _FieldGroup("cron", "project name repo commit spec start overwrite")
_ABOUT: Final = _FieldGroup("pipeline", "name project")
_PARALLEL: Final = _FieldGroup("parallelism_spec", "constant", {}, {"coefficient": "use constant"})
_COMBINED: Final[Mapping[str, Callable[..., InputSpec]]] = {
    "cross": cross,
    "union": union,
    "join": join,
    "group": group,
}
_DURATION: Final = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)(?P<unit>h|ms|us|µs|ns|m|s)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNSTABLE: Final = re.compile(r"PACH_JOB_ID|PACH_OUTPUT_COMMIT_ID|\w+_COMMIT\b|PPS_\w+|S3_ENDPOINT")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


class _Reading(NamedTuple):
    """A spec that is being read.

    Attributes:
        branch_of: Returns the branch of a repo that a field without one means, or one with ``master``.
        warnings: Sentences about fields that are not honoured.
    """

    spec: SpecValue
    directory: Path
    branch_of: Callable[[str], str]
    warnings: list[str]

    def branch(self, repo: str, named: str) -> str:
        """Return the branch that is meant: Pachyderm writes its first branch, ``master``, in every spec."""
        return self.branch_of(repo) if named in {"", "master"} else named

    def warn(self, value: SpecValue, text: str) -> None:
        self.warnings.append(f"{value.file}, line {value.line}: {text}")


def is_pachyderm(spec: SpecValue) -> bool:
    """Return whether a spec is one of Pachyderm."""
    return isinstance(spec.value, dict) and bool({"pipeline", "transform"} & spec.value.keys())


def pachyderm_pipeline(spec: SpecValue, directory: Path, branch_of: Callable[[str], str]) -> PipelineFunction:
    """Return the pipeline that a spec of Pachyderm declares; its warnings name the fields that are not honoured.

    Args:
        directory: That of the file. Files that the command names are looked up in it.
        branch_of: Returns the branch of a repo that is meant where the spec names none, or ``master``.

    Raises:
        InvalidInputError: A field can't be honoured, is unknown, missing or not valid; the message names the line.
    """
    reading = _Reading(spec, directory, branch_of, [])
    fields = _checked(reading, spec, _PIPELINE)
    name = _pipeline_name(reading, fields)
    transform = _needed(spec, fields, "transform")
    inside = _checked(reading, transform, _TRANSFORM)
    inputs = _read_input(reading, name, _needed(spec, fields, "input"))
    output = reading.branch(name, fields["output_branch"].text("output_branch") if "output_branch" in fields else "")
    facts = _Facts(name, inputs, f"{name}@{output}", *_read_options(reading, fields))
    try:
        made = _declare(reading, transform, inside, facts)
    except InvalidInputError as error:
        raise spec.located(error) from error
    parameters = {"salt": fields["salt"].text("salt")} if "salt" in fields else {}
    return dataclasses.replace(made, parameters=parameters, warnings=tuple(reading.warnings))


class _Options(NamedTuple):
    """The fields of a pipeline that decide how its datums are evaluated."""

    tries: int
    timeout_s: float | None
    workers: int | None
    is_cached: bool


class _Facts(NamedTuple):
    """The facts of a pipeline beside its command; the last four are `_Options`."""

    name: str
    inputs: InputSpec
    output: str
    tries: int
    timeout_s: float | None
    workers: int | None
    is_cached: bool


def _declare(
    reading: _Reading, transform: SpecValue, inside: Mapping[str, SpecValue], facts: _Facts
) -> PipelineFunction:
    _refuse_unstable(inside)
    found = {one: inside[one].texts(one) for one in ("cmd", "stdin", "err_cmd", "err_stdin") if one in inside}
    argv = _relocated(reading, _needed(transform, inside, "cmd"), found["cmd"])
    failing = _relocated(reading, inside["err_cmd"], found["err_cmd"]) if found.get("err_cmd") else None
    accepted = inside["accept_return_code"].items("accept_return_code") if "accept_return_code" in inside else []
    return command(
        facts.name,
        argv,
        inputs=facts.inputs,
        output=facts.output,
        stdin=found.get("stdin", ()),
        env=inside["env"].pairs("env") if "env" in inside else None,
        directory=reading.directory,
        accepted=[0, *(_count(one, "each of accept_return_code") for one in accepted)],
        error_command=failing,
        error_stdin=found.get("err_stdin", ()),
        pfs=_is_mounted(inside),
        image=_image(reading, inside),
        timeout_s=facts.timeout_s,
        tries=facts.tries,
        cache="reuse" if facts.is_cached else "never",
        workers=facts.workers,
    )


def _checked(reading: _Reading, value: SpecValue, kind: _FieldGroup) -> dict[str, SpecValue]:
    """Return the fields of a mapping by their names with underscores; warn about some, and refuse others."""
    found: dict[str, SpecValue] = {}
    honoured = kind.honoured.split()
    for written, inner in value.fields(kind.name).items():
        name = _CAMEL.sub(r"_\1", written).lower()
        if inner.value is None or (name not in honoured and inner.value in (False, "", 0)):
            continue  # not set
        if name in found:
            inner.refuse(f"the field {name!r} is there twice")
        if name in kind.elsewhere:
            inner.refuse(f"{name} is not offered: {kind.elsewhere[name]}")
        if name in kind.how_only:
            reading.warn(inner, f"{name} is not honoured: {kind.how_only[name]}")
        elif name in honoured:
            found[name] = inner
        else:
            inner.refuse(f"the field {written!r} is unknown: {kind.name} of Pachyderm has {', '.join(honoured)}")
    return found


def _needed(value: SpecValue, fields: Mapping[str, SpecValue], name: str) -> SpecValue:
    if name not in fields:
        value.refuse(f"the field {name!r} is missing")
    return fields[name]


def _pipeline_name(reading: _Reading, fields: Mapping[str, SpecValue]) -> str:
    about = _checked(reading, _needed(reading.spec, fields, "pipeline"), _ABOUT)
    _refuse_project(about)
    return _needed(fields["pipeline"], about, "name").text("name")


def _refuse_project(fields: Mapping[str, SpecValue]) -> None:
    """Raise if a field names a project: all repos of a store are in one."""
    project = fields.get("project")
    name = project and (project.value.get("name", project) if isinstance(project.value, dict) else project)
    if project is not None and name is not None and name.text("project") not in {"", "default"}:
        project.refuse("projects are not offered: put each in a store of its own, or in the names of its repos")


def _read_options(reading: _Reading, fields: Mapping[str, SpecValue]) -> _Options:
    tries = _count(fields["datum_tries"], "datum_tries") if "datum_tries" in fields else 0
    timeout_s = _seconds(fields["datum_timeout"]) if "datum_timeout" in fields else None
    workers = None
    if "parallelism_spec" in fields:
        spec = _checked(reading, fields["parallelism_spec"], _PARALLEL)
        workers = _count(spec["constant"], "constant") if "constant" in spec else None
    is_cached = True
    if "reprocess_spec" in fields:
        value = fields["reprocess_spec"]
        choice = value.text("reprocess_spec")
        if choice not in {"until_success", "every_job"}:
            value.refuse("reprocess_spec is until_success or every_job")
        is_cached = choice != "every_job"
        if not is_cached:
            reading.warn(value, "reprocess_spec: every_job reuses no result, but skips a datum that did not change")
    return _Options(tries or _DEFAULT_TRIES, timeout_s, workers or None, is_cached)


def _count(value: SpecValue, name: str) -> int:
    """Return a whole number; the JSON of protocol buffers has long ones as text."""
    is_text = isinstance(value.value, str) and re.fullmatch(r"[0-9]{1,18}", value.value)
    return int(value.value) if is_text else value.count(name)


def _seconds(value: SpecValue) -> float:
    """Return the seconds of a duration of Go, such as ``1h30m``."""
    text = value.text("datum_timeout")
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        value.refuse(f"datum_timeout is a duration such as '30s' or '1h30m', not {text!r}")
    return sum(float(part["number"]) * _SECONDS[part["unit"]] for part in parts)


def _read_input(reading: _Reading, pipeline: str, value: SpecValue) -> InputSpec:
    fields = value.fields("input")
    if len(fields) != 1:
        value.refuse(f"an input is one of pfs, {', '.join(_COMBINED)} and cron, but here are {len(fields)} fields")
    ((kind, inner),) = fields.items()
    if kind not in {"pfs", "cron", *_COMBINED}:
        inner.refuse(f"the input {kind!r} is not offered: use pfs, {', '.join(_COMBINED)} or cron")
    try:
        if kind in _COMBINED:
            return _COMBINED[kind](*(_read_input(reading, pipeline, one) for one in inner.items(kind)))
        return _read_pfs(reading, inner) if kind == "pfs" else _read_cron(reading, pipeline, inner)
    except InvalidInputError as error:
        raise inner.located(error) from error


def _read_pfs(reading: _Reading, value: SpecValue) -> InputSpec:
    fields = _checked(reading, value, _PFS)
    _refuse_project(fields)
    if "s3" in fields and fields["s3"].flag("s3"):
        fields["s3"].refuse("s3 inputs are not offered: the command reads files")
    if "repo_type" in fields and fields["repo_type"].text("repo_type") not in {"", "user"}:
        fields["repo_type"].refuse("only user repos can be inputs; `versioned datums list` shows the datums")
    found: dict[str, Any] = {
        name: fields[name].text(name) or None
        for name in ("name", "branch", "commit", "join_on", "group_by")
        if name in fields
    }
    repo = _needed(value, fields, "repo").text("repo")
    pattern = _needed(value, fields, "glob").text("glob")
    ref = found.get("commit") or f"{repo}@{reading.branch(repo, found.get('branch') or '')}"
    return glob(
        ref,
        pattern,
        name=found.get("name") or repo,
        join_on=found.get("join_on"),
        group_by=found.get("group_by"),
        outer="outer_join" in fields and fields["outer_join"].flag("outer_join"),
        empty_files="empty_files" in fields and fields["empty_files"].flag("empty_files"),
    )


def _read_cron(reading: _Reading, pipeline: str, value: SpecValue) -> InputSpec:
    fields = _checked(reading, value, _CRON)
    _refuse_project(fields)
    name = _needed(value, fields, "name").text("name")
    repo = fields["repo"].text("repo") if "repo" in fields else f"{pipeline}_{name}"
    start = None
    if "start" in fields:
        try:
            start = datetime.fromisoformat(fields["start"].text("start"))
        except ValueError:
            fields["start"].refuse("start is a time such as '2026-01-01T00:00:00Z'")
    return cron(
        _needed(value, fields, "spec").text("spec"),
        name=name,
        ref=fields["commit"].text("commit") if "commit" in fields else f"{repo}@{reading.branch_of(repo)}",
        start=start,
        overwrite="overwrite" in fields and fields["overwrite"].flag("overwrite"),
    )


def _relocated(reading: _Reading, value: SpecValue, argv: list[str]) -> list[str]:
    """Return arguments in which files of the image are those beside the spec, such as ``/edges.py``."""
    found = []
    for argument in argv:
        inner = argument.lstrip("/")
        if argument.startswith("/") and inner and "\n" not in argument and not Path(argument).exists():
            near = [one for one in (inner, Path(inner).name) if (reading.directory / one).is_file()]
            if near:
                reading.warn(
                    value, f"{argument!r} is a file of an image: {near[0]!r} beside the spec is run in its place"
                )
                found.append(near[0])
                continue
        found.append(argument)
    return found


def _refuse_unstable(inside: Mapping[str, SpecValue]) -> None:
    """Raise if the command reads a variable that would differ in each run."""
    for name in ("cmd", "stdin"):
        for one in inside[name].items(name) if name in inside else ():
            found = _UNSTABLE.search(one.text(name))
            if found is not None:
                one.refuse(
                    f"the variable {found[0]} is not offered, since results could not be reused: "
                    f"`versioned lineage` shows the commits and the run of an output"
                )


def _is_mounted(inside: Mapping[str, SpecValue]) -> bool:
    """Return whether the command finds its datum at ``/pfs``.

    Raises:
        InvalidInputError: The machine does not allow it, and the command names it.
    """
    if can_mount():
        return True
    for name in ("cmd", "stdin"):
        for one in inside[name].items(name) if name in inside else ():
            if re.search(r"(?<![\w/])/pfs(?![\w.-])", one.text(name)):
                one.refuse("this machine lets no process have a directory /pfs of its own: use $PFS_ROOT")
    return False


def _image(reading: _Reading, inside: Mapping[str, SpecValue]) -> str | None:
    """Return the image if it is pinned by its digest. No image is started."""
    if "image" not in inside or not inside["image"].text("image"):
        return None
    text = inside["image"].text("image")
    is_pinned = "@sha256:" in text
    part = "its digest is part of the code" if is_pinned else "its tag is not part of the code"
    reading.warn(inside["image"], f"the image {text!r} is not started: the command runs on this machine, and {part}")
    return text if is_pinned else None
