"""Deleting packs at once, without a grace period, and scanning all remaining packs."""

from collections.abc import Callable, Iterator

from versioned_io.catalog import collection as catalog
from versioned_io.catalog.row_locks import hold_packs
from versioned_io.errors import PackLostError
from versioned_io.maintenance.collection.garbage import mark_store
from versioned_io.maintenance.collection.guard import Guard
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key, parse_pack_key
from versioned_io.storage.objects.probing import store_time
from versioned_io.storage.packs.footer import Footer
from versioned_io.storage.packs.reader import read_footer
from versioned_io.versioning.backend.backend import Backend


def remove_packs(guard: Guard, victims: set[PackName], report: Callable[[str, int], None]) -> list[PackName]:
    """Delete the unreferenced packs among *victims* at once, and return them.

    A pack with an unclear record, which no catalog knows and no journal entry disowns, stays. So do the packs that the
    record's tree references.
    """
    backend = guard.backend
    victims = set(guard.spared(sorted(victims)))
    now = store_time(backend.objects)
    with backend.catalog.write() as connection:
        catalog.condemn_packs(connection, victims, now)
    with backend.catalog.read() as connection:
        seen = [row for row in catalog.list_packs(connection) if row.name in victims]
        records = catalog.record_packs(connection)
        states = catalog.states_of(connection, sorted(victims))
    # The mark begins after the condemnation, so every commit that references one of the packs is already visible.
    alive = records | mark_store(backend, progress=lambda pages: report("mark", pages)).packs
    with backend.catalog.write() as connection:
        hold_packs(connection, victims)
        catalog.revive_packs(connection, victims & alive)
        buried = catalog.bury_packs(connection, [row for row in seen if row.name not in alive])
        orphans = catalog.bury_orphans(connection, [(name, 0) for name in sorted(victims - alive)], now)
    # A purge or a collection died after it changed these rows, and before it deleted the objects. None is referenced.
    left_over = [name for name, state in states.items() if state == catalog.DELETED and name not in alive]
    removed = [*buried, *orphans, *left_over]
    backend.objects.delete([pack_key(name) for name in removed])
    return removed


def read_footers(backend: Backend) -> Iterator[tuple[PackName, Footer]]:
    """Yield every existing pack with its footer."""
    for info in backend.objects.list("packs/"):
        name = parse_pack_key(info.key)
        if name is None:
            continue
        try:
            footer = read_footer(backend.objects, name)
        except PackLostError:
            continue  # collected since it was listed, so nothing is in it any more
        yield name, footer


def still_there(backend: Backend, names: set[PackName]) -> set[PackName]:
    """Return the packs that still exist. Cost: 1 LIST for each 1,000 packs."""
    return names & {parse_pack_key(info.key) for info in backend.objects.list("packs/")}
