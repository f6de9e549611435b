"""Entering the index of datums again from the datum trees, which are the truth."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.datum_uses import NewDatums, enter_datums, states_without_rows
from versioned_io.errors import IntegrityError
from versioned_io.model.commits import Commit, CommitState
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.processing.datums.datum_changes import confirmed_outputs
from versioned_io.processing.datums.datum_tree import (
    INVALID,
    DatumFacts,
    FileOfDatum,
    name_of,
    place_of,
    read_changed,
    read_datums,
)
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.objects.port import ObjectStore
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import file_rows, lookup_many, scan


@dataclass(frozen=True, slots=True)
class _TreesOfRebuild:
    """Reads the trees of a store whose catalog is being filled."""

    pages: PageSource
    chunks: ChunkReader


def index_datums(connection: Connection, objects: ObjectStore) -> None:
    """Enter the rows of the commits of datums that have none: the contents used, and the outputs confirmed.

    A commit with a damaged tree has no rows, and lineage of its outputs is that of whole commits.

    Cost: 3 SELECTs; for each commit of a repo of datums the pages in which it differs from the one before.
    """
    trees = _TreesOfRebuild(PageSource(objects), ChunkReader(objects))
    for output_id, datums_id in states_without_rows(connection):
        commits = get_commits(connection, [output_id, datums_id])
        output, datums = commits[output_id], commits[datums_id]
        parents = get_commits(connection, [] if datums.parent is None else [datums.parent])
        try:
            new = _new_datums(connection, trees, output, datums, parents.get(datums.parent or CommitId("")))
        except IntegrityError:
            continue  # fsck names its damage
        enter_datums(connection, datums.id, output.id, output.order, new)


def _new_datums(
    connection: Connection, trees: _TreesOfRebuild, output: Commit, datums: Commit, before: Commit | None
) -> NewDatums:
    was = _root(before)
    changed = [one for one in read_changed(trees, was, datums.root) if one.fingerprint != INVALID]
    old = read_datums(trees, was, [place_of(one.key) for one in changed])
    written = {row.path: row for row in file_rows(lookup_many(_root(output), _paths(changed), source=trees.pages))}
    stays = {path: CommitId(row.commit.hex()) for path, row in written.items()}
    inputs = get_commits(connection, sorted({file.commit for one in changed for file in one.files()}))
    read = [(file, name_of(one.key)) for one in changed for file in one.files()]
    uses = [(digest, name) for file, name in read for digest in _contents(trees, inputs, file)]
    return NewDatums(uses, confirmed_outputs(changed, old, stays))


def _paths(changed: list[DatumFacts]) -> list[str]:
    return sorted({path for one in changed for path in one.outputs})


def _contents(trees: _TreesOfRebuild, inputs: Mapping[CommitId, Commit], file: FileOfDatum) -> set[bytes]:
    """Return the digests of a file that was read: of a table datum that of its rows, and those of its files."""
    root = _root(inputs.get(file.commit))
    own = lookup_many(root, [file.path], source=trees.pages).column("digest").to_pylist()
    below = scan(root, f"{file.path}/" if file.path else "", source=trees.pages) if not own else ()
    return {bytes.fromhex(file.digest), *own, *(one for rows in below for one in rows.column("digest").to_pylist())}


def _root(commit: Commit | None) -> PageRef | None:
    return None if commit is None or commit.state is not CommitState.LIVE else commit.root
