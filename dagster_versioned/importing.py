"""Moving the values of an older IO manager into a store: in bulk, by asset and partition, resumable."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import dagster as dg

import versioned_io as vio
from dagster_versioned import compat_older
from dagster_versioned.branches import ensure_branch
from dagster_versioned.fallback import Fallback, OlderValue
from dagster_versioned.io_manager import VersionedIOManager
from dagster_versioned.partition_keys import as_keys_of
from dagster_versioned.step_io import Place
from dagster_versioned.step_runs import external_inputs
from versioned_io import formats
from versioned_io.errors import ConflictError, InvalidInputError, RefNotFoundError, RepoNotFoundError

AUTHOR = "dagster-import"

Progress = Callable[[str, int], None]
"""Called with an asset's key and the number of its values that are done."""

_VALUES_A_COMMIT = 100
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class AssetImport:
    """The values of one asset.

    Attributes:
        imported: The values that were moved, or that would be in a dry run.
        present: Those that the store had already; they were left as they are.
        missing: Partitions without a value in either place.
    """

    asset: str
    repo: str
    imported: int
    present: int
    missing: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import, asset by asset."""

    assets: tuple[AssetImport, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Asset:
    """An asset whose old values are moved."""

    key: dg.AssetKey
    partitions: dg.PartitionsDefinition[Any] | None
    keys: Sequence[str | None]


def import_definitions(
    location: str,
    *,
    attribute: str | None = None,
    settings: "vio.StoreSettings | None" = None,
    fallback: str | None = None,
    assets: Collection[str] = (),
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Move the old values of a project's assets into the store; the command ``versioned import-dagster`` calls this.

    An asset on a `VersionedIOManager` is moved into that manager's store, from its fallback. An asset on another IO
    manager is moved from that one into the store of *settings*.

    Args:
        location: A Python file, or the name of a module.
        attribute: The name of the definitions in it, if there are several.
        settings: The store for assets that are not on a `VersionedIOManager` yet.
        fallback: Where the old values are, instead of the IO manager's own fallback.
        assets: The keys of the assets, such as ``raw/orders``; all by default.
        dry_run: Count, and move nothing.

    Raises:
        InvalidInputError: The location has no definitions, an asset is unknown, or nothing says where the old values
            or the store are. Nothing was moved.
        ConflictError: Runs stored the same partitions again and again meanwhile. Call again when they have ended.

    Cost: as `import_values`.
    """
    repository = compat_older.load_repository(location, attribute)
    by_key = dict(repository.assets_defs_by_key)
    chosen = [dg.AssetKey.from_user_string(name) for name in assets] or sorted(by_key)
    unknown = [key.to_user_string() for key in chosen if key not in by_key]
    if unknown:
        known = ", ".join(sorted(key.to_user_string() for key in by_key))
        msg = f"{location} has no asset {', '.join(unknown)}; it has {known}"
        raise InvalidInputError(msg)
    done: list[AssetImport] = []
    with compat_older.instance_or_ephemeral() as instance:
        for resource, keys in compat_older.io_managers_of(by_key, chosen).items():
            definitions = {key: by_key[key].specs_by_key[key].partitions_def for key in keys}
            with _manager(repository, resource, instance, settings, fallback) as (manager, older):
                report = import_values(
                    manager, definitions, older=older, instance=instance, dry_run=dry_run, progress=progress
                )
            done += report.assets
    return ImportReport(tuple(done), dry_run)


@contextmanager
def _manager(
    repository: dg.RepositoryDefinition,
    resource: str,
    instance: dg.DagsterInstance,
    settings: "vio.StoreSettings | None",
    fallback: str | None,
) -> Iterator[tuple[VersionedIOManager, Fallback | None]]:
    """Yield the IO manager of the resource, or one that takes its place, and the older one."""
    definition = repository.get_top_level_resources().get(resource, compat_older.stock_io_manager())
    with dg.build_resources({resource: definition}, instance=instance) as resources:
        found = getattr(resources, resource)
        is_moved = isinstance(found, VersionedIOManager)
        if not is_moved and settings is None:
            msg = (
                f"{resource!r} is a {type(found).__name__}, which names no store: "
                "pass --store, or put VersionedIOManager in its place"
            )
            raise InvalidInputError(msg)
        manager = found if is_moved else VersionedIOManager(**_fields(settings))
        if fallback is not None:
            yield manager, Fallback(fallback, s3=manager.s3)
        else:
            yield manager, manager.get_fallback() if is_moved else Fallback(found)


def _fields(settings: "vio.StoreSettings | None") -> dict[str, Any]:
    return {} if settings is None else {"store": settings.store, **settings.options}


def import_values(
    manager: VersionedIOManager,
    partitions: Mapping[dg.AssetKey, dg.PartitionsDefinition[Any] | None],
    *,
    older: Fallback | None = None,
    instance: dg.DagsterInstance | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Move the values of assets from an older IO manager into the store of *manager*.

    A value that the store has is never replaced. So a repeated import continues where the last one was interrupted. One
    beside running steps loses nothing of theirs. Each commit holds up to 100 values of one asset. It records the
    address and the digest of each old value.

    Args:
        partitions: The assets, each with its partitions definition.
        older: Where the values are; by default the fallback of *manager*.
        instance: Knows the keys of dynamic partitions.

    Raises:
        InvalidInputError: The IO manager has no fallback. Nothing was moved.
        ConflictError: Runs stored the same partitions again and again meanwhile. Call again.

    Cost: 1 look-up for each partition, 1 read of each old value, and 1 commit for each 100.
    """
    found = older if older is not None else manager.get_fallback()
    if found is None:
        msg = "nothing says where the old values are: pass --from, or fallback= to VersionedIOManager"
        raise InvalidInputError(msg)
    done = []
    with manager.settings().open(create=not dry_run) as store:
        for key, definition in partitions.items():
            keys: Sequence[str | None] = [None]
            if definition is not None:
                keys = as_keys_of(definition.get_partition_keys(dynamic_partitions_store=instance), definition)
            moving = _Moving(manager, store, found, _Asset(key, definition, keys), instance)
            done.append(moving.run(progress or (lambda _asset, _done: None), dry_run=dry_run))
    return ImportReport(tuple(done), dry_run)


class _Moving:
    """The import of one asset."""

    def __init__(
        self,
        manager: VersionedIOManager,
        store: "vio.Store",
        older: Fallback,
        asset: _Asset,
        instance: dg.DagsterInstance | None,
    ) -> None:
        self._manager = manager
        self._store = store
        self._older = older
        self._asset = asset
        self._whole = compat_older.input_context_of(asset.key, asset.partitions, instance)
        self._place = Place.of_asset(asset.key, asset.keys, repo=manager.repo, prefix=manager.repo_prefix)

    def run(self, progress: Progress, *, dry_run: bool) -> AssetImport:
        """Move the values that the store lacks, or count them."""
        name = self._asset.key.to_user_string()
        imported = present = looked = 0
        keys = iter(self._asset.keys)
        while batch := list(islice(keys, _VALUES_A_COMMIT)):
            there = self._present(batch, self._snapshot())
            lacking = [key for key in batch if key not in there]
            imported += self._count(lacking) if dry_run else self._move(lacking)
            present += len(there)
            looked += len(batch)
            progress(name, looked)
        return AssetImport(name, self._place.repo, imported, present, looked - present - imported)

    def _snapshot(self) -> "vio.Snapshot | None":
        for branch in (self._manager.branch, self._manager.base_branch):
            with suppress(RepoNotFoundError, RefNotFoundError):
                snapshot = self._store.snapshot(f"{self._place.repo}@{branch}")
                _ = snapshot.commit  # raises RefNotFoundError where nothing was committed yet
                return snapshot
        return None

    def _present(self, keys: Sequence[str | None], snapshot: "vio.Snapshot | None") -> set[str | None]:
        """Return the keys that the store has."""
        if snapshot is None:
            return set()
        return {key for key in keys if formats.find_object(snapshot, self._place.stems[key]) is not None}

    def _count(self, keys: Sequence[str | None]) -> int:
        return sum(self._older.has(self._context(key)) for key in keys)

    def _move(self, keys: Sequence[str | None]) -> int:
        """Commit the old values of *keys*, and return how many there were."""
        found = {key: value for key in keys if (value := self._load(key)) is not None}
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._commit(found)
            except ConflictError:  # a run stored one of them meanwhile; the next attempt leaves that one alone
                continue
        return self._commit(found)

    def _commit(self, found: dict[str | None, OlderValue]) -> int:
        if not found:
            return 0
        branch = ensure_branch(self._store, self._place.repo, self._manager.branch, self._manager.base_branch)
        snapshot = self._snapshot()
        there = self._present(list(found), snapshot)
        lacking = {key: one for key, one in found.items() if key not in there}
        if not lacking:
            return 0
        stems = self._place.stems
        older = [replace(one.input, output=stems[key].rpartition("/")[0]) for key, one in lacking.items()]
        with self._store.transaction(
            branch,
            message=f"import from {self._older}",
            author=AUTHOR,
            metadata=external_inputs(older, {one.output: one.output for one in older if one.output}),
        ) as transaction:
            base = None if transaction.base is None else transaction.base.id
            if base != (None if snapshot is None or snapshot.commit is None else snapshot.commit.id):
                raise ConflictError(branch)
            for key, one in lacking.items():
                formats.save_object(transaction, stems[key], one.value)
        return len(lacking)

    def _load(self, key: str | None) -> OlderValue | None:
        try:
            return self._older.load(self._context(key), None)
        except FileNotFoundError:
            return None

    def _context(self, key: str | None) -> dg.InputContext:
        return self._whole if key is None else compat_older.input_of_partition(self._whole, key)
