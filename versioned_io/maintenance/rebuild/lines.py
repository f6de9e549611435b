"""Names for lines of diverged history that no branch holds, and pinned heads of the branches that diverged."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, select, update

from versioned_io.catalog.renamed import is_recorded_as
from versioned_io.catalog.repos import insert_branch, insert_tag, set_epoch, set_head
from versioned_io.catalog.tables import branches, repos, tags
from versioned_io.maintenance.evidence.replayed_names import RECOVERED, ReplayedNames
from versioned_io.model.identifiers import CommitId
from versioned_io.model.journal import Action, JournalEntry, RecordedEntry
from versioned_io.model.refs import BranchRef
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.versioning.backend.journaling import append_entry
from versioned_io.versioning.backend.ownership import UNHELD, delete_property, set_property

_REASON = "histories diverged, so this entry pins the result: see versioned recover"


def describe_lines(found: ReplayedNames, heads: Mapping[tuple[str, str], CommitId | None]) -> list[str]:
    """Return, for each line that no branch holds, a sentence with both heads.

    Args:
        heads: By recorded name of the repo, and branch.
    """
    told: list[str] = []
    for line in found.lines:
        repo = found.name_of(line.repo)
        head = heads.get((line.repo, line.branch)) or "no commit"
        told.append(
            f"the history of {repo}@{line.branch} diverged after {line.began_at or 'the empty tree'}: the branch "
            f"continues to {head}, and {repo}@{line.name} holds the line to {line.tip}"
        )
    named = {(line.repo, line.branch) for line in found.lines}
    for repo, branch in sorted(found.parted - named):
        head = heads.get((repo, branch)) or "no commit"
        told.append(
            f"the history of {found.name_of(repo)}@{branch} diverged: the branch continues to {head}, and other names "
            "hold the other line"
        )
    return told


def hold_lines(connection: Connection, objects: ObjectStore, found: ReplayedNames, now: datetime) -> list[str]:
    """Create a branch for each line that no branch holds, and each name that only another line had; return the names.

    The journal records them, and the heads of the diverged branches, so that every later rebuild gives the same result.

    Cost: 1 PUT and some statements for each.
    """
    if not (found.lines or found.passed or found.parted or found.twins):
        return []
    made: list[str] = []
    for recorded in found.twins:
        _number_anew(connection, objects, found, recorded, now)
    for repo, branch in sorted(found.parted | _branches_of_twins(found)):
        _pin(connection, objects, BranchRef(found.name_of(repo), branch), now)
    for line in found.lines:
        ref = BranchRef(found.name_of(line.repo), line.name)
        if _is_free(connection, ref):
            _make_branch(connection, objects, ref, line.tip, now)
            made.append(str(ref))
    return [*made, *_hold_passed(connection, objects, found, now)]


def settle_lines(
    connection: Connection, objects: ObjectStore, found: ReplayedNames, now: datetime, *, is_owner: bool
) -> tuple[list[str], list[str]]:
    """Hold the lines as `hold_lines` does if this catalog owns the store; otherwise record that they need it.

    Only the owner may write to the journal. An entry of another catalog would be proof for the owner that it is older.

    Returns:
        The names of `hold_lines`, and a sentence for each open question.
    """
    if is_owner:
        delete_property(connection, UNHELD)
        return hold_lines(connection, objects, found, now), []
    if not (found.lines or found.passed or found.parted or found.twins):
        return [], []
    set_property(connection, UNHELD, now.isoformat())
    return [], ["another catalog owns the store, so no name was created for other lines: `versioned adopt` does it"]


def _hold_passed(connection: Connection, objects: ObjectStore, found: ReplayedNames, now: datetime) -> list[str]:
    """Create the tags and branches that only another line had, and without which their commits would be unreachable."""
    own = {line.tip for line in found.lines}
    for line in found.lines:
        current: CommitId | None = line.tip
        while current is not None and current != line.began_at and current in found.kept:
            own.add(current)
            current = found.kept[current][0].commit.parent
    made: list[str] = []
    for recorded, _ in found.passed:
        entry = recorded.entry
        if entry.action not in {Action.CREATE_TAG, Action.CREATE_BRANCH} or entry.new is None or entry.new not in own:
            continue
        ref = BranchRef(found.name_of(entry.repo), entry.name)
        if not _is_free(connection, ref):
            ref = BranchRef(ref.repo, f"{RECOVERED}{entry.name}-{entry.new[-8:]}"[:128])
        if not _is_free(connection, ref):
            continue
        if entry.action is Action.CREATE_TAG:
            insert_tag(connection, ref, entry.new, now)
            note = JournalEntry(ref.repo, ref.branch, Action.CREATE_TAG, new=entry.new, author=entry.author)
            append_entry(connection, objects, note, now)
        else:
            _make_branch(connection, objects, ref, entry.new, now)
        made.append(str(ref))
    return made


def _branches_of_twins(found: ReplayedNames) -> set[tuple[str, str]]:
    of_twins = {recorded.entry.repo for recorded in found.twins}
    return {(repo, branch) for repo in of_twins for branch in found.repos[repo].branches}


def _number_anew(
    connection: Connection, objects: ObjectStore, found: ReplayedNames, recorded: RecordedEntry, now: datetime
) -> None:
    """Record the creation of a repo or a tag again, by an entry with its own number; pin branches instead."""
    entry = recorded.entry
    own = select(repos.c.id).where(is_recorded_as(entry.repo)).scalar_subquery()
    if entry.action is Action.CREATE_REPO and found.repos[entry.repo].deleted_at is None:
        append_entry(connection, objects, entry, now, is_recorded_name=True)
        connection.execute(update(repos).where(is_recorded_as(entry.repo)).values(created_at=now))
    elif entry.action is Action.CREATE_TAG and found.repos[entry.repo].tags.get(entry.name) == (entry.new, recorded.at):
        append_entry(connection, objects, entry, now, is_recorded_name=True)
        row = (tags.c.repo_id == own) & (tags.c.name == entry.name)
        connection.execute(update(tags).where(row).values(created_at=now))


def _pin(connection: Connection, objects: ObjectStore, ref: BranchRef, now: datetime) -> None:
    """Record the head of a branch in the journal, so that a replay only follows the commits after it."""
    query = select(branches.c.id, branches.c.head_id).join(repos, repos.c.id == branches.c.repo_id)
    row = connection.execute(query.where(repos.c.name == ref.repo, branches.c.name == ref.branch)).one_or_none()
    if row is None:
        return
    entry = JournalEntry(ref.repo, ref.branch, Action.MOVE_BRANCH, row.head_id, row.head_id, {"reason": _REASON})
    set_head(connection, row.id, row.head_id, append_entry(connection, objects, entry, now))


def _make_branch(connection: Connection, objects: ObjectStore, ref: BranchRef, head: CommitId, now: datetime) -> None:
    repo_id = insert_branch(connection, ref, head)
    entry = JournalEntry(ref.repo, ref.branch, Action.CREATE_BRANCH, new=head, details={"reason": _REASON})
    set_epoch(connection, repo_id, ref.branch, append_entry(connection, objects, entry, now))


def _is_free(connection: Connection, ref: BranchRef) -> bool:
    repo_id = connection.execute(select(repos.c.id).where(repos.c.name == ref.repo)).scalar_one_or_none()
    if repo_id is None:
        return False
    for table in (branches, tags):
        taken = select(table.c.name).where(table.c.repo_id == repo_id, table.c.name == ref.branch)
        if connection.execute(taken).one_or_none() is not None:
            return False
    return True
