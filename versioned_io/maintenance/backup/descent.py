"""A check that the newest backup at a place is from this store's own past, and not from a copy that diverged."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from versioned_io.catalog.knowing import known_commits
from versioned_io.catalog.tables import Timestamp, journal
from versioned_io.errors import InvalidInputError
from versioned_io.maintenance.backup.destination import BackupManifest, TablePart, read_part
from versioned_io.maintenance.backup.table_rows import decode_lines
from versioned_io.model.identifiers import CommitId
from versioned_io.storage.objects.port import ObjectStore

_SHOWN: Final = 3


def refuse_other_line(connection: Connection, dest: ObjectStore, newest: BackupManifest) -> None:
    """Raise unless the catalog has every head and the last journal entry of the newest backup.

    Two stores restored from one backup, or a store and its clone, have the same ID. If both wrote backups to one place,
    the newest backup would belong to one or the other by chance.

    Raises:
        InvalidInputError: A copy of the store made the newest backup, or the catalog is older than the backup. Choose
            another place, or run `versioned recover`.
        IntegrityError: The backup's rows are damaged. Choose another place.

    Cost: 2 GETs; 1 SELECT for each 500 branches, and 1.
    """
    heads = {
        CommitId(head)
        for row in _rows(dest, newest.tables["branches"], ("head_id",))
        if (head := row["head_id"]) is not None
    }
    unknown = [f"commit {one}" for one in sorted(heads - known_commits(connection, sorted(heads)).keys())]
    entries = _rows(dest, newest.tables["journal"], ("sequence", "at"))
    if entries and not _is_known(connection, max(entries, key=lambda row: int(row["sequence"]))):
        unknown.append("an entry of the journal")
    if unknown:
        msg = (
            f"the newest backup at {dest.url} is from a copy of the store, or newer than its catalog "
            f"({', '.join(unknown[:_SHOWN])}): choose another place, or run `versioned recover`"
        )
        raise InvalidInputError(msg)


def _rows(dest: ObjectStore, part: TablePart, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    return [
        {name: value for name, value in zip(part.columns, row, strict=True) if name in columns}
        for row in decode_lines(read_part(dest, part))
    ]


def _is_known(connection: Connection, entry: Mapping[str, Any]) -> bool:
    at = Timestamp().process_result_value(entry["at"], connection.dialect)
    query = select(journal.c.sequence).where(journal.c.sequence == entry["sequence"], journal.c.at == at)
    return connection.execute(query).one_or_none() is not None
