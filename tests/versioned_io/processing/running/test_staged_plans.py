"""The plan for a transaction that is not committed is the plan after its commit, and nothing is written for it."""

import random
import uuid
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from tests.versioned_io.processing.pipelines.histories import INPUTS, NAMES
from tests.versioned_io.processing.running.test_planning import pipe, store, write
from versioned_io.errors import PathClaimedError, VersionedError

__all__ = ["store"]

SPECS = INPUTS | {"table": vio.table("images@main", "/{name}.parquet", by="k")}


def table(dice):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"k": ["a", "b", "c"], "v": [dice.randint(0, 2) for _ in range(3)]}), sink)
    return sink.getvalue().to_pybytes()


def stage(tx, dice, paths):
    """Stage a few changes of every kind."""
    for _ in range(dice.randint(1, 4)):
        kind = dice.choice(["write", "write", "delete", "directory", "move", "table", "all"])
        present = [one for one in paths if tx.exists(one)]
        if kind == "write":
            tx.write(dice.choice(NAMES), dice.choice([b"0", b"1"]))
        elif kind == "table":
            tx.write("t.parquet", table(dice))
        elif kind == "all" and dice.random() < 0.3:
            tx.delete("/")
        elif present and kind == "delete":
            tx.delete(dice.choice(present))
        elif tx.exists("d") and kind == "directory":
            tx.delete("d/")
        elif present and kind == "move":
            tx.move(dice.choice(present), f"n{dice.randint(0, 9)}")


def facts(plan):
    return plan.runs, plan.reuses, plan.skips, plan.deletes, plan.counts, plan.warnings


@pytest.mark.parametrize("kind", SPECS)
def test_the_plan_before_the_commit_is_the_plan_after_it(kind):
    dice = random.Random(kind)
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        for repo in ("images", "labels", "out"):
            store.create_repo(repo)
        for _ in range(6):
            due = pipe(store, SPECS[kind])
            with store.transaction("images@main") as tx:
                other = tx.branch("labels@main")
                stage(tx, dice, [*NAMES, "t.parquet"])
                stage(other, dice, NAMES)
                before = facts(due.plan(staged=tx))
            assert before == facts(due.plan())
            if dice.random() < 0.7:
                with suppress(PathClaimedError):
                    due.run()


def test_planning_writes_nothing_and_leaves_the_transaction_as_it_was(store):
    due = pipe(store, vio.glob("r@main", "/(*)/*"))
    due.run()
    rows = store.stats()
    with store.transaction("r@main") as tx:
        tx.write("7/x", b"new")
        tx.delete("8/")
        plan = due.plan(staged=tx)
        assert (plan.runs, plan.deletes) == (["7/x"], ["8/x"])
        assert store.stats() == rows
        write(store, "r", {"9/x": b"meanwhile"})  # a conflict only if planning counted as a read of the transaction
    assert due.plan().runs == ["7/x", "9/x"]


def test_the_plan_knows_commits_since_the_transaction_began(store):
    due = pipe(store, vio.glob("r@main", "/(*)/*"))
    due.run()
    with store.transaction("r@main") as tx:
        tx.write("7/x", b"new")
        write(store, "r", {"9/x": b"meanwhile"})
        before = due.plan(staged=tx).runs
    assert before == due.plan().runs == ["7/x", "9/x"]


@pytest.mark.parametrize("ref", ["r@main~1", "r@main~2"])
def test_the_plan_knows_that_the_present_head_will_be_the_one_before(store, ref):
    for data in (b"1", b"2", b"3"):
        write(store, "r", {"7/x": data})
    due = pipe(store, vio.glob(ref, "/(*)/*"))
    due.run()
    with store.transaction("r@main") as tx:
        unchanged = due.plan(staged=tx).runs
        tx.write("8/x", b"new")
        before = due.plan(staged=tx).runs
    assert (unchanged, before) == ([], ["7/x"])
    assert before == due.plan().runs


def test_an_ended_transaction_and_something_else_are_refused(store):
    due = pipe(store, vio.glob("r@main", "/(*)/*"))
    with store.transaction("r@main") as tx:
        tx.write("7/x", b"new")
    with pytest.raises(VersionedError, match="transaction"):
        due.plan(staged=tx)
    with pytest.raises(VersionedError, match="not a transaction"):
        due.plan(staged="r@main")


def test_time_and_bytes_are_those_of_the_evaluations_before(store):
    @vio.pipeline("sized", inputs=vio.glob("other@main", "/(*)"), output="out@main", code_version="1")
    def sized(datum, out):
        out.write(datum["other"].path, b"x" * (1000 if datum["other"].path == "7" else 10))

    due = store.pipeline(sized)
    assert (due.plan().seconds, due.plan().bytes) == (None, None)
    due.run()
    assert (due.plan().seconds, due.plan().bytes) == (0, 0)
    write(store, "other", {"7": b"new"})
    assert due.plan().bytes == 1000
    write(store, "other", {"8": b"new", "more": b"new"})
    assert 1000 + 10 < due.plan().bytes < 1000 + 10 + 1000
    assert due.plan().seconds > 0
