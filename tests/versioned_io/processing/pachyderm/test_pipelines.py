"""What Pachyderm's users rely on, about datums, skipping and jobs; each test has the name of the behaviour.

Specs are loaded as they are. Where the library differs on purpose, the name of the test says so.
"""

import json
import uuid

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError, PathClaimedError, RepoNotFoundError

COPY = 'for f in $(cd "$PFS_ROOT/data"; find . -type f); do cp "$PFS_ROOT/data/$f" "$PFS_ROOT/out/"; done'


@pytest.fixture
def store():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for repo in ("data", "more", "p", "q"):
            store.create_repo(repo)
        yield store


@pytest.fixture
def loaded(store, tmp_path):
    """A function that loads a spec of Pachyderm."""

    def load(script=COPY, name="p", **fields):
        spec = {"pipeline": {"name": name}, "input": pfs("/*"), "datum_tries": 1, **fields}
        spec["transform"] = {"cmd": ["sh"], "stdin": script.splitlines(), **fields.get("transform", {})}
        (tmp_path / f"{name}.json").write_text(json.dumps(spec))
        return store.load_pipeline(tmp_path / f"{name}.json")

    return load


def pfs(glob, repo="data", **fields):
    return {"pfs": {"repo": repo, "glob": glob, **fields}}


def put(store, files, branch="data@main"):
    with store.transaction(branch) as tx:
        for path, data in files.items():
            tx.write(path, data) if data is not None else tx.delete(path)


def contents(store, ref="p@main"):
    found = store.snapshot(ref)
    return {file.path: found.read(file.path) for file in found.walk()}


def counts(run):
    return tuple(run.counts[name] for name in ("run", "reused", "skipped", "failed"))


@pytest.mark.parametrize(("glob", "count"), [("/", 1), ("/*", 3), ("/d/*", 2), ("/*/*", 2), ("/nothing*", 0)])
def test_iterator_basic_and_zero_datums(store, loaded, glob, count):
    put(store, {"a": b"", "b": b"", "d/x": b"", "d/y": b""})
    plan = loaded(input=pfs(glob)).plan()
    assert len(plan.runs) == count
    assert [text for text in plan.warnings if "matches nothing" in text] == ["the input 'data' matches nothing"] * (
        not count
    )


def test_iterator_union_is_the_sum_and_cross_the_product_also_where_one_is_empty(store, loaded):
    put(store, {"a": b"", "b": b""})
    put(store, {"1": b"", "2": b"", "3": b""}, "more@main")
    arms = [pfs("/*"), pfs("/*", "more")]
    assert len(loaded(input={"union": arms}).plan().runs) == 5
    assert len(loaded(input={"cross": arms}).plan().runs) == 6
    nothing = pfs("/none*", "more")
    assert len(loaded(input={"cross": [pfs("/*"), nothing]}).plan().runs) == 0
    assert (
        len(loaded(input={"cross": [{"union": [pfs("/*"), nothing]}, pfs("/*", "more", name="others")]}).plan().runs)
        == 6
    )


def test_iterator_group_and_join_and_group_join_combo(store, loaded):
    put(store, {"ALPHA-1": b"", "ALPHA-2": b"", "BETA-1": b""})
    put(store, {"ALPHA": b"", "GAMMA": b""}, "more@main")
    groups = {"group": [pfs("/(*)-*", group_by="$1"), pfs("/(*)", "more", group_by="$1")]}
    assert len(loaded(input=groups).plan().runs) == 3
    joins = {"join": [pfs("/(*)-*", join_on="$1"), pfs("/(*)", "more", join_on="$1")]}
    assert len(loaded(input=joins).plan().runs) == 2
    outer = {"join": [pfs("/(*)-*", join_on="$1", outer_join=True), pfs("/(*)", "more", join_on="$1")]}
    assert len(loaded(input=outer).plan().runs) == 3
    both = {"group": [{"join": [pfs("/(*)-*", join_on="$1", group_by="$1"), pfs("/(*)", "more", join_on="$1")]}]}
    assert len(loaded(input=both).plan().runs) == 1


def test_list_datum_dry_run_lists_the_datums_of_a_bare_input(store):
    put(store, {f"{number:02}": b"" for number in range(25)})
    assert len(store.inputs(vio.glob("data@main", "/*")).datums()) == 25


def test_datum_dedup_a_new_commit_with_unchanged_data_skips(store, loaded):
    put(store, {"a": b"1", "b": b"2"})
    assert counts(loaded().run()) == (2, 0, 0, 0)
    put(store, {"b": b"3"})
    assert counts(loaded().run()) == (1, 0, 1, 0)
    put(store, {"b": b"3"})
    assert counts(loaded().run()) == (0, 0, 2, 0)


def test_pipeline_input_data_modification_a_removed_datum_takes_its_output_along(store, loaded):
    put(store, {"a": b"1", "b": b"2"})
    loaded().run()
    put(store, {"a": None, "b": b"new", "c": b"3"})
    run = loaded().run()
    assert (counts(run), run.counts["deleted"]) == ((2, 0, 0, 0), 1)
    assert contents(store) == {"b": b"new", "c": b"3"}


def test_temporary_duplicated_path_a_path_may_pass_from_one_datum_to_another(store, loaded):
    put(store, {"first": b"1"})
    script = 'cp "$data" "$PFS_ROOT/out/same"'
    loaded(script).run()
    put(store, {"first": None, "second": b"2"})
    assert loaded(script).run().state == "succeeded"
    assert contents(store) == {"same": b"2"}


def test_validation_failure_two_datums_with_one_path_are_an_error_that_names_both(store, loaded):
    put(store, {"a": b"", "b": b""})
    with pytest.raises(PathClaimedError) as error:
        loaded('cp "$data" "$PFS_ROOT/out/same"').run()
    assert "'a'" in str(error.value)
    assert "'b'" in str(error.value)
    assert loaded().run().state == "succeeded"


def test_a_reverted_input_is_reused_and_not_processed_again_as_in_pachyderm(store, loaded):
    for data, expected in ((b"A", (1, 0, 0, 0)), (b"B", (1, 0, 0, 0)), (b"A", (0, 1, 0, 0))):
        put(store, {"a": data})
        assert counts(loaded().run()) == expected


def test_pipeline_failure_the_successes_of_a_failed_job_are_reused_after_the_fix_unlike_in_pachyderm(store, loaded):
    put(store, {"a": b"1", "b": b"2", "c": b"bad"})
    script = f'grep -q bad "$data" && exit 1\n{COPY}'
    run = loaded(script).run()
    assert (run.state, run.commit, counts(run)) == ("failed", None, (2, 0, 0, 1))
    put(store, {"c": b"good"})
    assert counts(loaded(script).run()) == (1, 2, 0, 0)


def test_input_failure_a_pipeline_downstream_sees_no_output_of_a_failed_one(store, loaded):
    put(store, {"a": b"bad"})
    assert loaded("exit 1").run().state == "failed"
    downstream = loaded(name="q", input=pfs("/*", "p", name="data"))
    assert downstream.plan().runs == []
    assert loaded().run().state == "succeeded"
    assert downstream.run().counts["reused"] == 1  # it has the same command, and sees the same file
    assert contents(store, "q@main") == {"a": b"bad"}


def test_accept_return_code_a_listed_code_is_success(store, loaded):
    put(store, {"a": b"1"})
    assert loaded(f"{COPY}\nexit 3", transform={"accept_return_code": [3]}).run().state == "succeeded"


def test_datum_timeout_ends_the_datum(store, loaded):
    put(store, {"a": b"1"})
    run = loaded("sleep 60", datum_timeout="200ms").run()
    assert "longer than 0.2 s" in run.failed["a"]


def test_err_cmd_a_recovered_datum_is_tried_again_by_the_next_job(store, loaded):
    put(store, {"a": b"1", "b": b"bad"})
    script = f'grep -q bad "$data" && exit 1\n{COPY}'
    transform = {"err_cmd": ["true"]}
    for _ in range(2):
        run = loaded(script, transform=transform).run()
        assert (run.state, run.counts["recovered"]) == ("partial", 1)
        assert contents(store) == {"a": b"1"}
    put(store, {"b": b"good"})
    assert loaded(script, transform=transform).run().state == "succeeded"


def test_update_pipeline_new_code_runs_all_datums_also_without_reprocess_unlike_in_pachyderm(store, loaded):
    put(store, {"a": b"1", "b": b"2"})
    loaded().run()
    changed = loaded('echo new > "$PFS_ROOT/out/${data##*/}"')
    assert len(changed.plan().runs) == 2
    changed.run()
    assert contents(store) == {"a": b"new\n", "b": b"new\n"}
    assert counts(loaded().run()) == (0, 2, 0, 0)  # and the old code reuses its results


def test_fix_pipeline_a_program_that_does_not_exist_fails_and_the_fixed_one_runs(store, loaded):
    put(store, {"a": b"1"})
    run = loaded(transform={"cmd": ["no-such-program"]}).run()
    assert "no-such-program" in run.failed["a"]
    assert loaded().run().state == "succeeded"


def test_stop_pipeline_extra_commit_after_a_pause_one_run_catches_up(store, loaded):
    for number in range(5):
        put(store, {f"{number}": b""})
    run = loaded().run()
    assert (run.counts["run"], run.commit.number) == (5, 1)


def test_self_referential_and_malformed_pipelines_are_refused(store, loaded):
    for fields in (
        {"input": pfs("/", "p", branch="main")},
        {"input": {}},
        {"input": pfs("")},
        {"transform": {"cmd": []}},
    ):
        with pytest.raises(InvalidInputError, match=r"p\.json, line 1"):
            loaded(**fields)
    twice = {"cross": [pfs("/*"), pfs("/*")]}
    with pytest.raises(InvalidInputError, match="twice"):
        loaded(input=twice)
    assert loaded(input={"union": [pfs("/*"), pfs("/*")]}).name == "p"
    with pytest.raises(InvalidInputError, match="'out' is the output"):
        loaded(input=pfs("/*", name="out"))
    with pytest.raises(RepoNotFoundError):
        loaded(input=pfs("/*", "nope")).plan()


def test_empty_files_have_only_names_and_other_content_runs_nothing(store, loaded):
    put(store, {"a": b"content"})
    pipe = loaded('wc -c < "$data" > "$PFS_ROOT/out/size"', input=pfs("/*", empty_files=True))
    pipe.run()
    assert contents(store) == {"size": b"0\n"}
    put(store, {"a": b"other"})
    assert pipe.plan().is_empty


def test_copy_out_to_in_a_link_to_an_input_is_its_content(store, loaded):
    put(store, {"d/a": b"1", "d/b": b"2"})
    loaded('ln -s "$data"/* "$PFS_ROOT/out/"', input=pfs("/d")).run()
    assert contents(store) == {"a": b"1", "b": b"2"}


def test_multiple_inputs_from_the_same_branch_and_from_different_branches(store, loaded):
    put(store, {"dir-a/x": b"a", "dir-b/x": b"b"})
    script = 'cat "$PFS_ROOT"/[ab]/*/x > "$PFS_ROOT/out/x"'
    loaded(script, input={"cross": [pfs("/dir-a", name="a"), pfs("/dir-b", name="b")]}).run()
    assert contents(store) == {"x": b"ab"}
    store.create_branch("data@dev", at="data@main")
    put(store, {"dir-b/x": b"dev"}, "data@dev")
    both = {"cross": [pfs("/dir-a", name="a"), pfs("/dir-b", name="b", branch="dev")]}
    run = loaded(script, input=both).run()
    assert (counts(run), contents(store)) == ((1, 0, 0, 0), {"x": b"adev"})


def test_pipeline_env_var_alias_and_join_on(store, loaded):
    put(store, {"k-1": b""})
    put(store, {"1": b""}, "more@main")
    join = {"join": [pfs("/k-(*)", join_on="$1", name="left"), pfs("/(*)", "more", join_on="$1")]}
    script = 'echo "${left##*/} ${more##*/} $PACH_DATUM_left_JOIN_ON $COLOR" > "$PFS_ROOT/out/x"'
    loaded(script, input=join, transform={"env": {"COLOR": "blue"}}).run()
    assert contents(store) == {"x": b"k-1 1 1 blue\n"}


def test_deferred_processing_output_on_a_staging_branch_is_not_processed_until_it_is_moved(store, loaded):
    put(store, {"a": b"1"})
    store.create_branch("p@staging", at="p@main")
    loaded(output_branch="staging").run()
    downstream = loaded(name="q", input=pfs("/*", "p", name="data"))
    assert downstream.plan().is_empty
    store.merge("p@staging", "p@main")
    assert downstream.run().counts["reused"] == 1


def test_one_write_leads_through_a_chain_of_pipelines_under_one_lineage_id(store, loaded):
    put(store, {"a": b"1"})
    first = loaded().run().commit
    second = loaded(name="q", input=pfs("/*", "p", name="data")).run().commit
    assert store.commit("data@main").lineage_id == first.lineage_id == second.lineage_id
    assert {one.repo for one in store.lineage(first.lineage_id)} == {"data", "p", "q"}


def test_pipeline_ancestry_the_older_code_is_kept_with_its_diff(store, loaded):
    put(store, {"a": b"1"})
    loaded("true").run()
    loaded("echo").run()
    newest, oldest = loaded().history()
    assert (newest.number, oldest.number) == (2, 1)
    assert newest.changes[0].diff.splitlines()[-2:] == ["-true", "+echo"]


def test_an_equal_output_wakes_nobody_downstream(store, loaded):
    put(store, {"a": b"1"})
    script = 'echo same > "$PFS_ROOT/out/x"'
    loaded(script).run()
    downstream = loaded(name="q", input=pfs("/*", "p", name="data"))
    downstream.run()
    put(store, {"a": b"2"})
    assert loaded(script).run().counts["run"] == 1
    assert downstream.plan().is_empty
