"""The commit record: all facts of a commit as JSON in its pack, from which a lost catalog can be rebuilt."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from versioned_io.errors import FormatError, IntegrityError, InvalidInputError, RefSyntaxError
from versioned_io.model.commits import (
    Commit,
    CommitStats,
    Confirmation,
    InputFile,
    JSONValue,
    RunInfo,
)
from versioned_io.model.damages import Content, Damaged, Healed
from versioned_io.model.fields import LARGEST_NUMBER, Fields
from versioned_io.model.idempotency import parse_key
from versioned_io.model.identifiers import CommitId, Digest, LineageId, is_id
from versioned_io.model.places import FrameRef, PageRef
from versioned_io.model.refs import parse_recorded_name, parse_ref_name

RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A commit and the files that it was made from.

    Attributes:
        idempotency_key: The key by which a retry of its transaction is recognised.
        confirmed: The files that the commit's run wrote again with the same bytes.
        replaces: Earlier attempts of the same transaction, whose records are in packs but which no branch points at.
        healed: Damaged contents of which this commit stored a repaired copy, with its place.
    """

    commit: Commit
    inputs: tuple[InputFile, ...]
    idempotency_key: str | None = None
    replaces: tuple[CommitId, ...] = ()
    healed: tuple[Healed, ...] = ()
    confirmed: tuple[Confirmation, ...] = ()


def encode_record(record: CommitRecord) -> bytes:
    """Return *record* as canonical JSON: keys sorted, no spaces, UTF-8.

    Raises:
        IntegrityError: Its number or order is larger than a catalog can keep. Run fsck.

    Source: docs/spec/format-v1.md, "Commit record".
    """
    if max(record.commit.number, record.commit.order) > LARGEST_NUMBER:
        msg = f"the commits of {record.commit.repo}@{record.commit.branch} have numbers that no writer gives; run fsck"
        raise IntegrityError(msg)
    root, touched = record.commit.root, record.commit.touched
    fields: dict[str, Any] = {
        **record.commit.to_json(),
        "repo": record.commit.repo_in_packs,
        "format": RECORD_FORMAT,
        "order": record.commit.order,
        "root": None if root is None else root.to_json(),
        "touched": None if touched is None else b64encode(touched).decode(),
        "inputs": [_encode_input(file) for file in record.inputs],
        "idempotency_key": record.idempotency_key,
        "replaces": list(record.replaces),
    }
    if record.healed:
        fields["healed"] = [_encode_healed(one) for one in record.healed]
    if not record.commit.inputs_are_complete:
        fields["inputs_are_complete"] = False
    if record.confirmed:
        fields["confirmed"] = [one._asdict() for one in record.confirmed]
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode_record(payload: bytes) -> CommitRecord:
    """Return the record that `encode_record` encoded; unknown fields are ignored.

    Raises:
        FormatError: A newer version wrote it. Upgrade versioned-io.
        IntegrityError: It is malformed. The message names the field, and the commit if it is known. Run fsck.
    """
    fields = Fields.parse(payload, "a commit record")
    if is_id(fields.values.get("id", "")):
        fields = Fields(fields.values, f"the record of commit {fields.values['id']}")
    if fields.number("format") != RECORD_FORMAT:
        msg = f"{fields.what} has format {fields.number('format')}, this version reads {RECORD_FORMAT}: upgrade"
        raise FormatError(f"{msg} versioned-io")
    inputs = tuple(_decode_input(file) for file in fields.items("inputs"))
    replaces = fields.ids("replaces", is_optional=True)
    confirmed = tuple(
        Confirmation(one.text("path"), CommitId(one.id("written_by")))
        for one in fields.items("confirmed", is_optional=True)
    )
    healed = tuple(_decode_healed(one) for one in (fields.items("healed") if fields.has("healed") else []))
    return CommitRecord(_decode_commit(fields), inputs, _decode_key(fields), replaces, healed, confirmed)


def _encode_input(file: InputFile) -> dict[str, JSONValue]:
    """Return the fields of an input; ``confirmed_by`` is left out if there is none, as for most."""
    fields = asdict(file)
    if file.confirmed_by is None:
        del fields["confirmed_by"]
    return fields


def _decode_commit(fields: Fields) -> Commit:
    run, stats, root = fields.optional_fields("run"), fields.fields("stats"), fields.optional_fields("root")
    return Commit(
        id=CommitId(fields.id("id")),
        lineage_id=LineageId(fields.id("lineage_id")),
        repo=_decode_name(fields, "repo", parse_recorded_name),
        branch=_decode_name(fields, "branch", parse_ref_name),
        number=fields.number("number", least=1),
        parent=fields.optional_id("parent"),
        provenance=fields.ids("provenance"),
        message=fields.text("message"),
        author=fields.text("author"),
        metadata=fields.mapping("metadata"),
        created_at=fields.time("created_at"),
        run=None if run is None else _decode_run(run),
        stats=CommitStats(**{one.name: stats.number(one.name, default=0) for one in dataclass_fields(CommitStats)}),
        root=None if root is None else PageRef.from_json(root.values),
        merged=fields.optional_id("merged"),
        epoch=fields.number("epoch", default=0),
        generation=fields.number("generation", default=0),
        touched=_decode_touched(fields),
        order=fields.number("order", default=0),
        inputs_are_complete=_decode_complete(fields),
    )


def _decode_name(fields: Fields, name: str, parse: Callable[[str], str]) -> str:
    try:
        return parse(fields.text(name))
    except RefSyntaxError:
        fields.refuse(name, f"the name of a {name}")


def _decode_run(fields: Fields) -> RunInfo:
    return RunInfo(
        orchestrator=fields.text("orchestrator"),
        job=fields.text("job"),
        run_id=fields.optional_text("run_id"),
        partition_key=fields.optional_text("partition_key"),
        url=fields.optional_text("url"),
        code_version=fields.optional_text("code_version"),
        git_commit=fields.optional_text("git_commit"),
        params=fields.mapping("params"),
    )


def _decode_input(fields: Fields) -> InputFile:
    return InputFile(
        repo=fields.text("repo"),
        commit=CommitId(fields.id("commit")),
        path=fields.text("path"),
        digest=Digest(fields.digest("digest")),
        written_by=CommitId(fields.id("written_by")),
        output=fields.text("output", default=""),
        confirmed_by=fields.optional_id("confirmed_by"),
    )


def _decode_complete(fields: Fields) -> bool:
    value = fields.values.get("inputs_are_complete", True)
    if not isinstance(value, bool):
        fields.refuse("inputs_are_complete", "true or false")
    return value


def _decode_touched(fields: Fields) -> bytes | None:
    text = fields.optional_text("touched")
    try:
        return None if text is None else b64decode(text, validate=True)
    except ValueError:
        fields.refuse("touched", "base64")


def _decode_key(fields: Fields) -> str | None:
    try:
        return parse_key(fields.optional_text("idempotency_key"))
    except InvalidInputError:
        fields.refuse("idempotency_key", "a key of 1 to 250 printable characters")


def _encode_healed(one: Healed) -> dict[str, object]:
    damaged, content, frame = one.damaged, one.damaged.content, one.frame
    return {
        "digest": content.digest.hex(),
        "pack": damaged.pack.hex(),
        "offset": damaged.offset,
        "inner": content.inner,
        "size": content.size,
        "new_pack": frame.pack.hex(),
        "new_offset": frame.offset,
        "new_stored": frame.stored_size,
        "new_inner": one.inner,
    }


def _decode_healed(fields: Fields) -> Healed:
    content = Content(bytes.fromhex(fields.digest("digest")), fields.number("inner"), fields.number("size"))
    damaged = Damaged(content, bytes.fromhex(fields.id("pack")), fields.number("offset"))
    frame = FrameRef(bytes.fromhex(fields.id("new_pack")), fields.number("new_offset"), fields.number("new_stored"))
    return Healed(damaged, frame, fields.number("new_inner"))
