"""Trees for tests: a dictionary as the model, rows from it, and rules that make deep trees of few files."""

import uuid

import pyarrow as pa
from blake3 import blake3
from hypothesis import strategies as st

from versioned_io.model.places import PageRef
from versioned_io.storage.chunks.chunk_columns import CHUNKS_TYPE
from versioned_io.storage.objects import open_objects
from versioned_io.storage.packs.pack_session import PackSession
from versioned_io.storage.pages.boundaries import CutRule, CutRules
from versioned_io.storage.pages.build import build_tree
from versioned_io.storage.pages.edit import edit_tree
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.storage.pages.read import scan
from versioned_io.storage.pages.schema import ROWS

Value = tuple[int, str | None]
"""A file in the model: a number that stands for its content, and its attributes."""

TINY = CutRules(
    leaf=CutRule(minimum=2, target=3, maximum=6, strict=3, loose=1),
    index=CutRule(minimum=2, target=3, maximum=5, strict=3, loose=1),
)

# Few names, so that paths meet; characters that sort before and after the slash, and beyond one byte of UTF-8.
names = st.sampled_from(["a", "b", "foo", "foo-x", "foo.txt", "foo0", "z", "é", "日本", "\U0001f600", " ", "A"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
values = st.tuples(st.integers(0, 5), st.sampled_from([None, "{}", '{"format":"text"}']))
models = st.dictionaries(paths, values, max_size=60)
deletes = st.lists(paths | paths.map(lambda path: path + "/"), max_size=6)


def digest(content: int) -> bytes:
    return blake3(str(content).encode()).digest()


def rows(model: dict[str, Value], *, commit: int = 0) -> pa.Table:
    """Return the rows of *model*, sorted, each with one chunk whose place depends on *commit*."""
    paths = sorted(model)
    values = [model[path] for path in paths]
    chunks = [
        [
            {
                "digest": digest(content),
                "pack": commit.to_bytes(16, "big"),
                "offset": 32,
                "stored": 100,
                "inner": 0,
                "size": content,
            }
        ]
        for content, _ in values
    ]
    columns = [
        pa.array(paths, pa.string()),
        pa.array([content for content, _ in values], pa.int64()),
        pa.array([digest(content) for content, _ in values], pa.binary(32)),
        pa.array(chunks, CHUNKS_TYPE),
        pa.array([attributes for _, attributes in values], pa.string()),
        pa.array([commit.to_bytes(16, "big")] * len(paths), pa.binary(16)),
    ]
    return pa.Table.from_arrays(columns, schema=ROWS)


def edited(model: dict[str, Value], upserts: dict[str, Value], deletes: list[str]) -> dict[str, Value]:
    """Return what *model* becomes."""
    kept = dict(model)
    for path in deletes:
        if path == "" or path.endswith("/"):
            kept = {name: value for name, value in kept.items() if not name.startswith(path)}
        else:
            kept.pop(path, None)
    return kept | upserts


class Forest:
    """Where trees are written to and read from: a memory store, and pages that are not stored yet."""

    def __init__(self, *, rules: CutRules = TINY) -> None:
        self.objects = open_objects(f"memory://{uuid.uuid4().hex}")
        self.sink = PackSession(self.objects)
        self.source = PageSource(self.objects).overlaid(self.sink.read_open_frame)
        self.rules = rules

    def build(self, model: dict[str, Value], *, commit: int = 0) -> PageRef | None:
        return build_tree(rows(model, commit=commit), sink=self.sink, rules=self.rules)

    def edit(
        self, root: PageRef | None, upserts: dict[str, Value], deletes: list[str], *, commit: int = 1
    ) -> PageRef | None:
        table = rows(upserts, commit=commit)
        return edit_tree(root, table, deletes, source=self.source, sink=self.sink, rules=self.rules)

    def model(self, root: PageRef | None) -> dict[str, Value]:
        """Return what the tree holds."""
        found: dict[str, Value] = {}
        for batch in scan(root, source=self.source):
            for row in batch.to_pylist():
                assert row["path"] not in found
                assert row["digest"] == digest(row["size"])
                found[row["path"]] = (row["size"], row["attributes"])
        assert list(found) == sorted(found)
        return found


def identity(root: PageRef | None) -> tuple[object, ...] | None:
    """Return what two equal trees have in common."""
    return None if root is None else (root.digest, root.level, root.files, root.size_bytes)
