"""Walks through the records of a history, which are kept when the data of its commits expires."""

from collections.abc import Iterator

from versioned_io.catalog.commits import history_batch
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.versioning.backend.backend import Backend


def walk(backend: Backend, commit: Commit) -> Iterator[Commit]:
    """Yield *commit* and the commits before it, newest first. Cost: 2 SELECTs for each 200 commits."""
    newest: CommitId | None = commit.id
    after: Commit | None = None
    while newest is not None:
        with backend.catalog.read() as connection:
            batch = history_batch(connection, newest, after=after)
        yield from batch
        after = batch[-1]
        newest = after.parent


def commits_after(backend: Backend, old: Commit | None, head: Commit) -> Iterator[Commit]:
    """Yield the commits of the history of *head* that are not in that of *old*, newest first. Cost: as `walk`."""
    theirs = iter(()) if old is None else walk(backend, old)
    other = next(theirs, None)
    for commit in walk(backend, head):
        while other is not None and other.number > commit.number:
            other = next(theirs, None)
        if other is not None and other.id == commit.id:
            return
        yield commit
