"""docs/spec/format-v1.md says what is true, and its program recovers files."""

import json
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

import versioned_io as vio
from versioned_io.storage.chunks import cutting
from versioned_io.storage.elsewhere import parts
from versioned_io.storage.pages.boundaries import FORMAT_RULES
from versioned_io.storage.pages.schema import ENTRIES, INDEX_CONTEXT, LEAF_CONTEXT, ROWS

DOCUMENT = (Path(__file__).parents[2] / "docs/spec/format-v1.md").read_text()


@pytest.fixture(scope="module")
def recover(tmp_path_factory):
    program = tmp_path_factory.mktemp("recover") / "recover.py"
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert "versioned_io" not in code
    program.write_text(code)

    def run(*args):
        return subprocess.run([sys.executable, program, *args], check=True, capture_output=True).stdout

    return run


def test_files_are_recovered_without_this_library(recover, tmp_path):
    noise = random.Random(1)
    contents = {f"{number:05d}.txt": b"file %d\n" % number * (number % 5) for number in range(3_000)}
    contents |= {"large.bin": noise.randbytes(1_500_000), "日本/é.csv": b"1,2\n" * 50_000}
    with vio.create_store(str(tmp_path)) as store:
        store.create_repo("weather")
        with store.transaction("weather@main") as tx:
            tx.write("00007.txt", b"old")
        with store.transaction("weather@main") as tx:
            for path, data in contents.items():
                tx.write(path, data)
        assert tx.commit.root.level == 1
    for path in ("00007.txt", "02999.txt", "00000.txt", "large.bin", "日本/é.csv"):
        assert recover(str(tmp_path), "weather", "main", path) == contents[path]


def test_of_a_file_elsewhere_it_says_what_to_fetch(recover, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a b.csv").write_bytes(b"1,2\n")
    with vio.create_store(tmp_path / "store", sources={str(tmp_path / "outside"): {}}) as store:
        store.create_repo("weather")
        with store.transaction("weather@main") as tx:
            tx.reference_tree(tmp_path / "outside")
            tx.write("own.csv", b"3,4\n")
        row = store.snapshot("weather@main").row("a b.csv")
        [(kind, payload)] = store._backend.chunks.fetch_content([row.chunks[0].frame])
    part = json.loads(bytes(payload))
    assert (kind, part["url"]) == (6, (tmp_path / "outside/a b.csv").as_uri())
    assert all(f"`{name}`" in DOCUMENT for name in part)
    assert blake3(payload, derive_key_context=parts.PART_CONTEXT).digest() == row.digest
    assert recover(str(tmp_path / "store"), "weather", "main", "own.csv") == b"3,4\n"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        recover(str(tmp_path / "store"), "weather", "main", "a b.csv")
    assert f"fetch {part['url']} while it has ETag {part['etag']}, version None" in caught.value.stderr.decode()


def cuts_by_the_document(data: bytes) -> list[int]:
    """FastCDC as the document puts it."""
    from pyfastcdc.py.constants import GEAR

    assert blake3(struct.pack("<256Q", *GEAR)).hexdigest() in DOCUMENT
    cuts, start = [], 0
    while start < len(data):
        left = len(data) - start
        end = min(left, cutting.MAXIMUM_SIZE)
        if left > cutting.MINIMUM_SIZE:
            end = _end_by_the_document(data[start : start + end], GEAR)
        cuts.append(end)
        start += end
    return cuts


def _end_by_the_document(data: bytes, gear) -> int:
    h = 0
    for i in range(cutting.MINIMUM_SIZE, len(data) // 2 * 2, 2):
        mask = 0x0000D91747537000 if i < cutting.AVERAGE_SIZE else 0x0000D90303537000
        h = ((h << 2) + 2 * gear[data[i]]) % (1 << 64)
        if h & 2 * mask == 0:
            return i
        h = (h + gear[data[i + 1]]) % (1 << 64)
        if h & mask == 0:
            return i + 1
    return len(data)


@pytest.mark.parametrize("data", [random.Random(3).randbytes(1_500_001), bytes(1_200_001)], ids=["noise", "zeros"])
def test_cuts_are_what_the_document_says(data):
    assert [len(chunk) for chunk in cutting.cut_bytes(data)] == cuts_by_the_document(data)


def test_the_document_has_the_numbers_names_and_contexts_of_the_code():
    for context in (LEAF_CONTEXT, INDEX_CONTEXT, cutting.FILE_CONTEXT, parts.PART_CONTEXT):
        assert f"`{context}`" in DOCUMENT
    for name in (*ROWS.names, *ENTRIES.names):
        assert f"`{name}`" in DOCUMENT
    for size in (cutting.MINIMUM_SIZE, cutting.AVERAGE_SIZE, cutting.MAXIMUM_SIZE, parts._PART_BYTES):
        assert f"{size:,}" in DOCUMENT
    for level, rule in (("0", FORMAT_RULES.leaf), ("1 and up", FORMAT_RULES.index)):
        sizes = f"| {level} | {rule.minimum:,} | {rule.target:,} | {rule.maximum:,} |"
        assert f"{sizes} `{rule.strict:#x}` | `{rule.loose:#x}` |" in DOCUMENT
