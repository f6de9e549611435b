"""From text to commits and snapshots: the first step of most calls of the front door."""

from typing import TYPE_CHECKING

from versioned_io.catalog.commits import get_commit, get_commits
from versioned_io.catalog.ref_resolution import resolve_watched
from versioned_io.errors import CommitNotFoundError
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import is_id
from versioned_io.model.refs import Ref, parse_commit_ref, parse_ref
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.snapshot import Snapshot


_ID_LENGTH = 32


class Resolver:
    """Finds the commits and snapshots that text names."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def resolve(self, ref: Ref) -> Commit | None:
        """Return the commit that *ref* names; None for a branch without a commit."""
        return resolve_watched(self._backend.catalog, ref, self._backend.clock())

    def commit(self, text: str) -> Commit:
        """Return the commit that *text* names or is the ID of."""
        if isinstance(text, str) and is_id(text):
            return self.commit_by_id(text)
        return self.snapshot(self.parse_commit(text)).commit

    def commit_by_id(self, commit_id: str) -> Commit:
        """Return the commit of an ID."""
        with self._backend.catalog.ask() as connection:
            try:
                return get_commit(connection, commit_id)
            except CommitNotFoundError:
                self._backend.catalog.refuse_older(connection)
                raise

    def snapshot(self, ref: Ref, *, is_noted: bool = True) -> "Snapshot":
        """Return the read view of the commit that *ref* names."""
        from versioned_io.versioning.snapshots.snapshot import Snapshot

        return Snapshot(self._backend, ref.repo, ref.place, self.resolve(ref), is_noted=is_noted)

    def snapshot_and_path(self, text: str) -> "tuple[Snapshot, str]":
        """Return the snapshot, and the path in it, that ``repo@ref:path`` names."""
        parsed = self.parse(text)
        return self.snapshot(parsed), parsed.path

    def parse(self, text: str) -> Ref:
        """Return the ref that *text* writes; a whole commit ID needs no repo before it."""
        return parse_ref(self._with_repo(text))

    def parse_commit(self, text: str) -> Ref:
        """Return the ref that *text* writes, which has no path."""
        return parse_commit_ref(self._with_repo(text))

    def _with_repo(self, text: str) -> str:
        if not isinstance(text, str) or not is_id(text[:_ID_LENGTH]) or text[_ID_LENGTH:][:1] not in "~^:":
            return text
        with self._backend.catalog.ask() as connection:
            found = get_commits(connection, [text[:_ID_LENGTH]])
        # A repo may have such a name, too.
        return next((f"{commit.repo}@{text}" for commit in found.values()), text)
