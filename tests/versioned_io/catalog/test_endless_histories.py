"""A catalog whose rows contradict each other: every walk ends, with a reply or a refusal, and fsck names the rows."""

import sqlite3
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import IntegrityError

pytestmark = pytest.mark.timeout(120)

LAST = "(SELECT id FROM commits ORDER BY number DESC LIMIT 1)"
EDITS = {
    "a segment begins at itself": "UPDATE segments SET parent_id = id WHERE parent_id IS NOT NULL",
    "the first begins at itself": "UPDATE segments SET parent_id = id, first_number = 2 WHERE parent_id IS NULL",
    "segments begin at each other": "UPDATE segments SET parent_id = 2 WHERE parent_id IS NULL",
    "the first number is text": "UPDATE segments SET first_number = ''",
    "the first commit is its own parent": "UPDATE commits SET parent_id = id WHERE number = 1",
    "the first commit is the last one's child": f"UPDATE commits SET parent_id = {LAST} WHERE number = 1",
    "a fork begins at its own end": f"UPDATE commits SET parent_id = {LAST} WHERE number = 3 AND segment_id = 2",
    "the repo of a commit is gone": f"UPDATE commits SET repo_id = 77 WHERE id = {LAST}",
    "an entry of the journal has no fields": "UPDATE journal SET details = '-1'",
    "an entry of the journal has a list": "UPDATE journal SET details = '[]'",
    "a pack is larger than any number": "UPDATE packs SET size_bytes = 1e308",
    "a commit has the largest number": f"UPDATE commits SET number = {2**63 - 1} WHERE id = {LAST}",
    "all commits have the tree of the last": f"UPDATE commits SET root = (SELECT root FROM commits WHERE id = {LAST})",
    "a commit has the largest order": f'UPDATE commits SET "order" = {2**63 - 1} WHERE id = {LAST}',
}


def put(store):
    with store.transaction("r@dev") as tx:
        tx.write("d/b", b"more")


WALKS = {
    "log": lambda store: list(store.log("r@dev")),
    "log of a directory": lambda store: list(store.log("r@dev", path="d")),
    "log of a file": lambda store: list(store.log("r@dev", path="d/a")),
    "ancestor": lambda store: store.commit("r@dev~3"),
    "as of": lambda store: store.commit("r@dev@{2020-01-01}"),
    "changes": lambda store: store.changes("r@dev", since=None).commits,
    "reflog": lambda store: store.reflog("r@dev"),
    "stats": lambda store: store.stats(),
    "commit": put,
    "compact": lambda store: store.compact(small_bytes=1 << 20),
    "maintain": lambda store: store.maintain(full=True),
    "squash": lambda store: store.squash("r@dev"),
    "gc": lambda store: store.gc(grace=timedelta(0), expire=timedelta(0)),
}


@pytest.fixture
def edited(tmp_path, request):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        for number in range(3):
            with store.transaction("r@main") as tx:
                tx.write("d/a", b"%d" % number)
        store.create_branch("r@dev", at="r@main~1")
        for number in range(2):
            with store.transaction("r@dev") as tx:
                tx.write("d/a", b"dev %d" % number)
    catalog = sqlite3.connect(tmp_path / "s" / "catalog.db")
    with catalog:
        assert catalog.execute(EDITS[request.param]).rowcount
    catalog.close()
    with vio.open_store(tmp_path / "s") as store:
        yield store


@pytest.mark.parametrize("edited", EDITS, indirect=True)
def test_every_walk_through_a_history_ends(edited, request):
    assert edited.fsck().problems
    refused = set()
    for name, walk in WALKS.items():
        try:
            walk(edited)
        except vio.VersionedError:
            refused.add(name)
    assert refused


@pytest.mark.parametrize("edited", ["the first commit is its own parent"], indirect=True)
def test_a_log_yields_what_is_known_and_then_refuses(edited):
    log = edited.log("r@dev")
    assert [next(log).number for _ in range(4)] == [4, 3, 2, 1]
    with pytest.raises(IntegrityError, match="contradict each other; run fsck"):
        next(log)
