"""The commit record: all that is known of a commit, as JSON in its pack, from which a lost catalog is rebuilt."""

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from versioned_io.catalog.values import Commit, CommitStats, InputFile, RunInfo
from versioned_io.errors import FormatError
from versioned_io.identifiers import CommitId, LineageId
from versioned_io.pages.schema import PageRef

RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A commit and the files that it was made from.

    Attributes:
        idempotency_key: What a retry of its transaction is recognised by.
        replaces: Earlier attempts of the same transaction, whose records lie in packs but which no branch took.
    """

    commit: Commit
    inputs: tuple[InputFile, ...]
    idempotency_key: str | None = None
    replaces: tuple[CommitId, ...] = ()


def encode_record(record: CommitRecord) -> bytes:
    """Return *record* as canonical JSON: keys sorted, no spaces, UTF-8.

    Source: docs/spec/format-v1.md, "Commit record".
    """
    root, touched = record.commit.root, record.commit.touched
    fields = {
        **record.commit.to_json(),
        "format": RECORD_FORMAT,
        "root": None if root is None else root.to_json(),
        "touched": None if touched is None else b64encode(touched).decode(),
        "inputs": [asdict(file) for file in record.inputs],
        "idempotency_key": record.idempotency_key,
        "replaces": list(record.replaces),
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode_record(payload: bytes) -> CommitRecord:
    """Return the record that `encode_record` wrote.

    Raises:
        FormatError: It was written by a newer version; upgrade.
    """
    fields: dict[str, Any] = json.loads(payload)
    if fields["format"] != RECORD_FORMAT:
        msg = f"a commit record has format {fields['format']}, this version reads {RECORD_FORMAT}: upgrade versioned-io"
        raise FormatError(msg)
    run, root, touched = fields["run"], fields["root"], fields.get("touched")
    commit = Commit(
        id=CommitId(fields["id"]),
        lineage_id=LineageId(fields["lineage_id"]),
        repo=fields["repo"],
        branch=fields["branch"],
        number=fields["number"],
        parent=fields["parent"],
        provenance=tuple(fields["provenance"]),
        message=fields["message"],
        author=fields["author"],
        metadata=fields["metadata"],
        created_at=datetime.fromisoformat(fields["created_at"]),
        run=None if run is None else RunInfo(**run),
        stats=CommitStats(**fields["stats"]),
        root=None if root is None else PageRef.from_json(root),
        merged=fields.get("merged"),
        epoch=fields.get("epoch", 0),
        generation=fields.get("generation", 0),
        touched=None if touched is None else b64decode(touched),
    )
    inputs = tuple(InputFile(**file) for file in fields["inputs"])
    return CommitRecord(commit, inputs, fields.get("idempotency_key"), tuple(fields.get("replaces", ())))
