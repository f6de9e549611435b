"""Finding the commits of a history that added, changed or deleted files of a name, a pattern or a content."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.commits import walk_history
from versioned_io.model.commits import Commit, CommitState
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.history.log import diff_trees
from versioned_io.versioning.snapshots.glob import Glob


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a commit added, changed or deleted.

    Attributes:
        change: ``added``, ``modified`` or ``deleted``. If the commits before have expired, a file of the oldest kept
            commit is ``kept``. It may have been written earlier. A commit after a
            gap is compared with the one before the gap. An expired commit may have made the change.
        size, digest: Those of the new content; of a deleted file, of the old one.
    """

    commit: Commit
    path: str
    change: str
    size: int
    digest: str


def find_files(backend: Backend, head: Commit | None, glob: Glob | None, digest: str | None) -> Iterator[FoundFile]:
    """Yield the changes of matching files, newest commit first, and by path in each commit.

    Args:
        glob: Only these paths.
        digest: Only contents whose digest begins with this; also where such a content was replaced or deleted.

    Cost: as `walk_history`, and the pages in which each kept commit differs from the kept one before.
    """
    for commit, older in pairwise(_kept_with_the_end(walk_history(backend.catalog, head))):
        if commit is None:
            return
        is_oldest = older is None and commit.parent is not None
        changes = diff_trees(backend, older, commit)
        for row in _matching(changes, glob, digest).to_pylist():
            side = "old" if row["change"] == "deleted" else "new"
            change = "kept" if is_oldest else row["change"]
            yield FoundFile(commit, row["path"], change, row[f"{side}_size"], row[f"{side}_digest"])


def _kept_with_the_end(commits: Iterator[Commit]) -> Iterator[Commit | None]:
    yield from (commit for commit in commits if commit.state is not CommitState.FORGOTTEN)
    yield None


def _matching(changes: pa.Table, glob: Glob | None, digest: str | None) -> pa.Table:
    found = changes.combine_chunks()
    if glob is not None and found.num_rows:
        found = found.filter(glob.mask(found.column("path").chunk(0))).combine_chunks()
    if digest is not None:
        found = found.filter(pc.or_(_begins(found, "old", digest), _begins(found, "new", digest)))
    return found


def _begins(changes: pa.Table, side: str, digest: str) -> Any:  # noqa: ANN401 (an Arrow array of any kind)
    return pc.fill_null(pc.starts_with(changes.column(f"{side}_digest"), pattern=digest), False)  # noqa: FBT003
