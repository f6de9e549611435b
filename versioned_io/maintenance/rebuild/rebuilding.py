"""Rebuilding a lost catalog from the packs alone.

Source: docs/design/0004-journal-and-rebuild.md.
"""

from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa
from sqlalchemy import Connection, delete, func, select

from versioned_io.catalog.chunk_index import insert_chunks, insert_packs
from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.noting import known_beacons
from versioned_io.catalog.revisions import migrate_within
from versioned_io.catalog.tables import properties, repos
from versioned_io.errors import InvalidInputError, StorageError
from versioned_io.maintenance.evidence.contents import read_packs
from versioned_io.maintenance.evidence.replayed_names import KnownBeside
from versioned_io.maintenance.evidence.replaying import find_names
from versioned_io.maintenance.rebuild.datum_rows import index_datums
from versioned_io.maintenance.rebuild.evaluations import index_results
from versioned_io.maintenance.rebuild.healed import enter_damages
from versioned_io.maintenance.rebuild.lines import describe_lines, settle_lines
from versioned_io.maintenance.rebuild.rows import enter_names
from versioned_io.model.beacons import Beacon, BeaconKind
from versioned_io.model.identifiers import new_uuid7
from versioned_io.model.places import PackInfo
from versioned_io.model.repo_kinds import RepoKind
from versioned_io.storage.beacons import BeaconListing
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.versioning.backend.ownership import (
    CATALOG_ID,
    REBUILDING,
    STATE,
    STORE_ID,
    may_take_over,
    read_properties,
    set_property,
)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """The result of a rebuild, with its open questions.

    Attributes:
        unconfirmed: The number of commit records that no branch holds: attempts that lost a race, or whose writer died.
        damaged: Damaged packs, each with the reason. Contents that were only in the damaged parts are missing.
        uncertain: Open questions that the packs can't answer, each as a sentence with the assumption that was made.
        is_owner: Whether this catalog owns the store now. If not, another one may be in use. Then this one can only be
            read, until `versioned adopt` makes it the owner.
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
    is_owner: bool = False


def begin_rebuild(catalog: Catalog, store_id: str) -> None:
    """Create the tables of a missing or empty catalog, and mark it as unfinished, so that it can't be opened.

    Raises:
        InvalidInputError: The catalog holds repos, or belongs to another store. Rebuild into an empty one.
        StorageError: The catalog failed. Call again.

    Cost: 1 SQL transaction.
    """
    with catalog.write() as connection:
        migrate_within(connection)
        _refuse_repos(connection, catalog.url)
        found = read_properties(connection).get(STORE_ID, store_id)
        if found != store_id:
            msg = f"the catalog {catalog.url} is another store's: rebuild into an empty one"
            raise InvalidInputError(msg)
        set_property(connection, STORE_ID, store_id)
        # A new ID, since the lost catalog may be found again and is another one.
        set_property(connection, CATALOG_ID, new_uuid7())
        set_property(connection, STATE, REBUILDING)


def _refuse_repos(connection: Connection, url: str) -> None:
    if connection.execute(select(func.count()).select_from(repos)).scalar_one():
        msg = f"the catalog {url} holds repos already: move it away first, and rebuild into an empty one"
        raise InvalidInputError(msg)


def rebuild_catalog(
    objects: ObjectStore,
    catalog: Catalog,
    now: datetime,
    *,
    listing: BeaconListing,
    progress: Callable[[int], None] | None = None,
) -> RebuildReport:
    """Fill an empty catalog from the packs: names, commits, lineage, the chunk index.

    All or nothing: a crash leaves the catalog as `begin_rebuild` made it. Cursors and due keys of subscriptions are not
    in the packs: consumers start again, from the beginning by default. Every intact frame of a damaged pack is used: a
    pack with a lost end keeps the commits before it.

    Args:
        catalog: A catalog with the tables of the newest revision, and no repo.
        listing: The listing before this call. Its beacons name acknowledged commits and entries; the report lists
            those that no pack holds. Its owner decides whether anything may be written to the store.
        progress: Called with the number of packs that were read.

    Raises:
        InvalidInputError: The catalog already holds repos. Rebuild into an empty one.
        StorageError: The objects or the catalog failed. Call again.

    Cost: 1 LIST for each 1,000 packs. Each pack takes 1 HEAD and 2 to 4 GETs. A damaged pack is read whole by 1 GET.
        Memory for the commits.
    """
    with catalog.write() as connection:
        # A second rebuild at the same time waits here, and then finds repos.
        connection.execute(select(properties).where(properties.c.name == STATE).with_for_update())
        _refuse_repos(connection, catalog.url)
        beacons = listing.beacons
        contents = read_packs(objects, partial(_enter_pack, connection, now), progress or (lambda _: None))
        if beacons:
            require_packs(objects, contents.infos)
        enter_damages(connection, objects, contents.healed, [info.name for info in contents.infos], now)
        found = find_names(contents, KnownBeside.of(beacons))
        enter_names(connection, found, now)
        index_results(connection, objects)
        index_datums(connection, objects)
        heads = {(repo, name): one.head for repo, of in found.repos.items() for name, one in of.branches.items()}
        parted = describe_lines(found, heads)
        is_owner = may_take_over(connection, catalog, objects, listing)
        held, unheld = settle_lines(connection, objects, found, now, is_owner=is_owner)
        unknown = beacons - known_beacons(connection, beacons)
        connection.execute(delete(properties).where(properties.c.name == STATE))
    named = found.repos.values()
    return RebuildReport(
        repos=sum(repo.deleted_at is None and repo.kind is RepoKind.USER for repo in named),
        branches=sum(len(repo.branches) for repo in named) + len(held),
        tags=sum(len(repo.tags) for repo in named),
        commits=len(found.kept),
        packs=len(contents.infos),
        chunks=contents.chunks,
        unconfirmed=len(contents.records) - len(found.kept),
        damaged=tuple(contents.damaged),
        uncertain=(*found.uncertain, *parted, *_lost(unknown, contents.records), *unheld),
    )


def require_packs(objects: ObjectStore, found: Collection[object]) -> None:
    """Raise if no pack was found although there must be some.

    Raises:
        StorageError: There is no pack. Nothing was changed. Check that the disk of ``packs/`` is mounted.
    """
    if not found:
        msg = f"there is no pack in {objects.url}, although there must be some: the disk of packs/ may be unmounted"
        raise StorageError(msg)


def _enter_pack(connection: Connection, now: datetime, pack: PackInfo, chunks: pa.Table) -> None:
    insert_packs(connection, [pack], now)
    insert_chunks(connection, chunks)


def _lost(unknown: Iterable[Beacon], records: Container[str]) -> list[str]:
    """Return a sentence for each acknowledged commit and entry that no pack holds."""
    gone = (one for one in unknown if one.kind is not BeaconKind.PACK and one.id not in records)
    names = sorted(map(str, gone))
    return [f"{name} was acknowledged, and no pack holds it any more: it is lost" for name in names]
