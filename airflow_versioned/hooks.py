"""The hook that opens the store of an Airflow connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook, Context, get_current_context

from airflow_versioned.connections import StoreAddress
from airflow_versioned.runs import open_run
from airflow_versioned.uris import DEFAULT_CONNECTION
from versioned_io.errors import VersionedError

if TYPE_CHECKING:
    from versioned_io import Store


class VersionedHook(BaseHook):
    """Opens the store that a connection of type ``versioned`` names.

    The connection's host is the store's URL. Its password is the catalog's URL: that URL may hold a password, and
    Airflow encrypts and masks this field.

    Args:
        versioned_conn_id: The connection.
        store: The store's URL or absolute path, instead of a connection.
    """

    conn_name_attr = "versioned_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "versioned"
    hook_name = "Versioned store"

    def __init__(self, versioned_conn_id: str = DEFAULT_CONNECTION, *, store: str | None = None) -> None:
        super().__init__()
        self.versioned_conn_id = versioned_conn_id
        self.address = StoreAddress(versioned_conn_id, store)

    def get_store(self) -> "Store":
        """Return the open store; the caller closes it.

        >>> import pathlib
        >>> from airflow_versioned import VersionedHook
        >>> vio.create_store("data").close()
        >>> hook = VersionedHook(store=str(pathlib.Path("data").absolute()))
        >>> with hook.get_store() as store:
        ...     store.create_repo("weather").name
        'weather'

        Raises:
            StoreNotFoundError: There is no store there; make one with ``versioned init``.
            ValueError: The connection is of another type or names no store.
        """
        return self.address.open_store()

    def get_conn(self) -> "Store":
        """Return the open store; Airflow's name for `get_store`."""
        return self.get_store()

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the store opens and its catalog answers, with a sentence that Airflow's button shows.

        >>> import pathlib
        >>> from airflow_versioned import VersionedHook
        >>> vio.create_store("data").close()
        >>> hook = VersionedHook(store=str(pathlib.Path("data").absolute()))
        >>> hook.test_connection()
        (True, 'the store holds 0 repos')
        """
        try:
            with self.get_store() as store:
                repos = len(store.repos())
        except (VersionedError, ValueError, OSError) as error:
            return False, str(error)
        return True, f"the store holds {repos} {'repo' if repos == 1 else 'repos'}"

    @contextmanager
    def run(self, context: Context | None = None) -> "Iterator[Store]":
        """Open the store for a task: its reads are recorded, and its commits inherit lineage and provenance.

        Yields:
            The store; it is closed at the end of the block.
        """
        with self.get_store() as store, open_run(context or get_current_context(), store):
            yield store
