"""What is purged is gone from every commit and from the packs; what others have too stays, and is named."""

import random

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, PathNotFoundError, RepoNotFoundError
from versioned_io.storage.packs.reader import iterate_frames

SECRET = b"PERSONAL DATA " * 20


@pytest.fixture
def filled(store, write):
    store.create_repo("r")
    store.create_repo("other")
    write(store, "r@main", {"kept": b"kept", "d/secret": SECRET + b"1", "d/open": b"open"})
    write(store, "r@main", {"d/secret": SECRET + b"2", "later": b"later"})
    write(store, "r@main", {"d/secret": None, "more": b"more"})
    write(store, "other@main", {"copy": b"kept"})
    return store


def packs_of(store):
    return [info.key.rpartition("/")[2].removesuffix(".pack") for info in store._backend.objects.list("packs/")]


def everything_stored(store):
    """All bytes of all packs, decompressed."""
    objects = store._backend.objects
    return b"".join(bytes(payload) for name in packs_of(store) for _, _, payload in iterate_frames(objects, name))


def trees(store, branch):
    return [
        {
            file.path: store.snapshot(f"r@{commit.id}").read(file.path)
            for file in store.snapshot(f"r@{commit.id}").walk()
        }
        for commit in store.log(branch)
    ]


def test_a_file_leaves_every_commit_and_its_bytes_leave_the_store(filled):
    before = [(commit.id, commit.number, commit.message, commit.lineage_id) for commit in filled.log("r@main")]
    assert SECRET in everything_stored(filled)
    report = filled.purge("r", "d/secret", reason="a request", author="me")
    assert (report.paths, report.commits, len(report.chunks), report.shared) == (("d/secret",), 2, 2, {})
    assert report.gone
    assert SECRET not in everything_stored(filled)
    assert [(commit.id, commit.number, commit.message, commit.lineage_id) for commit in filled.log("r@main")] == before
    assert trees(filled, "r@main") == [
        {"kept": b"kept", "d/open": b"open", "later": b"later", "more": b"more"},
        {"kept": b"kept", "d/open": b"open", "later": b"later"},
        {"kept": b"kept", "d/open": b"open"},
    ]
    assert filled.snapshot("other@main").read("copy") == b"kept"
    assert filled.fsck().is_clean
    with filled._backend.catalog.read() as connection:
        from versioned_io.catalog.journal import entries_of

        last = entries_of(connection, "r")[-1][0].entry
    assert (last.action, last.author, last.details) == ("purge", "me", {"path": "d/secret", "reason": "a request"})


def test_a_directory_is_purged_with_all_below_it(filled):
    report = filled.purge("r", "d")
    assert report.paths == ("d/open", "d/secret")
    assert report.gone
    assert [sorted(tree) for tree in trees(filled, "r@main")] == [
        ["kept", "later", "more"],
        ["kept", "later"],
        ["kept"],
    ]
    assert filled.fsck().is_clean


def test_content_that_others_have_too_stays_and_is_named(filled):
    report = filled.purge("r", "kept")
    assert report.chunks == ()
    assert list(report.shared.values()) == [f"other@{filled.commit('other@main').id}:copy"]
    assert not report.gone  # for its bytes are there
    assert filled.snapshot("other@main").read("copy") == b"kept"
    assert all("kept" not in tree for tree in trees(filled, "r@main"))


def test_a_large_file_is_purged_with_its_packs(store, write):
    store.create_repo("r")
    data = random.Random(1).randbytes(9_000_000)
    with store.transaction("r@main") as tx:
        tx.write("large", data)
        tx.write("kept", b"kept" * 1000)
    report = store.purge("r", "large")
    assert report.gone
    assert data[1_000_000:1_000_100] not in everything_stored(store)
    assert sum(info.size_bytes for info in store._backend.objects.list("packs/")) < 100_000
    assert store.snapshot("r@main").read("kept") == b"kept" * 1000
    with store.transaction("r@main") as tx:
        tx.write("large", data)
    assert store.snapshot("r@main").read("large") == data


def test_a_version_that_only_a_forgotten_commit_had_is_gone_too(filled, write):
    filled.create_branch("r@dev", at="r@main~1")
    write(filled, "r@dev", {"d/secret": SECRET + b"2", "other": b"1"})
    filled.delete_branch("r@dev")
    assert filled.purge("r", "d/secret").gone
    assert SECRET not in everything_stored(filled)


def test_a_dry_run_says_what_would_go_and_changes_nothing(filled, dump):
    before = dump(filled)
    report = filled.purge("r", "d/secret", dry_run=True)
    assert (report.paths, report.dry_run, report.gone) == (("d/secret",), True, False)
    assert len(report.chunks) == 2
    assert dump(filled) == before


@pytest.mark.parametrize(
    ("repo", "path", "error"), [("r", "nothing", PathNotFoundError), ("x", "a", RepoNotFoundError)]
)
def test_what_was_never_there_can_not_be_purged(filled, dump, repo, path, error):
    before = dump(filled)
    with pytest.raises(error):
        filled.purge(repo, path)
    assert dump(filled) == before


def test_what_a_writer_brings_back_meanwhile_is_reported(filled, monkeypatch):
    from versioned_io.maintenance.erasure import purge

    original = purge.remove_packs

    def remove(*arguments, **options):
        with filled.transaction("r@main") as tx:
            tx.write("d/secret", SECRET + b"2")
        return original(*arguments, **options)

    monkeypatch.setattr(purge, "remove_packs", remove)
    assert not filled.purge("r", "d/secret").gone
    monkeypatch.undo()
    assert filled.snapshot("r@main").read("d/secret") == SECRET + b"2"
    assert filled.fsck().is_clean
    assert filled.purge("r", "d/secret").gone


# Patterns


@pytest.fixture
def people(store, write):
    """Three people's files, of which one left long ago; every commit is another mix of what a pattern means."""
    store.create_repo("r")
    store.create_repo("other")
    write(
        store, "r@main", {"people/ann/id.csv": SECRET + b"ann", "people/ann/photo": b"photo", "people.csv": b"public"}
    )
    write(store, "r@main", {"people/bob/id.csv": SECRET + b"bob", "people/id.csv": b"a list"})
    write(store, "r@main", {"people/bob/id.csv": None, "people/cid/id.csv": SECRET + b"cid"})
    write(store, "other@main", {"people/dan/id.csv": b"dan, of another repo"})
    return store


def test_a_pattern_stands_for_every_path_of_all_history(people):
    report = people.purge_glob("r", "people/*/id.csv", reason="a request")
    assert report.paths == ("people/ann/id.csv", "people/bob/id.csv", "people/cid/id.csv")
    assert (report.commits, len(report.chunks), report.gone, report.left_over) == (3, 3, True, ())
    assert SECRET not in everything_stored(people)
    assert [sorted(tree) for tree in trees(people, "r@main")] == [
        ["people.csv", "people/ann/photo", "people/id.csv"],
        ["people.csv", "people/ann/photo", "people/id.csv"],
        ["people.csv", "people/ann/photo"],
    ]
    assert people.snapshot("other@main").read("people/dan/id.csv") == b"dan, of another repo"
    assert people.fsck().is_clean
    with people._backend.catalog.read() as connection:
        from versioned_io.catalog.journal import entries_of

        last = entries_of(connection, "r")[-1][0].entry
    assert last.details == {"glob": "people/*/id.csv", "reason": "a request"}


def test_everything_below_a_directory_can_be_said_as_a_pattern_or_as_a_path(people):
    by_glob = people.purge_glob("r", "people/**", dry_run=True)
    by_path = people.purge("r", "people", dry_run=True)
    assert by_glob == by_path
    assert len(by_glob.paths) == 5


@pytest.mark.parametrize(
    ("repo", "pattern", "error"),
    [
        ("r", "people/*/passport", PathNotFoundError),
        ("r", "people/dan/*", PathNotFoundError),
        ("r", "people", PathNotFoundError),
        ("r", "people/", InvalidInputError),
        ("r", "/", InvalidInputError),
        ("r", "", InvalidInputError),
        ("r", "people/[", InvalidInputError),
        ("x", "**", RepoNotFoundError),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_and_changes_nothing(people, dump, repo, pattern, error):
    before = dump(people)
    with pytest.raises(error):
        people.purge_glob(repo, pattern)
    assert dump(people) == before


def test_what_matches_of_forgotten_commits_is_purged_and_named(people, write):
    people.create_branch("r@dev", at="r@main")
    write(people, "r@dev", {"people/eve/id.csv": SECRET + b"eve"})
    people.drop("r@dev")
    report = people.purge_glob("r", "people/*/id.csv")
    assert "people/eve/id.csv" not in report.paths
    assert "people/eve/id.csv" in report.left_over
    assert report.gone
    assert SECRET not in everything_stored(people)


@pytest.mark.parametrize("seed", range(2))
def test_a_purge_by_pattern_is_the_purge_of_each_path_that_it_stands_for(store, write, seed):
    chosen = random.Random(seed)
    store.create_repo("r")
    names = [f"{a}/{b}.{c}" for a in "xyz" for b in range(40) for c in ("csv", "bin")]
    present: set[str] = set()
    for _ in range(6):
        added = set(chosen.sample(names, 30))
        gone = set(chosen.sample(sorted(present), min(len(present), 10))) - added
        write(store, "r@main", {name: b"%d" % chosen.randrange(10**9) for name in added} | dict.fromkeys(gone))
        present = (present | added) - gone
    before = trees(store, "r@main")
    report = store.purge_glob("r", "{x,z}/[1-3]*.csv")
    meant = {name for tree in before for name in tree if name[0] in "xz" and name[2] in "123" and name[-3:] == "csv"}
    assert set(report.paths) == meant
    assert trees(store, "r@main") == [
        {name: data for name, data in tree.items() if name not in meant} for tree in before
    ]
    assert report.gone
    assert store.fsck().is_clean


def test_what_other_repos_have_under_the_same_path_is_not_said_to_be_shared(store, write):
    """Pages of commits that were dropped name paths, and don't say of which repo."""
    for repo in ("one", "two"):
        store.create_repo(repo)
        write(store, f"{repo}@main", {"data.csv": repo.encode() * 100, "kept": b"the same"})
    write(store, "two@main", {"extra": b"1"})
    store.drop("two@main")
    report = store.purge("one", "data.csv")
    assert (report.shared, report.gone) == ({}, True)
    assert store.snapshot("two@main").read("data.csv") == b"two" * 100


def test_what_other_repos_have_under_the_same_path_needs_no_second_purge(store, write):
    for repo in ("one", "two"):
        store.create_repo(repo)
        write(store, f"{repo}@main", {"data.csv": repo.encode() * 100, "kept": b"the same"})
    assert store.purge("one", "data.csv").gone
    assert store.snapshot("two@main").read("data.csv") == b"two" * 100
    assert store.fsck().is_clean


def declared(store, **options):
    @vio.pipeline("up", inputs=vio.glob("r@main", "/{kept,o,d/secret}"), output="out@main", code_version="1", **options)
    def up(datum, out):
        data = datum["r"].read()
        print("saw", data.decode())
        out.write(datum["r"].path, b"<" + data + b">")

    return store.pipeline(up)


@pytest.fixture
def computed(store, write):
    """A pipeline's output, of which one file was computed twice, and one of another run."""
    for repo in ("r", "out"):
        store.create_repo(repo)
    write(store, "r@main", {"kept": b"kept", "d/secret": SECRET + b"1", "o": b"a file that is called as a directory"})
    declared(store).run()
    write(store, "r@main", {"d/secret": SECRET + b"2"})
    declared(store).run()
    return store


@pytest.mark.parametrize("how", ["path", "directory", "pattern", "after it was deleted"])
def test_the_results_of_a_pipeline_lose_a_purged_output_with_their_logs(computed, write, how):
    if how == "after it was deleted":
        write(computed, "r@main", {"d/secret": None})
        declared(computed).run()
    computed.purge("r", "d/secret")
    assert SECRET in everything_stored(computed)  # in the output, in its results and in their logs
    if how == "pattern":
        report = computed.purge_glob("out", "**/secret")
    else:
        report = computed.purge("out", "d" if how == "directory" else "d/secret")
    assert (report.paths, report.shared, report.gone) == (("d/secret",), {}, True)
    assert SECRET not in everything_stored(computed)
    assert computed.fsck().is_clean
    assert [file.path for file in computed.snapshot("out@main").walk()] == ["kept", "o"]


def test_a_file_of_the_output_that_is_called_like_a_part_of_results_is_purged_alone(computed):
    report = computed.purge("out", "o")
    assert (report.paths, len(report.shared)) == (("o",), 0)
    assert computed.snapshot("out@main").read("kept") == b"<kept>"
    assert declared(computed).run().counts["skipped"] == 3
    assert declared(computed).log("kept") == "saw kept\n"


def test_a_purged_output_is_made_again_only_when_somebody_asks_for_it(computed):
    computed.purge("out", "d/secret")
    pipe = declared(computed)
    assert pipe.plan().is_empty
    assert pipe.invalidate(["d/secret"]) == 1
    assert pipe.run().runs == ("d/secret",)
    assert computed.snapshot("out@main").read("d/secret") == b"<" + SECRET + b"2>"
