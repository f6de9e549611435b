"""Connections to the catalog: transactions, durability settings, and translation of database errors."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Protocol

from versioned_io.catalog.database import Database, database_of
from versioned_io.catalog.plain import about_full_disk
from versioned_io.catalog.read_only import FileState, state_of
from versioned_io.errors import (
    OutcomeUnknownError,
    StorageError,
    VersionedError,
)
from versioned_io.model.withholding import withhold_in_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

    from versioned_io.catalog.forking import ConnectionGate
    from versioned_io.catalog.plain import AnyConnection
    from versioned_io.catalog.replies import Pending
    from versioned_io.model.beacons import Beacon
    from versioned_io.platform.process import HomeProcess


class Visit(Protocol):
    """The watch's part in one writing transaction."""

    def check(self, connection: AnyConnection, *, is_writing: bool) -> None:
        """Raise if the catalog, in the state that *connection* sees, must not be written to."""
        ...

    def end(self, made: list[Beacon]) -> None:
        """Register the rows that the transaction, which is durable now, has made, in order; never fails."""
        ...


class Watch(Protocol):
    """A check before every writing transaction of an open store that its catalog may be written to."""

    @property
    def is_suspicious(self) -> bool:
        """Whether the last check found that nothing may be written."""
        ...

    def may_refuse(self) -> bool:
        """Return whether the owner may be another catalog. Cost: in a directory 1 listing, else nothing."""
        ...

    def begin(self, *, afresh: bool = False) -> Visit:
        """Begin to follow a transaction, before it waits for the write lock; *afresh* ignores earlier listings."""
        ...

    def note_seen(self, connection: AnyConnection, name: str, commit: str) -> None:
        """Record that *name* points at *commit*; raise if *connection* lacks the commit that it pointed at before."""
        ...

    def look_again(self, connection: AnyConnection) -> None:
        """List the beacons again; raise if *connection* lacks an acknowledged row, or one that was read before."""
        ...

    def close(self) -> None:
        """Finish the work in the background."""
        ...


@dataclass(frozen=True, slots=True)
class Catalog:
    """The catalog of one store, ready for use by several threads.

    Attributes:
        gate: The gate for each use of a connection, so that a ``fork()`` finds none in use.
        read_only: The SQLite file, if it is not writable.
        watch: The check before each writing transaction, which also registers its rows; None while a catalog is
            created, rebuilt or upgraded.
    """

    database: Database
    gate: ConnectionGate = field(repr=False, compare=False)
    read_only: Path | None = None
    watch: Watch | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, without the password, and without the options, which may hold one too."""
        return self.database.shown_url

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine, created when it is first needed; from then on it serves every question."""
        return self.database.engine

    @contextmanager
    def ask(self, *, is_one_state: bool = True) -> Iterator[AnyConnection]:
        """Yield a connection for questions in plain SQL; SQLite answers them without SQLAlchemy.

        Args:
            is_one_state: Whether all questions must see the same state, as in `read`; otherwise as in `look_up`.

        Raises:
            StorageError: As for `read`.
        """
        plain = self.database.plain
        if plain is None:
            with self.read() if is_one_state else self.look_up() as connection:
                yield connection
            return
        with self.gate.use(), _unchanged(self), _translated_of_driver(self), plain.connect() as alone:
            yield alone

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one consistent state of the catalog.

        Raises:
            StorageError: The catalog is unreachable or failed. Nothing was changed, so try again.
        """
        from versioned_io.catalog.translating import translated

        engine = self.engine
        with (
            self.gate.use(),
            _unchanged(self),
            translated(engine, self.url),
            engine.connect().execution_options(**self._one_state) as connection,
        ):
            yield connection

    @contextmanager
    def look_up(self) -> Iterator[Connection]:
        """Yield a connection for a single statement, or for several that need not see the same state.

        Raises:
            StorageError: As for `read`.

        Cost: only the statements; on PostgreSQL `read` also begins and ends a transaction.
        """
        if self.database.is_sqlite:
            with self.read() as connection:
                yield connection
            return
        from versioned_io.catalog.translating import translated

        with (
            self.gate.use(),
            translated(self.engine, self.url),
            self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose changes become durable together at the end, or not at all on an exception.

        On SQLite the write lock is taken at once, so rows that are read in the transaction can't change before it ends.
        If the reply to COMMIT is lost, the outcome is queried on another connection after the transaction has ended. A
        committed transaction is a success, and any other a failure. If the transaction is known not to be committed,
        the functions registered by `note_undo` run.

        Raises:
            StorageError: The catalog is unreachable or failed, or this user may not write to it. Nothing was changed.
            OutcomeUnknownError: The connection broke during COMMIT, and the outcome can't be queried. Check whether it
                was committed before you try again.
            CatalogOlderError: The catalog lacks acknowledged rows. Nothing was written. Run `versioned recover`.
            NotOwnerError: Another catalog owns the store. Nothing was written. Use that one, or run `versioned adopt`.

        Cost: the statements, and the cost of `CatalogWatch`. On PostgreSQL 1 SELECT more, unless `note_evidence` gave
            evidence that waits.
        """
        if self.read_only is not None:
            msg = f"the store can be read but not changed here: this user may not write to its catalog {self.url}"
            raise StorageError(msg)
        from versioned_io.catalog.noting import NOTED, UNDONE

        visit = None if self.watch is None else self.watch.begin()
        made: list[Beacon] = []
        undone: list[Callable[[Connection], None]] = []
        try:
            with self._transaction(visit, {NOTED: made, UNDONE: undone}) as connection:
                yield connection
        except OutcomeUnknownError:
            raise
        except Exception:
            self.undo(*undone)
            raise
        if visit is not None:
            visit.end(made)

    @contextmanager
    def _transaction(self, visit: Visit | None, notes: Mapping[str, object]) -> Iterator[Connection]:
        from sqlalchemy.exc import DBAPIError

        from versioned_io.catalog.replies import about_to_commit, forget_evidence, was_refused
        from versioned_io.catalog.translating import translated

        engine = self.engine
        with self.gate.use(), self.gate.turns, translated(engine, self.url), self._as_writing():
            pending: Pending | None = None
            lost: DBAPIError | None = None
            with engine.connect().execution_options(takes_write_lock=True, **notes) as connection:
                forget_evidence(connection)
                try:
                    with connection.begin():
                        if visit is not None:
                            visit.check(connection, is_writing=True)
                        yield connection
                        pending = about_to_commit(connection)
                except DBAPIError as error:
                    if pending is None or was_refused(error):
                        raise
                    lost = error
                    connection.invalidate(error)
            if pending is not None and lost is not None and not self._was_committed(pending):
                raise lost

    def undo(self, *steps: Callable[[Connection], None]) -> None:
        """Run *steps*, which undo the traces of a write that was not committed, in one transaction; never fails.

        Cost: 1 SQL transaction, none for no *steps*.
        """
        if not steps or self.is_writing_here:
            return
        # An error here is dropped, since the caller raises the error of the write.
        with suppress(VersionedError), self.write() as connection:
            for step in steps:
                step(connection)

    def _was_committed(self, pending: Pending) -> bool:
        from versioned_io.catalog.replies import OutcomeNotFoundError, was_committed

        try:
            return was_committed(self.engine, pending)
        except OutcomeNotFoundError as error:
            raise OutcomeUnknownError(self.url, str(error)) from error

    def require_writable(self, *, afresh: bool = True) -> None:
        """Raise the errors of the next writing transaction now, before anything is uploaded or deleted.

        Args:
            afresh: Check now; otherwise check only if the last check found a problem.

        Raises:
            CatalogOlderError, NotOwnerError: As for `write`.

        Cost: none, or that of a `write` without statements.
        """
        if self.watch is None or not (afresh or self.watch.is_suspicious):
            return
        visit = self.watch.begin(afresh=afresh)
        with self.ask(is_one_state=False) as connection:
            visit.check(connection, is_writing=False)

    def refuse_before_storing(self) -> None:
        """Raise what the next writing transaction would if the owner changed, before a record is stored for it.

        The record would stay in a pack that no catalog knows, and only a person can tell that it is nobody's.

        Raises:
            CatalogOlderError, NotOwnerError: As `write`.

        Cost: in a directory 1 listing; where the owner object is another one, as of a `write` without statements.
        """
        if self.watch is not None and self.watch.may_refuse():
            self.require_writable()

    @property
    def is_writing_here(self) -> bool:
        """Whether this thread is in `write`; on SQLite a nested `write` would deadlock."""
        return get_ident() in self.gate.writing

    @contextmanager
    def _as_writing(self) -> Iterator[None]:
        thread = get_ident()
        self.gate.writing.add(thread)
        try:
            yield
        finally:
            self.gate.writing.discard(thread)

    def note_seen(self, connection: AnyConnection, name: str, commit: str) -> None:
        """Record that *name*, a branch or a tag, points at *commit*.

        Raises:
            CatalogOlderError: The catalog lacks the commit that the name pointed at before. Run `versioned recover`.

        Cost: none if the name has not moved; otherwise 1 SELECT.
        """
        if self.watch is not None:
            self.watch.note_seen(connection, name, commit)

    def refuse_older(self, connection: AnyConnection) -> None:
        """Raise if the catalog is older than the packs. Call this when a name or a commit was not found.

        Raises:
            CatalogOlderError: The catalog lacks acknowledged rows. Run `versioned recover`.

        Cost: 1 LIST, 1 SELECT.
        """
        if self.watch is not None:
            self.watch.look_again(connection)

    @property
    def is_missing(self) -> bool:
        """Whether the catalog is a missing SQLite file, which connecting would create."""
        return self.database.file is not None and not self.database.file.exists()

    @property
    def _one_state(self) -> dict[str, str]:
        # By default each statement on PostgreSQL sees a newer state. A transaction on SQLite always sees one state.
        return {} if self.database.is_sqlite else {"isolation_level": "REPEATABLE READ"}

    def close(self) -> None:
        """Close every idle connection; a later call opens new ones."""
        if self.watch is not None:
            self.watch.close()
        self.database.close()


def connect_catalog(url: str | Path | URL, *, home: HomeProcess | None = None) -> Catalog:
    """Return the catalog at *url*, without reading from it.

    SQLite runs in WAL mode with ``synchronous=FULL``, so an acknowledged commit survives a power failure. A SQLite file
    that this user can't write to is opened read-only.

    Args:
        url: A SQLAlchemy URL, or the path of a SQLite file.
        home: The only process that has the store's objects, for a store in memory; None if other processes can use it.

    Raises:
        InvalidInputError: *url* is not a SQLAlchemy URL, or its driver is not installed (``pip install
            'versioned-io[postgres]'`` for PostgreSQL).
    """
    database = database_of(url, home)
    return Catalog(database, database.gate, database.file if database.is_read_only else None)


@contextmanager
def _unchanged(catalog: Catalog) -> Iterator[None]:
    """Raise if the file has changed during a read without locks.

    Raises:
        StorageError: The file changed meanwhile. Read again.
    """
    path = catalog.read_only
    if path is None:
        yield
        return
    before = _state(catalog.url, path)
    failure: StorageError | None = None
    try:
        yield
    except StorageError as error:
        failure = error  # a read that mixes two states may look like damage
    if _state(catalog.url, path) != before:
        msg = f"the catalog {catalog.url} was written to while it was read without the right to lock it: try again"
        raise StorageError(msg) from failure
    if failure is not None:
        raise failure


def _state(url: str, path: Path) -> FileState:
    try:
        return state_of(path)
    except OSError as error:
        msg = f"the catalog {url} failed: {error.strerror}"
        raise StorageError(msg) from error


@contextmanager
def _translated_of_driver(catalog: Catalog) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        words = withhold_in_text(" ".join(str(error).split()))
        hint = about_full_disk(error, str(catalog.database.file))
        msg = f"the catalog {catalog.url} failed: {words}{hint}"
        raise StorageError(msg) from None
