"""How a place in the history of a repo is written: ``repo@ref~n:path``."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from versioned_io.errors import RefSyntaxError
from versioned_io.errors.root import quoted
from versioned_io.identifiers import is_id
from versioned_io.paths import parse_directory

DEFAULT_BRANCH = "main"
"""The branch that every repo is made with, and that a ref without ``@`` means."""

_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,127}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}")
_ANCESTOR = re.compile(r"(?P<name>[^~^]*)(?P<steps>(?:[~^][0-9]{0,9})*)")
_STEP = re.compile(r"[~^]([0-9]*)")


@dataclass(frozen=True, slots=True)
class Ref:
    """A place in history: *name* is a branch, a tag, or (the start of) a commit ID or a lineage ID.

    Attributes:
        ancestor: How many commits further back.
        at: A time: where the branch was then.
    """

    repo: str
    name: str
    ancestor: int = 0
    path: str = ""
    at: datetime | None = None

    def __str__(self) -> str:
        path = f":{self.path}" if self.path else ""
        return f"{self.repo}@{self.place}{path}"

    @property
    def place(self) -> str:
        """The ref without the repo and the path."""
        at = f"@{{{self.at.isoformat()}}}" if self.at is not None else ""
        steps = f"~{self.ancestor}" if self.ancestor else ""
        return f"{self.name}{at}{steps}"


@dataclass(frozen=True, slots=True)
class BranchRef:
    """A branch of a repo, by name."""

    repo: str
    branch: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.branch}"


def parse_ref(text: str) -> Ref:
    """Return the ref that *text* writes: ``repo``, ``repo@ref``, ``repo@ref~2`` or any of them with ``:path``.

    ``^`` means the same as ``~``. ``repo@branch@{2026-11-01}``, or with ``2026-11-01T12:00:00+01:00`` in braces, is
    where the branch was at that time; without a time of day that is its first moment, without a zone it is UTC.

    Raises:
        RefSyntaxError: A part is missing or has a character that it can't have; the message says which.
    """
    if not isinstance(text, str):
        raise RefSyntaxError(repr(text), f"it is of type {type(text).__name__}, not text")
    plain, time = _split_time(text)
    head, colon, path = plain.partition(":")
    repo, at, name = head.partition("@")
    parse_repo_name(repo, text)
    if not at:
        name = DEFAULT_BRANCH
    match = _ANCESTOR.fullmatch(name)
    if match is None:
        raise RefSyntaxError(text, f"after '~' or '^' in {name!r} comes a number, or nothing")
    ancestor = sum(int(count) if count else 1 for count in _STEP.findall(match["steps"]))
    parse_ref_name(match["name"], text)
    if colon and not path:
        raise RefSyntaxError(text, "there is no path after ':'")
    return Ref(repo, match["name"], ancestor, parse_directory(path) if path else "", time)


def _split_time(text: str) -> tuple[str, datetime | None]:
    """Return *text* without the time in braces, and that time."""
    before, braces, rest = text.partition("@{")
    if not braces:
        return text, None
    time, closed, after = rest.partition("}")
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        found = None
    if not closed or found is None:
        raise RefSyntaxError(
            text, f"{time!r} in braces is no time: write {{2026-11-01}} or {{2026-11-01T12:00:00+00:00}}"
        )
    return before + after, found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def parse_commit_ref(text: str) -> Ref:
    """Return the ref of a commit, not of a file, that *text* writes: ``repo``, ``repo@ref`` or ``repo@ref~2``.

    Raises:
        RefSyntaxError: It is no ref, or it names a path.
    """
    ref = parse_ref(text)
    if ref.path:
        raise RefSyntaxError(text, f"a commit is asked for, so the path {ref.path!r} can't stand here")
    return ref


def parse_branch_ref(text: str) -> BranchRef:
    """Return the branch that *text* writes: ``repo`` or ``repo@branch``.

    Raises:
        RefSyntaxError: It is no ref, or it names a commit, an ancestor or a path where only a branch can be.
    """
    ref = parse_ref(text)
    if ref.ancestor or ref.path or ref.at is not None or is_id(ref.name):
        raise RefSyntaxError(text, "only a branch can be written to")
    return BranchRef(ref.repo, ref.name)


def parse_repo_name(name: str, text: str | None = None) -> str:
    """Return *name* as the name of a repo: letters, digits and ``._=-``, at most 128, not starting with ``.=-``.

    Raises:
        RefSyntaxError: It is not; *text* is what the message quotes.
    """
    if not isinstance(name, str) or _REPO.fullmatch(name) is None:
        raise RefSyntaxError(
            text if text is not None else str(name),
            f"{quoted(name)} is no repo name "
            f"(1 to 128 letters, digits, '.', '_', '=' or '-', starting with a letter, digit or '_')",
        )
    return name


def parse_ref_name(name: str, text: str | None = None) -> str:
    """Return *name* as the name of a branch or tag, or as an ID.

    Raises:
        RefSyntaxError: It is empty, too long, or has a character or a ``..`` that it can't have.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or ".." in name or name.endswith("/") or "//" in name:
        raise RefSyntaxError(
            text if text is not None else str(name),
            f"{quoted(name)} is no branch or tag name "
            f"(1 to 128 letters, digits, '.', '_', '/' or '-', without '..' or a '/' at the end)",
        )
    return name


def parse_new_name(name: str, text: str | None = None) -> str:
    """Return *name* as the name of a branch or tag to be made: what `parse_ref_name` takes, but no ID.

    Raises:
        RefSyntaxError: It is no name, or it looks like a commit ID and would hide one.
    """
    parse_ref_name(name, text)
    if is_id(name):
        raise RefSyntaxError(text if text is not None else name, "a branch or tag can't look like a commit ID")
    return name
