"""What the store says of its sizes is what can be counted by hand."""

import json
import random
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from versioned_io.errors import RepoNotFoundError
from versioned_io.interfaces.cli.app import app


def noise(seed, size):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def filled(store, write):
    store.create_repo("r")
    store.create_repo("other")
    write(store, "r@main", {"a": noise(1, 50_000), "b": b"b" * 40_000})
    write(store, "r@main", {"a": noise(2, 30_000), "copy": b"b" * 40_000})
    write(store, "other@main", {"c": noise(1, 50_000)})
    return store


def test_versions_contents_and_commits_are_counted_once_each(filled):
    found = filled.stats(exact=True)
    assert (found.commits, found.versions, found.chunks) == (3, 5, 3)
    assert found.logical_bytes == 90_000 + 110_000 + 50_000
    assert found.version_bytes == 50_000 + 40_000 + 30_000 + 40_000 + 50_000
    assert found.content_bytes == 50_000 + 40_000 + 30_000
    assert 80_000 < found.stored_bytes < 82_000  # the noise as it is, the rest compressed to nearly nothing
    assert found.deduplication == pytest.approx(210 / 120)
    assert found.compression == pytest.approx(120_000 / found.stored_bytes)


def test_physical_bytes_are_those_of_the_objects(filled):
    found = filled.stats(exact=True)
    objects = list(filled._backend.objects.list("packs/"))
    assert found.packs == len(objects)
    assert found.physical_bytes == sum(info.size_bytes for info in objects)
    assert found.stored_bytes + found.page_bytes + found.dead_bytes == found.physical_bytes


def test_one_repo_counts_what_it_leads_to(filled):
    found = filled.stats("other")
    assert (found.repo, found.commits, found.versions, found.chunks) == ("other", 1, 1, 1)
    assert (found.logical_bytes, found.content_bytes) == (50_000, 50_000)
    assert found.packs == 2  # its page, and the pack of the other repo that had the content first


def test_dead_bytes_are_what_collection_and_compaction_can_free(store):
    store.create_repo("r")
    with store.transaction("r@main") as tx:
        tx.write("a", noise(1, 9_000_000))
    with store.transaction("r@main") as tx:
        tx.write("a", b"1")
    assert store.stats(exact=True).dead_bytes < 10_000
    store.set_retention("r@main", keep_last=1)
    store.gc(grace=timedelta(days=1), expire=timedelta(0))
    found = store.stats(exact=True)
    assert found.commits == 1
    assert 9_000_000 < found.dead_bytes < 9_010_000


def test_by_default_the_catalog_counts_what_it_knows(filled):
    found, exact = filled.stats(), filled.stats(exact=True)
    assert (found.is_exact, exact.is_exact) == (False, True)
    for name in ("commits", "chunks", "packs", "physical_bytes"):
        assert getattr(found, name) == getattr(exact, name)
    assert (found.versions, found.logical_bytes, found.deduplication, found.compression) == (None, None, None, None)


def test_the_catalog_counts_without_reading_a_pack(filled, monkeypatch):
    objects = filled._backend.objects
    for info in list(objects.list("packs/")):
        objects.delete([info.key])
    assert filled.stats().commits == 3


def test_versions_are_counted_once_whichever_rows_of_a_page_changed(store, write):
    """Against a count that keeps every version: rows inserted, replaced, deleted, beside others."""
    store.create_repo("r")
    random.seed(7)
    files, versions = {}, set()
    for _ in range(40):
        change = {}
        for _ in range(random.choice([1, 1, 2, 5])):
            path = f"{random.choice('abc')}/{random.randrange(30):02}"
            change[path] = random.choice([None, b"same", random.randbytes(30)]) if path in files else b"same"
        files |= change
        write(store, "r@main", change, empty="allow")
        versions |= {(path, data) for path, data in files.items() if data is not None}
    found = store.stats(exact=True)
    assert found.versions == len(versions)
    assert found.version_bytes == sum(len(data) for _, data in versions)
    assert found.content_bytes == sum(map(len, {data for _, data in versions}))


def test_an_empty_store_has_sizes_too(store):
    found = store.stats(exact=True)
    assert (found.commits, found.content_bytes, found.deduplication, found.compression) == (0, 0, 1.0, 1.0)


def test_a_repo_that_is_not_there_is_named(filled):
    with pytest.raises(RepoNotFoundError, match="nowhere"):
        filled.stats("nowhere")


def test_the_command_line_says_the_same(new_store, write):
    store = new_store()
    store.create_repo("r")
    write(store, "r@main", {"a": noise(1, 5_000)})
    environment = {"VERSIONED_STORE": store.url, "COLUMNS": "80"}
    found = json.loads(CliRunner().invoke(app, ["stats", "--exact", "--json"], env=environment).stdout)
    assert found["content_bytes"] == 5_000
    assert found["deduplication"] == 1.0
    assert "different contents" in CliRunner().invoke(app, ["stats", "r"], env=environment).stdout
    assert CliRunner().invoke(app, ["stats", "nowhere"], env=environment).exit_code == 3
