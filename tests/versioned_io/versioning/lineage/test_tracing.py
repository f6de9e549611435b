"""Where commits come from, and what came of them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import versioned_io as vio
from versioned_io.errors import RefNotFoundError
from versioned_io.model.identifiers import new_lineage_id
from versioned_io.versioning.history import log as history


@pytest.fixture
def repos(store):
    for name in ("weather", "summary", "models", "labels"):
        store.create_repo(name)
    return store


def paths(graph):
    """The versions of files that a graph reached: (repo, path, who wrote it)."""
    return {(use.file.repo, use.file.path, use.file.written_by) for use in graph.files}


def names(graph):
    return sorted((commit.repo, commit.number) for commit in graph.commits)


# What is noted


def test_a_commit_in_a_run_says_what_was_read_and_who_ran(repos, write):
    source = write(repos, "weather@main", {"a": b"1", "b": b"2"})
    with repos.run(
        "train",
        code_version="3",
        params={"depth": 4},
        orchestrator="dagster",
        run_id="run-1",
        partition_key="2012-01",
        url="https://dagster/run-1",
        git_commit="abc",
    ) as run:
        assert repos.snapshot("weather@main").read("a") == b"1"
        commit = write(repos, "models@main", {"m": b"1"})
    assert commit.provenance == (source.id,)
    assert commit.run == vio.RunInfo(
        "dagster", "train", "run-1", "2012-01", "https://dagster/run-1", "3", "abc", {"depth": 4}
    )
    digest = repos.snapshot("weather@main").stat("a").digest
    assert run.inputs == (vio.InputFile("weather", source.id, "a", digest, source.id),)
    assert run.commits == (commit,)
    assert repos.commit(commit.id) == commit
    assert repos.fsck().is_clean


def test_every_way_to_read_a_file_is_noted(repos, write, tmp_path):
    write(repos, "weather@main", dict.fromkeys(("read", "open", "checkout/x", "copy", "seen"), b"data"))
    snapshot = repos.snapshot("weather@main")
    with repos.run("job") as run:
        snapshot.read("read", 1, 1)
        with snapshot.open("open"):
            pass
        snapshot.checkout(tmp_path / "out", "checkout")
        with repos.transaction("models@main") as tx:
            tx.copy("weather@main:copy", to="m")
        assert [file.path for file in run.inputs] == ["checkout/x", "copy", "open", "read"]
        # To look at a listing is not to read the files.
        assert snapshot.exists("seen")
        assert snapshot.stat("seen").size == 4
        list(snapshot.walk())
        list(snapshot.list())
        list(snapshot.glob("**"))
    assert "seen" not in [file.path for file in run.inputs]


def test_reading_outside_of_a_run_is_not_noted(repos, write):
    write(repos, "weather@main", {"a": b"1"})
    repos.snapshot("weather@main").read("a")
    assert vio.current_run() is None
    assert write(repos, "models@main", {"m": b"1"}).provenance == ()


def test_what_a_transaction_reads_of_its_own_branch_is_no_input(repos, write):
    write(repos, "weather@main", {"a": b"1"})
    with repos.run("job") as run, repos.transaction("weather@main") as tx:
        tx.write("a", tx.read("a") + b"2")
        tx.write("a", b"3", append=True)
        tx.copy(":a", to="b")
        tx.move("b", "c")
    assert run.inputs == ()
    assert tx.commit.provenance == ()


def test_reading_in_other_threads_is_noted_in_the_run_where_the_snapshot_was_taken(repos, write):
    write(repos, "weather@main", {f"f{number}": b"%d" % number for number in range(20)})
    with repos.run("job") as run:
        snapshot = repos.snapshot("weather@main")
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(snapshot.read, [f"f{number}" for number in range(20)])) == [
                b"%d" % number for number in range(20)
            ]
        commit = write(repos, "models@main", {"m": b"1"})
    assert {use.file.path for use in repos.upstream(f"models@{commit.id}").files} == {f"f{n}" for n in range(20)}
    assert len(run.inputs) == 20


def test_runs_in_several_threads_do_not_mix(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2"})
    at_once = threading.Barrier(2)

    def work(path):
        with repos.run(f"job-{path}") as run:
            at_once.wait(60)
            repos.snapshot("weather@main").read(path)
            at_once.wait(60)
            write(repos, "models@main", {path: b"1"})
        return run

    with ThreadPoolExecutor(2) as pool:
        for path, run in zip("ab", pool.map(work, "ab"), strict=True):
            assert [file.path for file in run.inputs] == [path]
            assert [commit.run.job for commit in run.commits] == [f"job-{path}"]


def test_a_run_can_be_entered_again_and_inside_another(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2"})
    outer = repos.run("outer")
    inner = repos.run("inner")
    with outer.active():
        repos.snapshot("weather@main").read("a")
        with inner.active():
            assert vio.current_run() is inner
            repos.snapshot("weather@main").read("b")
        assert vio.current_run() is outer
    with outer.active():
        commit = write(repos, "models@main", {"m": b"1"})
    assert commit.run.job == "outer"
    assert [file.path for file in outer.inputs] == ["a"]
    assert [file.path for file in inner.inputs] == ["b"]


def test_the_same_file_of_two_commits_is_two_inputs(repos, write):
    first = write(repos, "weather@main", {"a": b"1"})
    second = write(repos, "weather@main", {"b": b"1"})
    with repos.run("job") as run:
        for ref in (first.id, second.id, second.id):
            repos.snapshot(f"weather@{ref}").read("a")
        commit = write(repos, "models@main", {"m": b"1"})
    assert [(file.commit, file.written_by) for file in run.inputs] == [(first.id, first.id), (second.id, first.id)]
    assert commit.provenance == (first.id, second.id)


def test_provenance_that_is_given_is_kept_beside_what_was_read(repos, write):
    commits = [write(repos, "weather@main", {"a": b"%d" % number}) for number in range(3)]
    with repos.run("job"):
        repos.snapshot(f"weather@{commits[1].id}").read("a")
        with repos.transaction("models@main", provenance=[commits[2].id, commits[0].id, commits[2].id]) as tx:
            tx.write("m", b"1")
    assert set(tx.commit.provenance) == {commit.id for commit in commits}
    assert repos.commit(tx.commit.id) == tx.commit
    # The record in the pack says the same as the catalog, in whatever order they were given.
    assert repos.fsck().is_clean


# The lineage ID


def test_a_root_write_has_a_lineage_id_of_its_own(repos, write):
    made = [write(repos, "weather@main", {"a": b"%d" % number}).lineage_id for number in range(3)]
    assert len(set(made)) == 3
    with repos.run("job") as run:
        assert run.lineage_id is None
        commit = write(repos, "models@main", {"m": b"1"})
        assert run.lineage_id == commit.lineage_id
        assert write(repos, "labels@main", {"l": b"1"}).lineage_id == commit.lineage_id
    assert commit.lineage_id not in made


def test_work_carries_on_the_lineage_id_of_the_newest_commit_that_it_read(repos, write):
    old = write(repos, "weather@main", {"a": b"1"})
    new = write(repos, "labels@main", {"l": b"1"})
    with repos.run("job") as run:
        repos.snapshot("labels@main").read("l")
        assert run.lineage_id == new.lineage_id
        repos.snapshot("weather@main").read("a")
        assert run.lineage_id == new.lineage_id
        assert write(repos, "models@main", {"m": b"1"}).lineage_id == new.lineage_id
    assert old.lineage_id != new.lineage_id


def test_the_lineage_id_that_the_run_was_given_goes_before_what_it_read(repos, write):
    write(repos, "weather@main", {"a": b"1"})
    given = new_lineage_id()
    with repos.run("job", lineage_id=given) as run:
        repos.snapshot("weather@main").read("a")
        assert run.lineage_id == given
        assert write(repos, "models@main", {"m": b"1"}).lineage_id == given


def test_the_lineage_id_that_the_transaction_was_given_goes_before_all(repos, write):
    write(repos, "weather@main", {"a": b"1"})
    given = new_lineage_id()
    with repos.run("job", lineage_id=new_lineage_id()):
        repos.snapshot("weather@main").read("a")
        commit = write(repos, "models@main", {"m": b"1"}, lineage_id=given)
    assert commit.lineage_id == given
    assert repos.lineage(given) == [commit]


def test_a_copy_by_reference_carries_provenance_and_lineage_also_outside_of_a_run(repos, write):
    source = write(repos, "weather@main", {"a": b"1", "b": b"2"})
    write(repos, "weather@main", {"b": b"3"})
    with repos.transaction("models@main") as tx:
        tx.copy("weather@main~1:a", to="m")
    assert tx.commit.provenance == (source.id,)
    assert tx.commit.lineage_id == source.lineage_id
    assert tx.commit.run is None
    assert paths(repos.upstream("models@main:m")) == {("weather", "a", source.id)}
    assert names(repos.downstream(f"weather@{source.id}:a")) == [("models", 1), ("weather", 1)]


def test_a_copy_of_a_directory_says_each_file(repos, write):
    first = write(repos, "weather@main", {"d/a": b"1", "d/b": b"2", "e": b"3"})
    second = write(repos, "weather@main", {"d/b": b"4"})
    with repos.transaction("models@main") as tx:
        tx.copy("weather@main:d", to="m")
    assert paths(repos.upstream("models@main")) == {("weather", "d/a", first.id), ("weather", "d/b", second.id)}
    assert tx.commit.lineage_id == second.lineage_id


def test_a_commit_set_is_told_over_all_repos_oldest_first(repos, write):
    root = write(repos, "weather@main", {"a": b"1"})
    write(repos, "weather@main", {"other": b"1"})
    chain = [root]
    for source, target in (("weather", "summary"), ("summary", "models")):
        with repos.run(target):
            repos.snapshot(f"{source}@{chain[-1].id}").read("a")
            chain.append(write(repos, f"{target}@main", {"a": target.encode()}))
    assert repos.lineage(root.lineage_id) == chain


def test_a_lineage_id_names_the_state_of_every_repo_that_took_part(repos, write):
    first = write(repos, "weather@main", {"a": b"1"})
    with repos.run("summarise"):
        repos.snapshot("weather@main").read("a")
        summary = write(repos, "summary@main", {"s": b"1"})
        summary_again = write(repos, "summary@main", {"s": b"2"})
    label = write(repos, "labels@main", {"l": b"1"})
    with repos.run("train", lineage_id=first.lineage_id):
        repos.snapshot("summary@main").read("s")
        repos.snapshot("labels@main").read("l")
        model = write(repos, "models@main", {"m": b"1"})
    # All goes on.
    for repo in ("weather", "summary", "labels", "models"):
        write(repos, f"{repo}@main", {"later": b"1"})
    lineage = first.lineage_id
    assert repos.commit(f"weather@{lineage}") == first
    assert repos.commit(f"summary@{lineage}") == summary_again
    assert repos.commit(f"summary@{lineage}~1") == summary
    assert repos.commit(f"models@{lineage}") == model
    # What took no part is as it was read.
    assert repos.commit(f"labels@{lineage}") == label
    repos.create_repo("bystander")
    write(repos, "bystander@main", {"x": b"1"})
    with pytest.raises(RefNotFoundError):
        repos.commit(f"bystander@{lineage}")


# Up and down


def test_upstream_reaches_the_exact_versions_through_older_commits(repos, write):
    months = [f"{2012 + number // 12}/{number % 12 + 1:02}.csv" for number in range(48)]
    first = write(repos, "weather@main", dict.fromkeys(months, b"first"))
    second = write(repos, "weather@main", {months[7]: b"corrected", "unread": b"1"})
    third = write(repos, "weather@main", {"unread": b"2"})
    snapshot = repos.snapshot("weather@main")
    with repos.run("train"):
        for month in months:
            snapshot.read(month)
        model = write(repos, "models@main", {"model.bin": b"m"})
    assert model.provenance == (third.id,)
    expected = {("weather", month, first.id) for month in months} - {("weather", months[7], first.id)}
    for ref in ("models@main", "models@main:model.bin", f"models@{model.id}"):
        graph = repos.upstream(ref)
        assert paths(graph) == expected | {("weather", months[7], second.id)}
        assert names(graph) == [("models", 1), ("weather", 1), ("weather", 2)]
        assert set(graph.edges) == {(model.id, first.id), (model.id, second.id)}
        assert graph.roots == (model.id,)
        assert graph.commit(model.id) == model
    # Downstream is the same edge, the other way.
    assert names(repos.downstream(f"weather@{first.id}:{months[0]}")) == [("models", 1), ("weather", 1)]
    assert names(repos.downstream(f"weather@main:{months[7]}")) == [("models", 1), ("weather", 2)]
    # The version that was corrected, and the file that nobody read, went nowhere.
    assert names(repos.downstream(f"weather@{first.id}:{months[7]}")) == [("weather", 1)]
    assert names(repos.downstream("weather@main:unread")) == [("weather", 3)]


def test_upstream_goes_all_the_way_and_leaves_out_what_was_not_read(repos, write):
    write(repos, "labels@main", {"unrelated": b"1"})
    root = write(repos, "weather@main", {"a": b"1", "b": b"2"})
    with repos.run("one"):
        repos.snapshot("weather@main").read("a")
        middle = write(repos, "summary@main", {"s": b"1"})
    with repos.run("two"):
        repos.snapshot("summary@main").read("s")
        top = write(repos, "models@main", {"m": b"1"})
    graph = repos.upstream("models@main:m")
    assert paths(graph) == {("weather", "a", root.id), ("summary", "s", middle.id)}
    assert [commit.id for commit in graph.commits] == [root.id, middle.id, top.id]
    assert names(repos.downstream(f"weather@{root.id}")) == [("models", 1), ("summary", 1), ("weather", 1)]
    assert names(repos.downstream("weather@main:a")) == [("models", 1), ("summary", 1), ("weather", 1)]
    assert names(repos.downstream("weather@main:b")) == [("weather", 1)]
    assert names(repos.upstream("weather@main")) == [("weather", 1)]


def test_upstream_of_a_directory_is_that_of_its_files(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2"})
    for source, target in (("a", "d/x"), ("b", "e/y")):
        with repos.run("job"):
            repos.snapshot("weather@main").read(source)
            write(repos, "models@main", {target: b"1"})
    assert {path for _, path, _ in paths(repos.upstream("models@main:d"))} == {"a"}
    assert {path for _, path, _ in paths(repos.upstream("models@main:e/"))} == {"b"}
    assert {path for _, path, _ in paths(repos.upstream("models@main"))} == {"a", "b"}


def test_upstream_of_an_overwritten_file_is_that_of_its_present_version(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2"})
    for source in ("a", "b"):
        with repos.run("job"):
            repos.snapshot("weather@main").read(source)
            write(repos, "models@main", {"m": source.encode()})
    assert {path for _, path, _ in paths(repos.upstream("models@main:m"))} == {"b"}
    assert {path for _, path, _ in paths(repos.upstream("models@main~1:m"))} == {"a"}


def test_what_a_run_made_of_each_input_is_told_apart(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2", "both": b"3"})
    snapshot = repos.snapshot("weather@main")
    with repos.run("job") as run:
        snapshot.read("both")
        for name in ("a", "b"):
            with run.making(f"out/{name}"):
                snapshot.read(name)
        write(repos, "models@main", {"out/a": b"1", "out/b": b"2"})
    assert {path for _, path, _ in paths(repos.upstream("models@main:out/a"))} == {"a", "both"}
    assert {path for _, path, _ in paths(repos.upstream("models@main:out/b"))} == {"b", "both"}
    assert {path for _, path, _ in paths(repos.upstream("models@main"))} == {"a", "b", "both"}
    with repos.run("next"):
        repos.snapshot("models@main").read("out/b")
        write(repos, "labels@main", {"l": b"1"})
    assert names(repos.downstream("weather@main:a")) == [("models", 1), ("weather", 1)]
    assert names(repos.downstream("weather@main:b")) == [("labels", 1), ("models", 1), ("weather", 1)]
    assert names(repos.downstream("weather@main:both")) == [("labels", 1), ("models", 1), ("weather", 1)]
    assert repos.fsck().is_clean


def test_provenance_without_files_is_followed_by_commits(repos, write):
    root = write(repos, "weather@main", {"a": b"1"})
    commit = write(repos, "models@main", {"m": b"1"}, provenance=[root.id])
    graph = repos.upstream("models@main")
    assert (names(graph), graph.edges, graph.files) == (
        [("models", 1), ("weather", 1)],
        ((commit.id, root.id),),
        (),
    )
    assert names(repos.downstream(f"weather@{root.id}")) == [("models", 1), ("weather", 1)]


def test_a_file_that_is_renamed_or_copied_inside_its_branch_keeps_where_it_comes_from(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2"})
    made = []
    for source in ("a", "b"):
        with repos.run("job"):
            repos.snapshot("weather@main").read(source)
            made.append(write(repos, "models@main", {f"d/{source}": source.encode()}))
    with repos.transaction("models@main") as tx:
        tx.move("d", "e")
        tx.move("e/a", "best")
        tx.copy(":best", "copy")
        tx.write("own", b"1")
        tx.branch("labels@main").write("l", b"1")
    for path in ("best", "copy"):
        assert {source for repo, source, _ in paths(repos.upstream(f"models@main:{path}")) if repo == "weather"} == {
            "a"
        }
    assert {source for repo, source, _ in paths(repos.upstream("models@main:e/b")) if repo == "weather"} == {"b"}
    assert names(repos.upstream("models@main:own")) == [("models", 3)]
    assert names(repos.upstream("labels@main")) == [("labels", 1)]
    assert ("models", 3) in names(repos.downstream("weather@main:a"))
    # To rename is no work that the old commit caused.
    assert tx.commit.lineage_id not in {commit.lineage_id for commit in made}
    assert tx.commit.provenance == ()
    assert repos.fsck().is_clean


def test_one_transaction_over_two_repos_gives_both_what_was_read(repos, write):
    write(repos, "weather@main", {"a": b"1"})
    with repos.run("job"):
        repos.snapshot("weather@main").read("a")
        with repos.transaction("models@main") as tx:
            tx.write("m", b"1")
            tx.branch("labels@main").write("l", b"1")
    for ref in ("models@main:m", "labels@main:l"):
        assert {path for _, path, _ in paths(repos.upstream(ref))} == {"a"}
    assert names(repos.downstream("weather@main:a")) == [("labels", 1), ("models", 1), ("weather", 1)]


def test_identical_results_come_from_what_was_read_last(repos, write):
    write(repos, "weather@main", {"a": b"1", "b": b"2"})
    for source in ("a", "b", "b"):
        with repos.run("job"):
            repos.snapshot("weather@main").read(source)
            write(repos, "models@main", {"m": b"same"})
    assert repos.commit("models@main").number == 2
    assert {path for _, path, _ in paths(repos.upstream("models@main"))} == {"b"}
    (asked,) = repos.upstream("models@main:m").asked
    assert asked.written_by == repos.commit("models@main~1").id


# The history of a path


def test_the_log_of_a_file_has_the_commits_that_changed_it(repos, write):
    write(repos, "weather@main", {"a": b"1"}, message="made")
    write(repos, "weather@main", {"b": b"1"}, message="other")
    write(repos, "weather@main", {"a": b"2", "b": b"2"}, message="changed")
    write(repos, "weather@main", {"a": b"2", "b": b"3"}, message="same")
    messages = [commit.message for commit in repos.log("weather@main", path="a")]
    assert messages == ["changed", "made"]
    assert [commit.message for commit in repos.log("weather@main", path="/a", limit=1)] == ["changed"]
    assert list(repos.log("weather@main", path="a", limit=0)) == []
    assert [commit.message for commit in repos.log("weather@main~2", path="a")] == ["made"]


def test_the_log_of_a_file_that_was_deleted_and_made_again_has_it_all(repos, write):
    steps = [
        ("made", {"a": b"1"}),
        ("quiet", {"x": b"1"}),
        ("deleted", {"a": None}),
        ("quiet", {"x": b"2"}),
        ("made again", {"a": b"1"}),
        ("quiet", {"x": b"3"}),
        ("deleted again", {"a": None, "x": b"4"}),
    ]
    for message, files in steps:
        write(repos, "weather@main", files, message=message)
    messages = [commit.message for commit in repos.log("weather@main", path="a")]
    assert messages == ["deleted again", "made again", "deleted", "made"]
    assert [commit.message for commit in repos.log("weather@main~1", path="a")] == ["made again", "deleted", "made"]


def test_the_log_of_a_directory_has_what_changed_below_it(repos, write):
    steps = [
        ("made", {"d/x": b"1", "d-beside": b"1"}),
        ("beside", {"d-beside": b"2", "da": b"1"}),
        ("added", {"d/sub/y": b"1"}),
        ("gone", {"d/": None}),
        ("a file now", {"d": b"1"}),
        ("beside", {"da": b"2"}),
    ]
    for message, files in steps:
        write(repos, "weather@main", files, message=message)
    assert [commit.message for commit in repos.log("weather@main", path="d")] == ["a file now", "gone", "added", "made"]
    assert [commit.message for commit in repos.log("weather@main~2", path="d/")] == ["gone", "added", "made"]
    assert [commit.message for commit in repos.log("weather@main~3", path="d/sub")] == ["added"]
    assert len(list(repos.log("weather@main", path="/"))) == 6


def test_the_log_of_a_path_looks_past_any_number_of_commits_that_left_it_alone(new_store, write):
    store = new_store()
    store.create_repo("weather")
    write(store, "weather@main", {"d/x": b"1", "a": b"1"}, message="made")
    for number in range(210):
        if number == 105:
            write(store, "weather@main", {"d/": None, "a": None}, message="gone")
        write(store, "weather@main", {"quiet": b"%d" % number}, message="quiet")
    for path in ("d", "d/x", "a"):
        assert [commit.message for commit in store.log("weather@main", path=path)] == ["gone", "made"]


def test_the_log_of_a_directory_compares_only_commits_that_may_have_touched_it(new_store, write, monkeypatch):
    store = new_store()
    store.create_repo("r")
    touching = [write(store, "r@main", {"data/x/1": b"1", "data/y/1": b"1"})]
    for number in range(60):
        write(store, "r@main", {f"other/{number}": b"1"})
        if number in {10, 40}:
            touching.append(write(store, "r@main", {f"data/x/{number}": b"1"}))
    touching.append(write(store, "r@main", {"data/x/1": None}))
    compared = []
    original = history._differ
    monkeypatch.setattr(history, "_differ", lambda *arguments: compared.append(1) or original(*arguments))
    found = [commit.id for commit in store.log("r@main", path="data/x")]
    assert found == [commit.id for commit in reversed(touching)]
    assert len(compared) < len(touching) + 5
    with store.transaction("r@main") as tx:
        tx.delete("data/")
    assert next(store.log("r@main", path="data/x")).id == tx.commit.id


def test_the_log_of_a_path_follows_a_fork_to_its_beginning(repos, write):
    write(repos, "weather@main", {"a": b"1", "d/x": b"1"}, message="made")
    write(repos, "weather@main", {"b": b"1"}, message="other")
    repos.create_branch("weather@dev", at="weather@main")
    write(repos, "weather@main", {"a": b"main"}, message="main")
    write(repos, "weather@dev", {"a": b"dev", "d/x": b"2"}, message="dev")
    for path in ("a", "d"):
        assert [commit.message for commit in repos.log("weather@dev", path=path)] == ["dev", "made"]


def test_the_log_of_a_copied_file_begins_with_the_copy(repos, write):
    write(repos, "models@main", {"m": b"1"})
    with repos.transaction("weather@main", message="copied") as tx:
        tx.copy("models@main:m", to="a")
    assert [commit.message for commit in repos.log("weather@main", path="a")] == ["copied"]


def test_the_log_of_a_path_ends_where_data_was_let_go_of(repos, write):
    commits = [write(repos, "weather@main", {"a": b"%d" % number, f"d/{number}": b"1"}) for number in range(4)]
    repos.set_retention("weather@main", keep_last=2)
    assert repos.gc(grace=timedelta(0), expire=timedelta(0)).forgotten == 2
    kept = [commit.id for commit in reversed(commits[2:])]
    assert [commit.id for commit in repos.log("weather@main")] == [commit.id for commit in reversed(commits)]
    for path in ("a", "d"):
        assert [commit.id for commit in repos.log("weather@main", path=path)] == kept
    # The head's own rows still tell who wrote a file.
    assert [commit.id for commit in repos.log("weather@main", path="d/0")] == [commits[0].id]


# Inputs outside of the store


def test_upstream_leads_to_the_inputs_outside_of_the_store(repos, write):
    old = {"uri": "file:///old/orders", "digest": "sha256:aa"}
    january, february = ({"uri": f"file:///old/{month}", "digest": "sha256:bb", "path": month} for month in ("1", "2"))
    metadata = {"external_inputs": [old, january, february]}
    with repos.transaction("weather@main", metadata=metadata) as tx:
        tx.write("1/data", b"1")
        tx.write("2/data", b"2")
    with repos.run("train"), repos.transaction("models@main") as model:
        model.write("model", repos.snapshot("weather@main").read("1/data"))
    graph = repos.upstream("models@main:model")
    assert [(use.consumer, use.uri, use.digest) for use in graph.external] == [
        (tx.commit.id, "file:///old/orders", "sha256:aa"),
        (tx.commit.id, "file:///old/1", "sha256:bb"),
    ]
    assert [use.output for use in repos.upstream(f"weather@{tx.commit.id}").external] == ["", "1", "2"]
    assert repos.downstream("weather@main:1/data").external == ()


@pytest.mark.parametrize("theirs", ["a text", [1], [{"uri": 3}], {"uri": "x"}, [{"digest": "sha256:aa"}]])
def test_metadata_of_that_name_that_says_something_else_is_no_input(repos, theirs):
    with repos.transaction("weather@main", metadata={"external_inputs": theirs}) as tx:
        tx.write("a", b"1")
    assert repos.upstream("weather@main").external == ()
