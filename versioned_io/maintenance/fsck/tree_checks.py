"""Checking trees: every page, and whether every file consists of contents that were found intact in their packs."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from versioned_io.errors import IntegrityError
from versioned_io.maintenance.evidence.contents import DAMAGES
from versioned_io.maintenance.fsck.findings import Findings
from versioned_io.maintenance.fsck.keys import Keys, KeySet, mix, words_of_column
from versioned_io.maintenance.fsck.spans import Span
from versioned_io.model.columns import number_array
from versioned_io.model.commits import Commit
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import ChunkRef, FrameRef, PageRef, pack_name
from versioned_io.storage.chunks.cutting import file_digest
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.elsewhere import Pin
from versioned_io.storage.pages.boundaries import hash_rows
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import FileRow, file_rows
from versioned_io.storage.pages.schema import Entry, Page, index_digest, leaf_digest

_PAGES_AT_ONCE: Final = 64
_NUMBERS: Final = ("offset", "stored", "inner", "size")
_PLACE: Final = ("pack", "offset", "stored")


@dataclass(slots=True)
class TreeCheck:
    """A check of trees in progress; a page that several commits share is checked under the first of them.

    Memory: some words for each page, and 8 bytes for each version of a file.

    Attributes:
        known: The packs that have a row and are not deleted.
        right: The contents that were found intact in their packs.
        pins: Objects elsewhere, by the frames with their first parts; empty if these objects are not checked.
        referred: The objects elsewhere that files refer to, each with the first of these files; filled by the check.
        needed: The packs that trees reference; filled by the check.
        unknown: The needed packs that are not known; filled by the check.
        damaged: The digests of unreadable pages, by place; filled by the check.
        whole: The places of intact pages, by digest; filled by the check.
    """

    findings: Findings
    source: PageSource
    reader: ChunkReader
    is_remote: bool
    known: Collection[PackName]
    right: KeySet
    pins: Mapping[FrameRef, Pin] = field(default_factory=dict)
    referred: dict[Pin, str] = field(default_factory=dict)
    pages: dict[FrameRef, Span | None] = field(default_factory=dict)
    files: KeySet = field(default_factory=KeySet)
    needed: set[PackName] = field(default_factory=set)
    unknown: set[PackName] = field(default_factory=set)
    damaged: dict[FrameRef, bytes] = field(default_factory=dict)
    whole: dict[bytes, FrameRef] = field(default_factory=dict)

    def check(self, commit: Commit, root: PageRef) -> None:
        """Check the pages of *commit*'s tree that no tree before it had."""
        self._check_page(commit, root)

    def _check_page(self, commit: Commit, ref: PageRef) -> Span | None:
        """Check a page and all pages below it, unless already checked; return its span, or None if it is damaged."""
        if ref.frame in self.pages:
            return self.pages[ref.frame]
        self.pages[ref.frame] = None
        self.findings.progress("pages", len(self.pages))
        self._note_packs(commit, {ref.pack})
        try:
            page = self._load(ref)
            span = self._check_index(commit, ref, page) if ref.level else self._check_leaf(commit, ref, page)
        except DAMAGES as error:
            self.findings.add("page", commit, error)
            return None
        self.pages[ref.frame] = span
        return span

    def _load(self, ref: PageRef) -> Page:
        self.damaged[ref.frame] = ref.digest
        page = self.source.load(ref.frame, ref.level)
        del self.damaged[ref.frame]
        self.whole.setdefault(ref.digest, ref.frame)
        return page

    def _check_index(self, commit: Commit, ref: PageRef, page: Page) -> Span:
        entries = page.entries
        files, size_bytes = sum(entry.files for entry in entries), sum(entry.size_bytes for entry in entries)
        _compare_page(ref, index_digest(entries), files, size_bytes)
        span, before = None, ""
        for number, entry in enumerate(entries):
            if self.is_remote and number % _PAGES_AT_ONCE == 0:
                self._fetch(entries[number : number + _PAGES_AT_ONCE], ref.level - 1)
            child = self._check_page(commit, entry.ref(ref.level - 1))
            if child is not None:
                if child.last != entry.last or child.first <= before:
                    found = f"it lists {entry.last!r} after {before!r} for a page of {child.first!r} to {child.last!r}"
                    raise _wrong_page(ref, found)
                span = _joined(ref, span, child)
            before = entry.last
        return span or Span(before, before, frozenset(), frozenset())

    def _fetch(self, entries: list[Entry], level: int) -> None:
        """Load pages into the source's cache, together."""
        # A damaged page is loaded again by itself later, and is reported then.
        with suppress(*DAMAGES):
            self.source.load_many([entry.frame for entry in entries if entry.frame not in self.pages], level)

    def _check_leaf(self, commit: Commit, ref: PageRef, page: Page) -> Span:
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
        try:
            return Span.of_paths(page.paths)
        except IntegrityError as error:
            raise _wrong_page(ref, str(error)) from error

    def _doubtful(self, rows: pa.RecordBatch, chunks: pa.StructArray) -> npt.NDArray[np.bool_]:
        """Return a mask of the rows that need a check one by one: all but files of one intact chunk that agrees."""
        lengths = number_array(pc.list_value_length(rows.column("chunks")))
        doubtful: npt.NDArray[np.bool_] = lengths != 1
        right = self.right.contains(chunk_keys(chunks))
        row_of = np.repeat(np.arange(len(lengths)), lengths.astype(np.int64))
        doubtful[row_of[~right]] = True
        single = np.flatnonzero(lengths == 1)
        only = (np.cumsum(lengths) - 1)[single]  # the position of each file's only chunk
        differs = number_array(rows.column("size"))[single] != number_array(pc.struct_field(chunks, "size"))[only]
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
                if self.right.contains(key_of(chunk))[0]:
                    continue
                if self.reader.name_chunk(chunk) != chunk.digest:
                    pack = pack_name(chunk.pack)
                    msg = f"chunk {chunk.digest.hex()} in pack {pack} holds bytes that don't match its digest"
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
                    "pack", name, f"{commit} references it, but its row in the catalog is missing or says deleted"
                )


def chunk_keys(chunks: pa.StructArray) -> Keys:
    """Return the keys of chunks with their places."""
    binary = [words_of_column(pc.struct_field(chunks, name)) for name in ("digest", "pack")]
    return mix([*binary[0], *binary[1], *(number_array(pc.struct_field(chunks, name)) for name in _NUMBERS)])


def key_of(chunk: ChunkRef) -> Keys:
    """Return the key of a chunk with its place."""
    words = np.frombuffer(chunk.digest + chunk.pack, np.uint64)
    numbers = np.array([chunk.offset, chunk.stored, chunk.inner, chunk.size], np.uint64)
    return mix([one.reshape(1) for one in np.concatenate([words, numbers])])


def _compare_file(row: FileRow) -> None:
    sizes = [chunk.size for chunk in row.chunks]
    if file_digest([chunk.digest for chunk in row.chunks], sizes) != row.digest:
        msg = f"its chunks do not match its digest {row.digest.hex()}"
        raise IntegrityError(msg)
    if sum(sizes) != row.size:
        msg = f"its chunks do not match its size {row.size}"
        raise IntegrityError(msg)


def _compare_page(ref: PageRef, digest: bytes, files: int, size_bytes: int) -> None:
    if digest != ref.digest:
        raise _wrong_page(ref, f"its contents have the digest {digest.hex()}, not {ref.digest.hex()}")
    if (files, size_bytes) != (ref.files, ref.size_bytes):
        raise _wrong_page(ref, f"it holds {files} files of {size_bytes} bytes, not {ref.files} of {ref.size_bytes}")


def _joined(ref: PageRef, left: Span | None, right: Span) -> Span:
    try:
        return right if left is None else left.followed_by(right)
    except IntegrityError as error:
        raise _wrong_page(ref, str(error)) from error


def _wrong_page(ref: PageRef, reason: str) -> IntegrityError:
    return IntegrityError(f"page at byte {ref.offset} of pack {pack_name(ref.pack)} is wrong: {reason}")
