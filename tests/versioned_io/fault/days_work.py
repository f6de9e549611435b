"""A day's work on a store in steps, of which any may be failed, and copies of the store as each step finds it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import versioned_io as vio
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.store import Store

_NOW = timedelta(0)


def commit(store, change, branch="data@main"):
    with store.transaction(branch) as tx:
        change(tx)


def in_two_repos(tx):
    tx.write("both", b"1")
    tx.branch("other@main").copy("data@main:kept", to="copied")


@dataclass(frozen=True)
class Step:
    """One step; *recognises* says whether it finds out, on every catalog, that a COMMIT without a reply was made."""

    work: Callable
    recognises: bool = True

    def __call__(self, store):
        self.work(store)


def _commits(change, branch="data@main"):
    return Step(lambda store: commit(store, change, branch))


STEPS = [
    Step(lambda store: store.create_repo("data")),
    Step(lambda store: store.create_repo("other")),
    _commits(lambda tx: [tx.write(path, b"1" * 40) for path in ("kept", "gone/x", "moved")]),
    _commits(lambda tx: tx.write("kept", b"2", append=True)),
    Step(lambda store: store.create_branch("data@dev", at="data@main")),
    Step(lambda store: store.create_tag("data@v1", at="data@main")),
    _commits(lambda tx: tx.copy("data@v1:moved", to="copy")),
    _commits(lambda tx: tx.move("moved", "there/moved")),
    _commits(lambda tx: tx.delete("gone/")),
    _commits(lambda tx: tx.write("dev", b"1"), "data@dev"),
    _commits(in_two_repos),
    Step(lambda store: store.delete_branch("data@dev")),
    # These change no name: done again, they go on.
    Step(lambda store: store.compact(small_bytes=1 << 20), recognises=False),
    Step(lambda store: store.gc(grace=_NOW, expire=_NOW), recognises=False),
    Step(lambda store: store.gc(grace=_NOW, expire=_NOW), recognises=False),
]


def state(store):
    """Return all that the names of a store lead to."""
    found = {}
    for repo in store.repos():
        places = [branch.name for branch in repo.branches] + list(store.tags(repo.name))
        for place in places:
            snapshot = store.snapshot(f"{repo.name}@{place}")
            found[repo.name, place] = {file.path: snapshot.read(file.path) for file in snapshot.walk()}
    return found


def over(store, objects):
    """Return the same store over other objects, with empty caches, so that what is read is really read."""
    fresh = {"pages": PageSource(objects), "chunks": ChunkReader(objects)}
    return Store(store.url, replace(store._backend, objects=objects, **fresh))


class Databases:
    """Databases on a PostgreSQL server that are copied as SQLite's files are."""

    def __init__(self, server, prefix):
        self._server, self._prefix = server, prefix

    def _run(self, command):
        import psycopg  # where the core is alone there is none

        with psycopg.connect(self._server.url("postgres"), autocommit=True) as connection:
            connection.execute(command)

    def create(self, name, template=None):
        source = f" TEMPLATE {self._prefix}_{template}" if template else ""
        self._run(f"CREATE DATABASE {self._prefix}_{name}{source}")
        return self._server.url(f"{self._prefix}_{name}", driver="psycopg")

    def drop(self, name):
        self._run(f"DROP DATABASE {self._prefix}_{name} WITH (FORCE)")


@dataclass(frozen=True)
class Place:
    """Where a store is that nobody has open."""

    directory: Path
    catalog: str | None = None

    def open(self):
        return vio.open_store(self.directory, catalog=self.catalog)


class Mornings:
    """The store as each step finds it, and as the last one leaves it, with what its names lead to."""

    def __init__(self, directory, databases=None):
        self._directory, self._databases, self._copies = directory, databases, count()
        self.states = []
        first = Place(directory / "0", databases.create("0") if databases else None)
        with vio.create_store(first.directory, catalog=first.catalog) as store:
            self.states.append(state(store))
        for number, step in enumerate(STEPS, 1):
            with self.copy(number - 1, str(number)).open() as store:
                step(store)
                self.states.append(state(store))

    def copy(self, number, name=None):
        """Return a copy of the store before step *number*, counted from 0."""
        name = name or f"copy_{next(self._copies)}"
        directory = shutil.copytree(self._directory / str(number), self._directory / name)
        return Place(directory, self._databases.create(name, str(number)) if self._databases else None)

    def remove(self, place):
        shutil.rmtree(place.directory)
        if self._databases:
            self._databases.drop(place.directory.name)
