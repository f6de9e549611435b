"""Recovering an older catalog: adding the rows that it lacks from the packs.

Source: docs/design/0004-journal-and-rebuild.md, "Recovering an older catalog".
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, delete, func, insert, select, update

from versioned_io.catalog.chunk_index import insert_chunks, insert_packs
from versioned_io.catalog.collection import DELETED, forget_expired_results
from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.consistency import pack_rows, revive_deleted
from versioned_io.catalog.moving import rewrite_runs
from versioned_io.catalog.noting import known_beacons
from versioned_io.catalog.renamed import RECORDED_NAME, is_recorded_as
from versioned_io.catalog.subscriptions import delete_subscriptions
from versioned_io.catalog.tables import branches, chunks, commits, journal, packs, properties, repos, tags
from versioned_io.catalog.trigger_rows import remove_triggers_with
from versioned_io.errors import IntegrityError, InvalidInputError, NotOwnerError
from versioned_io.maintenance.evidence.contents import Contents, read_packs
from versioned_io.maintenance.evidence.replayed_names import Branch, KnownBeside, ReplayedNames
from versioned_io.maintenance.evidence.replaying import find_names
from versioned_io.maintenance.rebuild.datum_rows import index_datums
from versioned_io.maintenance.rebuild.evaluations import index_results
from versioned_io.maintenance.rebuild.healed import enter_damages
from versioned_io.maintenance.rebuild.lines import describe_lines, settle_lines
from versioned_io.maintenance.rebuild.rebuilding import require_packs
from versioned_io.maintenance.rebuild.rows import (
    add_commits,
    add_entries,
    add_keys,
    add_repo,
    enter_triggers,
    set_owners,
)
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.commits import CommitState, RunInfo, parse_root
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, RecordedEntry
from versioned_io.model.places import PackInfo, pack_name
from versioned_io.storage.beacons import BeaconListing
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.versioning.backend.ownership import STATE, require_owner
from versioned_io.versioning.transactions.record import CommitRecord


@dataclass(frozen=True, slots=True)
class RecoverReport:
    """The rows that were added to an older catalog, or, with ``dry_run``, would be.

    Attributes:
        repos, branches, tags, commits, entries, packs: The numbers of added rows; entries of the journal.
        moved: Branches that now point at a newer commit, as ``repo@branch``.
        trees: The number of commits whose trees had moved to other packs.
        deleted_packs: The number of packs that had been collected, but were not marked as deleted in the catalog.
        held: The branches that were created for lines of history without one: ``repo@recovered/main-1a2b3c4d``.
        parted: Diverged histories, each as a sentence with both heads.
        unconfirmed: The number of commit records that were left out, since they seem to be attempts.
        left_out: The IDs of the commits of those records that *add* takes, sorted.
        damaged: Damaged packs, each with the reason.
        uncertain: Open questions, each as a sentence with the assumption that was made.
        is_owner: Whether this catalog owns the store. If not, nothing was written to the store: `versioned adopt`
            creates the branches for other lines.
    """

    repos: int
    branches: int
    tags: int
    commits: int
    entries: int
    packs: int
    moved: tuple[str, ...]
    trees: int
    deleted_packs: int
    held: tuple[str, ...]
    parted: tuple[str, ...]
    unconfirmed: int
    damaged: tuple[str, ...]
    uncertain: tuple[str, ...]
    dry_run: bool = False
    left_out: tuple[CommitId, ...] = ()
    is_owner: bool = True


class _DryRunError(Exception):
    """Ends the transaction of a dry run, so that it leaves no trace."""


def recover_catalog(
    objects: ObjectStore,
    catalog: Catalog,
    now: datetime,
    *,
    listing: BeaconListing,
    add: Collection[CommitId] = (),
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> RecoverReport:
    """Add the missing rows to a catalog that is older than the packs: commits, names, the journal, packs.

    All or nothing, in one transaction. A crash leaves the catalog unchanged, and a second call adds nothing. No row of
    the catalog is lost: subscriptions, cursors, claims and due keys stay, even if their branch was renamed meanwhile.
    Those of a branch that was deleted meanwhile are deleted with it. If the older catalog was used, its branches stay
    on their line of history. Every other acknowledged line gets a branch of its own, if this catalog owns the store.
    Otherwise nothing is written to the store, since only its owner may do that.

    Args:
        catalog: A catalog of the newest revision, with a repo.
        listing: The listing before this call. Its beacons name acknowledged commits and entries.
        add: Further commits that are known to have been acknowledged, such as those of `RecoverReport.left_out`. A
            commit that the catalog already has changes nothing.
        dry_run: Change nothing, and report the rows that would be added. Branches for lines are not created then.
        progress: Called with the number of packs that were read.

    Raises:
        InvalidInputError: The catalog is empty or unfinished: rebuild it. Or no pack holds a commit of *add*, or a
            later record or a journal entry shows that it does not count.
        NotOwnerError: Another catalog owns the store, and *add* is not empty. Run `versioned adopt` first.
        StorageError: The objects or the catalog failed. Nothing was changed. Call again.

    Cost: 1 LIST for each 1,000 packs and 1 GET for each pack, as for a rebuild. 2 or 3 INSERTs for each added commit.
        Memory for the commits.
    """
    reports: list[RecoverReport] = []
    with suppress(_DryRunError), catalog.write() as connection:
        _refuse_empty(connection, catalog.url)
        is_owner = _is_owner(connection, catalog, objects, listing, is_needed=bool(add))
        recovering = _Recovering(connection, objects, now, listing.beacons, is_owner)
        recovering.read(progress or (lambda _: None))
        reports.append(recovering.add(add, dry_run=dry_run))
        if dry_run:
            raise _DryRunError
    return reports[0]


def _refuse_empty(connection: Connection, url: str) -> None:
    state = connection.execute(select(properties.c.value).where(properties.c.name == STATE)).one_or_none()
    if state is not None or not connection.execute(select(func.count()).select_from(repos)).scalar_one():
        msg = f"the catalog {url} is {'half-made' if state is not None else 'empty'}: run `versioned rebuild` instead"
        raise InvalidInputError(msg)


class _KnownTree(NamedTuple):
    """The tree of a commit that the catalog has: how often it was rewritten, its record's pack, its root as JSON."""

    generation: int
    pack: PackName
    root: str | None


def _is_owner(
    connection: Connection, catalog: Catalog, objects: ObjectStore, listing: BeaconListing, *, is_needed: bool
) -> bool:
    """Return whether this catalog owns the store; with *is_needed*, raise unless it does."""
    try:
        require_owner(connection, catalog, objects, listing)
    except (NotOwnerError, IntegrityError):
        if is_needed:
            raise
        return False
    return True


@dataclass(slots=True)
class _Recovering:
    connection: Connection
    objects: ObjectStore
    now: datetime
    beacons: frozenset[Beacon]
    is_owner: bool
    contents: Contents = field(default_factory=Contents)
    rows: Mapping[PackName, tuple[int, str]] = field(default_factory=dict)
    sizes: dict[PackName, int] = field(default_factory=dict)
    added_packs: int = 0
    entries: dict[int, PackName] = field(default_factory=dict)
    numbered: dict[int, str] = field(default_factory=dict)
    taken: dict[CommitId, _KnownTree] = field(default_factory=dict)

    def read(self, progress: Callable[[int], None]) -> None:
        """Read all packs, and insert those that have no row."""
        self.rows = pack_rows(self.connection)
        self.contents = read_packs(self.objects, self._enter_pack, progress)
        if any(state != DELETED for _, state in self.rows.values()):
            require_packs(self.objects, self.sizes)
        rows = self.connection.execute(select(journal.c.sequence, journal.c.repo, journal.c.pack)).all()
        self.entries = {row.sequence: PackName(row.pack) for row in rows}
        self.numbered = {row.sequence: row.repo for row in rows}
        kept = select(commits.c.id, commits.c.generation, commits.c.pack, commits.c.root)
        self.taken = {
            CommitId(row.id): _KnownTree(row.generation, PackName(row.pack), row.root)
            for row in self.connection.execute(kept)
        }

    def _enter_pack(self, info: PackInfo, found: pa.Table) -> None:
        self.sizes[info.name] = info.size_bytes
        known = self.rows.get(info.name)
        if known is None:
            insert_packs(self.connection, [info], self.now)
            self.added_packs += 1
        elif known[1] == DELETED:
            # The row says deleted, but the object exists. Commits that reference the pack need it; otherwise it is
            # still garbage.
            revive_deleted(self.connection, {info.name: info.size_bytes})
        if known is None or known[1] == DELETED:
            insert_chunks(self.connection, found)

    def add(self, chosen: Collection[CommitId], *, dry_run: bool) -> RecoverReport:
        """Add everything else, with the *chosen* commits, and return the report."""
        self._check_chosen(chosen)
        gone = self._forget_packs()
        self._settle_entries()
        known = KnownBeside.of(self.beacons)
        told = frozenset({*known.told, *chosen})
        found = find_names(self.contents, replace(known, told=told, taken=self.taken.keys(), numbered=self.numbered))
        new_entries = [pair for pair in found.entries if pair[0].sequence not in self.entries]
        trees = self._move_trees(new_entries)
        self._rename_repos(found)
        new_repos = self._add_repos(found)
        new_commits = add_commits(self.connection, found, self.taken.keys())
        self._follow_entries(new_entries)
        moved, made = self._set_branches(found)
        new_tags = self._set_tags(found, new_entries)
        self._forget_commits(new_entries)
        if new_entries:
            enter_triggers(self.connection, found)
        add_entries(self.connection, new_entries)
        add_keys(self.connection, new_commits, found, self.now)
        self._enter_healed(new_commits)
        index_results(self.connection, self.objects)
        index_datums(self.connection, self.objects)
        parted = describe_lines(found, self._heads())
        held, unheld = self._settle_lines(found, dry_run=dry_run)
        unknown = self.beacons - known_beacons(self.connection, self.beacons)
        left = self.contents.records.keys() - found.kept.keys() - self.taken.keys()
        return RecoverReport(
            repos=new_repos,
            branches=made,
            tags=new_tags,
            commits=len(new_commits),
            entries=len(new_entries),
            packs=self.added_packs,
            moved=tuple(moved),
            trees=trees,
            deleted_packs=gone,
            held=tuple(held),
            parted=tuple(parted),
            unconfirmed=len(left),
            damaged=tuple(self.contents.damaged),
            uncertain=(*found.uncertain, *_lost(unknown, self.contents), *unheld),
            dry_run=dry_run,
            left_out=tuple(sorted(left - self.contents.replaced)),
            is_owner=self.is_owner,
        )

    def _settle_lines(self, found: ReplayedNames, *, dry_run: bool) -> tuple[list[str], list[str]]:
        """Create the branches of the other lines, and return their names and the open questions; see `settle_lines`."""
        if dry_run and self.is_owner:
            return [], []
        return settle_lines(self.connection, self.objects, found, self.now, is_owner=self.is_owner)

    def _check_chosen(self, chosen: Collection[CommitId]) -> None:
        """Raise for commits that can't be added: unlike a beacon, a person may be mistaken."""
        for one in sorted(set(chosen) - self.taken.keys()):
            if one not in self.contents.records:
                reason = "no pack holds a commit of this ID"
            elif one in self.contents.replaced:
                reason = "its writer replaced it by another commit, or `gc --disown` dropped it"
            else:
                continue
            msg = f"can't add {one!r}: {reason}; `versioned recover --dry-run` lists the commits that can be added"
            raise InvalidInputError(msg)

    def _forget_packs(self) -> int:
        """Mark packs as deleted that were collected since; return how many."""
        gone = [name for name, (_, state) in self.rows.items() if state != DELETED and name not in self.sizes]
        for batch in _batches(gone):
            self.connection.execute(delete(chunks).where(chunks.c.pack.in_(batch)))
            self.connection.execute(update(packs).where(packs.c.name.in_(batch)).values(state=DELETED))
        return len(gone)

    def _settle_entries(self) -> None:
        """Choose the entries that take effect: those in the catalog, then those that continue from its newest one.

        If a repo's journal diverged, entries of the other line are discarded. `hold_lines` recreates the names that
        they created.
        """
        self.contents.prefer(self.entries)
        newest = {
            row.repo: row.newest
            for row in self.connection.execute(
                select(journal.c.repo, func.max(journal.c.sequence).label("newest")).group_by(journal.c.repo)
            )
        }
        contested = {(one.entry.repo, one.sequence) for one, _ in self.contents.others}
        for repo, of_repo in self.contents.entries.items():
            last = newest.get(repo, 0)
            later = sorted(sequence for sequence in of_repo if sequence > last)
            for sequence in sorted(of_repo.keys() - self.entries.keys()):
                if sequence < last:
                    self.contents.pass_over(repo, sequence)
            goes_on = any(of_repo[sequence][0].previous == last for sequence in later)
            if later and ((repo, last) in contested or not goes_on) and last:
                for sequence in later:
                    self.contents.pass_over(repo, sequence)
        for sequence, pack in self.entries.items():
            self._move_entry(sequence, pack)

    def _move_entry(self, sequence: int, pack: PackName) -> None:
        """Record the new pack of an entry whose old pack was collected since."""
        if pack in self.sizes or not pack:
            return
        for of_repo in self.contents.entries.values():
            if sequence in of_repo:
                self.connection.execute(
                    update(journal).where(journal.c.sequence == sequence).values(pack=of_repo[sequence][1])
                )

    def _move_trees(self, new_entries: list[tuple[RecordedEntry, PackName]]) -> int:
        """Update the trees of the catalog's commits that have moved since; return how many."""
        purged = {recorded.entry.repo for recorded, _ in new_entries if recorded.entry.action is Action.PURGE}
        count = 0
        runs: dict[CommitId, RunInfo] = {}
        for commit_id, known in self.taken.items():
            newest = self.contents.records.get(commit_id)
            if newest is None:
                continue
            record, place = newest
            values: dict[str, object] = {}
            if record.commit.generation > known.generation and record.commit.run is not None:
                runs[commit_id] = record.commit.run  # a redaction since has withheld values of it
            if record.commit.generation > known.generation and self._counts(record, known, purged):
                root = record.commit.root
                new_root = None if root is None else json.dumps(root.to_json())
                values = {"generation": record.commit.generation, "root": new_root, "pack": place, "mark_epoch": None}
            elif record.commit.generation == known.generation and known.pack not in self.sizes:
                values = {"pack": place, "mark_epoch": None}
            if values:
                self.connection.execute(update(commits).where(commits.c.id == commit_id).values(**values))
                count += 1
        rewrite_runs(self.connection, runs)
        return count

    def _counts(self, record: CommitRecord, known: _KnownTree, purged: set[str]) -> bool:
        """Return whether a newer tree is valid: one with the same files is, and so is that of a completed purge."""
        old, new = parse_root(known.root), record.commit.root
        if (None if old is None else old.digest) == (None if new is None else new.digest):
            return True
        is_gone = known.pack not in self.sizes or (old is not None and pack_name(old.pack) not in self.sizes)
        return is_gone or record.commit.repo in purged

    def _add_repos(self, found: ReplayedNames) -> int:
        known = set(self.connection.execute(select(RECORDED_NAME)).scalars())
        added = [name for name in sorted(found.repos) if name not in known]
        for name in added:
            add_repo(self.connection, name, found.repos[name])
        set_owners(self.connection, found.repos)
        return len(added)

    def _rename_repos(self, found: ReplayedNames) -> None:
        """Apply later renamings of repos; two repos may have exchanged their names."""
        rows = self.connection.execute(select(repos.c.id, repos.c.name, RECORDED_NAME.label("recorded"))).all()
        new = {row.id: (row.recorded, found.name_of(row.recorded)) for row in rows}
        changed = {row.id: new[row.id] for row in rows if new[row.id][1] != row.name}
        for repo_id in changed:
            # A temporary name that no repo can have, so that another repo can take the old one.
            self.connection.execute(update(repos).where(repos.c.id == repo_id).values(name=f"/{repo_id}"))
        for repo_id, (recorded, name) in changed.items():
            values = {"name": name, "recorded_name": None if name == recorded else recorded}
            self.connection.execute(update(repos).where(repos.c.id == repo_id).values(**values))

    def _follow_entries(self, new_entries: list[tuple[RecordedEntry, PackName]]) -> None:
        """Apply later renamings and deletions of branches, so that subscriptions stay with their branch."""
        for recorded, _ in new_entries:
            entry = recorded.entry
            self._follow_repo(recorded)
            row = self._branch(entry.repo, entry.name)
            if row is None:
                continue
            if entry.action is Action.RENAME_BRANCH and self._branch(entry.repo, str(entry.details["to"])) is None:
                renamed = update(branches).where(branches.c.id == row[0]).values(name=str(entry.details["to"]))
                self.connection.execute(renamed)
            elif entry.action is Action.DELETE_BRANCH:
                delete_subscriptions(self.connection, row[0])
                remove_triggers_with(self.connection, row[0])
                self.connection.execute(delete(branches).where(branches.c.id == row[0]))

    def _follow_repo(self, recorded: RecordedEntry) -> None:
        """Apply later deletions and re-creations of a repo, and later deletions of tags."""
        entry = recorded.entry
        values: dict[str, object] = {"deleted_at": recorded.at}
        if entry.action is Action.CREATE_REPO:
            description = str(entry.details.get("description", ""))
            values = {"deleted_at": None, "created_at": recorded.at, "description": description}
        elif entry.action is Action.DELETE_TAG:  # the tag may have been recreated later
            own = select(repos.c.id).where(is_recorded_as(entry.repo)).scalar_subquery()
            self.connection.execute(delete(tags).where(tags.c.repo_id == own, tags.c.name == entry.name))
            return
        elif entry.action is not Action.DELETE_REPO:
            return
        self.connection.execute(update(repos).where(is_recorded_as(entry.repo)).values(values))

    def _branch(self, repo: str, name: str) -> tuple[int, CommitId | None] | None:
        query = select(branches.c.id, branches.c.head_id).join(repos, repos.c.id == branches.c.repo_id)
        row = self.connection.execute(query.where(is_recorded_as(repo), branches.c.name == name)).one_or_none()
        return None if row is None else (row.id, row.head_id)

    def _set_branches(self, found: ReplayedNames) -> tuple[list[str], int]:
        """Set the branches to their replayed state; return those that were moved, and how many were created."""
        moved: list[str] = []
        made = 0
        for name, repo in sorted(found.repos.items()):
            for branch_name, branch in sorted(repo.branches.items()):
                row = self._branch(name, branch_name)
                head = branch.head if branch.head in found.kept or branch.head in self.taken else None
                if row is None:
                    self._insert_branch(name, branch_name, branch, head)
                    made += 1
                    continue
                moved += [f"{repo.name}@{branch_name}"] if row[1] != head else []
                values = {"head_id": head, "epoch": branch.epoch}
                more = {"is_protected": branch.is_protected, "retention": branch.retention}
                self.connection.execute(update(branches).where(branches.c.id == row[0]).values(**values, **more))
        return moved, made

    def _insert_branch(self, repo: str, name: str, branch: Branch, head: CommitId | None) -> None:
        repo_id = self.connection.execute(select(repos.c.id).where(is_recorded_as(repo))).scalar_one()
        values = {"repo_id": repo_id, "name": name, "head_id": head, "epoch": branch.epoch}
        more = {"is_protected": branch.is_protected, "retention": branch.retention}
        self.connection.execute(insert(branches).values(**values, **more))

    def _set_tags(self, found: ReplayedNames, new_entries: list[tuple[RecordedEntry, PackName]]) -> int:
        deleted = {(one.entry.repo, one.entry.name) for one, _ in new_entries if one.entry.action is Action.DELETE_TAG}
        made = 0
        for name, repo in sorted(found.repos.items()):
            repo_id = self.connection.execute(select(repos.c.id).where(is_recorded_as(name))).scalar_one()
            own = select(tags.c.name, tags.c.commit_id).where(tags.c.repo_id == repo_id)
            rows = {row.name: row.commit_id for row in self.connection.execute(own)}
            for tag in [one for one in rows if (name, one) in deleted and one not in repo.tags]:
                self.connection.execute(delete(tags).where(tags.c.repo_id == repo_id, tags.c.name == tag))
            for tag, (commit_id, at) in sorted(repo.tags.items()):
                if tag not in rows and (commit_id in found.kept or commit_id in self.taken):
                    values = {"repo_id": repo_id, "name": tag, "commit_id": commit_id, "created_at": at}
                    self.connection.execute(insert(tags).values(**values))
                    made += 1
        return made

    def _forget_commits(self, new_entries: list[tuple[RecordedEntry, PackName]]) -> None:
        """Mark the commits that have expired since: their data may be deleted."""
        forgotten: set[str] = set()
        for recorded, _ in new_entries:
            listed = recorded.entry.details.get("commits")
            if recorded.entry.action in {Action.EXPIRE, Action.DROP} and isinstance(listed, list):
                forgotten |= {str(one) for one in listed}
        for batch in _batches(sorted(forgotten)):
            own = update(commits).where(commits.c.id.in_(batch))
            self.connection.execute(own.values(state=CommitState.FORGOTTEN.value))
        forget_expired_results(self.connection, [CommitId(one) for one in sorted(forgotten)])

    def _enter_healed(self, added: list[CommitRecord]) -> None:
        healed = [one for record in added for one in record.healed]
        enter_damages(self.connection, self.objects, healed, list(self.sizes), self.now)

    def _heads(self) -> dict[tuple[str, str], CommitId | None]:
        query = select(RECORDED_NAME, branches.c.name, branches.c.head_id).join(repos, repos.c.id == branches.c.repo_id)
        return {(repo, name): head for repo, name, head in self.connection.execute(query)}


def _lost(unknown: frozenset[Beacon], contents: Contents) -> list[str]:
    """Return a sentence for each acknowledged commit that no pack holds."""
    gone = sorted(one.id for one in unknown if one.kind is BeaconKind.COMMIT and one.id not in contents.records)
    return [f"commit {one} was acknowledged, and no pack holds it any more: it is lost" for one in gone]


def _batches(names: list[PackName] | list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), 500):
        yield [str(one) for one in names[start : start + 500]]
