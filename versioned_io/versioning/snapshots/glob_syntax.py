"""The syntax of path patterns: a pattern is parsed into a sequence of nodes."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from versioned_io.errors import InvalidInputError

_GROUP_SIGNS: Final = "!@+?*"
_FIELD: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Text:
    """Literal characters."""

    text: str


class WildKind(StrEnum):
    """The kind of a wildcard; the value is its regular expression."""

    CHARACTER = "[^/]"
    """``?``: one character of a part."""
    PART = "[^/]*"
    """``*``: any characters of a part."""
    PATH = ".*"
    """``**``: any characters, slashes too."""
    PARTS = "(?:.*/)?"
    """``**/`` at the start of a part: any number of whole parts."""


@dataclass(frozen=True, slots=True)
class Wild:
    """A wildcard."""

    kind: WildKind


@dataclass(frozen=True, slots=True)
class Class:
    """One character of a set; *regex* is the set as a regular expression for RE2 and Python."""

    regex: str


class Choice(StrEnum):
    """How often one of a group's alternatives occurs."""

    BRACES = "{"
    """``{a,b}``: once, not captured."""
    ONCE = "@"
    """``@(a|b)`` and ``(a|b)``: once."""
    SOME = "+"
    """``+(a|b)``: once or more."""
    MAYBE = "?"
    """``?(a|b)``: once or not at all."""
    ANY = "*"
    """``*(a|b)``: any number of times."""
    NOT = "!"
    """``!(a|b)``: any text within one part that is none of them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Alternatives in braces or parentheses; *number* is the number of the capture from 0, or -1 for braces."""

    choice: Choice
    branches: tuple["Sequence_", ...]
    number: int


Node = Text | Wild | Class | Group
Sequence_ = tuple[Node, ...]


class ParsedPattern(NamedTuple):
    """A pattern's nodes, the number of its capturing groups, and the group of each named field, from 0."""

    nodes: Sequence_
    groups: int
    fields: dict[str, int]


def parse_pattern(pattern: str, text: str, *, has_fields: bool = False) -> ParsedPattern:
    """Return the parts of *text*; messages quote *pattern*.

    Args:
        has_fields: Whether ``{name}`` captures one or more characters of a part. Otherwise it is the text ``name``.

    Raises:
        InvalidInputError: A bracket, brace or parenthesis is not closed, a range in brackets runs backwards,
            ``!(...)`` has a slash, or a field occurs twice. Fix the pattern.
    """
    parser = _Parser(pattern, text, has_fields=has_fields)
    return ParsedPattern(parser.parse(), parser.groups, parser.fields)


def crosses_parts(nodes: Sequence[Node]) -> bool:
    """Return whether matches of *nodes* may have a varying number of slashes."""
    for node in nodes:
        match node:
            case Wild(WildKind.PATH | WildKind.PARTS):
                return True
            case Group() if any(_may_hold_slash(branch) for branch in node.branches):
                return True
    return False


def has_negation(nodes: Sequence[Node]) -> bool:
    """Return whether there is a ``!(...)`` at any depth."""
    return any(
        node.choice is Choice.NOT or any(map(has_negation, node.branches)) for node in nodes if isinstance(node, Group)
    )


def literal_prefixes(nodes: Sequence[Node], *, most: int = 64) -> tuple[str, ...]:
    """Return literal prefixes, one of which begins every match; they are sorted, and none is a prefix of another."""
    prefixes, _ = _prefixes(nodes, most)
    found: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return tuple(found)


def literal_suffix(nodes: Sequence[Node]) -> str:
    """Return the literal text that ends every match, or ``""``."""
    return nodes[-1].text if nodes and isinstance(nodes[-1], Text) else ""


def _prefixes(nodes: Sequence[Node], most: int) -> tuple[list[str], bool]:
    """Return prefixes of the matches of *nodes*, and whether they are the whole matches."""
    found = [""]
    for node in nodes:
        if isinstance(node, Text):
            found = [prefix + node.text for prefix in found]
            continue
        if not isinstance(node, Group) or node.choice not in {Choice.BRACES, Choice.ONCE}:
            return found, False
        branches = [_prefixes(branch, most) for branch in node.branches]
        more = [text for texts, _ in branches for text in texts]
        if len(found) * len(more) > most:
            return found, False
        found = [prefix + text for prefix in found for text in more]
        if not all(is_whole for _, is_whole in branches):
            return found, False
    return found, True


def _may_hold_slash(nodes: Sequence[Node]) -> bool:
    return crosses_parts(nodes) or any(isinstance(node, Text) and "/" in node.text for node in nodes)


class _Parser:
    """A parser that reads a pattern from left to right."""

    def __init__(self, pattern: str, text: str, *, has_fields: bool) -> None:
        self._pattern = pattern
        self._text = text
        self._at = 0
        self._has_fields = has_fields
        self.groups = 0
        self.fields: dict[str, int] = {}

    def parse(self) -> Sequence_:
        return _joined(self._sequence(""))

    def _sequence(self, ends: str) -> Iterator[Node]:
        """Yield nodes up to one of the characters *ends*, or, if empty, to the end of the text."""
        while self._at < len(self._text):
            if self._text[self._at] in ends:
                return
            field = _FIELD.match(self._text, self._at) if self._has_fields else None
            yield self._next() if field is None else self._field(field)

    def _next(self) -> Node:
        character = self._text[self._at]
        if character in _GROUP_SIGNS and self._text.startswith("(", self._at + 1):
            self._at += 2
            return self._group(Choice(character), "|", ")")
        if character in "({":
            self._at += 1
            return self._group(Choice.ONCE, "|", ")") if character == "(" else self._group(Choice.BRACES, ",", "}")
        if self._text.startswith("**", self._at):
            # "**(" is a "*" before the group "*(".
            if self._text.startswith("**(", self._at):
                self._at += 1
                return Wild(WildKind.PART)
            whole = self._text.startswith("**/", self._at) and self._at_part_start()
            self._at += 3 if whole else 2
            return Wild(WildKind.PARTS if whole else WildKind.PATH)
        self._at += 1
        match character:
            case "*":
                return Wild(WildKind.PART)
            case "?":
                return Wild(WildKind.CHARACTER)
            case "[":
                return self._character_class()
            case _:
                return Text(character)

    def _field(self, found: re.Match[str]) -> Group:
        name = found[1]
        if name in self.fields:
            msg = f"the pattern {self._pattern!r} has the field {{{name}}} twice: give the second one another name"
            raise InvalidInputError(msg)
        self._at = found.end()
        self.fields[name] = self.groups
        self.groups += 1
        one_or_more = (Wild(WildKind.CHARACTER), Wild(WildKind.PART))
        return Group(Choice.ONCE, (one_or_more,), self.fields[name])

    def _group(self, choice: Choice, separator: str, end: str) -> Group:
        number = -1 if choice is Choice.BRACES else self.groups
        self.groups += choice is not Choice.BRACES
        branches = []
        while True:
            branches.append(_joined(self._sequence(separator + end)))
            if self._at == len(self._text):
                raise self._unclosed("{" if end == "}" else "(")
            self._at += 1
            if self._text[self._at - 1] == end:
                break
        if choice is Choice.NOT and any(map(_may_hold_slash, branches)):
            msg = (
                f"the pattern {self._pattern!r} has a '/' or '**' in '!(...)', which matches text within one part: "
                f"write the parts one by one"
            )
            raise InvalidInputError(msg)
        return Group(choice, tuple(branches), number)

    def _at_part_start(self) -> bool:
        return self._at == 0 or self._text[self._at - 1] == "/"

    def _character_class(self) -> Class:
        # A "]" directly after the opening bracket, or after its "!", is literal.
        first = self._at + 1 if self._text[self._at : self._at + 1] == "!" else self._at
        end = self._text.find("]", first + 1)
        if end < 0:
            raise self._unclosed("[")
        is_negated = first > self._at
        body = self._class_body(self._text[first:end])
        self._at = end + 1
        return Class(f"[^/{body}]" if is_negated else f"[{body}]")

    def _class_body(self, text: str) -> str:
        """Return the characters and ranges of *text* as a regular expression, without the slash."""
        ranges: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            last = text[at + 2] if text[at + 1 : at + 2] == "-" and at + 2 < len(text) else text[at]
            if last < text[at]:
                msg = f"the pattern {self._pattern!r} is malformed: the range {text[at : at + 3]!r} is backwards"
                raise InvalidInputError(msg)
            if text[at] <= "/" <= last:
                ranges += [(text[at], "."), ("0", last)]
            else:
                ranges.append((text[at], last))
            at += 3 if text[at + 1 : at + 2] == "-" and at + 2 < len(text) else 1
        kept = [f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high]
        if not kept:
            msg = f"the pattern {self._pattern!r} has a slash in brackets: write it without brackets"
            raise InvalidInputError(msg)
        return "".join(kept)

    def _unclosed(self, bracket: str) -> InvalidInputError:
        return InvalidInputError(
            f"the pattern {self._pattern!r} has a {bracket!r} that is not closed: close it, or write [{bracket}]"
        )


def _joined(nodes: Iterator[Node]) -> Sequence_:
    """Return *nodes* with adjacent texts merged."""
    joined: list[Node] = []
    for node in nodes:
        if isinstance(node, Text) and joined and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].text + node.text)
        else:
            joined.append(node)
    return tuple(joined)
