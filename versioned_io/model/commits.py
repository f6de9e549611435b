"""The values that the catalog holds: commits, their origin, and their names."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from versioned_io.errors import CommitForgottenError, IntegrityError, InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import check_mapping
from versioned_io.model.identifiers import CommitId, Digest, LineageId
from versioned_io.model.places import PageRef

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


def parse_root(text: str | None) -> PageRef | None:
    """Return the reference to a tree that the catalog keeps as *text*; None for the empty tree.

    Raises:
        IntegrityError: It is malformed.
    """
    if text is None:
        return None
    try:
        return PageRef.from_json(json.loads(text))
    except (TypeError, ValueError) as error:
        msg = f"the catalog has {quoted(text)} where the root of a tree must be ({error}); run fsck"
        raise IntegrityError(msg) from error


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
        digest: The digest of its content.
        confirmed_by: The newest commit, up to *commit*, whose run wrote the same bytes again; None if there is none.
        output: The file or directory, in the run's commit, that was made from it; empty for the whole commit.
    """

    repo: str
    commit: CommitId
    path: str
    digest: Digest
    written_by: CommitId
    output: str = ""
    confirmed_by: CommitId | None = None

    @property
    def made_by(self) -> CommitId:
        """The commit whose run made or confirmed the file as it was read: lineage continues there."""
        return self.confirmed_by or self.written_by


class Confirmation(NamedTuple):
    """A file that the run of a commit wrote again as it was, and the commit that its row says wrote it."""

    path: str
    written_by: CommitId


@dataclass(frozen=True, slots=True)
class CommitStats:
    """How much a commit changed and how much its tree holds.

    Attributes:
        added, modified, deleted: Files, against the parent.
        files, size_bytes: The whole tree.
        bytes_written: The logical size of the files that it added or modified.
        bytes_stored: The size of the new objects, after deduplication and compression, pages included.
        healed: Damaged contents and pages that it stored again; older commits read the new copies, too.
    """

    added: int = 0
    modified: int = 0
    deleted: int = 0
    files: int = 0
    size_bytes: int = 0
    bytes_written: int = 0
    bytes_stored: int = 0
    healed: int = 0


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
        provenance: The commits that it was made from, as they were read, sorted by ID.
        merged: The other parent of a merge: the commit whose changes it took in.
        epoch: Of the branch when it took the commit: the journal's entry that last set the branch by other means.
        generation: How often the tree was written again since, with the same files (compaction) or fewer (purge).
        state: Whether the data is kept.
        touched: The paths that it may have changed: see `versioned_io.storage.pages.touched`; None if not known.
        order: Higher than that of every commit that was visible when this one was made, whatever the clocks said.
        inputs_are_complete: Whether all reads of its run are known; False if a worker process may have read more.
        tree_digest: The digest of the whole tree, whatever its history: equal digests, equal files.
        recorded_repo: The repo's name in packs; empty if that is its present name.
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
    order: int = field(default=0, compare=False)
    inputs_are_complete: bool = True
    recorded_repo: str = field(default="", compare=False, repr=False)

    @property
    def repo_in_packs(self) -> str:
        """The repo's name in records and in the journal, whatever its present name is."""
        return self.recorded_repo or self.repo

    @property
    def readable_root(self) -> PageRef | None:
        """The tree, for reading it.

        Raises:
            CommitForgottenError: The data was expired, dropped or purged.
        """
        if self.state is CommitState.FORGOTTEN:
            raise CommitForgottenError(self.id)
        return self.root

    @property
    def tree_digest(self) -> Digest:
        """The content identity of the whole tree, as 64 hex digits."""
        return EMPTY_TREE_DIGEST if self.root is None else Digest(self.root.digest.hex())

    def to_json(self) -> "dict[str, JSONValue]":
        """Return everything but the tree, as values for JSON; commit records and the command line begin with this.

        >>> store.commit("weather@main").to_json()["message"]
        'correct February'
        """
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
