"""The text form of a place in the history of a repo: ``repo@ref~n:path``."""

import re
from dataclasses import dataclass
from datetime import datetime

from versioned_io.errors import RefSyntaxError
from versioned_io.errors.root import quoted
from versioned_io.model.identifiers import is_id
from versioned_io.model.paths import parse_directory
from versioned_io.model.times import parse_latest

DEFAULT_BRANCH = "main"
"""The first branch of every repo, and the meaning of a ref without ``@``."""

_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,127}")
_RECORDED = re.compile(rf"(?:{_REPO.pattern})(?:~(?:datums|results))?")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}")
_ANCESTOR = re.compile(r"(?P<name>[^~^]*)(?P<steps>(?:[~^][0-9]{0,9})*)")
_STEP = re.compile(r"[~^]([0-9]*)")


@dataclass(frozen=True, slots=True)
class Ref:
    """A place in history: *name* is a branch, a tag, or (the start of) a commit ID or a lineage ID.

    Attributes:
        ancestor: The number of commits to go back.
        at: A time: the ref is the branch's position at that time.
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

    ``^`` means the same as ``~``. ``repo@branch@{2026-11-01}`` is the position of the branch at that time. The braces
    may also hold a full time, such as ``2026-11-01T12:00:00+01:00``. A date means the end of that day. The
    zone is UTC if the text has none.

    Raises:
        RefSyntaxError: A part is missing or has an illegal character; the message names it.
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
        found = parse_latest(time)
    except ValueError:
        found = None
    if not closed or found is None:
        raise RefSyntaxError(
            text, f"{time!r} in braces is not a time: write {{2026-11-01}} or {{2026-11-01T12:00:00+00:00}}"
        )
    return before + after, found


def parse_commit_ref(text: str) -> Ref:
    """Return the ref of a commit, not of a file, that *text* writes: ``repo``, ``repo@ref`` or ``repo@ref~2``.

    Raises:
        RefSyntaxError: It is not a ref, or it names a path.
    """
    ref = parse_ref(text)
    if ref.path:
        raise RefSyntaxError(text, f"a commit is asked for, so the path {ref.path!r} can't stand here")
    return ref


def parse_branch_ref(text: str) -> BranchRef:
    """Return the branch that *text* writes: ``repo`` or ``repo@branch``.

    Raises:
        RefSyntaxError: It is not a ref, or it names a commit, an ancestor or a path and not a branch.
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
            f"{quoted(name)} is not a valid repo name "
            f"(1 to 128 letters, digits, '.', '_', '=' or '-', starting with a letter, digit or '_')",
        )
    return name


def parse_recorded_name(name: str, text: str | None = None) -> str:
    """Return *name* as a repo's name in packs: a name for `parse_repo_name`, or the name of a system repo.

    Raises:
        RefSyntaxError: It is not; *text* is what the message quotes.
    """
    if isinstance(name, str) and _RECORDED.fullmatch(name) is not None:
        return name
    return parse_repo_name(name, text)


def parse_ref_name(name: str, text: str | None = None) -> str:
    """Return *name* as the name of a branch or tag, or as an ID.

    Raises:
        RefSyntaxError: It is empty, too long, or has a character or a ``..`` that it can't have.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or ".." in name or name.endswith("/") or "//" in name:
        raise RefSyntaxError(
            text if text is not None else str(name),
            f"{quoted(name)} is not a branch or tag name "
            f"(1 to 128 letters, digits, '.', '_', '/' or '-', without '..' or a '/' at the end)",
        )
    return name


def parse_new_name(name: str, text: str | None = None) -> str:
    """Return *name* as the name of a branch or tag to be made: a name for `parse_ref_name` that is not an ID.

    Raises:
        RefSyntaxError: It is not a valid name, or it looks like a commit ID and would hide one.
    """
    parse_ref_name(name, text)
    if is_id(name):
        raise RefSyntaxError(text if text is not None else name, "a branch or tag can't look like a commit ID")
    return name
