"""Path patterns: ``*``, ``?``, ``[...]``, ``{a,b}`` and ``**``."""

import re
from dataclasses import dataclass

from versioned_io.errors import InvalidInputError

_SPECIAL = re.compile(r"[*?\[{]")


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern, ready to match whole paths.

    Attributes:
        prefix: The literal beginning that every match has.
        regex: A regular expression that both RE2 and Python understand alike; it matches whole paths.
    """

    pattern: str
    prefix: str
    regex: str

    def matches(self, path: str) -> bool:
        """Say whether the pattern matches *path*."""
        return re.search(self.regex, path) is not None


def parse_glob(pattern: str) -> Glob:
    """Return *pattern* ready for matching; a leading ``/`` is allowed and means nothing.

    ``*`` and ``?`` match within one part of a path, ``**`` across parts (``a/**`` is everything below ``a``,
    ``**/b`` is ``b`` at any depth, the top included), ``[a-z]`` and ``[!a-z]`` one character, ``{x,y}`` either text.

    Raises:
        InvalidInputError: A bracket or brace is not closed, a range in brackets runs backwards, or the pattern is
            empty.
    """
    text = pattern.removeprefix("/")
    if not text:
        msg = f"the pattern {pattern!r} is empty: '**' matches every file"
        raise InvalidInputError(msg)
    special = _SPECIAL.search(text)
    prefix = text if special is None else text[: special.start()]
    regex = f"^{_Translator(pattern, text).translate()}$"
    try:
        re.compile(regex)
    except re.error as error:
        msg = f"the pattern {pattern!r} can't be understood: {error.msg}"
        raise InvalidInputError(msg) from None
    return Glob(pattern, prefix, regex)


class _Translator:
    """A pattern on its way to a regular expression, read from left to right."""

    def __init__(self, pattern: str, text: str) -> None:
        self._pattern = pattern
        self._text = text
        self._at = 0
        self._depth = 0  # of braces

    def translate(self) -> str:
        parts: list[str] = []
        while self._at < len(self._text):
            parts.append(self._next())
        if self._depth:
            raise self._unclosed("{")
        return "".join(parts)

    def _next(self) -> str:
        character = self._text[self._at]
        if self._text.startswith("**/", self._at) and self._at_part_start():
            self._at += 3
            return "(?:.*/)?"
        if self._text.startswith("**", self._at):
            self._at += 2
            return ".*"
        self._at += 1
        match character:
            case "*" | "?":
                return "[^/]*" if character == "*" else "[^/]"
            case "[":
                return self._character_class()
            case "{":
                self._depth += 1
                return "(?:"
            case "," if self._depth:
                return "|"
            case "}" if self._depth:
                self._depth -= 1
                return ")"
            case _:
                return re.escape(character)

    def _at_part_start(self) -> bool:
        return self._at == 0 or self._text[self._at - 1] == "/"

    def _character_class(self) -> str:
        # A "]" right after the opening, or after its "!", stands for itself.
        first = self._at + 1 if self._text[self._at : self._at + 1] == "!" else self._at
        end = self._text.find("]", first + 1)
        if end < 0:
            raise self._unclosed("[")
        negated = "^/" if first > self._at else ""
        body = re.sub(r"([\\\[\]^&~|])", r"\\\1", self._text[first:end])
        self._at = end + 1
        return f"[{negated}{body}]"

    def _unclosed(self, bracket: str) -> InvalidInputError:
        return InvalidInputError(
            f"the pattern {self._pattern!r} has a {bracket!r} that is not closed: close it, or write [{bracket}]"
        )
