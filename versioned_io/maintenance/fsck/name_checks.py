"""Checking names: heads, histories, records and the journal are compared with a rebuild from the packs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, func, select

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.consistency import (
    broken_links,
    dangling_references,
    dangling_sources,
    misdated_confirmations,
    named_heads,
)
from versioned_io.catalog.idempotency import parse_first_try
from versioned_io.catalog.journal import read_entry
from versioned_io.catalog.lineage import inputs_of
from versioned_io.catalog.ordering import OrderFacts, misplaced
from versioned_io.catalog.renamed import RECORDED_NAME
from versioned_io.catalog.tables import branches, commits, idempotency_keys, journal, repos, tags, triggers
from versioned_io.maintenance.evidence.contents import Contents, PackNotes, order_facts, read_notes
from versioned_io.maintenance.evidence.replayed_names import KnownBeside, ReplayedNames, Repo
from versioned_io.maintenance.evidence.replaying import find_names
from versioned_io.maintenance.evidence.standing import judge
from versioned_io.maintenance.fsck.findings import Findings
from versioned_io.maintenance.fsck.shapes import check_shapes
from versioned_io.model.commits import Commit, CommitState, InputFile
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action
from versioned_io.model.places import PageRef, pack_key
from versioned_io.versioning.backend.backend import Backend

_BATCH = 200


@dataclass(slots=True)
class NameCheck:
    """A check of names in progress.

    Attributes:
        check_tree: Called for each commit whose data is kept and that has a tree.
        notes: The notes of packs that were read before; the check reads those of further packs with records.
        damaged: The packs that were found damaged.
        commits: The commits that were checked.
        unclear: Items in packs that no catalog knows, and that may still count.
        lost_records: Commits whose record can't be read, with the pack that held it.
        lost_entries: The numbers of journal entries that can't be read.
    """

    findings: Findings
    backend: Backend
    check_tree: Callable[[Commit, PageRef], None]
    notes: dict[PackName, PackNotes]
    damaged: Collection[PackName] = ()
    commits: set[CommitId] = field(default_factory=set)
    unclear: list[str] = field(default_factory=list)
    lost_records: dict[CommitId, PackName] = field(default_factory=dict)
    lost_entries: list[int] = field(default_factory=list)
    _damaged_repos: set[str] = field(default_factory=set)
    _trees: list[tuple[Commit, PageRef]] = field(default_factory=list)
    _order_facts: list[OrderFacts] = field(default_factory=list)

    def check(self) -> None:
        """Check all names, all commits, the journal and their rows, in one consistent state."""
        with self.backend.catalog.read() as connection:
            for stage in (
                self._check_shapes,
                self._check_links,
                self._check_commits,
                self._check_journal,
                self._check_keys,
                self._compare_names,
                self._judge_unknown,
            ):
                with self.findings.guarded("catalog", "the catalog"):
                    stage(connection)
        for commit, root in self._trees:
            with self.findings.guarded("page", commit):
                self.check_tree(commit, root)

    def _check_shapes(self, connection: Connection) -> None:
        check_shapes(connection, self.findings)

    def _check_links(self, connection: Connection) -> None:
        for name, head, there in named_heads(connection):
            if head is not None and there is None:
                self.findings.add("head", name, f"it points at the commit {head}, which is missing")
        for commit_id, found in broken_links(connection):
            self.findings.add("history", commit_id, found)
        for commit_id, found in dangling_sources(connection):
            self.findings.add("lineage", commit_id, found)
        for confirming in misdated_confirmations(connection):
            self.findings.add("lineage", confirming, "its confirmations have another order than itself")
        for where, found in dangling_references(connection):
            self.findings.add("catalog", where, found)

    def _check_commits(self, connection: Connection) -> None:
        query = select(commits.c.id, commits.c.pack).order_by(commits.c.repo_id, commits.c.number.desc(), commits.c.id)
        rows = [(CommitId(row.id), PackName(row.pack)) for row in connection.execute(query)]
        self._read_more({pack for _, pack in rows})
        orders: dict[CommitId, int] = {}
        for start in range(0, len(rows), _BATCH):
            batch = dict(rows[start : start + _BATCH])
            inputs = self._inputs_of(connection, list(batch))
            for commit_id, commit in self._load(connection, list(batch)).items():
                self.commits.add(commit_id)
                self.findings.progress("commits", len(self.commits))
                with self.findings.guarded("commit", commit_id):
                    self._check_record(commit, batch[commit_id], inputs.get(commit_id, set()))
                orders[commit_id] = commit.order
                if commit.root is not None and commit.state is CommitState.LIVE:
                    self._trees.append((commit, commit.root))
        for commit_id in misplaced(self._order_facts, orders):
            found = f"its order {orders[commit_id]} is neither the one in its record nor follows on those of its inputs"
            self.findings.add("lineage", commit_id, found)

    def _load(self, connection: Connection, commit_ids: Sequence[CommitId]) -> Mapping[CommitId, Commit]:
        """Return the commits whose rows can be read; report the others."""
        try:
            found = get_commits(connection, commit_ids)
        except Exception as error:  # noqa: BLE001 (a bad row may raise anything; each row is then read on its own)
            if len(commit_ids) == 1:
                self.findings.add("commit", commit_ids[0], f"its row can't be read: {error}")
                return {}
            found = {}
            for commit_id in commit_ids:
                found |= self._load(connection, [commit_id])
            return found
        for missing in [one for one in commit_ids if one not in found]:
            self.findings.add("commit", missing, "its repo has no row")
        return {one: found[one] for one in commit_ids if one in found}

    def _inputs_of(self, connection: Connection, commit_ids: Sequence[CommitId]) -> dict[CommitId, set[InputFile]]:
        found: dict[CommitId, set[InputFile]] = {}
        with self.findings.guarded("lineage", "the versions of files that commits were made from"):
            for use in inputs_of(connection, commit_ids):
                found.setdefault(use.consumer, set()).add(use.file)
        return found

    def _check_record(self, commit: Commit, pack: PackName, inputs: Collection[InputFile]) -> None:
        """Report a difference between a commit's row and its record in the pack."""
        notes = self.notes.get(pack)
        records = [] if notes is None else [one for one in notes.records if one.commit.id == commit.id]
        told = replace(commit, repo=commit.repo_in_packs)
        right = [
            one
            for one in records
            if one.commit == told
            and _nameless(one.inputs) == _nameless(inputs)
            and (one.commit.touched is None or commit.touched in {None, one.commit.touched})
        ]
        if right:
            self._order_facts.append(order_facts(right[0]))
        else:
            self._damaged_repos.add(commit.repo_in_packs)
            found = f"pack {pack} holds no record that matches its row in the catalog"
            if notes is not None and notes.damages and not records:
                found += f": {notes.damages[0]}"
            self.findings.add("commit", commit, found)
            if not records and self._is_unreadable(pack) and self._is_nowhere_else(commit):
                self.lost_records[commit.id] = pack

    def _is_unreadable(self, pack: PackName) -> bool:
        notes = self.notes.get(pack)
        return notes is None or bool(notes.damages) or pack in self.damaged

    def _is_nowhere_else(self, commit: Commit) -> bool:
        """Return whether no pack has a record of a commit that differs from its row."""
        found = (one.commit for notes in self.notes.values() for one in notes.records if one.commit.id == commit.id)
        return all(one.generation < commit.generation or one == commit for one in found)

    def _check_journal(self, connection: Connection) -> None:
        """Report differences between the journal's rows and the entries in the packs."""
        rows = connection.execute(select(journal).order_by(journal.c.sequence)).all()
        self._read_more({PackName(row.pack) for row in rows if row.pack})
        for row in rows:
            where = f"{row.action} of {row.repo}@{row.name}"
            if row.action == Action.LOST:
                self._damaged_repos.add(row.repo)  # the rebuild that recorded the loss has reported it
                continue
            before = len(self.findings.problems)
            with self.findings.guarded("journal", where):
                recorded = read_entry(row)
                notes = self.notes.get(PackName(row.pack))
                stored = [] if notes is None else [replace(one, previous=0) for one in notes.entries]
                if recorded not in stored:
                    found = f"pack {row.pack} holds no entry that matches its row in the catalog"
                    self.findings.add("journal", where, found)
                    if not stored and self._is_unreadable(PackName(row.pack)):
                        self.lost_entries.append(row.sequence)
            if len(self.findings.problems) > before:
                self._damaged_repos.add(row.repo)

    def _check_keys(self, connection: Connection) -> None:
        """Report idempotency keys whose commits are missing, so that a retry would fail."""
        for row in connection.execute(select(idempotency_keys.c.key, idempotency_keys.c.commits)):
            with self.findings.guarded("catalog", f"the idempotency key {row.key!r}"):
                left = parse_first_try(row.key, row.commits)
                for one in {first.commit for first in left.values() if first.commit is not None} - self.commits:
                    self.findings.add(
                        "catalog", f"the idempotency key {row.key!r}", f"it names {one}, which is missing"
                    )

    def _read_more(self, names: Collection[PackName]) -> None:
        """Read the notes of packs that got a row since the packs were read."""
        for name in sorted(set(names) - self.notes.keys()):
            with self.findings.guarded("pack", name):
                self.notes[name] = read_notes(self.backend.objects, name, self.backend.objects.size(pack_key(name)))

    def _compare_names(self, connection: Connection) -> None:
        """Compare every name with the result of replaying the records and entries that have rows."""
        known = {CommitId(one) for one in connection.execute(select(commits.c.id)).scalars()}
        entries = {
            (row.repo, row.sequence): row.pack
            for row in connection.execute(select(journal.c.repo, journal.c.sequence, journal.c.pack))
        }
        found = find_names(self._known_contents(known, entries), KnownBeside(known))
        _Comparison(connection, self.findings, found, self._damaged_repos).compare()

    def _known_contents(self, known: Collection[CommitId], entries: Mapping[tuple[str, int], PackName]) -> Contents:
        contents = Contents()
        for note in self.notes.values():
            contents.add(
                replace(
                    note,
                    records=tuple(one for one in note.records if one.commit.id in known),
                    entries=tuple(
                        one for one in note.entries if entries.get((one.entry.repo, one.sequence)) == note.name
                    ),
                    damages=(),
                )
            )
        for commit in contents.discard_contradictions():
            found = f"its record has number {commit.number} and parent {commit.parent}, which contradict each other"
            self.findings.add("commit", commit.id, found)
            self._damaged_repos.add(commit.repo)
        return contents

    def _judge_unknown(self, connection: Connection) -> None:
        """Report the items in packs without a row, and whether they prove that the catalog is older."""
        known = set(connection.execute(select(commits.c.id)).scalars())
        entries = {(row.sequence, row.pack) for row in connection.execute(select(journal.c.sequence, journal.c.pack))}
        doubtful = [
            note
            for note in self.notes.values()
            if note.damages
            or any(one.commit.id not in known for one in note.records)
            or any((one.sequence, note.name) not in entries for one in note.entries)
        ]
        if not doubtful:
            return
        found = judge(connection, self.backend.objects, doubtful)
        self.unclear += sorted({one.id for one in found.unclear})
        for missing in found.proof:
            self.findings.add(
                "catalog", missing, "the packs hold items that depend on it, and the catalog lacks it: run recover"
            )


class _Comparison:
    """A comparison of the catalog's names with the result of a rebuild."""

    def __init__(
        self, connection: Connection, findings: Findings, found: ReplayedNames, damaged_repos: Collection[str]
    ) -> None:
        self._connection = connection
        self._findings = findings
        self._found = found
        self._damaged = damaged_repos

    def compare(self) -> None:
        """Report every difference, except in repos whose damaged records or journal are already reported."""
        query = select(repos, RECORDED_NAME.label("recorded"))
        rows = {row.recorded: row for row in self._connection.execute(query)}
        owners = {one.id: recorded for recorded, one in rows.items()}
        for name, repo in self._found.repos.items():
            if name in self._damaged:
                continue
            row = rows.get(name)
            if row is None:
                self._findings.add("head", name, "the journal created the repo, and the catalog has no row of it")
                continue
            told = (repo.name, repo.description, repo.created_at, repo.deleted_at)
            self._say("repo", name, {"": (row.name, row.description, row.created_at, row.deleted_at)}, {"": told})
            kept = (row.kind, owners.get(row.owner_id, ""))
            self._say("kind of repo", name, {"": kept}, {"": (repo.kind.value, repo.owner)})
            own = {one: (b.head, b.epoch, b.is_protected, b.retention) for one, b in repo.branches.items()}
            self._say("branch", name, self._branches(row.id), own)
            self._say("trigger", name, self._triggers(row.id), _told_triggers(repo))
            self._say("tag", name, self._tags(row.id), dict(repo.tags))
        for name in sorted(rows.keys() - self._found.repos.keys() - set(self._damaged)):
            self._findings.add("head", name, "no entry of the journal created the repo")
        self._compare_states()

    def _branches(self, repo_id: int) -> dict[str, tuple[object, ...]]:
        columns = (branches.c.name, branches.c.head_id, branches.c.epoch, branches.c.is_protected, branches.c.retention)
        query = select(*columns).where(branches.c.repo_id == repo_id)
        return {row[0]: tuple(row[1:]) for row in self._connection.execute(query)}

    def _triggers(self, repo_id: int) -> dict[str, tuple[object, ...]]:
        source, of = branches.alias("source"), repos.alias("of")
        recorded = func.coalesce(of.c.recorded_name, of.c.name)
        columns = (branches.c.name, recorded, source.c.name, triggers.c.rule, triggers.c.set_at, triggers.c.fired_at)
        query = select(*columns).join(branches, branches.c.id == triggers.c.branch_id)
        query = query.outerjoin(source, source.c.id == triggers.c.source_id).outerjoin(of, of.c.id == source.c.repo_id)
        found = self._connection.execute(query.where(branches.c.repo_id == repo_id))
        return {row[0]: tuple(row[1:]) for row in found}

    def _tags(self, repo_id: int) -> dict[str, tuple[object, ...]]:
        query = select(tags.c.name, tags.c.commit_id, tags.c.created_at).where(tags.c.repo_id == repo_id)
        return {row[0]: tuple(row[1:]) for row in self._connection.execute(query)}

    def _say(
        self,
        kind: str,
        repo: str,
        rows: Mapping[str, tuple[object, ...]],
        told: Mapping[str, tuple[object, ...]],
    ) -> None:
        for name in sorted(rows.keys() | told.keys()):
            if rows.get(name) == told.get(name):
                continue
            where = f"{repo}@{name}" if name else repo
            if name not in rows:
                found = f"the packs have the {kind}, and the catalog has no row of it"
            elif name not in told:
                found = f"the catalog has a row of the {kind}, and the packs do not have it"
            else:
                found = f"the catalog has {_shown(rows[name])} for the {kind}, and the packs have {_shown(told[name])}"
            self._findings.add("head", where, found)

    def _compare_states(self) -> None:
        query = select(commits.c.id, commits.c.state, RECORDED_NAME).join(repos, repos.c.id == commits.c.repo_id)
        for commit_id, state, repo in self._connection.execute(query):
            is_told = commit_id in self._found.forgotten
            if repo not in self._damaged and is_told != (state == CommitState.FORGOTTEN):
                journal_says = "says" if is_told else "does not say"
                found = f"the catalog says that its data is {state}: the journal {journal_says} that it expired"
                self._findings.add("commit", commit_id, found)


def _told_triggers(repo: Repo) -> dict[str, tuple[object, ...]]:
    """Return the triggers of a repo's branches, as the journal tells them."""
    return {
        name: (one.repo, one.source, one.rule, one.set_at, one.fired_at)
        for name, branch in repo.branches.items()
        if (one := branch.trigger) is not None
    }


def _nameless(inputs: Collection[InputFile]) -> set[InputFile]:
    """Return the inputs without the names of their repos, which may have been renamed."""
    return {replace(one, repo="") for one in inputs}


def _shown(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))
