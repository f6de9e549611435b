"""The pages of format 1: as the specification puts them, and frozen.

With other pages or other names, equal trees of old and new commits would not be equal any more.
"""

import struct

import pyarrow as pa
import xxhash
from blake3 import blake3
from hypothesis import given

from tests.versioned_io.storage.pages.trees import TINY, Forest, digest, models, rows
from versioned_io.storage.pages.boundaries import FORMAT_RULES, CutRules
from versioned_io.storage.pages.schema import leaf_digest


def leaf_by_hand(files) -> bytes:
    """The name of a leaf, file by file."""
    parts = [struct.pack("<Q", len(files))]
    parts += [struct.pack("<i", len(path.encode())) for path, _, _ in files]
    parts += [path.encode() for path, _, _ in files]
    parts += [struct.pack("<q", content) for _, content, _ in files]
    parts += [digest(content) for _, content, _ in files]
    parts += [struct.pack("<i", -1 if text is None else len(text.encode())) for _, _, text in files]
    parts += [text.encode() for _, _, text in files if text is not None]
    return blake3(b"".join(parts), derive_key_context="versioned-io 2026 v1 leaf page").digest()


def cut_by_hand(rule, rows, hash_of):
    """The pages that the rows fall into, row by row."""
    pages, page = [], []
    for row in rows:
        page.append(row)
        value = hash_of(row)
        ends = len(page) >= rule.maximum
        ends |= len(page) >= rule.minimum and value & rule.strict == 0
        ends |= len(page) >= rule.target and value & rule.loose == 0
        if ends:
            pages.append(page)
            page = []
    return pages + ([page] if page else [])


def root_by_hand(model, rules: CutRules) -> tuple[bytes, int] | None:
    """The name and the level of a tree's root."""
    if not model:
        return None
    files = [(path, *model[path]) for path in sorted(model, key=str.encode)]
    leaves = cut_by_hand(rules.leaf, files, lambda file: xxhash.xxh3_64_intdigest(file[0].encode()))
    level, nodes = 0, [(leaf[-1][0], leaf_by_hand(leaf)) for leaf in leaves]
    while len(nodes) > 1:
        level += 1
        pages = cut_by_hand(
            rules.index, nodes, lambda node, seed=level: xxhash.xxh3_64_intdigest(node[0].encode(), seed)
        )
        nodes = [
            (
                page[-1][0],
                blake3(
                    b"".join(name for _, name in page), derive_key_context="versioned-io 2026 v1 index page"
                ).digest(),
            )
            for page in pages
        ]
    return nodes[0][1], level


@given(models)
def test_a_tree_is_what_the_specification_says(model):
    root = Forest().build(model)
    assert (root and (root.digest, root.level)) == root_by_hand(model, TINY)


def test_a_large_tree_is_what_the_specification_says_and_is_the_same_for_ever():
    model = {f"day={number // 500:03d}/part-{number:06d}": (number % 7, None) for number in range(50_000)}
    root = Forest(rules=FORMAT_RULES).build(model)
    assert root is not None
    assert (root.digest, root.level) == root_by_hand(model, FORMAT_RULES)
    assert root.level == 2
    assert root.digest.hex() == "fa5574634282037a712bf2f9c56a465707541b23ba09d763b7de5bf0ddffef58"


def test_the_name_of_a_leaf_is_the_same_for_ever():
    model = {"2012/01.csv": (31, None), "2012/02.csv": (29, '{"format":"csv"}'), "日本.txt": (5, "{}")}
    assert (
        leaf_digest(pa.concat_batches(rows(model).to_batches())).hex()
        == "08a85654dfc04743085414a9ca94d2a4d85bad46a2e1be48a64af508bce568c3"
    )


def test_the_rules_of_the_format_are_the_same_for_ever():
    leaf, index = FORMAT_RULES.leaf, FORMAT_RULES.index
    assert (leaf.minimum, leaf.target, leaf.maximum, leaf.strict, leaf.loose) == (512, 1024, 4096, 0x7FF, 0xFF)
    assert (index.minimum, index.target, index.maximum, index.strict, index.loose) == (16, 32, 128, 0x3F, 0x7)
