"""The values that the catalog holds: commits, where they came from, and what names them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from versioned_io.arguments import check_mapping
from versioned_io.errors import CommitForgottenError, InvalidInputError
from versioned_io.identifiers import CommitId, Digest, LineageId
from versioned_io.pages.schema import PageRef

JSONValue = str | int | float | bool | None | list["JSONValue"] | dict[str, "JSONValue"]
"""A value that JSON can hold."""


def parse_json_object(values: Mapping[str, JSONValue] | None, name: str) -> dict[str, JSONValue]:
    """Return *values* as they will be read back, independent of the originals.

    Raises:
        InvalidInputError: JSON can't hold them; *name* says in the message what they are.
    """
    check_mapping(values, f"the {name}")
    try:
        text = json.dumps(dict(values or {}), allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        msg = f"the {name} can't be kept as JSON ({error}): use text, numbers, booleans, None, lists and dicts"
        raise InvalidInputError(msg) from error
    found: dict[str, JSONValue] = json.loads(text)
    return found


EMPTY_TREE_DIGEST = Digest("0" * 64)
"""The tree digest of a commit that holds no file."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that made a commit, as its orchestrator names it."""

    orchestrator: str
    job: str
    run_id: str | None = None
    partition_key: str | None = None
    url: str | None = None
    code_version: str | None = None
    git_commit: str | None = None
    params: Mapping[str, JSONValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One version of one file that a run read.

    Attributes:
        commit: The commit whose snapshot it was read from.
        written_by: The commit that wrote this version of the file: *commit* or one before it.
        digest: What it held.
        output: The file or directory, in the commit that the run made, that was made from it; empty for all of it.
    """

    repo: str
    commit: CommitId
    path: str
    digest: Digest
    written_by: CommitId
    output: str = ""


@dataclass(frozen=True, slots=True)
class CommitStats:
    """How much a commit changed and how much its tree holds.

    Attributes:
        added, modified, deleted: Files, against the parent.
        files, size_bytes: The whole tree.
        bytes_written: The logical size of the files that it added or modified.
        bytes_stored: The size of the new objects, after deduplication and compression, pages included.
    """

    added: int = 0
    modified: int = 0
    deleted: int = 0
    files: int = 0
    size_bytes: int = 0
    bytes_written: int = 0
    bytes_stored: int = 0


class CommitState(StrEnum):
    """Whether a commit's data is kept."""

    LIVE = "live"
    FORGOTTEN = "forgotten"
    """The record and the lineage are kept; the data may be gone."""


@dataclass(frozen=True, slots=True)
class Commit:
    """An immutable tree, and where it came from.

    Attributes:
        number: The place in its branch's history: 1 for the first commit, one more for each after it.
        provenance: The commits that it was made from, as they were read, oldest first.
        merged: The other parent of a merge: the commit whose changes it took in.
        epoch: Of the branch when it took the commit: the journal's entry that last set the branch by other means.
        generation: How often the tree was written again since, with the same files (compaction) or fewer (purge).
        state: Whether the data is kept.
        touched: Which paths it may have changed: see `versioned_io.catalog.touched`; None when that is not known.
        tree_digest: What the whole tree holds, whatever its history: equal digests, equal files.
    """

    id: CommitId
    lineage_id: LineageId
    repo: str
    branch: str
    number: int
    parent: CommitId | None
    provenance: tuple[CommitId, ...]
    message: str
    author: str
    metadata: Mapping[str, JSONValue]
    created_at: datetime
    run: RunInfo | None
    stats: CommitStats
    root: PageRef | None
    merged: CommitId | None = None
    epoch: int = 0
    generation: int = 0
    state: CommitState = field(default=CommitState.LIVE, compare=False)
    touched: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def readable_root(self) -> PageRef | None:
        """The tree, for reading it.

        Raises:
            CommitForgottenError: The data was let go of.
        """
        if self.state is CommitState.FORGOTTEN:
            raise CommitForgottenError(self.id)
        return self.root

    @property
    def tree_digest(self) -> Digest:
        """The content identity of the whole tree, as 64 hex digits."""
        return EMPTY_TREE_DIGEST if self.root is None else Digest(self.root.digest.hex())

    def to_json(self) -> "dict[str, JSONValue]":
        """Return everything but the tree, as JSON takes it; commit records and the command line begin with this."""
        run: dict[str, JSONValue] | None = None
        if self.run is not None:
            run = {**asdict(replace(self.run, params={})), "params": dict(self.run.params)}
        return {
            "id": self.id,
            "lineage_id": self.lineage_id,
            "repo": self.repo,
            "branch": self.branch,
            "number": self.number,
            "parent": self.parent,
            "merged": self.merged,
            "epoch": self.epoch,
            "generation": self.generation,
            "provenance": list(self.provenance),
            "message": self.message,
            "author": self.author,
            "metadata": dict(self.metadata),
            "created_at": self.created_at.isoformat(),
            "run": run,
            "stats": asdict(self.stats),
        }

    def __str__(self) -> str:
        return f"{self.repo}@{self.id}"


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """A branch and what it points at; a branch without a commit has no head and the number 0.

    Attributes:
        is_protected: Whether it can only grow: see `Store.protect_branch`.
    """

    repo: str
    name: str
    head: CommitId | None
    number: int
    is_protected: bool = False


@dataclass(frozen=True, slots=True)
class RepoInfo:
    """A repo and its branches."""

    name: str
    description: str
    created_at: datetime
    branches: tuple[BranchInfo, ...]
