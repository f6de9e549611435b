"""The front door: one open store, and every call on it. It delegates and decides nothing."""

from types import TracebackType
from typing import Self

from versioned_io.platform.forwarding import forward
from versioned_io.store.computing import Computing
from versioned_io.store.files import Files
from versioned_io.store.history import History
from versioned_io.store.lineage import Lineage
from versioned_io.store.maintenance import Maintenance
from versioned_io.store.merging import Merging
from versioned_io.store.names import Names
from versioned_io.store.resolving import Resolver
from versioned_io.store.selected import Inputs
from versioned_io.store.triggering import Triggering
from versioned_io.versioning.backend.backend import Backend


class Store:
    """Versioned repos over one object store and one catalog. Thread-safe; made by `open_store` and `create_store`.

    It pickles as its address with the options that are not secret. The process that unpickles it opens the store, and
    finds passwords and keys in its own environment. A child made by ``fork()`` keeps using the inherited store.

    Each `Cost:` counts requests and statements with an empty cache, on SQLite; a test counts them, too. An *SQL
    transaction* is one that writes. Besides what is counted, it reads and replaces some beacons; see `CatalogWatch`.
    """

    def __init__(self, url: str, backend: Backend, *, warning: str | None = None) -> None:
        self._url = url
        self._backend = backend
        self._warning = warning
        resolver = Resolver(backend)
        self._names = Names(backend, resolver)
        self._files = Files(backend, resolver)
        self._history = History(backend, resolver)
        self._merging = Merging(backend, resolver)
        self._inputs = Inputs(backend, resolver)
        self._lineage = Lineage(backend, resolver)
        self._computing = Computing(backend, resolver)
        self._triggering = Triggering(backend)
        self._maintenance = Maintenance(backend, warning)

    def __repr__(self) -> str:
        return f"Store({self._url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self._backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._url

    @property
    def warning(self) -> str | None:
        """The fault that was found when the store was opened, as one sentence; None if there was none.

        Such a store can be read, and every write raises an error with the same text.
        """
        return self._warning

    def close(self) -> None:
        """Close the connections to the catalog; a later call opens new ones.

        >>> store.close()
        >>> store.repo("weather").name
        'weather'
        """
        self._backend.catalog.close()

    create_repo = forward("_names", Names.create_repo)
    delete_repo = forward("_names", Names.delete_repo)
    rename_repo = forward("_names", Names.rename_repo)
    restore_repo = forward("_names", Names.restore_repo)
    repo = forward("_names", Names.repo)
    repos = forward("_names", Names.repos)
    branches = forward("_names", Names.branches)
    create_branch = forward("_names", Names.create_branch)
    create_tag = forward("_names", Names.create_tag)
    delete_branch = forward("_names", Names.delete_branch)
    rename_branch = forward("_names", Names.rename_branch)
    protect_branch = forward("_names", Names.protect_branch)
    tags = forward("_names", Names.tags)
    delete_tag = forward("_names", Names.delete_tag)
    reset = forward("_names", Names.reset)
    drop = forward("_names", Names.drop)
    reflog = forward("_names", Names.reflog)
    retention = forward("_names", Names.retention)
    set_retention = forward("_names", Names.set_retention)

    transaction = forward("_files", Files.transaction)
    after_commit = forward("_files", Files.after_commit)
    snapshot = forward("_files", Files.snapshot)

    commit = forward("_history", History.commit)
    log = forward("_history", History.log)
    find = forward("_history", History.find)
    short_ids = forward("_history", History.short_ids)
    diff = forward("_history", History.diff)
    diff_data = forward("_history", History.diff_data)
    affected = forward("_history", History.affected)
    changes = forward("_history", History.changes)
    hold_cursor = forward("_history", History.hold_cursor)
    subscription = forward("_history", History.subscription)
    relay = forward("_history", History.relay)
    watch = forward("_history", History.watch)
    subscriptions = forward("_history", History.subscriptions)
    due = forward("_history", History.due)

    trigger = forward("_triggering", Triggering.trigger)
    triggers = forward("_triggering", Triggering.triggers)
    delete_trigger = forward("_triggering", Triggering.delete_trigger)
    run_triggers = forward("_triggering", Triggering.run_triggers)
    follow_triggers = forward("_triggering", Triggering.follow_triggers)

    merge = forward("_merging", Merging.merge)
    foresee_merge = forward("_merging", Merging.foresee_merge)
    cherry_pick = forward("_merging", Merging.cherry_pick)
    revert = forward("_merging", Merging.revert)
    squash = forward("_merging", Merging.squash)

    inputs = forward("_inputs", Inputs.inputs)

    run = forward("_lineage", Lineage.run)
    lineage = forward("_lineage", Lineage.lineage)
    lineage_graph = forward("_lineage", Lineage.lineage_graph)
    export_lineage = forward("_lineage", Lineage.export_lineage)
    checkout_lineage = forward("_lineage", Lineage.checkout_lineage)
    run_of = forward("_lineage", Lineage.run_of)
    upstream = forward("_lineage", Lineage.upstream)
    downstream = forward("_lineage", Lineage.downstream)

    pipeline = forward("_computing", Computing.pipeline)
    rerun = forward("_computing", Computing.rerun)
    forget = forward("_computing", Computing.forget)
    pipelines = forward("_computing", Computing.pipelines)
    load_pipeline = forward("_computing", Computing.load_pipeline)

    status = forward("_maintenance", Maintenance.status)
    fsck = forward("_maintenance", Maintenance.fsck)
    backup = forward("_maintenance", Maintenance.backup)
    stats = forward("_maintenance", Maintenance.stats)
    gc = forward("_maintenance", Maintenance.gc)
    maintain = forward("_maintenance", Maintenance.maintain)
    maintenance_status = forward("_maintenance", Maintenance.maintenance_status)
    compact = forward("_maintenance", Maintenance.compact)
    evict_results = forward("_maintenance", Maintenance.evict_results)
    purge = forward("_maintenance", Maintenance.purge)
    purge_glob = forward("_maintenance", Maintenance.purge_glob)
    redact = forward("_maintenance", Maintenance.redact)


def _restore(kind: type[Store], backend: Backend) -> Store:
    """Return the store that was pickled, opened in this process."""
    return kind(backend.objects.url, backend)
