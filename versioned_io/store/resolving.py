"""What every part of the front door builds on: the open store, and from text to commits."""

from versioned_io.backend import Backend
from versioned_io.catalog.commits import get_commit, get_commits, resolve_ref
from versioned_io.catalog.values import Commit
from versioned_io.identifiers import is_id
from versioned_io.refs import Ref, parse_commit_ref, parse_ref
from versioned_io.snapshots.snapshot import Snapshot

_ID_LENGTH = 32


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
        return self._snapshot(self._commit_ref(ref)).commit

    def _ref(self, text: str) -> Ref:
        """Return the ref that *text* writes; a whole commit ID needs no repo before it."""
        return parse_ref(self._with_repo(text))

    def _commit_ref(self, text: str) -> Ref:
        return parse_commit_ref(self._with_repo(text))

    def _with_repo(self, text: str) -> str:
        if not isinstance(text, str) or not is_id(text[:_ID_LENGTH]) or text[_ID_LENGTH:][:1] not in "~^:":
            return text
        with self._backend.catalog.read() as connection:
            found = get_commits(connection, [text[:_ID_LENGTH]])
        # A repo may have such a name, too.
        return next((f"{commit.repo}@{text}" for commit in found.values()), text)

    def _commit_by_id(self, commit_id: str) -> Commit:
        with self._backend.catalog.read() as connection:
            return get_commit(connection, commit_id)

    def _snapshot(self, ref: Ref, *, is_noted: bool = True) -> Snapshot:
        return Snapshot(self._backend, ref.repo, ref.place, self._resolve(ref), is_noted=is_noted)

    def _snapshot_and_path(self, ref: str) -> tuple[Snapshot, str]:
        parsed = self._ref(ref)
        return self._snapshot(parsed), parsed.path
