"""A check whether a run made the same files from other inputs than lineage records, so that a commit is needed.

Source: docs/design/0012-lineage-answers.md, "Made or confirmed".
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.confirming import with_confirmations
from versioned_io.catalog.lineage import inputs_of
from versioned_io.model.commits import Commit, Confirmation, InputFile
from versioned_io.model.identifiers import CommitId, Digest


def comes_from_elsewhere(
    connection: Connection,
    head: Commit,
    confirmed: Sequence[Confirmation],
    inputs: Sequence[InputFile],
    provenance: Collection[CommitId],
) -> bool:
    """Return whether a run has other sources than lineage records for the unchanged files *confirmed*.

    A file's own earlier version is not a source here. Otherwise a run that reads its last result would have new
    sources each time.

    Args:
        inputs: The files that the run has read, with their confirmations.

    Cost: none if the run has read nothing; otherwise that of `with_confirmations`, and 3 SELECTs for each 500 commits
        that made one of the files.
    """
    if not provenance or not confirmed:
        return False
    own = {(head.repo, one.path) for one in confirmed}
    asked = [InputFile(head.repo, head.id, one.path, Digest(""), one.written_by) for one in confirmed]
    makers = sorted({one.made_by for one in with_confirmations(connection, asked)})
    told: dict[CommitId, list[InputFile]] = {maker: [] for maker in makers}
    for use in inputs_of(connection, makers):
        told[use.consumer].append(use.file)
    new = _sources(inputs, provenance, own, head.id)
    commits = get_commits(connection, makers)
    return any(_sources(told[maker], commits[maker].provenance, own, commits[maker].parent) != new for maker in makers)


def _sources(
    inputs: Sequence[InputFile],
    provenance: Collection[CommitId],
    own: Collection[tuple[str, str]],
    parent: CommitId | None,
) -> frozenset[InputFile | CommitId]:
    """Return the versions of files that were read, from any commit, and the commits that were read as a whole."""
    whole = {*provenance} - {one.commit for one in inputs} - {parent}
    files = {replace(one, commit=one.made_by) for one in inputs if (one.repo, one.path) not in own}
    return frozenset({*whole, *files})
