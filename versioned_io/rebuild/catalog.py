"""Rebuilding a lost catalog from the packs alone.

Source: docs/design/0004-journal-and-rebuild.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.tables import repos
from versioned_io.errors import InvalidInputError
from versioned_io.objects.port import ObjectStore
from versioned_io.rebuild.contents import read_packs
from versioned_io.rebuild.names import find_names
from versioned_io.rebuild.rows import enter_names


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
    with catalog.write() as connection:
        if connection.execute(select(func.count()).select_from(repos)).scalar_one():
            msg = f"the catalog {catalog.url} holds repos already: move it away first, and rebuild into an empty one"
            raise InvalidInputError(msg)
        contents = read_packs(connection, objects, now, progress or (lambda _: None))
        found = find_names(contents)
        enter_names(connection, found, now)
    named = found.repos.values()
    return RebuildReport(
        repos=len(found.repos),
        branches=sum(len(repo.branches) for repo in named),
        tags=sum(len(repo.tags) for repo in named),
        commits=len(found.kept),
        packs=len(contents.infos),
        chunks=contents.chunks,
        unconfirmed=len(contents.records) - len(found.kept),
        damaged=tuple(contents.damaged),
        uncertain=tuple(found.uncertain),
    )
