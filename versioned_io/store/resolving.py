"""What every part of the front door builds on: the open store, and from text to commits."""

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, resolve_ref
from versioned_io.catalog.values import Commit
from versioned_io.identifiers import is_id
from versioned_io.refs import Ref, parse_commit_ref, parse_ref
from versioned_io.snapshots.snapshot import Snapshot


class Resolving:
    """An open store's parts, and how text becomes commits and snapshots."""

    def __init__(self, url: str, backend: Backend) -> None:
        self._url = url
        self._backend = backend

    def _resolve(self, ref: Ref) -> Commit | None:
        with self._backend.catalog.read() as connection:
            return resolve_ref(connection, ref)

    def _commit(self, ref: str) -> Commit:
        if isinstance(ref, str) and is_id(ref):
            return self._commit_by_id(ref)
        return self._snapshot(parse_commit_ref(ref)).commit

    def _commit_by_id(self, commit_id: str) -> Commit:
        with self._backend.catalog.read() as connection:
            return get_commit(connection, commit_id)

    def _snapshot(self, ref: Ref, *, is_noted: bool = True) -> Snapshot:
        return Snapshot(self._backend, ref.repo, ref.place, self._resolve(ref), is_noted=is_noted)

    def _snapshot_and_path(self, ref: str) -> tuple[Snapshot, str]:
        parsed = parse_ref(ref)
        return self._snapshot(parsed), parsed.path
