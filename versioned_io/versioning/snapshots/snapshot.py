"""Reading the files of one commit."""

from collections.abc import Sequence

import pyarrow as pa

from versioned_io.catalog.commits import get_commit
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import CommitId
from versioned_io.platform.forwarding import forward
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.runs.kin import RunHandle
from versioned_io.versioning.runs.run import Run, current_run, take_over
from versioned_io.versioning.snapshots.checking_out import CheckingOut
from versioned_io.versioning.snapshots.commit_tree import CommitTree
from versioned_io.versioning.snapshots.file_versions import FileVersions
from versioned_io.versioning.snapshots.listing import Listing
from versioned_io.versioning.snapshots.reading import Reading


class Snapshot:
    """The files of one commit, which never change; every byte that it returns was verified.

    Reads are recorded in the active run, or in the run that was active when the snapshot was taken. Thread-safe. It
    pickles as its store's address and its commit's ID, with the handle by which the receiver records its reads.
    """

    def __init__(
        self,
        backend: Backend,
        repo: str,
        ref: str,
        commit: Commit | None,
        *,
        is_noted: bool = True,
        run: Run | None = None,
    ) -> None:
        self._backend = backend
        self._tree = CommitTree(backend, repo, ref, commit)
        self._versions = FileVersions(self._tree, run or current_run(), is_noted=is_noted)
        self._listing = Listing(self._tree)
        self._reading = Reading(self._tree, self._versions)
        self._checking_out = CheckingOut(self._tree, self._versions)

    def __repr__(self) -> str:
        return f"Snapshot({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        tree, versions = self._tree, self._versions
        return _restore, (
            self._backend,
            (tree.repo, tree.ref),
            tree.commit_id,
            versions.is_noted,
            versions.hand_over(),
        )

    @property
    def repo(self) -> str:
        """The repo's name."""
        return self._tree.repo

    @property
    def name(self) -> str:
        """The ref that was given, and the commit that it resolved to."""
        return self._tree.name

    @property
    def commit(self) -> Commit:
        """The commit.

        Raises:
            RefNotFoundError: The branch has no commit yet; write to it first.
        """
        return self._tree.commit

    @property
    def is_empty(self) -> bool:
        """Whether there is no file at all."""
        return self._tree.is_empty

    read = forward("_reading", Reading.read)
    open = forward("_reading", Reading.open)
    read_many = forward("_reading", Reading.read_many)
    row = forward("_reading", Reading.row)
    rows = forward("_reading", Reading.rows)
    stat = forward("_listing", Listing.stat)
    exists = forward("_listing", Listing.exists)
    is_directory = forward("_listing", Listing.is_directory)
    list = forward("_listing", Listing.list)
    walk = forward("_listing", Listing.walk)
    batches = forward("_listing", Listing.batches)
    glob = forward("_listing", Listing.glob)
    versions = forward("_versions", FileVersions.versions)
    writer_of = forward("_versions", FileVersions.writer_of)
    checkout = forward("_checking_out", CheckingOut.checkout)


def look_up_rows(snapshot: Snapshot, paths: Sequence[str]) -> pa.Table:
    """Return the rows of those of *paths* that are files, sorted by path; nothing is recorded as read.

    Cost: reads the pages that hold the paths, each once.
    """
    tree = snapshot._tree  # noqa: SLF001 (users have no need for it)
    return tree.settled(lambda: tree.look_up(paths))


def _restore(
    backend: Backend,
    place: tuple[str, str],
    commit_id: CommitId | None,
    is_noted: bool,  # noqa: FBT001 (pickle passes no keywords)
    handle: RunHandle | None = None,
) -> Snapshot:
    """Return the unpickled snapshot of the same commit; its reads are recorded in the run it was pickled in."""
    commit = None
    if commit_id is not None:
        with backend.catalog.ask() as connection:
            commit = get_commit(connection, commit_id)
    run = None if handle is None else take_over(handle)
    return Snapshot(backend, *place, commit, is_noted=is_noted, run=run)
