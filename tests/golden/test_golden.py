"""Stores that each version has written stay readable, byte for byte."""

import json
import tarfile
from pathlib import Path

import pytest
from blake3 import blake3

import versioned_io as vio
from tests.golden.write import describe

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def golden(request, tmp_path):
    """The directory of an extracted archive."""
    with tarfile.open(request.param) as archive:
        # Python before 3.11.4 has no filters; the archive is our own.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return tmp_path / request.param.name.partition(".")[0]


def test_there_is_one_of_this_format():
    assert "format-1.tar.xz" in [path.name for path in ARCHIVES]


def as_far_as(expected, found):
    """Return *found* without the fields of a commit, and of its stats, that the version of then did not have."""
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [as_far_as(*pair) for pair in zip(expected, found, strict=True)]
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return found
    if "stats" in expected:
        return {name: as_far_as(expected.get(name), value) for name, value in found.items() if name in expected}
    if "bytes_stored" in expected:
        return {name: value for name, value in found.items() if name in expected}
    return {name: as_far_as(expected.get(name), value) for name, value in found.items()}


def test_it_says_what_it_said(golden):
    expected = json.loads((golden / "expected.json").read_text())
    vio.upgrade_store(golden / "store")
    with vio.open_store(golden / "store") as store:
        assert as_far_as(expected, json.loads(json.dumps(describe(store)))) == expected
        assert store.fsck().is_clean


def test_every_byte_of_every_version_is_read(golden):
    vio.upgrade_store(golden / "store")
    with vio.open_store(golden / "store") as store:
        for ref in ("weather@main", "weather@dev", "weather@v1", "models@main"):
            for commit in store.log(ref):
                snapshot = store.snapshot(f"{commit.repo}@{commit.id}")
                for file in snapshot.walk():
                    data = snapshot.read(file.path)
                    assert len(data) == file.size
                    if file.size <= 128 * 1024:  # one chunk: the digest is plain BLAKE3
                        assert blake3(data).hexdigest() == file.digest
        assert store.snapshot("weather@main").read("日本/é.txt").decode() == "ünï"


def test_it_can_be_rebuilt_and_written_to(golden):
    for file in (golden / "store").glob("catalog.db*"):
        file.unlink()
    report = vio.rebuild_store(golden / "store")
    assert (report.damaged, report.uncertain) == ((), ())
    expected = json.loads((golden / "expected.json").read_text())
    with vio.open_store(golden / "store") as store:
        assert as_far_as(expected, json.loads(json.dumps(describe(store)))) == expected
        with store.transaction("weather@main") as tx:
            tx.write("now", b"1")
        store.compact()
        assert store.fsck().is_clean
