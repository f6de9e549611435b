"""Protection of packs that the catalog doesn't reference but that must stay, and detection of an older catalog.

Source: docs/design/0005-garbage-collection.md, "What proves that it may be deleted".
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from versioned_io.catalog import collection as catalog
from versioned_io.catalog.knowing import known_commits
from versioned_io.errors import CatalogOlderError, InvalidInputError
from versioned_io.maintenance.evidence.contents import DAMAGES, PackNotes
from versioned_io.maintenance.evidence.standing import Unclear, judge, named_commits, read_all_notes
from versioned_io.model.commits import JSONValue
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.model.journal import Action, JournalEntry
from versioned_io.model.places import PageRef, pack_name, parse_pack_key
from versioned_io.storage.objects.port import ObjectInfo
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.backend.journaling import append_entry

_ANY_REPO = "_"
"""The repo in a disown entry for items of no known repo."""


@dataclass(slots=True)
class Guard:
    """The contents of packs that the catalog does not reference.

    Attributes:
        listed: The packs that existed when the survey began.
        unclear: Records and entries without a row in the catalog, by the ID that `gc --disown` takes. They stay.
        protected: The packs that hold them, and the packs that their trees reference.
    """

    backend: Backend
    listed: dict[PackName, ObjectInfo]
    unclear: dict[str, Unclear] = field(default_factory=dict)
    protected: set[PackName] = field(default_factory=set)
    _newer: list[Unclear] = field(default_factory=list)
    _seen: set[PackName] = field(default_factory=set)

    @classmethod
    def survey(cls, backend: Backend, *, disown: Collection[str] = ()) -> "Guard":
        """Survey the packs that the catalog has no row of, or has marked as deleted; with *disown* also other packs.

        Args:
            disown: IDs of commits and names of packs to disown by a journal entry.

        Raises:
            CatalogOlderError: The catalog is older than the packs, so nothing may be deleted. Run `versioned recover`.
            InvalidInputError: An item of *disown* is not unclear: the catalog has a row of it, or no pack holds it.

        Cost: 1 LIST for each 1,000 packs, and 1 SELECT for each 500. 1 GET for each pack without a row. With *disown*,
            also 1 GET for each pack that holds no known commit record or journal entry.
        """
        listed = {name: info for info in backend.objects.list("packs/") if (name := parse_pack_key(info.key))}
        guard = cls(backend, listed)
        with backend.catalog.read() as connection:
            states = catalog.states_of(connection, sorted(listed))
            # A recovery enters every pack, even one whose commit record it leaves out.
            led_to = catalog.record_packs(connection) if disown else None
        strangers = [
            name
            for name in listed
            if states.get(name, catalog.DELETED) == catalog.DELETED or (led_to is not None and name not in led_to)
        ]
        guard._look_at(strangers, disown)
        return guard

    def spared(self, names: Iterable[PackName]) -> list[PackName]:
        """Return the packs that are not protected: they hold no unclear record or entry, and no unclear tree uses them.

        Raises:
            CatalogOlderError: As for `survey`.

        Cost: 1 GET for each pack that was not read yet, and the pages of the trees of unclear commits.
        """
        asked = list(names)
        self.listed |= self._sizes_of([name for name in asked if name not in self.listed])
        self._look_at([name for name in asked if name in self.listed], ())
        return [name for name in asked if name not in self.protected]

    def protect_newer(self, alive: Collection[PackName]) -> None:
        """Protect the newer records of moved trees, if a pack is missing that is *alive* according to the catalog."""
        if not self._newer or self.listed.keys() >= set(alive):
            return
        there = {parse_pack_key(info.key) for info in self.backend.objects.list("packs/")}
        if there >= set(alive):
            return
        self._protect(self._newer)

    def unclear_before(self, limit: datetime) -> tuple[str, ...]:
        """Return the unclear items that were stored before *limit*, sorted. Later ones may be commits in progress."""
        return tuple(sorted(one.id for one in self.unclear.values() if self.listed[one.pack].modified_at < limit))

    def _sizes_of(self, names: Sequence[PackName]) -> dict[PackName, ObjectInfo]:
        """Return the packs that were stored since the survey, with their sizes. Cost: 1 LIST for each 1,000, if any."""
        if not names:
            return {}
        asked = set(names)
        found = ((parse_pack_key(info.key), info) for info in self.backend.objects.list("packs/"))
        return {name: info for name, info in found if name in asked}

    def _look_at(self, names: Sequence[PackName], disown: Collection[str]) -> None:
        unseen = [name for name in names if name not in self._seen]
        if not unseen and not disown:
            return
        self._seen.update(unseen)
        notes = read_all_notes(self.backend.objects, [self.listed[name] for name in unseen])
        notes = [note for note in notes if not note.is_plain]
        if disown:
            _disown(self.backend, notes, disown)
        if not notes:
            return
        with self.backend.catalog.read() as connection:
            found = judge(connection, self.backend.objects, notes, _There(self.backend, self.listed))
        if found.proof:
            raise CatalogOlderError(self.backend.catalog.url, self.backend.objects.url, tuple(found.proof[:3]))
        self.unclear |= {one.id: one for one in found.unclear}
        self._newer += found.newer
        self._protect(found.unclear)

    def _protect(self, some: Iterable[Unclear]) -> None:
        source = PageSource(self.backend.objects)
        for one in some:
            self.protected.add(one.pack)
            if one.root is not None:
                self.protected |= _packs_below(source, one.root)


@dataclass(slots=True)
class _There:
    """The packs that exist: those of a listing, and, when another pack is asked for, those of a second listing."""

    backend: Backend
    listed: Collection[PackName]
    _again: set[PackName] | None = None

    def __contains__(self, name: object) -> bool:
        if name in self.listed:
            return True
        if self._again is None:
            found = (parse_pack_key(info.key) for info in self.backend.objects.list("packs/"))
            self._again = {one for one in found if one is not None}
        return name in self._again


def _packs_below(source: PageSource, root: PageRef) -> set[PackName]:
    """Return the packs that a tree references, as far as its pages can be read; those of an old try may be missing."""
    found: set[PackName] = set()
    waiting = [(root.frame, root.level)]
    seen = {root.frame}
    while waiting:
        frame, level = waiting.pop()
        found.add(pack_name(frame.pack))
        try:
            page = source.load(frame, level)
        except DAMAGES:
            continue
        if level == 0:
            chunks = page.batch.column("chunks").flatten()
            found |= {pack_name(pack) for pack in pc.unique(chunks.field("pack")).to_pylist()}
            continue
        for entry in page.entries:
            if entry.frame not in seen:
                seen.add(entry.frame)
                waiting.append((entry.frame, level - 1))
    return found


def _disown(backend: Backend, notes: Sequence[PackNotes], disown: Collection[str]) -> None:
    """Record durably that these commits, and the entries in these packs, don't belong to the store."""
    repo_of: dict[str, str] = {}
    for note in notes:
        if note.entries or note.damages:
            repo_of[note.name] = note.entries[0].entry.repo if note.entries else _ANY_REPO
        repo_of |= {one: record.commit.repo for record in note.records for one in named_commits(record)}
    for note in notes:
        repo_of |= {record.commit.id: record.commit.repo for record in note.records}
    with backend.catalog.write() as connection:
        known = known_commits(connection, [CommitId(one) for one in disown])
        for one in disown:
            if one in known or one not in repo_of:
                state = "the catalog has a row of it" if one in known else "no pack that lacks a row holds it"
                msg = f"can't disown {one!r}: {state}; give an ID that `gc` lists as unclear"
                raise InvalidInputError(msg)
        packs = {note.name for note in notes}
        for repo in sorted({repo_of[one] for one in disown}):
            own = sorted({one for one in disown if repo_of[one] == repo})
            details: dict[str, JSONValue] = {
                "commits": [one for one in own if one not in packs],
                "packs": [one for one in own if one in packs],
            }
            entry = JournalEntry(repo, "", Action.DISOWN, details=details)
            append_entry(connection, backend.objects, entry, backend.clock(), is_recorded_name=True)
