"""The pipelines whose outputs a store has, and the code that each had over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from versioned_io.catalog.commits import get_commits, walk_history
from versioned_io.catalog.repo_rows import list_repos
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.datums.datum_tree import read_manifest
from versioned_io.processing.datums.located import OutputState
from versioned_io.processing.fingerprints.code_manifest import CodeChange, CodeManifest, code_difference
from versioned_io.processing.running.committing import CODE_KEY, COMPLETE_KEY
from versioned_io.versioning.backend.backend import Backend


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """A pipeline that made the head of a branch.

    Attributes:
        output: The branch, as ``repo@branch``.
        code: The digest of the code that made the head; empty for a commit of an older release.
        is_complete: Whether the head lacks no outputs of failed or recovered datums.
    """

    name: str
    output: str
    head: CommitId
    code: str
    is_complete: bool


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """A time in which a pipeline had one code.

    Attributes:
        number: From 1, the oldest.
        code: The digest of the code.
        created_at: When a run with this code first committed.
        runs: The number of commits that runs with this code made.
        changes: The symbols and files that differ from the version before, each with a diff. Empty of the oldest one.
    """

    number: int
    code: str
    created_at: datetime
    runs: int
    changes: tuple[CodeChange, ...]


def list_pipelines(backend: Backend) -> list[PipelineInfo]:
    """Return the pipelines that made the heads of branches, by output. Cost: as `Store.pipelines`."""
    with backend.catalog.ask() as connection:
        branches = [branch for repo in list_repos(connection) for branch in repo.branches if branch.head is not None]
        commits = get_commits(connection, [branch.head for branch in branches if branch.head is not None])
    found = []
    for branch in branches:
        commit = commits.get(branch.head) if branch.head is not None else None
        if commit is not None and "pipeline" in commit.metadata:
            facts = commit.metadata
            name, code = str(facts["pipeline"]), str(facts.get(CODE_KEY, ""))
            is_complete = facts.get(COMPLETE_KEY, True) is not False
            found.append(PipelineInfo(name, f"{commit.repo}@{branch.name}", commit.id, code, is_complete))
    return sorted(found, key=lambda one: one.output)


def list_versions(backend: Backend, output: OutputState) -> list[PipelineVersion]:
    """Return the codes that made an output over time, newest first.

    Cost: 2 SELECTs for each 200 runs, and reads the text of each code.
    """
    periods = list(_periods(backend, output))
    found = []
    for number, period in enumerate(periods, 1):
        before = periods[number - 2].code if number > 1 else None
        changes = () if before is None else tuple(_changes(backend, output, before, period.code))
        found.append(PipelineVersion(number, period.code, period.created_at, period.runs, changes))
    return found[::-1]


@dataclass(slots=True)
class _Period:
    code: str
    created_at: datetime
    runs: int = 1


def _periods(backend: Backend, output: OutputState) -> Iterator[_Period]:
    """Yield the times with one code, oldest first."""
    last: _Period | None = None
    for commit in reversed(list(walk_history(backend.catalog, output.datums))):
        code = commit.metadata.get(CODE_KEY)
        if not isinstance(code, str):
            continue
        if last is not None and last.code == code:
            last.runs += 1
            continue
        if last is not None:
            yield last
        last = _Period(code, commit.created_at)
    if last is not None:
        yield last


def _changes(backend: Backend, output: OutputState, before: str, after: str) -> list[CodeChange]:
    old, new = (read_manifest(backend, output.root, code) for code in (before, after))
    if old is None or new is None:
        return []
    return code_difference(CodeManifest.from_json(old), CodeManifest.from_json(new))
