"""The datum tree: for every datum of an output its fingerprint, its outputs and its inputs, versioned with the output.

A row is an empty file under an escaped key; its attributes hold the facts. Facts of many files are its content.
For each output another row names the datum that wrote it.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote

import pyarrow.compute as pc
from blake3 import blake3

from versioned_io.errors import IntegrityError
from versioned_io.model.columns import text_scalar
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import FileRow, file_rows, lookup, lookup_many, scan, stat_directory
from versioned_io.versioning.snapshots.file_info import decode_attributes

_CODE: Final = "c/"
_OUTPUTS: Final = "o/"
_DATUM_KEY: Final = "datum"
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


class TreeSource(Protocol):
    """Reads trees and the contents of files, as a backend does, and a rebuild before there is one."""

    @property
    def pages(self) -> PageSource:
        """Reads pages."""
        ...

    @property
    def chunks(self) -> ChunkReader:
        """Reads the contents of files."""
        ...


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
        read_at: The IDs of the commits of the input files: one for all of them, or one for each, in their order.
    """

    key: str
    fingerprint: bytes
    outputs: tuple[str, ...]
    inputs: InputFiles
    identity: Identity
    run_id: str
    read_at: tuple[str, ...] = ()

    def files(self) -> "list[FileOfDatum]":
        """Return the input files, in order."""
        found = [file for files in self.inputs.values() for file in files]
        at = self.read_at * len(found) if len(self.read_at) == 1 else self.read_at
        return [FileOfDatum(CommitId(commit), *file) for commit, file in zip(at, found, strict=True)]


class FileOfDatum(NamedTuple):
    """An input file of a datum.

    Attributes:
        commit: The commit that it was read from.
        digest: That of its content; of a table datum, that of the rows.
    """

    commit: CommitId
    path: str
    digest: str


def manifest_place(code: str) -> str:
    """Return the path in the datum tree of the text of the code with this digest."""
    return f"{_CODE}{code}"


def read_manifest(trees: TreeSource, root: PageRef | None, code: str) -> str | None:
    """Return the text of the code with a digest, or None if the datum tree does not have it."""
    row = lookup(root, manifest_place(code), source=trees.pages)
    return None if row is None else trees.chunks.read_file(row.chunks).decode()


def output_place(path: str) -> str:
    """Return the path in the datum tree of the row that names the datum of an output."""
    return f"{_OUTPUTS}{path}"


def encode_output(path: str, key: str) -> "EncodedDatum":
    """Return the row that names the datum that wrote an output."""
    return EncodedDatum(output_place(path), b"", {_DATUM_KEY: name_of(key)})


def read_makers(trees: TreeSource, root: PageRef | None, outputs: Collection[str]) -> dict[str, str]:
    """Return the name of the datum that wrote each of these *outputs*, of those that a datum wrote.

    Cost: reads the pages of the paths.
    """
    rows = lookup_many(root, [output_place(path) for path in outputs], source=trees.pages)
    return {row.path.removeprefix(_OUTPUTS): decode_attributes(row.attributes)[_DATUM_KEY] for row in file_rows(rows)}


class EncodedDatum(NamedTuple):
    """A row to be written to the datum tree."""

    path: str
    content: bytes
    attributes: Mapping[str, str]


def place_of(key: str) -> str:
    """Return the path of a key in the datum tree."""
    return DATUMS + name_of(key)


def place_of_name(name: str) -> str:
    """Return the path of a datum in the datum tree, from its name there."""
    return DATUMS + name


def name_of(key: str) -> str:
    """Return the name of a key in the datum tree, which is flat, and unlike that of every other key.

    Keys ``d`` and ``d/f`` both exist, so slashes are escaped. Joined paths may be longer than a path can be.
    """
    name = key.replace("%", "%25").replace("/", "%2F") if key.isascii() and key.isprintable() else quote(key, _SAFE)
    if name in {"", ".", ".."}:
        name = {"": "%"}.get(name, name.replace(".", "%2E"))
    if len(name) > _LONGEST:
        name = f"{name[:_KEPT]}%~{blake3(key.encode()).hexdigest()}"
    return name


def encode_datum(facts: DatumFacts) -> EncodedDatum:
    """Return the row of a datum."""
    fields = {
        "key": facts.key,
        "outputs": list(facts.outputs),
        "inputs": [[name, [list(file) for file in files]] for name, files in facts.inputs.items()],
        "identity": list(facts.identity),
        "run": facts.run_id,
        "at": list(facts.read_at),
    }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    attributes = {"fingerprint": facts.fingerprint.hex()}
    if len(text) <= _LONGEST_ATTRIBUTE:
        return EncodedDatum(place_of(facts.key), b"", attributes | {"told": text})
    return EncodedDatum(place_of(facts.key), text.encode(), attributes)


def read_fingerprints(trees: TreeSource, root: PageRef | None) -> dict[str, bytes]:
    """Return the fingerprint of every datum, by its path in the datum tree.

    Cost: reads every leaf page; 0.5 us a datum.
    """
    found: dict[str, bytes] = {}
    start, stop = len(_FINGERPRINT), len(_FINGERPRINT) + 64
    for batch in scan(root, DATUMS, source=trees.pages):
        paths, texts = batch.column("path").to_pylist(), batch.column("attributes").to_pylist()
        found |= {path: bytes.fromhex(text[start:stop]) for path, text in zip(paths, texts, strict=True)}
    return found


def find_fingerprints(trees: TreeSource, root: PageRef | None, places: Sequence[str]) -> dict[str, bytes]:
    """Return the fingerprints of the datums at these paths; others are left out. Cost: reads the pages of the paths."""
    start, stop = len(_FINGERPRINT), len(_FINGERPRINT) + 64
    rows = lookup_many(root, places, source=trees.pages)
    texts = zip(rows["path"].to_pylist(), rows["attributes"].to_pylist(), strict=True)
    return {path: bytes.fromhex(text[start:stop]) for path, text in texts}


def sample_fingerprints(trees: TreeSource, root: PageRef | None, most: int) -> list[bytes]:
    """Return the fingerprints of the first *most* datums. Cost: reads the pages of these."""
    start, stop = len(_FINGERPRINT), len(_FINGERPRINT) + 64
    texts = (text for batch in scan(root, DATUMS, source=trees.pages) for text in batch["attributes"].to_pylist())
    return [bytes.fromhex(text[start:stop]) for text in islice(texts, most)]


def count_datums(trees: TreeSource, root: PageRef | None) -> int:
    """Return the number of datums. Cost: reads at most 2 pages of each level."""
    return stat_directory(root, DATUMS.removesuffix("/"), source=trees.pages).files


def scan_facts(trees: TreeSource, root: PageRef | None, prefix: str) -> Iterator[tuple[str, DatumFacts]]:
    """Yield the datums whose paths begin with *prefix*, each with its path. Cost: some 10 us a datum."""
    for batch in scan(root, prefix, source=trees.pages):
        for row in file_rows(batch):
            yield row.path, _decode(trees, row)


def read_datums(trees: TreeSource, root: PageRef | None, places: list[str]) -> dict[str, DatumFacts]:
    """Return the datums at these paths of the datum tree. Cost: reads the pages of the paths."""
    rows = lookup_many(root, places, source=trees.pages)
    return {row.path: _decode(trees, row) for row in file_rows(rows)}


def read_changed(trees: TreeSource, before: PageRef | None, root: PageRef | None) -> list[DatumFacts]:
    """Return the datums that are new or differ, as they are in *root*. Cost: reads the pages in which trees differ."""
    found = diff(before, root, source=trees.pages, prefix=DATUMS)
    left = found.filter(pc.not_equal(found["change"], text_scalar("deleted")))
    return list(read_datums(trees, root, left["path"].to_pylist()).values())


def list_facts(trees: TreeSource, root: PageRef | None) -> list[DatumFacts]:
    """Return all datums, sorted by key. Cost: reads every page; some 10 us a datum."""
    return sorted((facts for _, facts in scan_facts(trees, root, DATUMS)), key=lambda facts: facts.key)


def find_owner(trees: TreeSource, root: PageRef | None, output: str) -> str | None:
    """Return the key of the datum that wrote *output*, or None. Cost: reads every datum; only errors ask this."""
    return next((facts.key for _, facts in scan_facts(trees, root, DATUMS) if output in facts.outputs), None)


def read_keys(trees: TreeSource, root: PageRef | None, places: list[str]) -> list[str]:
    """Return the keys of the datums at these paths, sorted. Cost: as `read_datums`."""
    return sorted(facts.key for facts in read_datums(trees, root, places).values())


def _decode(trees: TreeSource, row: FileRow) -> DatumFacts:
    attributes = decode_attributes(row.attributes)
    try:
        text = attributes.get("told") or trees.chunks.read_file(row.chunks).decode()
        fields: dict[str, Any] = json.loads(text)
        facts = DatumFacts(
            fields["key"],
            bytes.fromhex(attributes["fingerprint"]),
            tuple(fields["outputs"]),
            {name: tuple((path, digest) for path, digest in files) for name, files in fields["inputs"]},
            Identity(*fields["identity"]),
            fields["run"],
            tuple(fields.get("at", ())),
        )
        for file in facts.files():
            bytes.fromhex(file.digest)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the datum {row.path!r} is malformed ({error}); run fsck"
        raise IntegrityError(msg) from error
    return facts
