"""Finding in a whole history the commits that added, changed or deleted a file."""

from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, NotFoundError


@pytest.fixture
def store(tmp_path):
    """A store with four commits: two files are added, one is changed, moved, and deleted."""
    with vio.create_store(tmp_path / "store") as made:
        made.create_repo("r")
        with made.transaction("r@main") as tx:
            tx.write("a/one.csv", b"1")
            tx.write("b/one.csv", b"2")
            tx.write("b/two.txt", b"1")
        with made.transaction("r@main") as tx:
            tx.write("a/one.csv", b"3")
        with made.transaction("r@main") as tx:
            tx.move("a/one.csv", "c/one.csv")
        with made.transaction("r@main") as tx:
            tx.delete("c/one.csv")
        yield made


def found(store, **arguments):
    return [(one.commit.number, one.change, one.path) for one in store.find("r@main", **arguments)]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        (
            "**/one.csv",
            [
                (4, "deleted", "c/one.csv"),
                (3, "deleted", "a/one.csv"),
                (3, "added", "c/one.csv"),
                (2, "modified", "a/one.csv"),
                (1, "added", "a/one.csv"),
                (1, "added", "b/one.csv"),
            ],
        ),
        ("b/*", [(1, "added", "b/one.csv"), (1, "added", "b/two.txt")]),
        ("*.csv", []),
    ],
)
def test_a_pattern_finds_every_change_newest_first(store, glob, expected):
    assert found(store, glob=glob) == expected


def test_a_content_is_found_where_it_came_and_where_it_went(store):
    digest = store.snapshot("r@main~3").stat("a/one.csv").digest
    expected = [(2, "modified", "a/one.csv"), (1, "added", "a/one.csv"), (1, "added", "b/two.txt")]
    assert found(store, digest=digest) == found(store, digest=digest[:8]) == expected
    assert found(store, digest=digest, glob="b/**") == expected[2:]


def test_the_size_and_digest_are_those_of_the_new_content_or_of_the_deleted_one(store):
    last, *_ = store.find("r@main", glob="c/one.csv")
    assert (last.change, last.size) == ("deleted", 1)
    assert last.digest == store.snapshot("r@main~1").stat("c/one.csv").digest


def test_where_older_commits_have_expired_a_file_is_kept(store):
    store.set_retention("r@main", keep_last=2)
    store.gc(grace=timedelta(0), expire=timedelta(0))
    assert found(store, glob="**/one.csv") == [
        (4, "deleted", "c/one.csv"),
        (3, "kept", "b/one.csv"),
        (3, "kept", "c/one.csv"),
    ]


def test_what_is_kept_before_a_gap_of_expired_commits_is_found_too(store):
    store.create_tag("r@old", at="r@main~2")
    store.set_retention("r@main", keep_last=1)
    store.gc(grace=timedelta(0), expire=timedelta(0))
    with pytest.raises(vio.VersionedError, match="expired"):
        store.snapshot("r@main~1").read("b/one.csv")
    assert found(store, glob="**/one.csv") == [
        (4, "deleted", "a/one.csv"),  # commit 3, which has expired, moved it
        (2, "kept", "a/one.csv"),
        (2, "kept", "b/one.csv"),
    ]


def test_what_can_not_be_looked_for_is_refused(store):
    for digest in ("abc", "XYZW", "0" * 65, 1234):
        with pytest.raises(InvalidInputError, match="content digest"):
            store.find("r@main", digest=digest)
    with pytest.raises(NotFoundError):
        store.find("r@nothing", glob="*")
    store.create_repo("empty")
    assert list(store.find("empty@main", glob="**")) == []
