"""What the caller says of a transaction's commits, checked before the work begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from versioned_io.arguments import check_mapping, parse_items, parse_text
from versioned_io.catalog.values import Commit, JSONValue, parse_json_object
from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.identifiers import CommitId, LineageId, parse_commit_id, parse_lineage_id
from versioned_io.paths import parse_directory


class Empty(StrEnum):
    """What a transaction that changes nothing does."""

    SKIP = "skip"
    """Make no commit; the branch stays where it is."""
    ALLOW = "allow"
    """Make a commit with the parent's tree: work was done, and its result was the same."""
    REFUSE = "refuse"
    """Raise `EmptyCommitError`."""


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """What the caller says of the commits.

    Attributes:
        lineage_id: None means that it follows from the run, or is new.
        outputs: The path of each output whose name the run noted reads under.
        merged: The commit whose changes the commits take in; it becomes their other parent.
    """

    message: str
    author: str
    metadata: Mapping[str, JSONValue]
    lineage_id: LineageId | None
    provenance: tuple[CommitId, ...]
    outputs: Mapping[str, str]
    merged: Commit | None = None


def build_facts(
    *,
    message: str,
    author: str,
    metadata: Mapping[str, JSONValue] | None,
    lineage_id: str | None,
    provenance: Sequence[str],
    outputs: Mapping[str, str] | None,
) -> CommitFacts:
    """Return what the caller says of the commits, checked, so that nothing is found wrong after the work is done.

    Raises:
        InvalidInputError: A text can't be kept, JSON can't hold *metadata*, or an ID is none.
    """
    check_mapping(outputs, "outputs")
    return CommitFacts(
        parse_text(message, "message"),
        parse_text(author, "author"),
        parse_json_object(metadata, "metadata"),
        None if lineage_id is None else parse_lineage_id(lineage_id),
        tuple(parse_commit_id(source) for source in parse_items(provenance, str, "provenance")),
        {name: parse_directory(path) for name, path in (outputs or {}).items()},
    )


def parse_empty(text: str) -> Empty:
    """Return what to do with a transaction that changes nothing.

    Raises:
        InvalidInputError: *text* is none of ``skip``, ``allow`` and ``refuse``.
    """
    try:
        return Empty(text)
    except ValueError:
        msg = f"empty={quoted(text)} means nothing: use {', '.join(repr(choice.value) for choice in Empty)}"
        raise InvalidInputError(msg) from None
