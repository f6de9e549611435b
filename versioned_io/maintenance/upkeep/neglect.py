"""The check for overdue maintenance that opening a store makes."""

from datetime import datetime, timedelta
from typing import Final

from versioned_io.catalog.connect import Catalog
from versioned_io.catalog.overdue import neglected_since
from versioned_io.platform.clock import Clock

OVERDUE_AFTER: Final = timedelta(days=7)
OVERDUE_COMMITS: Final = 5_000
"""Opening a store warns after this many commits without a mark, or this long without maintenance."""


def neglect_of(catalog_of_store: Catalog, clock: Clock) -> str | None:
    """Return a sentence with the command to run if maintenance is overdue, or None. Cost: 1 SELECT."""
    with catalog_of_store.ask(is_one_state=False) as connection:
        since, is_much = neglected_since(connection, OVERDUE_COMMITS)
    return describe_neglect(since, clock(), is_much=is_much)


def describe_neglect(since: datetime | None, now: datetime, *, is_much: bool) -> str | None:
    """Return a sentence with the command to run if maintenance is overdue, or None; see `neglected_since`."""
    is_long = since is not None and since <= now - OVERDUE_AFTER
    if not (is_much or is_long):
        return None
    why = f"{OVERDUE_COMMITS} commits or more wait for it" if is_much else f"nothing was done since {since:%Y-%m-%d}"
    return f"maintenance is overdue ({why}): run `versioned maintain`, best by a schedule"
