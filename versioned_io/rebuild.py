"""Rebuilding a lost catalog from the packs alone.

Source: docs/design/0004-journal-and-rebuild.md.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import pyarrow as pa
from sqlalchemy import Connection, func, insert, select, text

from versioned_io.catalog.chunk_index import insert_chunks, insert_packs
from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.journal import Action, RecordedEntry, decode_entry
from versioned_io.catalog.publishing import insert_commit_row, insert_sources
from versioned_io.catalog.tables import branches, idempotency_keys, journal, repos, segments, tags
from versioned_io.catalog.values import Commit, CommitState
from versioned_io.chunks.refs import NEW_CHUNKS
from versioned_io.errors import InvalidInputError, ObjectNotFoundError
from versioned_io.fsck.findings import DAMAGES
from versioned_io.identifiers import CommitId, PackName
from versioned_io.objects.port import ObjectStore
from versioned_io.packs.footer import Footer, decode_footer
from versioned_io.packs.frames import FrameKind, pack_key, parse_pack_key
from versioned_io.packs.reader import read_footer, read_frames_of
from versioned_io.packs.walking import walk_frames
from versioned_io.packs.writer import PackInfo
from versioned_io.transactions.record import CommitRecord, decode_record


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was rebuilt, and what could not be known.

    Attributes:
        unconfirmed: Records in packs of commits that no branch took: attempts that lost a race, or whose writer died.
        damaged: Packs that are not whole, and why; what lay in the damaged parts and nowhere else is missing.
        uncertain: What the packs alone can't tell, each as a sentence that says what was assumed.
    """

    repos: int
    branches: int
    tags: int
    commits: int
    packs: int
    chunks: int
    unconfirmed: int
    damaged: tuple[str, ...]
    uncertain: tuple[str, ...]


@dataclass(slots=True)
class _Branch:
    head: CommitId | None
    epoch: int
    is_protected: bool = False
    retention: str | None = None


@dataclass(slots=True)
class _Repo:
    description: str
    created_at: datetime
    branches: dict[str, _Branch] = field(default_factory=dict)
    tags: dict[str, tuple[CommitId, datetime]] = field(default_factory=dict)


@dataclass(slots=True)
class _Contents:
    """What lies in the packs, and what follows from it."""

    records: dict[CommitId, tuple[CommitRecord, PackName]] = field(default_factory=dict)
    entries: dict[str, dict[int, tuple[RecordedEntry, PackName]]] = field(default_factory=dict)
    lost: set[CommitId] = field(default_factory=set)
    infos: list[PackInfo] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    repos: dict[str, _Repo] = field(default_factory=dict)
    forgotten: set[CommitId] = field(default_factory=set)
    named: set[CommitId] = field(default_factory=set)


def rebuild_catalog(
    objects: ObjectStore, catalog: Catalog, now: datetime, *, progress: Callable[[int], None] | None = None
) -> RebuildReport:
    """Fill an empty catalog with what the packs say: names, commits, lineage, where contents are.

    All or nothing: a crash leaves the catalog empty. Cursors of subscriptions and what was due for them are not in the
    packs: consumers begin anew, from the beginning unless they are told otherwise.

    Of a pack that is damaged, every frame that is whole still counts: a lost end costs none of the commits before it.

    Args:
        catalog: Has the tables of the newest revision, and no repo.
        progress: Called with the number of packs that were read.

    Raises:
        InvalidInputError: The catalog holds repos already.
        StorageError: The objects or the catalog failed; call again.

    Cost: 1 LIST for each 1,000 packs; 1 HEAD and 2 to 4 GETs for each; 1 GET of all of a damaged one; memory for the
        commits.
    """
    found = _Contents()
    with catalog.write() as connection:
        if connection.execute(select(func.count()).select_from(repos)).scalar_one():
            msg = f"the catalog {catalog.url} holds repos already: move it away first, and rebuild into an empty one"
            raise InvalidInputError(msg)
        chunks = _read_packs(connection, objects, found, now, progress or (lambda _: None))
        for repo in sorted(found.entries):
            _replay(found, repo)
        heads = _follow_branches(found)
        kept = _confirmed(found, heads)
        _enter(connection, found, kept, now)
    names = found.repos.values()
    return RebuildReport(
        repos=len(found.repos),
        branches=sum(len(repo.branches) for repo in names),
        tags=sum(len(repo.tags) for repo in names),
        commits=len(kept),
        packs=len(found.infos),
        chunks=chunks,
        unconfirmed=len(found.records) - len(kept),
        damaged=tuple(found.damaged),
        uncertain=tuple(found.uncertain),
    )


def _read_packs(
    connection: Connection, objects: ObjectStore, found: _Contents, now: datetime, progress: Callable[[int], None]
) -> int:
    chunks = 0
    for info in objects.list("packs/"):
        name = parse_pack_key(info.key)
        if name is None:
            continue
        # A damaged one is kept in the catalog all the same: what is unknown is not garbage.
        footer = _read_pack(objects, name, found)
        pack = PackInfo(name, info.size_bytes, len(footer.frames), len(footer.chunks))
        found.infos.append(pack)
        insert_packs(connection, [pack], now)
        insert_chunks(connection, _chunks_of(footer))
        chunks += len(footer.chunks)
        progress(len(found.infos))
    return chunks


def _read_pack(objects: ObjectStore, name: PackName, found: _Contents) -> Footer:
    """Note what a pack says of commits and names, and return the index of its contents, as far as it is whole."""
    try:
        footer = read_footer(objects, name)
        kinds = {frame.kind for frame in footer.frames} & _NOTES.keys()
        payloads = [(kind, payload) for kind in sorted(kinds) for payload in read_frames_of(objects, name, kind)]
    except DAMAGES as error:
        footer, payloads = _read_whole_frames(objects, name)
        found.damaged.append(f"pack {name}: {error} ({len(footer.frames)} of its frames could still be read)")
    for kind, payload in payloads:
        try:
            _NOTES[kind](found, name, bytes(payload))
        except DAMAGES as error:
            found.damaged.append(f"pack {name}: {error}")
    return footer


def _read_whole_frames(objects: ObjectStore, name: PackName) -> tuple[Footer, list[tuple[FrameKind, memoryview]]]:
    """Return what a damaged pack still holds: an index of the frames that are whole, and their commits and entries."""
    try:
        data = objects.get(pack_key(name))
    except ObjectNotFoundError:
        return Footer(name, (), ()), []
    whole = list(walk_frames(name, data))
    payloads = [(frame.kind, payload) for frame, payload in whole if frame.kind in _NOTES]
    frames = tuple(frame for frame, _ in whole if frame.kind is not FrameKind.FOOTER)
    if not whole or whole[-1][0].kind is not FrameKind.FOOTER:
        return Footer(name, frames, ()), payloads
    footer = decode_footer(name, whole[-1][1])
    number_of = {frame.offset: number for number, frame in enumerate(frames)}
    chunks = [
        replace(chunk, frame=number_of[footer.frames[chunk.frame].offset])
        for chunk in footer.chunks
        if footer.frames[chunk.frame].offset in number_of
    ]
    return Footer(name, frames, tuple(chunks)), payloads


def _note_record(found: _Contents, pack: PackName, payload: bytes) -> None:
    record = decode_record(payload)
    known = found.records.get(record.commit.id)
    if known is None or known[0].commit.generation < record.commit.generation:
        found.records[record.commit.id] = (record, pack)
    found.lost.update(record.replaces)


def _note_entry(found: _Contents, pack: PackName, payload: bytes) -> None:
    recorded = decode_entry(payload)
    of_repo = found.entries.setdefault(recorded.entry.repo, {})
    known = of_repo.get(recorded.sequence)
    # Two of one number: the writer of the earlier one died before it counted.
    if known is None or known[1] < pack:
        of_repo[recorded.sequence] = (recorded, pack)


_NOTES: Final[Mapping[FrameKind, Callable[[_Contents, PackName, bytes], None]]] = {
    FrameKind.COMMIT: _note_record,
    FrameKind.JOURNAL: _note_entry,
}
"""What is done with the frames that say something of commits and names, by their kind."""


def _chunks_of(footer: Footer) -> pa.Table:
    pack = bytes.fromhex(footer.name)
    rows = [
        (
            chunk.digest,
            pack,
            footer.frames[chunk.frame].offset,
            footer.frames[chunk.frame].stored_size,
            chunk.inner,
            chunk.size,
        )
        for chunk in footer.chunks
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in NEW_CHUNKS)
    arrays = [pa.array(values, column.type) for values, column in zip(columns, NEW_CHUNKS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=NEW_CHUNKS)


def _replay(found: _Contents, repo: str) -> None:
    """Do again what happened to the names of one repo; entries that never counted are left out."""
    entries = found.entries[repo]
    counted: list[RecordedEntry] = []
    sequence = max(entries)
    while sequence in entries:
        counted.append(entries[sequence][0])
        sequence = entries[sequence][0].previous
    if sequence != 0:
        found.uncertain.append(f"entry {sequence} of the journal of {repo!r} is missing: names before it are unknown")
    for never in set(entries) - {one.sequence for one in counted}:
        del entries[never]
    for recorded in reversed(counted):
        _apply(found, recorded)


def _apply(found: _Contents, recorded: RecordedEntry) -> None:
    entry = recorded.entry
    found.named |= {one for one in (entry.old, entry.new) if one is not None}
    repo = found.repos.setdefault(entry.repo, _Repo("", recorded.at))
    branch = repo.branches.get(entry.name)
    match entry.action:
        case Action.CREATE_REPO:
            repo.description = str(entry.details.get("description", ""))
            repo.branches[entry.name] = _Branch(None, recorded.sequence)
        case Action.CREATE_BRANCH:
            repo.branches[entry.name] = _Branch(entry.new, recorded.sequence)
        case Action.MOVE_BRANCH | Action.DROP | Action.SQUASH if branch is not None:
            branch.head, branch.epoch = entry.new, recorded.sequence
        case Action.RENAME_BRANCH if branch is not None:
            del repo.branches[entry.name]
            branch.head, branch.epoch = entry.new, recorded.sequence
            repo.branches[str(entry.details["to"])] = branch
        case Action.DELETE_BRANCH:
            repo.branches.pop(entry.name, None)
        case Action.PROTECT_BRANCH if branch is not None:
            branch.is_protected = bool(entry.details["is_protected"])
        case Action.SET_RETENTION if branch is not None:
            rule = entry.details["rule"]
            branch.retention = None if rule is None else str(rule)
        case Action.CREATE_TAG if entry.new is not None:
            repo.tags[entry.name] = (entry.new, recorded.at)
        case Action.DELETE_TAG:
            repo.tags.pop(entry.name, None)
        case _:
            pass  # what is left changes no name: PURGE, EXPIRE, and entries about names that an unknown entry made
    forgotten = entry.details.get("commits")
    if entry.action in {Action.EXPIRE, Action.DROP} and isinstance(forgotten, list):
        found.forgotten |= {CommitId(str(one)) for one in forgotten}


def _follow_branches(found: _Contents) -> set[CommitId]:
    """Move every branch on from where the journal left it, along the commits of its epoch; return all heads."""
    children: dict[tuple[str, int, CommitId | None], list[Commit]] = {}
    for record, _ in found.records.values():
        commit = record.commit
        if commit.id not in found.lost:
            children.setdefault((commit.repo, commit.epoch, commit.parent), []).append(commit)
    gaps: dict[tuple[str, int], list[Commit]] = {}
    for (repo_name, epoch, parent), commits in children.items():
        if parent is not None and parent not in found.records:
            gaps.setdefault((repo_name, epoch), []).extend(commits)
    for name, repo in found.repos.items():
        for branch_name, branch in repo.branches.items():
            beyond = gaps.get((name, branch.epoch), [])
            ref = f"{name}@{branch_name}"
            while following := children.get((name, branch.epoch, branch.head)) or _after_gap(
                found, branch, beyond, ref
            ):
                branch.head = _real(found, following, children, ref).id
    return {
        branch.head for repo in found.repos.values() for branch in repo.branches.values() if branch.head is not None
    }


def _after_gap(found: _Contents, branch: _Branch, orphans: Sequence[Commit], ref: str) -> list[Commit]:
    """Return the candidates for the commit of a branch that comes next after one or more whose records are lost.

    Args:
        orphans: The commits of the branch's epoch whose parents are lost.
    """
    before = found.records.get(branch.head) if branch.head is not None else None
    number = 0 if before is None else before[0].commit.number
    beyond = [commit for commit in orphans if commit.number > number]
    if not beyond:
        return []
    lost = min(beyond, key=lambda one: one.number).parent
    text = f"the record of commit {lost} is missing: the history of {ref} begins after it"
    if before is not None:
        found.named.add(before[0].commit.id)
        text += f"; what was before it ends at {before[0].commit.id}, to which no name leads: tag it to keep it"
    found.uncertain.append(text)
    return [one for one in beyond if one.parent == lost]


def _real(
    found: _Contents,
    candidates: Sequence[Commit],
    children: dict[tuple[str, int, CommitId | None], list[Commit]],
    branch: str,
) -> Commit:
    """Return which of several commits with one parent the branch took."""
    if len(candidates) == 1:
        return candidates[0]
    continued = [one for one in candidates if (one.repo, one.epoch, one.id) in children or one.id in found.named]
    chosen = continued[0] if continued else max(candidates, key=lambda one: (one.created_at, one.id))
    if not continued:
        others = ", ".join(one.id for one in candidates if one is not chosen)
        found.uncertain.append(
            f"the newest commit of {branch} may be {chosen.id}, which was assumed, or {others}: compare them"
        )
    return chosen


def _confirmed(found: _Contents, heads: Iterable[CommitId]) -> dict[CommitId, tuple[CommitRecord, PackName]]:
    """Return the commits that a name leads or led to, or that one of those was made from."""
    tagged = {commit for repo in found.repos.values() for commit, _ in repo.tags.values()}
    waiting = [*heads, *found.named, *tagged]
    kept: dict[CommitId, tuple[CommitRecord, PackName]] = {}
    while waiting:
        commit_id = waiting.pop()
        if commit_id in kept or commit_id not in found.records:
            continue
        kept[commit_id] = found.records[commit_id]
        record = kept[commit_id][0]
        sources = (file.written_by for file in record.inputs)
        others = (record.commit.parent, record.commit.merged, *record.commit.provenance, *sources)
        waiting += [other for other in others if other is not None]
    return kept


def _enter(
    connection: Connection, found: _Contents, kept: dict[CommitId, tuple[CommitRecord, PackName]], now: datetime
) -> None:
    repo_ids = {name: _insert_repo(connection, name, repo) for name, repo in sorted(found.repos.items())}
    _insert_commits(connection, found, kept, repo_ids)
    for name, repo in sorted(found.repos.items()):
        for branch_name, branch in sorted(repo.branches.items()):
            if branch.head is not None and branch.head not in kept:
                found.uncertain.append(
                    f"{name}@{branch_name} pointed at {branch.head}, whose record is missing: the branch is empty now"
                )
                branch.head = None
            values = {"repo_id": repo_ids[name], "name": branch_name, "head_id": branch.head, "epoch": branch.epoch}
            more = {"is_protected": branch.is_protected, "retention": branch.retention}
            connection.execute(insert(branches).values(**values, **more))
        for tag, (commit_id, at) in sorted(repo.tags.items()):
            if commit_id in kept:
                values = {"repo_id": repo_ids[name], "name": tag, "commit_id": commit_id, "created_at": at}
                connection.execute(insert(tags).values(**values))
    _insert_journal(connection, found)
    _insert_keys(connection, kept, now)


def _insert_repo(connection: Connection, name: str, repo: _Repo) -> int:
    made = insert(repos).values(name=name, description=repo.description, created_at=repo.created_at)
    return int(connection.execute(made.returning(repos.c.id)).scalar_one())


def _insert_commits(
    connection: Connection,
    found: _Contents,
    kept: dict[CommitId, tuple[CommitRecord, PackName]],
    repo_ids: dict[str, int],
) -> None:
    ordered = sorted(kept.values(), key=lambda pair: (pair[0].commit.number, pair[0].commit.created_at))
    segment_of: dict[CommitId, int] = {}
    ends: dict[int, int] = {}
    for record, pack in ordered:
        commit = record.commit
        parent = commit.parent if commit.parent in kept else None
        segment = segment_of[parent] if parent is not None else None
        if segment is None or ends[segment] != commit.number - 1:
            begun = insert(segments).values(parent_id=segment, first_number=commit.number).returning(segments.c.id)
            segment = int(connection.execute(begun).scalar_one())
        segment_of[commit.id], ends[segment] = segment, commit.number
        state = CommitState.FORGOTTEN if commit.id in found.forgotten else CommitState.LIVE
        # The filter is of what changed against the parent that it had.
        touched = commit.touched if parent == commit.parent else None
        row = replace(commit, parent=parent, state=state, touched=touched)
        insert_commit_row(connection, row, pack, repo_id=repo_ids[commit.repo], segment_id=segment)
    for record, _ in ordered:
        made_from = [one for one in record.commit.provenance if one in kept]
        files = [file for file in record.inputs if file.commit in kept and file.written_by in kept]
        insert_sources(connection, record.commit.id, made_from, files)


def _insert_journal(connection: Connection, found: _Contents) -> None:
    rows = [
        {
            "sequence": recorded.sequence,
            "repo": recorded.entry.repo,
            "name": recorded.entry.name,
            "action": recorded.entry.action.value,
            "old_id": recorded.entry.old,
            "new_id": recorded.entry.new,
            "details": json.dumps(dict(recorded.entry.details), sort_keys=True),
            "author": recorded.entry.author,
            "at": recorded.at,
            "pack": pack,
        }
        for entries in found.entries.values()
        for recorded, pack in entries.values()
    ]
    if not rows:
        return
    connection.execute(insert(journal), sorted(rows, key=lambda row: str(row["sequence"]).zfill(20)))
    if connection.dialect.name == "postgresql":
        # The numbers were given; the next one must come after them.
        query = "SELECT setval(pg_get_serial_sequence('journal', 'sequence'), (SELECT max(sequence) FROM journal))"
        connection.execute(text(query))


def _insert_keys(connection: Connection, kept: dict[CommitId, tuple[CommitRecord, PackName]], now: datetime) -> None:
    left: dict[str, dict[str, dict[str, object]]] = {}
    for record, _ in kept.values():
        if record.idempotency_key is not None:
            ref = f"{record.commit.repo}@{record.commit.branch}"
            left.setdefault(record.idempotency_key, {})[ref] = {"commit": record.commit.id, "changed": True}
    for key, found in sorted(left.items()):
        connection.execute(insert(idempotency_keys).values(key=key, commits=json.dumps(found), created_at=now))
