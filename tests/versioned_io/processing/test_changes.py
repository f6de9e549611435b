"""What changed on a branch since somebody looked: net, by key, exactly."""

import pytest

from tests.versioned_io.conftest import dump_store
from versioned_io.errors import InvalidInputError, PartitionKeyError

TEMPLATE = "{year}/{month}.csv"


@pytest.fixture
def repo(store, write):
    store.create_repo("weather")
    write(store, "weather@main", {"2012/01.csv": b"1", "2012/02.csv": b"1", "2013/01.csv": b"1"}, message="first")
    return store


def changes(store, since, template=TEMPLATE, **options):
    return store.changes("weather@main", since=since, partitions=template, **options)


def numbers(found):
    return {key: commit.number for key, commit in found.keys.items()}


def test_everything_is_new_to_who_has_seen_nothing(repo):
    found = changes(repo, None)
    assert numbers(found) == {"2012-01": 1, "2012-02": 1, "2013-01": 1}
    assert list(found.keys) == sorted(found.keys)
    assert (found.head, found.commits, found.deleted) == (repo.commit("weather@main"), (found.head,), {})


def test_nothing_is_new_to_who_has_seen_the_head(repo):
    head = repo.commit("weather@main")
    found = changes(repo, head.id)
    assert (found.head, found.commits, found.keys, found.deleted) == (head, (), {}, {})


def test_each_key_has_the_newest_commit_that_wrote_it(repo, write):
    seen = repo.commit("weather@main").id
    write(repo, "weather@main", {"2012/01.csv": b"2", "2012/02.csv": b"2"})
    write(repo, "weather@main", {"2012/02.csv": b"3", "2014/01.csv": b"1", "readme": b"1"})
    write(repo, "weather@main", {"readme": b"2"})
    found = changes(repo, seen)
    assert numbers(found) == {"2012-01": 2, "2012-02": 3, "2014-01": 3}
    assert [commit.number for commit in found.commits] == [2, 3, 4]
    assert found.head.number == 4


def test_what_was_changed_and_changed_back_is_nothing(repo, write):
    seen = repo.commit("weather@main").id
    write(repo, "weather@main", {"2012/01.csv": b"2", "2015/01.csv": b"new"})
    write(repo, "weather@main", {"2012/01.csv": b"1", "2015/01.csv": None})
    found = changes(repo, seen)
    assert (found.keys, found.deleted) == ({}, {})
    assert len(found.commits) == 2
    # Who looked in between sees both steps.
    between = repo.commit("weather@main~1").id
    assert numbers(changes(repo, between)) == {"2012-01": 3}
    assert list(changes(repo, between).deleted) == ["2015-01"]


def test_a_key_whose_last_file_is_gone_is_deleted(repo, write):
    seen = repo.commit("weather@main").id
    head = write(repo, "weather@main", {"2012/01.csv": None, "2013/": None})
    found = changes(repo, seen)
    assert found.keys == {}
    assert found.deleted == {"2012-01": head, "2013-01": head}
    assert repo.affected("weather@main~1", "weather@main", TEMPLATE) == ["2012-01", "2013-01"]


KEYED = "{key}/*.csv"


def test_a_key_that_lost_one_of_its_files_is_processed_again(store, write):
    store.create_repo("weather")
    seen = write(store, "weather@main", {"a/1.csv": b"1", "a/2.csv": b"1", "b/1.csv": b"1", "b/2.csv": b"1"}).id
    write(store, "weather@main", {"a/1.csv": None})
    write(store, "weather@main", {"b/1.csv": None})
    write(store, "weather@main", {"b/2.csv": None})
    write(store, "weather@main", {"c/1.csv": b"1"})
    found = changes(store, seen, KEYED)
    assert numbers(found) == {"a": 2, "c": 5}
    assert {key: commit.number for key, commit in found.deleted.items()} == {"b": 4}


def test_a_key_is_given_with_a_commit_that_has_it_as_the_head_has(store, write):
    store.create_repo("weather")
    seen = write(store, "weather@main", {f"{key}/{n}.csv": b"1" for key in "abcde" for n in (1, 2)}).id
    write(store, "weather@main", {f"{key}/1.csv": b"2" for key in "abcde"})  # 2
    write(store, "weather@main", {"a/2.csv": None})  # 3: a lost a file after it was written
    write(store, "weather@main", {"b/3.csv": b"new", "e/2.csv": b"2"})  # 4
    write(store, "weather@main", {"b/1.csv": b"3"})  # 5
    write(store, "weather@main", {"b/3.csv": None, "d/9.csv": b"1"})  # 6: came and went after b was written
    write(store, "weather@main", {"d/9.csv": None, "d/1.csv": b"1"})  # 7: d is as it was
    write(store, "weather@main", {"e/2.csv": b"1"})  # 8: e is as it was after commit 2, but not as in 4 to 7
    write(store, "weather@main", {"readme": b"1"})  # 9
    found = changes(store, seen, KEYED)
    assert numbers(found) == {"a": 3, "b": 6, "c": 2, "e": 8}
    head = store.snapshot("weather@main")
    for key, commit in found.keys.items():
        as_of = store.snapshot(f"weather@{commit.id}")
        assert [(file.path, file.digest) for file in as_of.glob(f"{key}/*")] == [
            (file.path, file.digest) for file in head.glob(f"{key}/*")
        ]


def test_without_a_template_there_is_one_key_for_the_whole_branch(repo, write):
    seen = repo.commit("weather@main").id
    assert list(changes(repo, None, None).keys) == ["*"]
    assert changes(repo, seen, None).keys == {}
    head = write(repo, "weather@main", {"anything": b"1"})
    assert changes(repo, seen, None).keys == {"*": head}
    write(repo, "weather@main", {"anything": None})
    assert changes(repo, seen, None).keys == {}
    assert len(changes(repo, seen, None).commits) == 2


def test_an_empty_branch_has_no_changes(store):
    store.create_repo("weather")
    for template in (None, TEMPLATE):
        found = changes(store, None, template)
        assert (found.head, found.commits, found.keys, found.deleted) == (None, (), {}, {})
    with store.transaction("weather@main", empty="allow"):
        pass
    found = changes(store, None, None)
    assert (len(found.commits), found.keys) == (1, {})


def test_another_attribute_is_a_change(store):
    store.create_repo("weather")
    for value in "12":
        with store.transaction("weather@main") as tx:
            tx.write("2012/01.csv", b"1", attributes={"v": value})
    assert numbers(changes(store, store.commit("weather@main~1").id)) == {"2012-01": 2}


def test_who_has_seen_a_commit_of_another_branch_is_told_what_differs(repo, write):
    repo.create_branch("weather@dev", at="weather@main")
    write(repo, "weather@main", {"2012/01.csv": b"main"})
    write(repo, "weather@dev", {"2012/02.csv": b"dev"})
    seen = write(repo, "weather@dev", {"2016/01.csv": b"dev"}).id
    write(repo, "weather@main", {"2013/01.csv": b"main"})
    write(repo, "weather@main", {"x": b"main"})
    found = changes(repo, seen)
    # Who wrote what before the branches parted says nothing here, so all is given as of the head.
    assert numbers(found) == {"2012-01": 4, "2012-02": 4, "2013-01": 4}
    assert list(found.deleted) == ["2016-01"]
    assert [commit.number for commit in found.commits] == [2, 3, 4]
    assert {commit.branch for commit in found.commits} == {"main"}


def test_a_commit_of_another_repo_is_refused(repo, write):
    repo.create_repo("other")
    foreign = write(repo, "other@main", {"x": b"1"})
    before = dump_store(repo)
    with pytest.raises(InvalidInputError, match="is of repo 'other', not of 'weather'"):
        changes(repo, foreign.id)
    assert dump_store(repo) == before


def test_a_path_that_can_be_read_in_two_ways_is_refused(store, write):
    store.create_repo("weather")
    write(store, "weather@main", {"a-b-c": b"1"})
    with pytest.raises(PartitionKeyError, match="'a-b-c'"):
        changes(store, None, "{x}-{y}")
    write(store, "weather@main", {"a-b-c": None, "a/b-c": b"1"})
    with pytest.raises(PartitionKeyError, match="pass key="):
        changes(store, None, "{x}/{y}")
    assert list(changes(store, None, "{x}/{y}", key="{x}|{y}").keys) == ["a|b-c"]


def test_many_keys_at_once_are_each_given_their_own_commit(new_store, write):
    store = new_store()
    store.create_repo("weather")
    for year in range(3):
        write(store, "weather@main", {f"{year}/{month:04}.csv": b"1" for month in range(700)})
    found = changes(store, None)
    assert numbers(found) == {f"{year}-{month:04}": year + 1 for year in range(3) for month in range(700)}
