"""Path patterns: ``*``, ``?``, ``[...]``, ``{a,b}``, ``**``, and capturing groups, including ``!(...)``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import parse_text
from versioned_io.model.columns import bool_column, text_column
from versioned_io.versioning.snapshots.glob_syntax import (
    Choice,
    Class,
    Group,
    Node,
    Sequence_,
    Text,
    Wild,
    WildKind,
    crosses_parts,
    has_negation,
    literal_prefixes,
    literal_suffix,
    parse_pattern,
)

_REPEATS = {Choice.SOME: "+", Choice.MAYBE: "?", Choice.ANY: "*"}


@dataclass(frozen=True)
class Glob:
    """A parsed pattern that matches whole paths.

    Attributes:
        nodes: The parts of the pattern.
        groups: The number of capturing groups.
        prefixes: Literal prefixes. Every match begins with one of them. They are sorted, and none is a prefix of
            another.
        is_directory: Whether it ends with a slash, so that it matches only directories; ``/`` matches the root.
        fields: The number of the capturing group, from 0, of each named field.
    """

    pattern: str
    nodes: Sequence_
    groups: int
    prefixes: tuple[str, ...]
    is_directory: bool
    fields: Mapping[str, int]

    @property
    def is_root(self) -> bool:
        """Whether the pattern is ``/``, which matches only the root of the tree."""
        return not self.nodes

    def mask(self, paths: pa.Array) -> pa.Array:
        """Return which of *paths* match, as booleans.

        Cost: about 0.1 to 0.3 us a path, and as much for each ``!(...)``. Text of varying length before a ``!(...)`` in
        its part makes it about 1 us for each path that matches the rest. Text after it makes it 50 us.
        """
        suffix = literal_suffix(self.nodes)
        if not suffix:
            return self._mask(paths)
        ends = pc.ends_with(paths, suffix)
        count = ends.true_count
        if count == len(paths):
            return self._mask(paths)
        if not count:
            return ends
        return pc.replace_with_mask(ends, ends, self._mask(paths.filter(ends)))

    def matches(self, path: str) -> bool:
        """Return whether *path* matches; a leading ``/`` is ignored."""
        path = path.removeprefix("/")
        python = self._python
        return _fits(self.nodes, path) if python is None else python.fullmatch(path) is not None

    def captures(self, path: str) -> tuple[str, ...]:
        """Return the text that each parenthesised group matches in *path*, in the order of the opening parentheses.

        A group that takes no part in the match captures ``""``. A group inside a repeated group captures its last
        repetition. If several matches are possible, groups match greedily from the left.

        Raises:
            InvalidInputError: *path* does not match. Check with `matches` first.
        """
        path = path.removeprefix("/")
        if not self.matches(path):
            msg = f"the path {path!r} does not match the pattern {self.pattern!r}, so it has no captures"
            raise InvalidInputError(msg)
        found = [""] * self.groups
        python = self._python
        if python is None:
            _capture(self.nodes, path, 0, len(path), found)
            return tuple(found)
        match = python.fullmatch(path)
        return tuple(text or "" for text in match.groups()) if match is not None else tuple(found)

    def capture_columns(self, paths: pa.Array) -> list[pa.Array]:
        """Return a column for each group: of each of *paths*, which all match, the text that `captures` returns.

        Cost: about 0.3 us a path, and 0.1 us a group. With ``!(...)``, or a group that repeats, 3 us and more.
        """
        if not self.groups:
            return []
        if not has_negation(self.nodes) and not _repeats(self.nodes):
            found: list[pa.Array] = pc.extract_regex(paths, f"^{_regex(self.nodes, captures=True)}$").flatten()
            return found
        rows = [self.captures(path) for path in paths.to_pylist()]
        return [text_column([row[number] for row in rows]) for number in range(self.groups)]

    def _mask(self, paths: pa.Array) -> pa.Array:
        likely = pc.match_substring_regex(paths, self._re2)
        if not has_negation(self.nodes) or not likely.true_count:
            return likely
        if self._refused is not None:
            for refused in self._refused:
                likely = pc.and_not(likely, pc.match_substring_regex(paths, refused))
            return likely
        matches = bool_column(self.matches(path) for path in paths.filter(likely).to_pylist())
        return pc.replace_with_mask(likely, likely, matches)

    @cached_property
    def _re2(self) -> str:
        """A regular expression for RE2 that every match matches; without ``!(...)`` it matches exactly these."""
        return f"^{_regex(self.nodes, captures=False)}$"

    @cached_property
    def _python(self) -> re.Pattern[str] | None:
        """A regular expression for exactly the matches, with captures; None if there is no such expression."""
        parts = []
        for number, node in enumerate(self.nodes):
            if not (isinstance(node, Group) and has_negation([node])):
                parts.append(_regex([node], captures=True))
                continue
            tail = _tail(self.nodes[number + 1 :])
            if node.choice is not Choice.NOT or any(map(has_negation, node.branches)) or tail is None:
                return None
            parts.append(f"((?!(?:{_branches(node, captures=False)}){tail})[^/]*)")
            if _groups_in(node) > 1:
                return None
        return re.compile("".join(parts))

    @cached_property
    def _refused(self) -> list[str] | None:
        """For each ``!(...)``, a regular expression for paths whose text there is one of the forbidden alternatives.

        None if a path may match in several ways, so that one way does not decide.
        """
        refused: list[str] = []
        for number, node in enumerate(self.nodes):
            if not (isinstance(node, Group) and has_negation([node])):
                continue
            before, after = self.nodes[:number], self.nodes[number + 1 :]
            is_fixed = _tail(after) is not None and _has_fixed_head(before)
            if node.choice is not Choice.NOT or any(map(has_negation, node.branches)) or not is_fixed:
                return None
            if crosses_parts(before) and crosses_parts(after):
                return None
            head, tail = _regex(before, captures=False), _regex(after, captures=False)
            refused.append(f"^{head}(?:{_branches(node, captures=False)}){tail}$")
        return refused


def parse_glob(pattern: str, *, has_fields: bool = False) -> Glob:
    """Parse *pattern*; a leading ``/`` is allowed and ignored.

    - ``*`` matches any text within one part of a path, and ``?`` one character.
    - ``**`` matches across parts: ``a/**`` is everything below ``a``. ``**/b`` is ``b`` at any depth, also at the top.
    - ``[a-z]`` matches one character of the set, and ``[!a-z]`` one character outside of it.
    - ``{x,y}`` matches either text.
    - ``(x|y)`` and ``@(x|y)`` match one of the alternatives, and ``?(...)`` one or none.
    - ``+(...)`` matches one or more of the alternatives in a row, and ``*(...)`` any number.
    - ``!(...)`` matches any text within a part that is none of the alternatives.

    Parentheses capture. Alternatives are patterns themselves. A special character in brackets is literal.
    A pattern that ends with ``/`` matches directories, and ``/`` alone matches the root.

    Args:
        has_fields: Whether ``{name}`` captures one or more characters of a part. Otherwise it is the text ``name``.

    Raises:
        InvalidInputError: A bracket, brace or parenthesis is not closed, a range in brackets runs backwards, or the
            pattern is empty. Fix the pattern.
    """
    if not isinstance(pattern, str) or not pattern:
        msg = f"the pattern {quoted(pattern)} is empty or not text: '**' matches every file"
        raise InvalidInputError(msg)
    parse_text(pattern, "pattern")
    text = pattern.removeprefix("/").removesuffix("/")
    nodes, groups, fields = parse_pattern(pattern, text, has_fields=has_fields)
    return Glob(pattern, nodes, groups, literal_prefixes(nodes), pattern.endswith("/"), fields)


def directories_of(paths: pa.Array) -> pa.Array:
    """Return every directory above one of *paths*, each once.

    Cost: about 0.3 us a path, and as much for each distinct directory and level.
    """
    found = []
    below = paths
    while len(below := below.filter(pc.match_substring(below, "/"))):
        below = pc.unique(pc.replace_substring_regex(below, "/[^/]*$", ""))
        found.append(below)
    return pc.unique(pa.chunked_array(found)) if found else text_column([])


# As regular expressions


def _regex(nodes: Sequence[Node], *, captures: bool) -> str:
    """Return a regular expression with the same meaning in RE2 and Python; ``!(...)`` becomes any text of a part."""
    return "".join(_node_regex(node, captures=captures) for node in nodes)


def _node_regex(node: Node, *, captures: bool) -> str:
    match node:
        case Text():
            return re.escape(node.text)
        case Wild():
            return node.kind.value
        case Class():
            return node.regex
        case Group():
            opening = f"(?P<g{node.number}>" if captures and node.choice is not Choice.BRACES else "(?:"
            if node.choice is Choice.NOT:
                return f"{opening}[^/]*)"
            return f"{opening}(?:{_branches(node, captures=captures)}){_REPEATS.get(node.choice, '')})"


def _branches(group: Group, *, captures: bool) -> str:
    return "|".join(_regex(branch, captures=captures) for branch in group.branches)


def _groups_in(node: Node) -> int:
    if not isinstance(node, Group):
        return 0
    return (node.choice is not Choice.BRACES) + sum(_groups_in(inner) for branch in node.branches for inner in branch)


def _repeats(nodes: Sequence[Node]) -> bool:
    """Return whether a group occurs in a row, of which RE2 and Python may capture different repetitions."""
    groups = [node for node in nodes if isinstance(node, Group)]
    return any(node.choice in {Choice.SOME, Choice.ANY} or any(map(_repeats, node.branches)) for node in groups)


def _tail(after: Sequence[Node]) -> str | None:
    """Return the expression for the rest of the part after a node; None if its length varies."""
    tail = ""
    for node in after:
        match node:
            case Text():
                head, slash, _ = node.text.partition("/")
                tail += re.escape(head)
                if slash:
                    return f"{tail}/"
            case Class() | Wild(WildKind.CHARACTER):
                tail += _node_regex(node, captures=False)
            case _:
                return None
    return rf"{tail}\Z"


def _has_fixed_head(before: Sequence[Node]) -> bool:
    """Return whether the text from the start of the part always has the same length."""
    for node in reversed(before):
        match node:
            case Text() if "/" in node.text:
                return True
            case Wild(WildKind.PARTS):
                return True
            case Text() | Class() | Wild(WildKind.CHARACTER):
                pass
            case _:
                return False
    return True


# Matching that follows all alternatives at once, for patterns that need a regular expression with lookahead


def _fits(nodes: Sequence[Node], path: str) -> bool:
    return len(path) in _ends(nodes, path, {0})


def _ends(nodes: Sequence[Node], path: str, starts: set[int]) -> set[int]:
    """Return the possible ends of matches of *nodes* that begin at one of *starts*."""
    for node in nodes:
        starts = set().union(*(_node_ends(node, path, start) for start in starts))
    return starts


def _node_ends(node: Node, path: str, start: int) -> set[int]:
    match node:
        case Text():
            return {start + len(node.text)} if path.startswith(node.text, start) else set()
        case Class():
            return {start + 1} if re.compile(node.regex).match(path, start) else set()
        case Wild(WildKind.CHARACTER):
            return {start + 1} if start < len(path) and path[start] != "/" else set()
        case Wild(WildKind.PART):
            return set(range(start, _part_end(path, start) + 1))
        case Wild(WildKind.PATH):
            return set(range(start, len(path) + 1))
        case Wild():
            return {start, *(at + 1 for at in range(start, len(path)) if path[at] == "/")}
        case Group():
            return _group_ends(node, path, start)


def _group_ends(group: Group, path: str, start: int) -> set[int]:
    once = _once(group, path, {start})
    match group.choice:
        case Choice.BRACES | Choice.ONCE:
            return once
        case Choice.MAYBE:
            return {start, *once}
        case Choice.NOT:
            return set(range(start, _part_end(path, start) + 1)) - once
    found = set(once)
    while new := _once(group, path, once) - found:
        found |= new
        once = new
    return found if group.choice is Choice.SOME else {start, *found}


def _once(group: Group, path: str, starts: set[int]) -> set[int]:
    return set().union(*(_ends(branch, path, starts) for branch in group.branches))


def _part_end(path: str, start: int) -> int:
    slash = path.find("/", start)
    return len(path) if slash < 0 else slash


def _capture(nodes: Sequence[Node], path: str, start: int, stop: int, found: list[str]) -> None:
    """Set in *found* the captures of the groups in *nodes*, which match from *start* to *stop*."""
    for number, node in enumerate(nodes):
        after = nodes[number + 1 :]
        ends = (end for end in sorted(_node_ends(node, path, start), reverse=True) if end <= stop)
        end = next(end for end in ends if stop in _ends(after, path, {end}))
        if isinstance(node, Group):
            if node.choice is not Choice.BRACES:
                found[node.number] = path[start:end]
            _capture_inside(node, path, start, end, found)
        start = end


def _capture_inside(group: Group, path: str, start: int, stop: int, found: list[str]) -> None:
    if group.choice is Choice.NOT:
        return
    for begin in _last_repetitions(group, path, start, stop):
        for branch in group.branches:
            if stop in _ends(branch, path, {begin}):
                _capture(branch, path, begin, stop, found)
                return


def _last_repetitions(group: Group, path: str, start: int, stop: int) -> Iterator[int]:
    """Yield the possible starts of the last repetition of *group* that ends at *stop*, the nearest to *start* first."""
    yield start
    if group.choice in {Choice.SOME, Choice.ANY}:
        yield from sorted(begin for begin in _group_ends(group, path, start) if start < begin < stop)
