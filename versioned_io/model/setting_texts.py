"""The settings of a store that are given as text: in an environment variable, or in a connection's fields."""

import json
from typing import Any

from versioned_io.errors import InvalidInputError


def parse_storage_options(text: str, name: str) -> dict[str, str]:
    """Return the storage options of a text: ``name=value`` separated by spaces, or a JSON object of texts.

    Args:
        name: The setting's name, for the message. The text is never repeated, since some of it may be secret.

    Raises:
        InvalidInputError: The text has neither form.
    """
    if text.lstrip().startswith("{"):
        found = _json(text)
        if not _is_options(found):
            msg = f"{name} is not a JSON object of texts, nor of the form name=value"
            raise InvalidInputError(msg)
        return dict(found)
    options: dict[str, str] = {}
    for number, part in enumerate(text.split(), 1):
        option, equals, value = part.partition("=")
        if not equals:
            msg = f"part {number} of {name} is not of the form name=value"
            raise InvalidInputError(msg)
        options[option] = value
    return options


def parse_sources(text: str, name: str) -> dict[str, dict[str, str]]:
    """Return the places outside of a store that it may read, each with its storage options: a JSON object.

    Raises:
        InvalidInputError: The text has another form. It is not repeated, since some of it may be secret.
    """
    found = _json(text or "{}")
    if not isinstance(found, dict) or not all(_is_options(options) for options in found.values()):
        msg = f'{name} is not of the form {{"s3://bucket/prefix/": {{"option": "value"}}, "/directory": {{}}}}'
        raise InvalidInputError(msg)
    return found


def parse_size(text: str, name: str) -> int:
    """Return a number of bytes.

    Raises:
        InvalidInputError: The text is not a whole number, or it is below zero.
    """
    if not (text.isascii() and text.strip().isdigit()):
        msg = f"{name} is not a number of bytes: {text!r}"
        raise InvalidInputError(msg)
    return int(text)


def _json(text: str) -> Any:  # noqa: ANN401 (any JSON value)
    try:
        return json.loads(text)
    except ValueError:
        return None


def _is_options(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
