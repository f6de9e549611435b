"""The exact change of an output: a datum's new files replace its old ones, and nothing else is touched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from versioned_io.errors import PathClaimedError, PathCollisionError
from versioned_io.model.identifiers import CommitId
from versioned_io.model.paths import parent_directories
from versioned_io.processing.datums.datum_tree import DatumFacts, find_owner
from versioned_io.processing.datums.located import OutputState
from versioned_io.storage.pages.read import FileRow, file_rows, lookup_many, scan
from versioned_io.versioning.backend.backend import Backend


class NewOutputs(NamedTuple):
    """The outputs of one datum, in the packs already."""

    facts: DatumFacts
    files: Mapping[str, FileRow]


@dataclass(frozen=True, slots=True)
class OutputChange:
    """The files to write and to delete on the output branch; empty if it stays as it is.

    Attributes:
        writes: Rows to adopt, by path, where content or attributes differ.
        deletes: Paths of files, sorted.
        writers: The keys of the datums that write, by path.
        stays: The commits that wrote the files that are written as they are, by path.
    """

    writes: Mapping[str, FileRow]
    deletes: Sequence[str]
    writers: Mapping[str, str] = field(default_factory=dict)
    stays: Mapping[str, CommitId] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the output stays as it is."""
        return not (self.writes or self.deletes)


def change_outputs(
    backend: Backend, output: OutputState, new: Sequence[NewOutputs], old: Iterable[DatumFacts]
) -> OutputChange:
    """Return the change that replaces the files of the *old* datums by those of the *new* ones.

    A path may pass from one changed datum to another.

    Args:
        old: The changed and the deleted datums, as they were.

    Raises:
        PathClaimedError: Two datums write one path. Write to paths that depend on the datum.

    Cost: reads the pages of the new and the old paths; in the error path every datum. If the datums have expired, it
        reads every path of the output.
    """
    writers: dict[str, str] = {}
    rows: dict[str, FileRow] = {}
    for one in new:
        for path, row in one.files.items():
            if path in writers:
                raise PathClaimedError(str(output.branch), path, writers[path], one.facts.key)
            writers[path], rows[path] = one.facts.key, row
    root = None if output.head is None else output.head.readable_root
    freed = {path for facts in old for path in facts.outputs}
    if output.is_undescribed:  # all datums are new, so every file there is of none of them
        freed = {path for batch in scan(root, "", source=backend.pages) for path in batch.column("path").to_pylist()}
    there = {row.path: row for row in file_rows(lookup_many(root, [*rows, *freed], source=backend.pages))}
    for path in sorted(rows.keys() & there.keys() - freed):
        owner = find_owner(backend, output.root, path) or ""
        raise PathClaimedError(str(output.branch), path, owner, writers[path])
    _refuse_nested(output, writers)
    writes = {path: row for path, row in rows.items() if path not in there or _differs(row, there[path])}
    stays = {path: CommitId(there[path].commit.hex()) for path in rows.keys() - writes.keys()}
    return OutputChange(writes, sorted((freed & there.keys()) - rows.keys()), writers, stays)


def name_claimants(
    backend: Backend, output: OutputState, change: OutputChange, error: PathCollisionError
) -> PathClaimedError:
    """Return the error that names both datums, where one of them is unchanged.

    Args:
        error: Says which path would be a file and a directory after *change*.

    Cost: reads every datum.
    """
    first, second = (change.writers.get(path) or find_owner(backend, output.root, path) or "" for path in error.args)
    return PathClaimedError(str(output.branch), error.args[0], first, second)


def _differs(row: FileRow, other: FileRow) -> bool:
    return (row.digest, row.attributes) != (other.digest, other.attributes)


def _refuse_nested(output: OutputState, writers: Mapping[str, str]) -> None:
    """Raise if one changed datum writes below a path that another one writes as a file."""
    for path, key in writers.items():
        for above in parent_directories(path):
            if above in writers:
                raise PathClaimedError(str(output.branch), above, writers[above], key)
