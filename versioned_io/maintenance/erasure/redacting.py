"""Redacting: removing secrets from the records of runs, in the catalog and in every pack, with proof."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from versioned_io.catalog.moving import recorded_runs, rewrite_runs
from versioned_io.errors import PackLostError
from versioned_io.maintenance.collection.garbage import is_collected, mark_store
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.maintenance.compaction.moving import move_packs
from versioned_io.maintenance.erasure.removing import read_footers, remove_packs, still_there
from versioned_io.model.commits import RunInfo
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.places import FrameRef
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.reader import fetch_frames
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry
from versioned_io.versioning.runs.run import without_secrets
from versioned_io.versioning.transactions.record import CommitRecord, decode_record

_MOST_ROUNDS: Final = 8
"""The most scans of all packs. Beside writers of an older version the redaction may not converge."""


@dataclass(frozen=True, slots=True)
class RedactReport:
    """The result of a redaction.

    Attributes:
        commits: The IDs of commits with apparent secrets in their run's record, attempts that never counted included.
        packs: The number of packs that were deleted, after their live contents had moved; or would be, in a dry run.
        gone: Whether a scan of all remaining packs and of the catalog's rows found no apparent secret in a run's
            record.
        unclear: Items that no catalog knows and no journal entry disowns, by the ID that `gc --disown` takes. If they
            hold secrets, *gone* is false until they are disowned.
    """

    commits: tuple[CommitId, ...]
    packs: int
    gone: bool
    dry_run: bool
    unclear: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _FoundSecrets:
    """The places of secrets: replacement rows of the catalog, their repos, and the packs with the records."""

    runs: Mapping[CommitId, RunInfo]
    repos: frozenset[str]
    packs: Mapping[PackName, frozenset[CommitId]]

    @property
    def commits(self) -> set[CommitId]:
        return {*self.runs, *(commit for commits in self.packs.values() for commit in commits)}


def redact_runs(
    backend: Backend,
    *,
    reason: str = "",
    author: str = "",
    dry_run: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> RedactReport:
    """Remove from every commit's run what would be withheld from a new one, and delete the packs that held it, at once.

    Commits keep their IDs, numbers, trees, lineage and everything else. Their records get the next generation, so a
    rebuild never uses an old record. Records of attempts that never counted are deleted too, unless they are unclear.
    The journal records the redaction. Safe beside writers: a transaction that refers to a deleted pack must be retried.
    Copies outside of the store, such as backups and caches, are not changed.

    Raises:
        IntegrityError: A pack's footer or a record is damaged, so a scan would prove nothing. Nothing was removed. Run
            fsck, and restore that pack from a backup.
        CatalogOlderError: The catalog is older than the packs. Nothing was removed. Run `versioned recover`.
        StorageError: The objects or the catalog failed. Call again.

    Cost: 1 HEAD and 3 GETs for each pack, twice, and a compaction of the packs with such records.

    Source: docs/design/0016-secrets-and-strangers.md, "Redacting".
    """
    report = progress or (lambda _stage, _done: None)
    entry = JournalEntry("", "", Action.REDACT, details={"reason": reason}, author=author)
    guard = Guard.survey(backend)
    removed: set[PackName] = set()
    found = _find(backend, report)
    commits = found.commits
    rounds = 0 if dry_run else _MOST_ROUNDS
    while rounds and ((victims := guard.spared(sorted(found.packs))) or found.runs):
        rounds -= 1
        try:
            removed |= _redact_once(guard, found, victims, entry, report)
        except PackLostError as error:
            if not is_collected(backend, error.pack):
                raise
        found = _find(backend, report)
        commits |= found.commits
    packs = len(found.packs) if dry_run else len(removed)
    unclear = tuple(sorted(guard.unclear))
    return RedactReport(tuple(sorted(commits)), packs, gone=not found.commits, dry_run=dry_run, unclear=unclear)


def without_secrets_of_run(record: CommitRecord) -> CommitRecord:
    """Return *record* without apparent secrets in its run."""
    if record.commit.run is None:
        return record
    return replace(record, commit=replace(record.commit, run=without_secrets(record.commit.run)))


def _redact_once(
    guard: Guard,
    found: _FoundSecrets,
    victims: Sequence[PackName],
    entry: JournalEntry,
    report: Callable[[str, int], None],
) -> set[PackName]:
    backend = guard.backend

    def enter(connection: Connection) -> None:
        rewrite_runs(connection, found.runs)
        for repo in sorted(found.repos):
            of_repo = replace(entry, repo=repo, details={**entry.details, "commits": [*sorted(found.runs)]})
            append_entry(connection, backend.objects, of_repo, backend.clock())

    marks = mark_store(backend, progress=lambda pages: report("mark", pages))
    there = sorted(still_there(backend, set(victims)))
    move_packs(backend, there, marks, enter=enter, amend=without_secrets_of_run, progress=report)
    return set(remove_packs(guard, set(there), report))


def _find(backend: Backend, report: Callable[[str, int], None]) -> _FoundSecrets:
    runs: dict[CommitId, RunInfo] = {}
    repos: set[str] = set()
    with backend.catalog.read() as connection:
        for commit_id, repo, run in recorded_runs(connection):
            clean = without_secrets(run)
            if clean != run:
                runs[commit_id] = clean
                repos.add(repo)
    packs: dict[PackName, frozenset[CommitId]] = {}
    for number, (name, footer) in enumerate(read_footers(backend)):
        pack = bytes.fromhex(name)
        frames = [FrameRef(pack, one.offset, one.stored_size) for one in footer.frames if one.kind is FrameKind.COMMIT]
        if told := _secrets_in(backend, frames):
            packs[name] = told
        report("look", number + 1)
    return _FoundSecrets(runs, frozenset(repos), packs)


def _secrets_in(backend: Backend, frames: list[FrameRef]) -> frozenset[CommitId]:
    """Return the commits whose records at *frames*, all in one pack, hold secrets."""
    try:
        payloads = fetch_frames(backend.objects, frames, FrameKind.COMMIT)
    except PackLostError:
        return frozenset()  # collected since it was listed
    records = [decode_record(bytes(payload)) for payload in payloads]
    return frozenset(record.commit.id for record in records if without_secrets_of_run(record) != record)
