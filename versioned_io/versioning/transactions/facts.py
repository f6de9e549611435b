"""The caller's facts about a transaction's commits, validated before the work begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from versioned_io.model.arguments import check_mapping, parse_items, parse_text
from versioned_io.model.commits import Commit, JSONValue, parse_json_object
from versioned_io.model.identifiers import CommitId, LineageId, parse_commit_id, parse_lineage_id
from versioned_io.model.paths import parse_directory


class Empty(StrEnum):
    """The behaviour of a transaction without changes."""

    SKIP = "skip"
    """Make no commit; the branch stays where it is. A run that read other inputs than the files were made from
    is committed all the same. Otherwise lineage would name superseded inputs."""
    ALLOW = "allow"
    """Make a commit with the parent's tree, to record work whose result was the same."""
    REFUSE = "refuse"
    """Raise `EmptyCommitError`."""


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """The caller's facts about the commits.

    Attributes:
        lineage_id: The lineage ID; None for the run's, or for a new one.
        outputs: The paths of outputs, by the names under which the run recorded reads.
        merged: The commit that the commits merge; it becomes their other parent.
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
    """Return the validated facts about the commits, so that an error shows before the work is done.

    Raises:
        InvalidInputError: A text is not valid, *metadata* can't be JSON, or an ID is not valid. Fix the argument.
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
