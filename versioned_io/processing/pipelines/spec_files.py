"""Pipelines that a file declares: a spec of this library or of Pachyderm, in YAML or JSON."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import parse_local_path, parse_name
from versioned_io.processing.pipelines.declaring import PipelineFunction
from versioned_io.processing.pipelines.own_specs import own_pipeline
from versioned_io.processing.pipelines.pachyderm_specs import is_pachyderm, pachyderm_pipeline
from versioned_io.processing.pipelines.spec_values import SpecValue, read_documents
from versioned_io.processing.running.as_command import CommandProgram


def read_pipeline(
    path: str | Path,
    name: str | None = None,
    *,
    branch: str | Callable[[str], str] = "master",
    code_version: str | None = None,
    same_code_as: str | None = None,
) -> PipelineFunction:
    """Return the pipeline that a YAML or JSON file declares; `Store.pipeline` runs it.

    A file with the field ``pipeline`` is a spec of Pachyderm, and is read as it is. Fields that can't be honoured are
    named with their line: in an error if they decide about results, else in the pipeline's ``warnings``.

    >>> from pathlib import Path
    >>> _ = Path("shout.json").write_text('''{"name": "shout", "output": "upper@main", "command": ["./shout.sh"],
    ...     "inputs": {"glob": {"ref": "weather@main", "pattern": "/2012/*"}}}''')
    >>> vio.read_pipeline("shout.json").name
    'shout'

    Args:
        path: Paths in the file are relative to its directory.
        name: The name of the pipeline, if the file declares several.
        branch: The branch that a spec of Pachyderm means where it names none, or a function that returns it for a repo.
        code_version: Stands for the code, as in `pipeline`.
        same_code_as: As in `command`.

    Raises:
        InvalidInputError: The file can't be read, or a field is unknown, missing, not valid or not offered. The message
            names the line.
    """
    place = Path(parse_local_path(path, "path"))
    spec = _chosen(read_documents(place), place, name)
    directory = place.absolute().parent
    if is_pachyderm(spec):
        branch_of = branch if callable(branch) else partial(_same, parse_name(branch, "branch"))
        found = pachyderm_pipeline(spec, directory, branch_of)
    else:
        found = own_pipeline(spec, directory)
    if code_version is not None:
        found = dataclasses.replace(found, code_version=parse_name(code_version, "code_version"))
    if same_code_as is not None and isinstance(found.function, CommandProgram):
        called = dataclasses.replace(found.function, called=parse_name(same_code_as, "same_code_as"))
        found = dataclasses.replace(found, function=called)
    return found


def _same(branch: str, _repo: str) -> str:
    return branch


def _chosen(specs: list[SpecValue], path: Path, name: str | None) -> SpecValue:
    found = {_name_of(spec): spec for spec in specs}
    if name is None and len(specs) == 1:
        return specs[0]
    if name is None or name not in found:
        names = ", ".join(repr(one) for one in found)
        msg = f"{path.name!r} declares the pipelines {names}: name one of them"
        raise InvalidInputError(msg)
    return found[name]


def _name_of(spec: SpecValue) -> str:
    fields = spec.fields("a pipeline")
    inner = fields["pipeline"].fields("pipeline") if "pipeline" in fields else fields
    return inner["name"].text("name") if "name" in inner else ""
