"""Checking trees: every page, and that every file is made of contents that were found right in their packs."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.catalog.values import Commit
from versioned_io.chunks.cutting import file_digest
from versioned_io.chunks.reader import ChunkReader
from versioned_io.chunks.refs import ChunkRef
from versioned_io.elsewhere import Pin
from versioned_io.errors import IntegrityError
from versioned_io.fsck.findings import DAMAGES, Findings
from versioned_io.fsck.keys import Keys, KeySet, mix, words_of_column
from versioned_io.identifiers import PackName
from versioned_io.packs.frames import FrameRef, pack_name
from versioned_io.pages.boundaries import hash_rows
from versioned_io.pages.read import FileRow, file_rows
from versioned_io.pages.schema import Entry, Page, PageRef, index_digest, leaf_digest
from versioned_io.pages.source import PageSource

_Bounds: TypeAlias = tuple[str, str]
_PAGES_AT_ONCE: Final = 64
_NUMBERS: Final = ("offset", "stored", "inner", "size")
_PLACE: Final = ("pack", "offset", "stored")


@dataclass(slots=True)
class TreeCheck:
    """A check of trees under way; a page that several commits share is checked under the first of them.

    Memory: some words a page, and 8 bytes for each version of a file.

    Attributes:
        known: The packs that the catalog has rows of, and that are not deleted.
        right: The contents that were found right in their packs.
        pins: Objects elsewhere, by the frames that stand for their first parts; empty where they are not to be looked
            at.
        referred: Those that files refer to, each with the first of these files; filled by the check.
        needed: The packs that trees lead to; filled by the check.
        unknown: Those of them that are not known; filled by the check.
    """

    findings: Findings
    source: PageSource
    reader: ChunkReader
    is_remote: bool
    known: Collection[PackName]
    right: KeySet
    pins: Mapping[FrameRef, Pin] = field(default_factory=dict)
    referred: dict[Pin, str] = field(default_factory=dict)
    pages: dict[FrameRef, _Bounds | None] = field(default_factory=dict)
    files: KeySet = field(default_factory=KeySet)
    needed: set[PackName] = field(default_factory=set)
    unknown: set[PackName] = field(default_factory=set)

    def check(self, commit: Commit, root: PageRef) -> None:
        """Check the tree of *commit* as far as no other tree shared it."""
        self._check_page(commit, root)

    def _check_page(self, commit: Commit, ref: PageRef) -> _Bounds | None:
        """Check a page and all below it, unless that was done; return its first and last path, None if damaged."""
        if ref.frame in self.pages:
            return self.pages[ref.frame]
        self.pages[ref.frame] = None
        self.findings.progress("pages", len(self.pages))
        self._note_packs(commit, {ref.pack})
        try:
            page = self.source.load(ref.frame, ref.level)
            bounds = self._check_index(commit, ref, page) if ref.level else self._check_leaf(commit, ref, page)
        except DAMAGES as error:
            self.findings.add("page", commit, error)
            return None
        self.pages[ref.frame] = bounds
        return bounds

    def _check_index(self, commit: Commit, ref: PageRef, page: Page) -> _Bounds:
        entries = page.entries
        files, size_bytes = sum(entry.files for entry in entries), sum(entry.size_bytes for entry in entries)
        _compare_page(ref, index_digest(entries), files, size_bytes)
        first = before = ""
        for number, entry in enumerate(entries):
            if self.is_remote and number % _PAGES_AT_ONCE == 0:
                self._fetch(entries[number : number + _PAGES_AT_ONCE], ref.level - 1)
            bounds = self._check_page(commit, entry.ref(ref.level - 1))
            if bounds is not None and (bounds[1] != entry.last or bounds[0] <= before):
                found = f"it lists {entry.last!r} after {before!r} for a page of {bounds[0]!r} to {bounds[1]!r}"
                raise _wrong_page(ref, found)
            first = first or (bounds[0] if bounds is not None else entry.last)
            before = entry.last
        return first, before

    def _fetch(self, entries: list[Entry], level: int) -> None:
        """Bring pages into the source's cache together."""
        # A damaged one is loaded again on its own, and named then.
        with suppress(*DAMAGES):
            self.source.load_many([entry.frame for entry in entries if entry.frame not in self.pages], level)

    def _check_leaf(self, commit: Commit, ref: PageRef, page: Page) -> _Bounds:
        rows = page.batch
        paths = rows.column("path")
        _compare_page(ref, leaf_digest(rows), rows.num_rows, pc.sum(rows.column("size")).as_py() or 0)
        if rows.num_rows == 0:
            raise _wrong_page(ref, "it is empty")
        if not pc.all(pc.less(paths[:-1], paths[1:]), min_count=0).as_py():
            raise _wrong_page(ref, "its paths are not in order")
        self.files.add(mix([np.array(hash_rows(paths), np.uint64), *words_of_column(rows.column("digest"))]))
        chunks = pc.list_flatten(rows.column("chunks"))
        packs = pc.unique(pc.struct_field(chunks, "pack")).to_pylist()
        self._note_packs(commit, set(packs))
        self._note_references(commit, rows, chunks)
        for number in np.flatnonzero(self._doubtful(rows, chunks)):
            for row in file_rows(rows.slice(int(number), 1)):
                self._check_file(commit, row)
        return paths[0].as_py(), paths[-1].as_py()

    def _doubtful(self, rows: pa.RecordBatch, chunks: pa.StructArray) -> npt.NDArray[np.bool_]:
        """Return which rows have to be looked at one by one: not those of one chunk that is right and agrees."""
        lengths = _numbers(pc.list_value_length(rows.column("chunks")))
        doubtful: npt.NDArray[np.bool_] = lengths != 1
        right = self.right.contains(chunk_keys(chunks))
        row_of = np.repeat(np.arange(len(lengths)), lengths.astype(np.int64))
        doubtful[row_of[~right]] = True
        single = np.flatnonzero(lengths == 1)
        only = (np.cumsum(lengths) - 1)[single]  # the place of each one's chunk
        differs = _numbers(rows.column("size"))[single] != _numbers(pc.struct_field(chunks, "size"))[only]
        digests = zip(
            words_of_column(rows.column("digest")), words_of_column(pc.struct_field(chunks, "digest")), strict=True
        )
        for of_file, of_chunk in digests:
            differs |= of_file[single] != of_chunk[only]
        doubtful[single[differs]] = True
        return doubtful

    def _check_file(self, commit: Commit, row: FileRow) -> None:
        try:
            _compare_file(row)
            for chunk in dict.fromkeys(row.chunks):
                if self.right.contains(_key_of(chunk))[0]:
                    continue
                if self.reader.name_chunk(chunk) != chunk.digest:
                    pack = pack_name(chunk.pack)
                    msg = f"chunk {chunk.digest.hex()} in pack {pack} holds other bytes than its name says"
                    raise IntegrityError(msg)
        except DAMAGES as error:
            self.findings.add("file", f"{commit}:{row.path}", error)

    def _note_references(self, commit: Commit, rows: pa.RecordBatch, chunks: pa.StructArray) -> None:
        if not self.pins:
            return
        places = zip(*(pc.struct_field(chunks, name).to_pylist() for name in _PLACE), strict=True)
        lengths = pc.list_value_length(rows.column("chunks")).to_pylist()
        for path, length in zip(rows.column("path").to_pylist(), lengths, strict=True):
            for place in islice(places, length):
                pin = self.pins.get(FrameRef(*place))
                if pin is not None:
                    self.referred.setdefault(pin, f"{commit}:{path}")

    def _note_packs(self, commit: Commit, packs: set[bytes]) -> None:
        for name in {pack_name(pack) for pack in packs} - self.needed:
            self.needed.add(name)
            if name not in self.known:
                self.unknown.add(name)
                self.findings.add(
                    "pack", name, f"{commit} leads to it, but the catalog does not know it, or deleted it"
                )


def chunk_keys(chunks: pa.StructArray) -> Keys:
    """Return the keys of chunks at their places."""
    binary = [words_of_column(pc.struct_field(chunks, name)) for name in ("digest", "pack")]
    return mix([*binary[0], *binary[1], *(_numbers(pc.struct_field(chunks, name)) for name in _NUMBERS)])


def _key_of(chunk: ChunkRef) -> Keys:
    words = np.frombuffer(chunk.digest + chunk.pack, np.uint64)
    numbers = np.array([chunk.offset, chunk.stored, chunk.inner, chunk.size], np.uint64)
    return mix([one.reshape(1) for one in np.concatenate([words, numbers])])


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found


def _compare_file(row: FileRow) -> None:
    sizes = [chunk.size for chunk in row.chunks]
    if file_digest([chunk.digest for chunk in row.chunks], sizes) != row.digest:
        msg = f"its chunks do not make up its digest {row.digest.hex()}"
        raise IntegrityError(msg)
    if sum(sizes) != row.size:
        msg = f"its chunks do not make up its size {row.size}"
        raise IntegrityError(msg)


def _compare_page(ref: PageRef, digest: bytes, files: int, size_bytes: int) -> None:
    if digest != ref.digest:
        raise _wrong_page(ref, f"its content makes the digest {digest.hex()}, not {ref.digest.hex()}")
    if (files, size_bytes) != (ref.files, ref.size_bytes):
        raise _wrong_page(ref, f"it holds {files} files of {size_bytes} bytes, not {ref.files} of {ref.size_bytes}")


def _wrong_page(ref: PageRef, reason: str) -> IntegrityError:
    return IntegrityError(f"page at byte {ref.offset} of pack {pack_name(ref.pack)} is wrong: {reason}")
