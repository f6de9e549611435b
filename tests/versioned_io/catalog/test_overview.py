"""Short beginnings of commit IDs: each names one commit, also among commits of one millisecond."""

import sqlite3
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from versioned_io.catalog.overview import SHORTEST, abbreviate
from versioned_io.catalog.plain import PlainConnection

IDS = st.lists(st.text("01f", min_size=4, max_size=4), min_size=1, max_size=20, unique=True)


@settings(max_examples=100)
@given(IDS, IDS)
def test_a_short_id_begins_one_id_only_and_is_as_short_as_that_allows(ends, others):
    whole = [f"{'0' * (32 - 4)}{end}" for end in ends] + [f"{end}{'0' * (32 - 4)}" for end in others]
    whole = sorted(set(whole))
    with closing(sqlite3.connect(":memory:")) as catalog:
        catalog.execute("CREATE TABLE commits (id TEXT PRIMARY KEY)")
        catalog.executemany("INSERT INTO commits VALUES (?)", [(one,) for one in whole])
        short = abbreviate(PlainConnection(catalog), whole)
    for one in whole:
        assert [other for other in whole if other.startswith(short[one])] == [one]
        shorter = short[one][:-1]
        assert len(shorter) < SHORTEST or sum(other.startswith(shorter) for other in whole) > 1


def test_an_id_that_is_not_there_stays_whole_and_a_short_one_is_a_ref(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("a")
        store.create_repo("b")
        for _ in range(5):
            with store.transaction("a@main") as tx:
                tx.write("x", str(_).encode())
                tx.branch("b@main").write("x", str(_).encode())
        commits = [*store.log("a@main"), *store.log("b@main")]
        short = store.short_ids([*(one.id for one in commits), "f" * 32])
        assert short.pop("f" * 32) == "f" * 32
        assert {store.commit(f"{one.repo}@{short[one.id]}").id for one in commits} == set(short)
        assert all(SHORTEST <= len(one) < 32 for one in short.values())
