"""Every repo of one lineage ID as it was then, in one local directory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.model.columns import text_scalar
from versioned_io.model.commits import Commit
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.runs.run import current_run
from versioned_io.versioning.snapshots.checking_out import noted_rows
from versioned_io.versioning.snapshots.checkout import Checkout, CheckoutMode, rows_below
from versioned_io.versioning.snapshots.commit_tree import CommitTree
from versioned_io.versioning.snapshots.file_info import TransferProgress
from versioned_io.versioning.snapshots.file_versions import FileVersions


class Reproduced(NamedTuple):
    """A set of repos that was written to a local directory.

    Attributes:
        files: The number of files that were written.
        commits: The commit of each repo, sorted by repo. Its files are in the sub-directory with the repo's name.
    """

    files: int
    commits: tuple[Commit, ...]


def reproduce(
    backend: Backend,
    commits: list[Commit],
    dest: Path,
    *,
    overwrite: bool,
    mode: CheckoutMode,
    syncs: bool,
    progress: Callable[[TransferProgress], None] | None,
) -> Reproduced:
    """Write the files of some commits of different repos, each below the name of its repo, all or none.

    It is one checkout of all files, so it refuses and replaces what `Snapshot.checkout` does, before it writes a file.
    """
    # In the order of whole paths, in which a repo "a-b" comes before the files of a repo "a".
    ordered = sorted(commits, key=lambda commit: f"{commit.repo}/")
    trees = [CommitTree(backend, commit.repo, commit.id, commit) for commit in ordered]

    def check_out() -> int:
        rows = pa.concat_tables([_rows_of(tree) for tree in trees]).combine_chunks()
        checkout = Checkout(rows, dest, overwrite=overwrite, syncs=syncs)
        is_remote = backend.objects.is_remote or backend.elsewhere.is_remote
        return checkout.run(backend.chunks, mode, is_remote=is_remote, progress=progress)

    call = check_out
    for tree in trees:
        call = partial(tree.settled, call)
    return Reproduced(call(), tuple(sorted(ordered, key=lambda commit: commit.repo)))


def _rows_of(tree: CommitTree) -> pa.Table:
    """Return the rows of a whole tree, with paths below the name of its repo; they count as read."""
    versions = FileVersions(tree, current_run(), is_noted=True)
    rows = rows_below("", noted_rows(tree, versions, "", None))
    paths = pc.binary_join_element_wise(text_scalar(tree.repo), rows.column("path"), text_scalar("/"))
    return rows.set_column(0, rows.schema.field("path"), paths)
