"""The change of a datum tree, and the index rows that follow from it: contents that were used, outputs that stayed."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from versioned_io.model.commits import Confirmation
from versioned_io.model.identifiers import CommitId
from versioned_io.processing.datums.basis import encode_unsettled
from versioned_io.processing.datums.datum_tree import (
    DatumFacts,
    EncodedDatum,
    InputFiles,
    encode_datum,
    encode_output,
    name_of,
    output_place,
    place_of,
)
from versioned_io.processing.inputs.datum_set import DatumFile, DatumSet
from versioned_io.versioning.snapshots.snapshot import Snapshot


class TreeChange(NamedTuple):
    """The rows of a datum tree to write, and the paths of rows to delete."""

    writes: Sequence[EncodedDatum]
    deletes: Sequence[str]


class DatumInputs(NamedTuple):
    """The inputs of a datum, and the commits that they were read from, as `DatumFacts` has them."""

    files: InputFiles
    read_at: tuple[str, ...]


class DatumReads:
    """Tells the inputs of datums, and collects the contents that the datums were made from.

    Attributes:
        uses: Pairs of a content's digest and the name of a datum. A table datum has its rows and its files.
    """

    def __init__(self, datums: DatumSet) -> None:
        self._datums = datums
        self._tables: dict[tuple[Snapshot, str], list[bytes]] = {}
        self.uses: list[tuple[bytes, str]] = []

    def of(self, key: str, row: int) -> DatumInputs:
        """Return the inputs of the datum *key*, which is in a row of the set. Cost: of a table its files, once."""
        files = self._datums.files_of(row)
        name = name_of(key)
        inputs = {of: tuple((file.path, str(file.digest)) for file in some) for of, some in files.items()}
        commits = [file.snapshot.commit.id for some in files.values() for file in some]
        for some in files.values():
            for file in some:
                self.uses += ((digest, name) for digest in self._contents(file))
        return DatumInputs(inputs, tuple(commits[:1] if len(set(commits)) <= 1 else commits))

    def _contents(self, file: DatumFile) -> list[bytes]:
        own = bytes.fromhex(file.digest)
        if file.column is None:
            return [own]
        table = (file.snapshot, file.path)
        if table not in self._tables:
            self._tables[table] = [bytes.fromhex(one.digest) for one in file.snapshot.versions(file.path)]
        return [own, *self._tables[table]]


def change_tree(
    new: Sequence[DatumFacts], unsettled: Sequence[DatumFacts], old: Mapping[str, DatumFacts], gone: Collection[str]
) -> TreeChange:
    """Return the change of a datum tree.

    Args:
        unsettled: The datums without a result, of those that the tree does not name yet.
        old: The changed and the deleted datums as they were, by their paths in the tree.
        gone: The paths of datums to delete.
    """
    had = {path: facts.key for facts in old.values() for path in facts.outputs}
    has = {path: facts.key for facts in new for path in facts.outputs}
    writes = [*map(encode_datum, new), *map(encode_unsettled, unsettled)]
    writes += [encode_output(path, key) for path, key in has.items() if had.get(path) != key]
    return TreeChange(writes, [*gone, *(output_place(path) for path in sorted(had.keys() - has.keys()))])


def confirmed_outputs(
    new: Sequence[DatumFacts], old: Mapping[str, DatumFacts], stays: Mapping[str, CommitId]
) -> list[Confirmation]:
    """Return the outputs that other inputs gave again, with the same bytes.

    Args:
        old: The datums as they were, by their paths in the tree.
        stays: The commits that wrote the outputs that stay, by path.
    """
    found = []
    for facts in new:
        before = old.get(place_of(facts.key))
        if before is None or before.inputs != facts.inputs:
            found += [Confirmation(path, stays[path]) for path in facts.outputs if path in stays]
    return found
