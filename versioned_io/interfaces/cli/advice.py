"""The sentence that a command prints about an error: its facts, and the command or the flag that helps."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from versioned_io.errors import (
    ExistsError,
    MergeConflictError,
    PathCollisionError,
    RefNotFoundError,
    RefSyntaxError,
    RepoNotFoundError,
    VersionedError,
)
from versioned_io.model.identifiers import is_id
from versioned_io.model.refs import DEFAULT_BRANCH, BranchRef, parse_ref

_REF_ARGUMENTS = ("source", "into", "commit", "onto", "on", "since", "branch", "tag", "to", "at", "old", "new", "ref")
"""Arguments of commands that take a ref where a git user may leave out the repo."""


_IN_COMMANDS = tuple(
    (re.compile(call), command)
    for call, command in (
        (r"pass force=True( \(--force\))?", "pass --force"),
        (r"pass key=", "pass --key "),
        (r"pass catalog=", "pass --catalog "),
        (r"with protect_branch\(\.\.\., False\)", "with `versioned branch protect --off`"),
        (r"list the commits of a branch with log\(\)", "`versioned log` lists the commits of a branch"),
        (r"take one from log\(\)", "take one from `versioned log`"),
        (r"make one with create_store\(\) or `versioned init`", "make one with `versioned init`"),
        (
            r"open the store with sources=\{.*\}\} and .* VERSIONED_SOURCES on the command line",
            "name it in VERSIONED_SOURCES, with its storage options",
        ),
        (r", and with directories=True '/' is the root", ""),
        (r"give a directory, or write\(\) a file", "name a directory, or a file"),
    )
)
"""Calls of Python that the library's errors advise, and the commands or flags that do the same."""


def sentence_of(error: VersionedError, arguments: Mapping[str, object]) -> str:
    """Return the sentence that a command prints about *error*; it names flags and commands, and no call of Python.

    Args:
        arguments: The arguments of the command by name; some advice repeats them.
    """
    return in_commands(_sentence_of(error, arguments))


def in_commands(sentence: str) -> str:
    """Return *sentence* with the commands in the place of the calls that it advises."""
    for call, command in _IN_COMMANDS:
        sentence = call.sub(command, sentence)
    return sentence


def _sentence_of(error: VersionedError, arguments: Mapping[str, object]) -> str:
    advice = "; ".join(getattr(error, "__notes__", ()))
    match error:
        case ExistsError():
            kind, name = error.args
            return f"{kind} {name!r} exists already: choose another name"
        case PathCollisionError():
            file_path, below = error.args
            advice = advice or "`versioned rm` the one that is in the way, or choose another path"
            return f"{file_path!r} can't be a file while {below!r} is below it: {advice}"
        case MergeConflictError():
            theirs = arguments.get("source") or error.args[2] or "the other side"
            return (
                f"{error.finding}: --strategy ours keeps the files of {error.args[0]}, "
                f"--strategy theirs takes those of {theirs}"
            )
        case RepoNotFoundError() if advice:
            return f"no repo {error.args[0]!r}: {advice}"
        case RefSyntaxError() if advice:
            return f"{error.args[0]!r} is not a valid ref: {advice}"
        case RepoNotFoundError() if (meant := _ref_meant(error.args[0], arguments)) is not None:
            return f"no repo {error.args[0]!r}: did you mean {meant}?"
        case RefSyntaxError() if (meant := _ref_meant(error.args[0], arguments)) is not None:
            return f"{error.args[0]!r} alone is the name of a repo, and this command stays in one repo: write {meant}"
    return f"{error}; {advice}" if advice else str(error)


def _ref_meant(found: str, arguments: Mapping[str, object]) -> str | None:
    """Return the ref that was meant by one without a repo, in a command that names a repo in another argument."""
    refs = [value for name in _REF_ARGUMENTS if isinstance(value := arguments.get(name), str)]
    repos = [value.partition("@")[0] for value in refs if "@" in value]
    bare = [value for value in refs if "@" not in value and ":" not in value and not is_id(value)]
    meant = [value for value in bare if _repo_of(value) == _repo_of(found)]
    return f"{repos[0]}@{meant[0]}" if repos and meant and _repo_of(found) != repos[0] else None


def _repo_of(text: str) -> str | None:
    try:
        return parse_ref(text).repo
    except RefSyntaxError:
        return None


@contextmanager
def branch_creation_advised(branch: BranchRef) -> Iterator[None]:
    """Add the command that makes *branch* to an error which says that it is missing."""
    try:
        yield
    except RefNotFoundError as error:
        repo, name, branches, reason = error.args
        if (repo, name, reason) == (branch.repo, branch.branch, "") and branches:
            start = DEFAULT_BRANCH if DEFAULT_BRANCH in branches else branches[0]
            error.add_note(f"`versioned branch create {branch} --at {repo}@{start}` makes it")
        raise


@contextmanager
def order_advised(command: str, source: str, dest: str | None) -> Iterator[None]:
    """Add the call with its arguments the other way round to an error about *source*, where *dest* is a ref."""
    try:
        yield
    except (RepoNotFoundError, RefSyntaxError) as error:
        if dest is not None and "@" in dest and "@" not in source and _repo_of(dest) is not None:
            call = shlex.join(["versioned", command, dest, source])
            error.add_note(f"the local place comes last: write `{call}`")
        raise


@contextmanager
def directory_advised(target: str, path: str) -> Iterator[None]:
    """Add the right *target* to an error which says that *path* is a directory and can't be a file."""
    try:
        yield
    except PathCollisionError as error:
        if path and error.args[0] == path:
            error.add_note(f"write {target}/ as the target to put the file below it, under its own name")
        raise
