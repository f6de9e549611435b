"""A write that is refused because of the catalog leaves nothing behind that anybody has to find out about."""

import contextlib
import random
import sqlite3
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.older_catalogs import packs_in
from versioned_io.errors import CatalogOlderError, NotOwnerError

NOISE = random.Random(1).randbytes(9_000_000)
"""More than what is stored with the commit: it has a pack of its own, before the commit."""


@pytest.fixture
def store(tmp_path, write):
    with vio.create_store(tmp_path / "s") as made:
        made.create_repo("r")
        write(made, "r@main", {"a": b"1"})
        made.subscription("reader", "r@main")
        yield made


def copy_catalog(store, to):
    with (
        contextlib.closing(sqlite3.connect(store._backend.catalog.engine.url.database)) as source,
        contextlib.closing(sqlite3.connect(to)) as copy,
    ):
        source.backup(copy)


WRITES = {
    "a small commit": lambda store, write: write(store, "r@main", {"b": b"2"}),
    "a large commit": lambda store, write: write(store, "r@main", {"b": NOISE}),
    "a branch": lambda store, _: store.create_branch("r@dev", at="r@main"),
    "a tag": lambda store, _: store.create_tag("r@v1", at="r@main"),
    "a repo": lambda store, _: store.create_repo("q"),
    "a renamed repo": lambda store, _: store.rename_repo("r", "q"),
    "a deleted repo": lambda store, _: store.delete_repo("r", force=True),
    "a reset": lambda store, _: store.reset("r@main", "r@main"),
    "a purge": lambda store, _: store.purge("r", "a"),
    "a redaction": lambda store, _: store.redact(),
    "a compaction": lambda store, _: store.compact(small_bytes=1 << 20),
    "a collection": lambda store, _: store.gc(),
    "maintenance": lambda store, _: store.maintain(full=True),
    "a repair": lambda store, _: store.fsck(repair=True),
}


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("why", ["another owner", "an owner since", "an older catalog"])
def test_a_write_that_is_refused_leaves_no_pack_and_nothing_unclear(store, tmp_path, write, kind, why):
    clone = f"sqlite:///{tmp_path}/clone.db"
    copy_catalog(store, tmp_path / "clone.db")
    if why == "an older catalog":
        write(store, "r@main", {"newer": b"1"})
        store.close()
        for file in (tmp_path / "s").glob("catalog.db*"):
            file.unlink()
        copied = tmp_path / "s/catalog.db"
        (tmp_path / "clone.db").rename(copied)
        refused = vio.open_store(tmp_path / "s")
    elif why == "an owner since":
        refused = store
        write(refused, "r@main", {"a": b"2"})
        copy_catalog(store, tmp_path / "clone.db")
        vio.adopt_store(tmp_path / "s", catalog=clone)
    else:
        refused = vio.open_store(tmp_path / "s", catalog=clone)
    with refused:
        before = packs_in(refused)
        with pytest.raises((NotOwnerError, CatalogOlderError)):
            WRITES[kind](refused, write)
        # Contents alone are an orphan, as those of a writer that died: see the collection below.
        assert packs_in(refused) == before or kind == "a large commit"
    if why == "an older catalog":
        vio.recover_store(tmp_path / "s")
    with vio.open_store(tmp_path / "s", catalog=clone if why == "an owner since" else None) as owner:
        assert owner.gc(grace=timedelta(0)).unclear == ()
        assert packs_in(owner) == before
        assert owner.fsck().unclear == ()
        assert owner.fsck().is_clean


def test_a_write_that_is_refused_at_the_very_commit_leaves_nothing(store, tmp_path, write):
    """Another catalog becomes the owner while the transaction's record is already in a pack."""
    clone = f"sqlite:///{tmp_path}/clone.db"
    before = packs_in(store)
    tx = store.transaction("r@main")
    tx.write("b", NOISE)
    copy_catalog(store, tmp_path / "clone.db")
    vio.adopt_store(tmp_path / "s", catalog=clone)
    with pytest.raises(NotOwnerError):
        tx.finish()
    with vio.open_store(tmp_path / "s", catalog=clone) as owner:
        assert owner.gc(grace=timedelta(0)).unclear == ()  # of contents alone everybody can tell that they are nobody's
        assert packs_in(owner) == before
