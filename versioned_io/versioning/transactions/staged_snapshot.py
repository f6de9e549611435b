"""The files of a branch as a transaction would leave them, to be asked about before the commit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import fixed_column, number_column, text_column
from versioned_io.model.commits import Commit
from versioned_io.model.refs import BranchRef
from versioned_io.storage.chunks.chunk_columns import DIGEST_TYPE, TakenFile
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.snapshot import Snapshot, look_up_rows
from versioned_io.versioning.transactions.branch_draft import BranchDraft
from versioned_io.versioning.transactions.staging import StagedFile
from versioned_io.versioning.transactions.transaction import Transaction, draft_of

_LISTED: Final = pa.schema([("path", pa.string()), ("size", pa.int64()), ("digest", DIGEST_TYPE)])


class StagedSnapshot(Snapshot):
    """Reads a branch together with its staged changes. Its commit is that of the branch.

    It answers `batches`, `read` and `is_empty`, which a plan asks. Nothing counts as read.
    """

    def __init__(self, backend: Backend, draft: BranchDraft, head: Commit | None) -> None:
        ref = draft.target.ref
        super().__init__(backend, ref.repo, ref.branch, head, is_noted=False)
        self._backend = backend
        self._base = Snapshot(backend, ref.repo, ref.branch, head, is_noted=False)
        self._draft = draft
        self._staged = dict(draft.staging.below(""))

    @property
    def base(self) -> Snapshot:
        """The branch without the staged changes."""
        return self._base

    @property
    def is_empty(self) -> bool:
        """Whether no file is left."""
        return not any(batch.num_rows for batch in self.batches())

    def changed_paths(self, prefix: str = "") -> list[str]:
        """Return the paths that begin with *prefix* and that are staged to be written or deleted, sorted.

        Cost: the staged changes; of deleted directories the pages.
        """
        deletes = self._draft.staging.deletes
        found = {*self._staged, *(path for path in deletes if path and not path.endswith("/"))}
        for directory in (path for path in deletes if not path or path.endswith("/")):
            for batch in self._base.batches(prefix=directory):
                found.update(batch.column("path").to_pylist())
        return sorted(path for path in found if path.startswith(prefix))

    def batches(self, directory: str = "", *, prefix: str = "") -> Iterator[pa.RecordBatch]:
        """Yield one batch: path, size and digest of the files below *directory*, sorted by path."""
        start = (f"{directory}/" if directory else "") + prefix
        tables = [pa.Table.from_batches([], schema=_LISTED)]
        for batch in self._base.batches(prefix=start):
            rows = pa.table(batch.select(_LISTED.names).columns, schema=_LISTED)
            tables.append(rows.filter(self._remains(rows["path"])))
        staged = {path: file for path, file in sorted(self._staged.items()) if path.startswith(start)}
        tables.append(_as_table(staged))
        yield from pa.concat_tables(tables).sort_by("path").combine_chunks().to_batches()

    def look_up(self, paths: Sequence[str]) -> pa.Table:
        """Return path, size and digest of those of *paths* that are files, sorted by path."""
        wanted = sorted(set(paths))
        staged = {path: self._staged[path] for path in wanted if path in self._staged}
        rows = look_up_rows(self._base, [path for path in wanted if path not in staged])
        rows = rows.select(_LISTED.names).cast(_LISTED)
        return pa.concat_tables([rows.filter(self._remains(rows["path"])), _as_table(staged)]).sort_by("path")

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return *length* bytes of a file from *offset*, or all that follow."""
        file = self._staged.get(path)
        if file is None:
            return self._base.read(path, offset, length)
        content = file.content
        if isinstance(content, TakenFile):
            data = self._draft.intake.read(content)
        else:
            data = self._backend.chunks.read_file(content.chunks)
        return data[offset:] if length is None else data[offset : offset + length]

    def _remains(self, paths: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return which of the branch's files are neither replaced nor deleted."""
        deletes = self._draft.staging.deletes
        goes = pc.is_in(paths, value_set=text_column([*self._staged, *deletes]))
        for directory in (path for path in deletes if not path or path.endswith("/")):
            goes = pc.or_(goes, pc.starts_with(paths, directory))
        return pc.invert(goes)


def staged_snapshots(
    tx: Transaction, head_of: Callable[[BranchRef], Commit | None]
) -> Mapping[BranchRef, StagedSnapshot]:
    """Return the branches of a transaction as it would leave them.

    Args:
        head_of: Returns the head of a branch as it is now, which may be newer than where the transaction began.

    Raises:
        TransactionClosedError: The transaction has ended.
    """
    draft_of(tx).check_open("plan")
    drafts = map(draft_of, tx._branches.values())  # noqa: SLF001 (users ask a pipeline)
    return {
        draft.target.ref: StagedSnapshot(tx._backend, draft, head_of(draft.target.ref))  # noqa: SLF001
        for draft in drafts
    }


def _as_table(files: Mapping[str, StagedFile]) -> pa.Table:
    sizes = number_column([file.size for file in files.values()], pa.int64())
    digests = fixed_column([file.digest for file in files.values()], 32)
    return pa.Table.from_arrays([text_column(list(files)), sizes, digests], schema=_LISTED)
