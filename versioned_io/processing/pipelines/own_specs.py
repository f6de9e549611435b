"""Specs of this library: the fields of a pipeline in a file, and the JSON Schema of such files."""

import difflib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from versioned_io.errors import InvalidInputError
from versioned_io.processing.inputs.specs import InputSpec, cron, cross, glob, group, join, table, union
from versioned_io.processing.pipelines.code_loading import load_object
from versioned_io.processing.pipelines.commanding import command
from versioned_io.processing.pipelines.declaring import PipelineFunction, declare
from versioned_io.processing.pipelines.spec_values import SpecValue

SCHEMA_ID: Final = "https://json-schema.org/draft/2020-12/schema"


class _SpecField(NamedTuple):
    """How a field is read, and what its schema says."""

    read: Callable[[SpecValue, str], Any]
    schema: Mapping[str, object]


_TEXT: Final = _SpecField(SpecValue.text, {"type": "string"})
_TEXTS: Final = _SpecField(SpecValue.texts, {"type": "array", "items": {"type": "string"}})
_PAIRS: Final = _SpecField(SpecValue.pairs, {"type": "object", "additionalProperties": {"type": "string"}})
_FLAG: Final = _SpecField(SpecValue.flag, {"type": "boolean"})
_COUNT: Final = _SpecField(SpecValue.count, {"type": "integer", "minimum": 0})
_NUMBER: Final = _SpecField(SpecValue.number, {"type": "number", "exclusiveMinimum": 0})


def _choice(*allowed: str) -> _SpecField:
    return _SpecField(SpecValue.text, {"enum": list(allowed)})


def _read_codes(value: SpecValue, name: str) -> list[int]:
    return [one.count(f"each of {name}") for one in value.items(name)]


def _read_any(value: SpecValue, name: str) -> dict[str, Any]:
    value.fields(name)
    found: dict[str, Any] = value.plain()
    return found


def _read_time(value: SpecValue, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(value.text(name))
    except ValueError:
        value.refuse(f"{name} must be a time such as '2026-01-01T00:00:00+00:00'")
    if found.tzinfo is None:
        value.refuse(f"{name} must be a time with its zone, such as '2026-01-01T00:00:00+00:00'")
    return found


def _read_input(value: SpecValue, name: str) -> InputSpec:
    fields = value.fields(name)
    if len(fields) != 1:
        value.refuse(f"an input is one of {', '.join([*_LEAVES, *_COMBINED])}, but here are {len(fields)} fields")
    ((kind, inner),) = fields.items()
    try:
        if kind in _COMBINED:
            return _COMBINED[kind](*(_read_input(one, kind) for one in inner.items(kind)))
        if kind not in _LEAVES:
            inner.refuse(f"{kind!r} is not an input: use {', '.join([*_LEAVES, *_COMBINED])}")
        known, needed = _LEAVES[kind]
        found = read_fields(inner, known, needed, f"a {kind} input")
        first = [found.pop(one) for one in needed]
        return _MADE_BY[kind](*first, **found)
    except InvalidInputError as error:
        raise inner.located(error) from error


# The fields of every pipeline, those of a command, and those of each kind of input.
_SHARED: Final[Mapping[str, _SpecField]] = {
    "name": _TEXT,
    "inputs": _SpecField(_read_input, {"$ref": "#/$defs/input"}),
    "output": _TEXT,
    "on_failure": _choice("refuse", "keep", "drop"),
    "timeout_s": _NUMBER,
    "tries": _SpecField(SpecValue.count, {"type": "integer", "minimum": 1}),
    "code_version": _TEXT,
    "share": _FLAG,
    "cache": _choice("reuse", "never"),
    "replaces": _TEXT,
    "workers": _COUNT,
}
_OF_COMMAND: Final[Mapping[str, _SpecField]] = {
    "command": _SpecField(SpecValue.texts, {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    "stdin": _TEXTS,
    "env": _PAIRS,
    "code_paths": _TEXTS,
    "keep_alive": _FLAG,
    "accepted": _SpecField(_read_codes, {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}),
    "error_command": _TEXTS,
    "error_stdin": _TEXTS,
    "pfs": _FLAG,
    "same_code_as": _TEXT,
    "image": _TEXT,
}
_OF_FUNCTION: Final[Mapping[str, _SpecField]] = {
    "function": _TEXT,
    "params": _SpecField(_read_any, {"type": "object"}),
}
_RULES: Final[Mapping[str, _SpecField]] = {
    "ref": _TEXT,
    "name": _TEXT,
    "join_on": _TEXT,
    "group_by": _TEXT,
    "outer": _FLAG,
}
_LEAVES: Final[Mapping[str, tuple[Mapping[str, _SpecField], tuple[str, ...]]]] = {
    "glob": ({**_RULES, "pattern": _TEXT, "empty_files": _FLAG}, ("ref", "pattern")),
    "table": ({**_RULES, "path": _TEXT, "by": _TEXT}, ("ref", "path", "by")),
    "cron": (
        {
            "schedule": _TEXT,
            "name": _TEXT,
            "ref": _TEXT,
            "start": _SpecField(_read_time, {"type": "string", "format": "date-time"}),
            "overwrite": _FLAG,
        },
        ("schedule",),
    ),
}
_MADE_BY: Final[Mapping[str, Callable[..., InputSpec]]] = {"glob": glob, "table": table, "cron": cron}
_COMBINED: Final[Mapping[str, Callable[..., InputSpec]]] = {
    "cross": cross,
    "union": union,
    "join": join,
    "group": group,
}


def own_pipeline(spec: SpecValue, directory: Path) -> PipelineFunction:
    """Return the pipeline that a spec declares.

    Args:
        directory: That of the file. Paths in the spec are relative to it.

    Raises:
        InvalidInputError: A field is unknown, missing or not valid; the message names the line.
    """
    fields = spec.fields("the pipeline")
    is_function = "function" in fields
    known = {**_SHARED, **(_OF_FUNCTION if is_function else _OF_COMMAND)}
    needed = ("name", "inputs", "output", "function" if is_function else "command")
    found = read_fields(spec, known, needed, "a pipeline")
    try:
        if is_function:
            place = found.pop("function")
            function: Any = load_object(place, directory)
            if isinstance(function, PipelineFunction):
                fields["function"].refuse(f"{place} is a pipeline already: name a plain function of (datum, out)")
            return declare(found.pop("name"), function, **found)
        return command(found.pop("name"), found.pop("command"), directory=directory, **found)
    except InvalidInputError as error:
        raise spec.located(error) from error


def read_fields(spec: SpecValue, known: Mapping[str, _SpecField], needed: tuple[str, ...], what: str) -> dict[str, Any]:
    """Return the values of the fields of a mapping.

    Raises:
        InvalidInputError: A field is unknown, missing or not valid.
    """
    fields = spec.fields(what)
    for name, value in fields.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f": {what} has {', '.join(known)}"
            value.refuse(f"the field {name!r} is unknown{meant}")
    for name in needed:
        if name not in fields:
            spec.refuse(f"{what} needs the field {name!r}")
    return {name: known[name].read(value, name) for name, value in fields.items()}


def spec_schema() -> dict[str, object]:
    """Return the JSON Schema of a pipeline in a spec file.

    >>> vio.spec_schema()["required"]
    ['name', 'inputs', 'output']
    """
    leaves = [
        _object({kind: {**_object(_schemas(known), needed)}}, (kind,)) for kind, (known, needed) in _LEAVES.items()
    ]
    several = {"type": "array", "items": {"$ref": "#/$defs/input"}, "minItems": 1}
    combined = [_object({kind: several}, (kind,)) for kind in _COMBINED]
    whole = _object(_schemas({**_SHARED, **_OF_COMMAND, **_OF_FUNCTION}), ("name", "inputs", "output"))
    return {
        "$schema": SCHEMA_ID,
        "title": "A pipeline of versioned-io",
        **whole,
        "oneOf": [{"required": ["command"]}, {"required": ["function"]}],
        "$defs": {"input": {"oneOf": [*leaves, *combined]}},
    }


def _schemas(known: Mapping[str, _SpecField]) -> dict[str, object]:
    return {name: dict(field.schema) for name, field in known.items()}


def _object(properties: Mapping[str, object], needed: tuple[str, ...]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(needed),
        "additionalProperties": False,
    }
