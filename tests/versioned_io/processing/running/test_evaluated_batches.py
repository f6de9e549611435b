"""A run in three parts, as orchestrators do it: plan, evaluate batches, commit."""

import json
import threading

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError
from versioned_io.processing.running.claiming import claim


@pytest.fixture
def images(store):
    """A store with five images and the repo of their edges."""
    store.create_repo("images")
    store.create_repo("edges")
    with store.transaction("images@main") as tx:
        for name in "abcde":
            tx.write(f"{name}.txt", name.encode())
    return store


class Declared:
    """A pipeline that notes its evaluations, and fails for the names in `bad`."""

    def __init__(self, store, **options):
        self.ran = []
        self.bad = set()

        @vio.pipeline(
            "edges", inputs=vio.glob("images@main", "/(*).txt"), output="edges@main", code_version="1", **options
        )
        def edges(datum, out):
            name = datum["images"].captures[0]
            self.ran.append(name)
            if name in self.bad:
                raise ValueError(name)
            out.write(name, datum["images"].read() * 2)

        self.function = edges
        self.pipe = store.pipeline(edges)


def through_json(value):
    """Return *value* as another process gets it."""
    return type(value).from_json(json.loads(json.dumps(value.to_json())))


def evaluate_all(pipe, most=2):
    return [through_json(pipe.evaluate(through_json(batch))) for batch in pipe.plan().batches(most)]


def test_batches_and_a_commit_make_what_a_run_makes(images):
    declared = Declared(images)
    pipe = declared.pipe
    assert [batch.count for batch in pipe.plan().batches(2)] == [2, 2, 1]
    assert [batch.count for batch in pipe.plan().batches(1, at_most=2)] == [3, 2]
    reports = evaluate_all(pipe)
    assert list(images.log("edges@main")) == []
    run = pipe.commit(reports)
    assert run.state == "succeeded"
    assert run.counts == {"run": 5, "reused": 0, "skipped": 0, "failed": 0, "recovered": 0, "deleted": 0}
    assert run.runs == tuple(f"{name}.txt" for name in "abcde")
    assert images.snapshot("edges@main").read("c") == b"cc"
    assert declared.ran == list("abcde")
    assert pipe.plan().is_empty


def test_a_repeated_batch_evaluates_only_what_has_no_result(images):
    declared = Declared(images)
    first, *others = declared.pipe.plan().batches(3)
    declared.pipe.evaluate(first)
    again = declared.pipe.evaluate(first)
    assert again.counts == {"run": 0, "failed": 0, "recovered": 0}
    declared.pipe.evaluate(*others)
    assert declared.ran == list("abcde")


def test_a_failed_datum_is_tried_by_its_batch_alone_and_again_by_a_retry(images):
    declared = Declared(images)
    declared.bad = {"c"}
    reports = evaluate_all(declared.pipe)
    assert [one.key for report in reports for one in report.failed] == ["c.txt"]
    run = declared.pipe.commit(reports)
    assert (run.state, run.commit, dict(run.failed)) == ("failed", None, {"c.txt": "ValueError: c"})
    assert declared.ran == list("abcde")
    declared.bad = set()
    run = declared.pipe.commit(evaluate_all(declared.pipe))
    assert (run.state, run.counts["run"], run.counts["reused"]) == ("succeeded", 1, 4)
    assert declared.ran == [*"abcde", "c"]


def test_the_commit_lacks_a_failed_datum_if_the_pipeline_drops_it(images):
    declared = Declared(images, on_failure="drop")
    declared.bad = {"c"}
    run = declared.pipe.commit(evaluate_all(declared.pipe))
    assert run.state == "partial"
    assert [file.path for file in images.snapshot("edges@main").walk()] == ["a", "b", "d", "e"]


def test_what_changes_after_the_plan_is_in_the_commit(images):
    declared = Declared(images)
    reports = evaluate_all(declared.pipe)
    with images.transaction("images@main") as tx:
        tx.write("a.txt", b"new")
        tx.delete("b.txt")
    run = declared.pipe.commit(reports)
    assert images.snapshot("edges@main").read("a") == b"newnew"
    assert run.counts["run"] == 4
    assert declared.ran == [*"abcde", "a"]


def test_a_retry_takes_over_what_its_killed_try_had_claimed(images):
    declared = Declared(images)
    plan = declared.pipe.plan()._plan
    claim(images._backend, [one.fingerprint for one in plan.runs], "task 1")  # and killed
    thread = threading.Thread(target=lambda: declared.pipe.evaluate(owner="task 1"), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert declared.ran == list("abcde")


def test_a_commit_carries_the_run_and_the_lineage_id_of_the_task_that_made_it(images):
    declared = Declared(images)
    lineage_id = images.commit("images@main").lineage_id
    with images.run("dag", orchestrator="airflow", run_id="r1", params={"task": "t"}) as task:
        run = declared.pipe.run()
    assert (run.commit.run.orchestrator, run.commit.run.job, run.commit.run.run_id) == ("airflow", "dag", "r1")
    assert run.commit.run.params["task"] == "t"
    assert run.commit.lineage_id == lineage_id
    assert [commit.id for commit in task.commits] == [run.commit.id]
    assert task.provenance == (images.commit("images@main").id,)
    own = Declared(images, share=False)
    assert own.pipe.run().commit.run.orchestrator == "airflow"  # nothing is new, so the head stays


def test_a_run_that_was_given_a_lineage_id_keeps_it(images):
    lineage_id = "0" * 12 + "7" + "0" * 3 + "8" + "0" * 15
    with images.run("dag", lineage_id=lineage_id):
        assert Declared(images).pipe.run().commit.lineage_id == lineage_id


def test_the_state_of_a_plan_differs_if_and_only_if_something_may_have_to_run(images):
    pipe = Declared(images).pipe
    states = [pipe.plan().state]
    assert pipe.plan().state == states[0]
    pipe.run()
    states.append(pipe.plan().state)
    pipe.invalidate(["a.txt"])
    states.append(pipe.plan().state)
    with images.transaction("images@main") as tx:
        tx.write("f.txt", b"f")
    states.append(pipe.plan().state)
    states.append(Declared(images, params={"size": 2}).pipe.plan().state)
    assert len(set(states)) == 5


def test_processes_share_no_results_of_a_pipeline_that_keeps_none(images):
    pipe = Declared(images, cache="never").pipe
    for call in (pipe.evaluate, pipe.commit):
        with pytest.raises(InvalidInputError, match=r"cache='never'.*call run\(\)"):
            call()


@pytest.mark.parametrize("value", [5, "a", {"first": "a"}, ("a", "b", 1)])
def test_what_is_not_a_batch_is_refused(images, value):
    with pytest.raises(InvalidInputError, match="batch"):
        Declared(images).pipe.evaluate(value)


@pytest.mark.parametrize(
    "found", [None, {}, {"first": "a", "last": None, "count": 1}, {"first": 1, "last": 2, "count": 3}]
)
def test_what_is_not_the_json_of_a_batch_is_refused(found):
    with pytest.raises(InvalidInputError, match="is not a batch of datums"):
        vio.PendingBatch.from_json(found)


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        {"commits": 1, "counts": {}},
        {"commits": [], "counts": {}, "failed": [["a"]]},
        {"commits": [], "counts": {}, "failed": "a"},
        {"commits": [], "counts": {}, "failed": [["a", "not hexadecimal", "b"]]},
    ],
)
def test_what_is_not_the_json_of_a_report_is_refused(found):
    with pytest.raises(InvalidInputError, match=r"is not a (report|list)"):
        vio.EvaluatedBatch.from_json(found)
