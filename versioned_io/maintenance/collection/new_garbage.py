"""Incremental garbage collection: new packs without references are condemned, and deleted after a grace period.

Source: docs/design/0010-maintenance.md, "Collecting what is new".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from versioned_io.catalog import collection as catalog
from versioned_io.catalog.chunk_index import LIVE
from versioned_io.maintenance.collection.garbage import delete_condemned, is_due
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.maintenance.collection.new_marks import PackChange, enter_marks, enter_most, mark_new
from versioned_io.maintenance.collection.orphans import batches
from versioned_io.maintenance.fsck.remaking import remake_pages
from versioned_io.model.identifiers import CommitId, PackName
from versioned_io.storage.objects.probing import store_time
from versioned_io.versioning.backend.backend import Backend


@dataclass(slots=True)
class NewGarbage:
    """The result of an incremental collection: packs by name, and the number of commits that it walked.

    Attributes:
        unreadable: Walked commits with an unreadable page: all packs that they may reference are kept.
    """

    commits: int = 0
    condemned: list[PackName] = field(default_factory=list)
    revived: list[PackName] = field(default_factory=list)
    deleted: list[PackName] = field(default_factory=list)
    unreadable: set[CommitId] = field(default_factory=set)


def collect_new(backend: Backend, *, grace: timedelta, progress: Callable[[int], None] | None = None) -> NewGarbage:
    """Walk the commits without a round, condemn packs that neither they nor a round references, and delete dead packs.

    This may keep too much, and never too little. A pack that a round has found stays until the next full mark, even if
    only expired commits reference it. As in a full collection, a pack is deleted only *grace* after it was condemned,
    if a later mark finds it unreferenced too.

    Raises:
        CatalogOlderError: A pack shows that the catalog is older than it is. Nothing was changed. Run
            `versioned recover`.
        StorageError: The objects or the catalog failed. Call again.

    Cost: that of `mark_new`, and 2 SQL transactions for each 500 new commits and packs. If packs are dead, 1 LIST for
        each 1,000 packs. For each dead pack 1 GET and 1 DELETE, and 1 SQL transaction for each 500 of them.
    """
    found = NewGarbage(enter_most(backend, progress=progress))
    while not _collect_once(backend, found, grace, progress):
        pass  # another process has entered a round meanwhile, so the packs that it found must be considered too
    if grace == timedelta(0) and found.condemned:
        # Without a grace period, packs can be deleted at once, but only after another mark.
        while not _collect_once(backend, found, grace, progress):
            pass
    return found


def _collect_once(
    backend: Backend, found: NewGarbage, grace: timedelta, progress: Callable[[int], None] | None
) -> bool:
    began = store_time(backend.objects)
    marks = mark_new(backend, until=began - grace, progress=progress)
    if marks.broken and remake_pages(backend, marks.broken):
        marks = mark_new(backend, until=began - grace, progress=progress)
    spared = _spared(backend, [row.name for row in marks.packs if not marks.is_alive(row)])
    dead = [row for row in marks.packs if row.name in spared]
    protected = [row.name for row in marks.packs if row.state == catalog.CONDEMNED and row.name not in spared]

    to_revive = sorted({*marks.revived, *protected, *marks.found})
    to_condemn = [row.name for row in dead if row.state == LIVE]

    def revive(connection: Connection, names: Sequence[PackName]) -> None:
        found.revived += catalog.revive_packs(connection, names)

    def condemn(connection: Connection, names: Sequence[PackName]) -> None:
        found.condemned += catalog.condemn_packs(connection, names, began)

    # In batches, since every writer waits while one is done. The next collection judges packs that were left out.
    changes = [
        *(PackChange(some, partial(revive, names=some)) for some in batches(to_revive)),
        *(PackChange(some, partial(condemn, names=some)) for some in batches(to_condemn)),
    ]
    if not enter_marks(backend, marks, changes):
        return False
    found.commits += len(marks.walked)
    found.unreadable |= {commit.id for commit, _ in marks.walked if commit.root in marks.broken}
    for deleted in delete_condemned(backend, [row for row in dead if is_due(row, began - grace)]):
        found.deleted += deleted
    return True


def _spared(backend: Backend, lifeless: Sequence[PackName]) -> set[PackName]:
    """Return the packs that may be deleted.

    A pack with an unclear record or entry stays, and so do the packs that its tree references. A commit that an older
    catalog lacks may need the packs that a merge left behind.

    Cost: none for an empty list. Else 1 LIST for each 1,000 packs and 1 SELECT for each 500. Also 1 GET for each pack
        in *lifeless*, and for each without a row in the catalog.
    """
    return set(Guard.survey(backend).spared(lifeless)) if lifeless else set()
