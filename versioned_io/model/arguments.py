"""Checks of arguments before a call acts: text, counts, seconds, durations, flags, functions, lists."""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted

LARGEST_COUNT = 2**63 - 1
"""The largest number that every catalog can keep."""

LONGEST_S = 100 * 366 * 86_400.0
"""A hundred years: longer waits are mistakes, and dates end at some time after."""

T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)


def parse_text(text: str, name: str) -> str:
    """Return *text* if every catalog can keep it.

    Raises:
        InvalidInputError: It is not a `str`, or has a NUL or half of a surrogate pair. The message calls it *name*.
    """
    if not isinstance(text, str) or "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        msg = f"the {name} {quoted(text)} can't be kept: it must be text, without NUL and lone surrogates"
        raise InvalidInputError(msg)
    return text


def parse_name(text: str, name: str) -> str:
    """Return *text* as `parse_text` does, if it is not empty.

    Raises:
        InvalidInputError: It is; *name* says in the message what it is.
    """
    if not parse_text(text, name):
        raise _refusal(name, text, "at least one character")
    return text


def parse_choice(text: str, choices: Iterable[Choice], name: str) -> Choice:
    """Return the one of *choices*, an enumeration's members or plain text, that is equal to *text*.

    Raises:
        InvalidInputError: None of them is; the message calls the argument *name* and lists the choices.
    """
    for choice in choices:
        if choice == text:
            return choice
    msg = f"{name}={quoted(text)} is not valid: use {', '.join(repr(str(choice)) for choice in choices)}"
    raise InvalidInputError(msg)


def parse_count(value: int, name: str, *, least: int = 0) -> int:
    """Return *value* if it is a whole number from *least* to `LARGEST_COUNT`.

    Raises:
        InvalidInputError: It is not; *name* says in the message what it is.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_COUNT:
        raise _refusal(name, value, f"a whole number, {least} or more")
    return value


def parse_optional_count(value: int | None, name: str) -> int | None:
    """Return *value* if it is None, or as `parse_count` has it.

    Raises:
        InvalidInputError: It is neither; *name* says in the message what it is.
    """
    return None if value is None else parse_count(value, name)


def parse_number(value: float, name: str, *, most: float = LONGEST_S) -> float:
    """Return *value* if it is a number from 0 to *most*: seconds, or a share.

    Raises:
        InvalidInputError: It is not; *name* says in the message what it is.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _refusal(name, value, f"a number from 0 to {most:g}")
    return value


def parse_duration(value: timedelta, name: str) -> timedelta:
    """Return *value* if it is a time span of 0 or more; at most a hundred years, for nothing in a store is older.

    Raises:
        InvalidInputError: It is not; *name* says in the message what it is.
    """
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise _refusal(name, value, "a datetime.timedelta, 0 or more")
    return min(value, timedelta(seconds=LONGEST_S))


def parse_span(value: float, name: str, *, unit_s: float) -> timedelta:
    """Return a time span of *value* times *unit_s* seconds; at most a hundred years.

    Raises:
        InvalidInputError: It is not a number of 0 or more; *name* says in the message what it is.
    """
    return timedelta(seconds=min(parse_number(value, name, most=math.inf) * unit_s, LONGEST_S))


def parse_flag(value: bool, name: str) -> bool:  # noqa: FBT001 (the value is what is checked)
    """Return *value* if it is True or False; ``"false"`` or None, read as one of them, could delete data to be kept.

    Raises:
        InvalidInputError: It is neither; *name* says in the message what it is.
    """
    if not isinstance(value, bool):
        raise _refusal(name, value, "True or False")
    return value


def check_callable(value: Callable[..., Any] | None, name: str) -> None:
    """Refuse a callback that can't be called; None means no callback.

    Raises:
        InvalidInputError: It is not a function. The message calls it *name*.
    """
    if value is not None and not callable(value):
        raise _refusal(name, value, "a function, or None")


def parse_local_path(value: str | Path, name: str) -> str:
    """Return *value* as text if it is text or a `Path` that a file system could have.

    Raises:
        InvalidInputError: It is another type, empty, has a NUL, or can't be encoded. It is not repeated, for it may
            be a URL with a password.
    """
    if not isinstance(value, str | Path):
        msg = f"{name} must be text or a pathlib.Path, not of type {type(value).__name__}"
        raise InvalidInputError(msg)
    text = str(value)
    if (
        not text
        or "\0" in text
        or any("\ud800" <= mark <= "\udfff" and not "\udc80" <= mark <= "\udcff" for mark in text)
    ):
        msg = f"{name} is not a valid location: it is empty, or has a NUL or a lone surrogate"
        raise InvalidInputError(msg)
    return text


def parse_iterable(values: Iterable[T], name: str) -> Iterable[T]:
    """Return *values* if they can be iterated; a single text is refused, not split into letters.

    Raises:
        InvalidInputError: They are none; *name* says in the message what they are.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _refusal(name, values, "a list")
    return values


def parse_items(values: Iterable[T], kind: type[T], name: str) -> tuple[T, ...]:
    """Return *values* as a tuple if they are a list of *kind*; one text is not taken for its letters.

    Raises:
        InvalidInputError: They are none, or one of them is another type; *name* says in the message what they are.
    """
    found = tuple(parse_iterable(values, name))
    for value in found:
        if not isinstance(value, kind):
            raise _refusal(f"each of {name}", value, f"of type {kind.__name__}")
    return found


def check_mapping(values: Mapping[str, Any] | None, name: str) -> None:
    """Refuse a value that is not a mapping with text as keys; None stands for an empty one. The message shows no value.

    Raises:
        InvalidInputError: It is not such a mapping. The message calls it *name*.
    """
    if values is not None and not isinstance(values, Mapping):
        msg = f"{name} must be a dict with text as keys, not of type {type(values).__name__}"
        raise InvalidInputError(msg)
    for key in values or {}:
        if not isinstance(key, str):
            msg = f"{name} must be a dict with text as keys, not with a key of type {type(key).__name__}"
            raise InvalidInputError(msg)


def _refusal(name: str, value: object, wanted: str) -> InvalidInputError:
    shown = f"{value.total_seconds():g} s" if isinstance(value, timedelta) else quoted(value)
    msg = f"{name} must be {wanted}, not {shown}"
    return InvalidInputError(msg)
