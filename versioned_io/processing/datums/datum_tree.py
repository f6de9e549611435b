"""The datum tree: for every datum of an output its fingerprint, its outputs and its inputs, versioned with the output.

A row is an empty file under an escaped key; its attributes hold the facts. Facts of many files are its content.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from blake3 import blake3

from versioned_io.errors import IntegrityError
from versioned_io.model.places import PageRef
from versioned_io.storage.pages.read import FileRow, file_rows, lookup, lookup_many, scan, stat_directory
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.snapshots.file_info import decode_attributes

_CODE: Final = "c/"
_LONGEST: Final = 900
_KEPT: Final = 800
_LONGEST_ATTRIBUTE: Final = 2048
_SAFE: Final = " !\"#$&'()*+,-.:;<=>?@[\\]^_`{|}~"
_FINGERPRINT: Final = '{"fingerprint":"'

DATUMS: Final = "d/"
"""The start of the path of every datum."""

INVALID: Final = bytes(32)
"""The fingerprint of a datum that was invalidated, which no computation has."""

InputFiles: TypeAlias = Mapping[str, tuple[tuple[str, str], ...]]
"""By the name of the input, the path and the digest of each file, in order."""


class Identity(NamedTuple):
    """The parts of a computation, by which a change is explained.

    Attributes:
        code, parameters: Digests.
        salt: The name of a pipeline that shares no results; else empty.
    """

    code: str
    parameters: str
    salt: str


@dataclass(frozen=True, slots=True)
class DatumFacts:
    """One datum of an output.

    Attributes:
        outputs: The paths of its files, sorted.
        run_id: The run that evaluated it.
    """

    key: str
    fingerprint: bytes
    outputs: tuple[str, ...]
    inputs: InputFiles
    identity: Identity
    run_id: str


def manifest_place(code: str) -> str:
    """Return the path in the datum tree of the text of the code with this digest."""
    return f"{_CODE}{code}"


def read_manifest(backend: Backend, root: PageRef | None, code: str) -> str | None:
    """Return the text of the code with a digest, or None if the datum tree does not have it."""
    row = lookup(root, manifest_place(code), source=backend.pages)
    return None if row is None else backend.chunks.read_file(row.chunks).decode()


class EncodedDatum(NamedTuple):
    """A row to be written to the datum tree."""

    path: str
    content: bytes
    attributes: Mapping[str, str]


def place_of(key: str) -> str:
    """Return the path of a key in the datum tree: one flat name, unlike for every other key.

    Keys ``d`` and ``d/f`` both exist, so slashes are escaped. Joined paths may be longer than a path can be.
    """
    name = key.replace("%", "%25").replace("/", "%2F") if key.isascii() and key.isprintable() else quote(key, _SAFE)
    if name in {"", ".", ".."}:
        name = {"": "%"}.get(name, name.replace(".", "%2E"))
    if len(name) > _LONGEST:
        name = f"{name[:_KEPT]}%~{blake3(key.encode()).hexdigest()}"
    return DATUMS + name


def encode_datum(facts: DatumFacts) -> EncodedDatum:
    """Return the row of a datum."""
    fields = {
        "key": facts.key,
        "outputs": list(facts.outputs),
        "inputs": [[name, [list(file) for file in files]] for name, files in facts.inputs.items()],
        "identity": list(facts.identity),
        "run": facts.run_id,
    }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    attributes = {"fingerprint": facts.fingerprint.hex()}
    if len(text) <= _LONGEST_ATTRIBUTE:
        return EncodedDatum(place_of(facts.key), b"", attributes | {"told": text})
    return EncodedDatum(place_of(facts.key), text.encode(), attributes)


def read_fingerprints(backend: Backend, root: PageRef | None) -> dict[str, bytes]:
    """Return the fingerprint of every datum, by its path in the datum tree.

    Cost: reads every leaf page; 0.5 us a datum.
    """
    found: dict[str, bytes] = {}
    start, stop = len(_FINGERPRINT), len(_FINGERPRINT) + 64
    for batch in scan(root, DATUMS, source=backend.pages):
        paths, texts = batch.column("path").to_pylist(), batch.column("attributes").to_pylist()
        found |= {path: bytes.fromhex(text[start:stop]) for path, text in zip(paths, texts, strict=True)}
    return found


def find_fingerprints(backend: Backend, root: PageRef | None, places: Sequence[str]) -> dict[str, bytes]:
    """Return the fingerprints of the datums at these paths; others are left out. Cost: reads the pages of the paths."""
    start, stop = len(_FINGERPRINT), len(_FINGERPRINT) + 64
    rows = lookup_many(root, places, source=backend.pages)
    texts = zip(rows["path"].to_pylist(), rows["attributes"].to_pylist(), strict=True)
    return {path: bytes.fromhex(text[start:stop]) for path, text in texts}


def count_datums(backend: Backend, root: PageRef | None) -> int:
    """Return the number of datums. Cost: reads at most 2 pages of each level."""
    return stat_directory(root, DATUMS.removesuffix("/"), source=backend.pages).files


def scan_facts(backend: Backend, root: PageRef | None, prefix: str) -> Iterator[tuple[str, DatumFacts]]:
    """Yield the datums whose paths begin with *prefix*, each with its path. Cost: some 10 us a datum."""
    for batch in scan(root, prefix, source=backend.pages):
        for row in file_rows(batch):
            yield row.path, _decode(backend, row)


def read_datums(backend: Backend, root: PageRef | None, places: list[str]) -> dict[str, DatumFacts]:
    """Return the datums at these paths of the datum tree. Cost: reads the pages of the paths."""
    rows = lookup_many(root, places, source=backend.pages)
    return {row.path: _decode(backend, row) for row in file_rows(rows)}


def list_facts(backend: Backend, root: PageRef | None) -> list[DatumFacts]:
    """Return all datums, sorted by key. Cost: reads every page; some 10 us a datum."""
    return sorted((facts for _, facts in scan_facts(backend, root, DATUMS)), key=lambda facts: facts.key)


def find_owner(backend: Backend, root: PageRef | None, output: str) -> str | None:
    """Return the key of the datum that wrote *output*, or None. Cost: reads every datum; only errors ask this."""
    return next((facts.key for _, facts in scan_facts(backend, root, DATUMS) if output in facts.outputs), None)


def read_keys(backend: Backend, root: PageRef | None, places: list[str]) -> list[str]:
    """Return the keys of the datums at these paths, sorted. Cost: as `read_datums`."""
    return sorted(facts.key for facts in read_datums(backend, root, places).values())


def _decode(backend: Backend, row: FileRow) -> DatumFacts:
    attributes = decode_attributes(row.attributes)
    try:
        text = attributes.get("told") or backend.chunks.read_file(row.chunks).decode()
        fields: dict[str, Any] = json.loads(text)
        return DatumFacts(
            fields["key"],
            bytes.fromhex(attributes["fingerprint"]),
            tuple(fields["outputs"]),
            {name: tuple((path, digest) for path, digest in files) for name, files in fields["inputs"]},
            Identity(*fields["identity"]),
            fields["run"],
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the datum {row.path!r} is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error
