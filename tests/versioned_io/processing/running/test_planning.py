"""A plan asks only for what changed since the datum tree was written, where that is enough."""

import uuid
from datetime import timedelta

import pytest

import versioned_io as vio
from tests.versioned_io.processing.pipelines.histories import plan_in_both_ways
from versioned_io.errors import CommitForgottenError
from versioned_io.processing.running.planning import make_plan

FILES = 50
INPUTS = {
    "glob": vio.glob("r@main", "/(*)/*"),
    "directories": vio.glob("r@main", "/(*)/"),
    "union": vio.union(vio.glob("r@main", "/(*)/*"), vio.glob("other@main", "/(*)")),
    "cross": vio.cross(vio.glob("r@main", "/(*)/*"), vio.glob("other@main", "/0")),
    "join": vio.join(vio.glob("r@main", "/(*)/*", join_on="$1"), vio.glob("other@main", "/(*)", join_on="$1")),
    "group": vio.group(vio.glob("r@main", "/(*)/*", group_by="$1")),
    "cron": vio.cron("* * * * *", ref="other@main"),
}


@pytest.fixture
def store():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for repo in ("r", "other", "out"):
            store.create_repo(repo)
        write(store, "r", {f"{number}/x": b"old" for number in range(FILES)})
        write(store, "other", {f"{number}": b"old" for number in range(FILES)})
        yield store


def write(store, repo, files):
    with store.transaction(f"{repo}@main") as tx:
        for path, data in files.items():
            tx.write(path, data)


def pipe(store, inputs, version="1", on_failure="refuse"):
    def count(datum, out):
        contents = [one.read() for name in datum for one in datum[name]]
        if b"fail" in contents:
            raise ValueError(contents)
        out.write(f"{uuid.uuid5(uuid.NAMESPACE_URL, repr([one.path for n in datum for one in datum[n]]))}", b"made")

    declared = vio.pipeline("p", inputs=inputs, output="out@main", code_version=version, on_failure=on_failure)
    return store.pipeline(declared(count))


@pytest.mark.parametrize("kind", INPUTS)
def test_of_many_datums_only_the_changed_one_is_looked_at(store, kind):
    pipe(store, INPUTS[kind]).run()
    write(store, "other" if kind == "cron" else "r", {"7" if kind == "cron" else "7/x": b"new"})
    due = pipe(store, INPUTS[kind])
    plan = make_plan(due._store, due._definition)
    assert (plan.is_partial, len(plan.datums), len(plan.runs)) == (True, 1, 1)
    assert pipe(store, INPUTS[kind]).plan().counts["skips"] == len(pipe(store, INPUTS[kind]).datums()) - 1
    assert plan_in_both_ways(pipe(store, INPUTS[kind]))
    assert len(pipe(store, INPUTS[kind]).run().runs) == 1


def test_other_code_and_another_input_need_the_whole_plan_once(store):
    pipe(store, INPUTS["glob"]).run()
    assert plan_in_both_ways(pipe(store, INPUTS["glob"]))
    assert not plan_in_both_ways(pipe(store, INPUTS["glob"], version="2"))
    renamed = vio.glob("r@main", "/(*)/(*)", name="renamed")
    assert not plan_in_both_ways(pipe(store, renamed))
    again = vio.glob("r@main", "/(**)/*", name="r")  # the same datums, captured alike
    assert pipe(store, again).plan().counts == {"runs": 0, "reuses": 0, "skips": FILES, "deletes": 0}
    assert not plan_in_both_ways(pipe(store, again))
    head = store.snapshot("out@main").commit.id
    pipe(store, again).run()
    assert store.snapshot("out@main").commit.id == head
    assert plan_in_both_ways(pipe(store, again))


def test_the_whole_plan_is_made_if_the_inputs_before_have_expired(store):
    pipe(store, INPUTS["glob"]).run()
    before = store.snapshot("r@main").commit
    write(store, "r", {"7/x": b"new"})
    assert plan_in_both_ways(pipe(store, INPUTS["glob"]))
    store.squash("r@main")
    store.gc(grace=timedelta(0), expire=timedelta(0))
    with pytest.raises(CommitForgottenError):
        store.snapshot(before.id).read("7/x")
    assert not plan_in_both_ways(pipe(store, INPUTS["glob"]))
    assert pipe(store, INPUTS["glob"]).plan().runs == ["7/x"]


@pytest.mark.parametrize("on_failure", ["keep", "drop"])
def test_a_failed_datum_is_asked_for_again_while_its_file_stays_as_it_is(store, on_failure):
    write(store, "r", {"7/x": b"fail"})
    made = pipe(store, INPUTS["glob"], on_failure=on_failure).run()
    assert made.failed.keys() == {"7/x"}
    write(store, "r", {"8/x": b"new"})
    assert pipe(store, INPUTS["glob"], on_failure=on_failure).plan().runs == ["7/x", "8/x"]
    pipe(store, INPUTS["glob"], on_failure=on_failure).run()
    write(store, "r", {"7/x": b"mended"})
    pipe(store, INPUTS["glob"], on_failure=on_failure).run()
    assert plan_in_both_ways(pipe(store, INPUTS["glob"], on_failure=on_failure))
    assert pipe(store, INPUTS["glob"], on_failure=on_failure).plan().is_empty


def test_an_invalidated_datum_is_asked_for_although_nothing_changed(store):
    pipe(store, INPUTS["glob"]).run()
    assert pipe(store, INPUTS["glob"]).invalidate(["7/x"]) == 1
    assert plan_in_both_ways(pipe(store, INPUTS["glob"]))
    assert pipe(store, INPUTS["glob"]).run().runs == ("7/x",)
    assert pipe(store, INPUTS["glob"]).plan().is_empty


def test_a_warning_of_an_input_that_lost_its_last_match_is_told_by_a_partial_plan(store):
    pipe(store, INPUTS["union"]).run()
    with store.transaction("other@main") as tx:
        for number in range(FILES):
            tx.delete(f"{number}")
    assert plan_in_both_ways(pipe(store, INPUTS["union"]))
    assert pipe(store, INPUTS["union"]).plan().warnings == ["the input 'other' matches nothing"]


def test_what_was_evaluated_before_an_interrupt_is_kept(store):
    seen = []

    @vio.pipeline("p", inputs=INPUTS["glob"], output="out@main", code_version="1")
    def stopped(datum, out):
        seen.append(datum["r"].path)
        out.write(datum["r"].path, b"made")
        if len(seen) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pipeline(stopped).run()
    counts = store.pipeline(stopped).plan().counts
    assert counts["reuses"] > 0
    run = store.pipeline(stopped).run()
    assert run.counts["reused"] == counts["reuses"]
    assert store.pipeline(stopped).plan().is_empty


@pytest.mark.parametrize("on_failure", ["drop", "keep"])
def test_a_plan_is_not_empty_while_the_output_names_a_failed_datum_that_is_gone(store, on_failure):
    due = pipe(store, INPUTS["glob"], on_failure=on_failure)
    write(store, "r", {"new/x": b"fail"})
    assert due.run().state == "partial"
    with store.transaction("r@main") as tx:
        tx.delete("new/x")
    plan = due.plan()
    assert (plan.is_empty, plan.runs, plan.reuses, plan.deletes) == (False, [], [], [])
    due.run()
    assert "failed" not in store.commit("out@main").metadata
    assert due.plan().is_empty


@pytest.mark.parametrize("kind", ["glob", "directories", "cross", "join", "group"])
def test_after_a_purge_of_inputs_their_outputs_go(store, kind):
    due = pipe(store, INPUTS[kind])
    due.run()
    count = len(due.datums())
    store.purge("r", "7/x")
    assert not plan_in_both_ways(pipe(store, INPUTS[kind]))
    assert due.run().counts["deleted"] == 1
    assert len(due.datums()) == count - 1
    write(store, "r", {"8/x": b"new"})
    plan = make_plan(due._store, due._definition)
    assert (plan.is_partial, len(plan.runs)) == (True, 1)
