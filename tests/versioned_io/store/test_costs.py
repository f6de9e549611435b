"""Every `Cost:` of the front door, counted: the numbers in its sentence are the requests and statements of the call."""

import inspect
import re
import shutil
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import versioned_io as vio
from tests.versioned_io.store.counting import count_all
from versioned_io.processing.triggers.firing import TriggerEvaluator
from versioned_io.versioning.transactions.transaction import draft_of

MAIN, DEV = "weather@main", "weather@dev"
MONTHS = "{year}/{month}.csv"
JANUARY, FEBRUARY = "2012/01.csv", "2012/02.csv"
FRONT_DOOR = [vio.Store, vio.Transaction, vio.Snapshot, vio.Subscription, vio.Relay, vio.BranchWatch]
FUNCTIONS = [getattr(vio, name) for name in vio.__all__ if inspect.isfunction(getattr(vio, name))]

GROWS = "proportional to the whole store: `benchmarks` measures it"
UNCOUNTED = {
    "Store.backup": GROWS,
    "Store.compact": GROWS,
    "Store.fsck": GROWS,
    "Store.gc": GROWS,
    "Store.maintain": GROWS,
    "Store.purge": GROWS,
    "Store.purge_glob": GROWS,
    "Store.redact": GROWS,
    "Store.evict_results": GROWS,
    "Store.forget": GROWS,
    "Store.rerun": "evaluates code of the user",
    "rebuild_store": GROWS,
    "list_backups": GROWS,
    "prune_backups": GROWS,
    "recover_store": GROWS,
    "restore_store": GROWS,
    "verify_backups": GROWS,
    "Transaction.reference": "needs a server: tests/versioned_io/storage/elsewhere counts its requests",
    "Transaction.reference_tree": "needs a server: tests/versioned_io/storage/elsewhere counts its requests",
}
FREE = {
    "Store.pipeline": "reads code only",
    "Store.load_pipeline": "reads files only; of a spec of Pachyderm a SELECT for each repo",
    "command": "reads code only",
    "read_pipeline": "reads files only",
    "spec_schema": "a value",
    "pipeline": "a value",
    "Store.close": "asks nothing",
    "Store.url": "a value",
    "Store.warning": "a value",
    "Transaction.base": "a value",
    "Transaction.changed": "a value",
    "Transaction.commit": "a value",
    "Transaction.not_kept": "a value",
    "Snapshot.commit": "a value",
    "Snapshot.is_empty": "a value",
    "Snapshot.name": "a value",
    "Snapshot.repo": "a value",
    "build_run": "a value",
    "cron": "a value",
    "cross": "a value",
    "current_run": "a value of the process",
    "glob": "a value",
    "group": "a value",
    "join": "a value",
    "metric": "a value",
    "offer_run": "a value of the process",
    "offer_settings": "a value of the process",
    "table": "a value",
    "union": "a value",
    "withdraw_run": "a value of the process",
}
"""The calls without a `Cost:`, and why."""


@dataclass(frozen=True)
class Case:
    """A call, what its `Cost:` says of the situation, the call itself, and what makes the situation of a fresh store.

    *counts* stands for *says* where that names another call, or says "none".
    """

    call: str
    says: str
    act: Any
    prepare: Any = lambda store: store
    counts: str | None = None


def staged(store):
    """A transaction on main that wrote a file."""
    tx = store.transaction(MAIN)
    tx.write("new.csv", b"new")
    return tx


def begun(store):
    return store.transaction(MAIN)


def snapshot(store):
    return store.snapshot(MAIN)


def known(store):
    store.create_repo("known")
    return store


def following(store, commits):
    """A branch that has fallen two commits behind its source."""
    store.trigger("weather@new", on=MAIN, commits=commits)
    return store


def fired(store):
    following(store, 1).run_triggers()
    return store


def looked(evaluator):
    evaluator.run()
    return evaluator.run


def subscribed(store):
    return store.subscription("retrain", MAIN, partitions=MONTHS)


def collected(store):
    made = subscribed(store)
    made.collect()
    return made


def behind(store):
    made = collected(store)
    write(store, MAIN, JANUARY)
    return made


def claimed(store):
    made = collected(store)
    return made, made.claim("2012-01", owner="worker")


def relay_of(store):
    return store.relay("airflow", MAIN, partitions=MONTHS)


def relay_with_consumer(store):
    made = relay_of(store)
    made.subscribe("check")
    return made


def settled(store):
    """A relay with a consumer, where nothing happened since its last round."""
    made = relay_with_consumer(store)
    made.confirm(collect(made), redeliver_after_s=300.0)
    return made


def collect(relay):
    return relay.collect(owner="run", redeliver_after_s=300.0, is_listening=lambda _: True, most_keys=100)


def announce(found):
    relay, commit = found
    return relay.announce(commit, ["2012-01"], owner="task", lease_s=10)


def announced(store):
    made = relay_with_consumer(store)
    return made, collect(made)


def late_consumer(store):
    made = relay_of(store)
    made.confirm(collect(made), redeliver_after_s=300.0)
    consumer = made.subscribe("check")
    consumer.collect()
    return made, consumer


def adopted(store):
    made, consumer = late_consumer(store)
    made.adopt(consumer)
    return made, consumer


def watch_of(store):
    relay_with_consumer(store)
    return store.watch(MAIN, relay="airflow", redeliver_after_s=300.0)


def seen_watch(store):
    made = watch_of(store)
    made.look()
    return made


def write(store, branch, path):
    with store.transaction(branch) as tx:
        tx.write(path, b"other")


def with_tables(store):
    for rain in (b"1", b"2"):
        with store.transaction(MAIN) as tx:
            tx.write("table.csv", b"date,rain\n2012-01-01," + rain + b"\n")
    return store


def diverged(store):
    write(store, MAIN, "2012/09.csv")
    return store


CASES = [
    Case("Store.after_commit", "none", lambda store: store.after_commit(print)),
    Case("Store.create_repo", "1 PUT, 1 SQL transaction of 14 statements", lambda store: store.create_repo("x")),
    Case(
        "Store.delete_repo",
        "1 PUT for each branch and tag and 1 more, 1 SQL transaction",
        lambda store: store.delete_repo("weather"),
        counts="4 PUTs, 1 SQL transaction",
    ),
    Case(
        "Store.rename_repo",
        "1 PUT, 1 SQL transaction of 12 statements",
        lambda store: store.rename_repo("weather", "rain"),
    ),
    Case(
        "Store.restore_repo",
        "as `delete_repo`",
        lambda store: store.restore_repo("weather"),
        lambda store: (store.delete_repo("weather"), store)[1],
        counts="4 PUTs, 1 SQL transaction",
    ),
    Case("Store.repo", "1 SELECT", lambda store: store.repo("weather")),
    Case("Store.repos", "1 SELECT", lambda store: store.repos()),
    Case("Store.pipelines", "2 SELECTs", lambda store: store.pipelines()),
    Case("Store.branches", "1 SELECT", lambda store: store.branches("weather")),
    Case(
        "Store.create_branch",
        "as `commit`; 1 PUT, 1 SQL transaction of 14 statements",
        lambda store: store.create_branch("weather@x", at=MAIN),
        counts="3 SELECTs, 1 PUT, 1 SQL transaction of 14 statements",
    ),
    Case(
        "Store.create_tag",
        "as `commit`; 1 PUT, 1 SQL transaction of 10 statements",
        lambda store: store.create_tag("weather@x", at=MAIN),
        counts="3 SELECTs, 1 PUT, 1 SQL transaction of 10 statements",
    ),
    Case(
        "Store.delete_branch",
        "1 PUT, 1 SQL transaction of 13 statements",
        lambda store: store.delete_branch(DEV, force=True),
    ),
    Case(
        "Store.rename_branch", "1 PUT, 1 SQL transaction of 14 statements", lambda store: store.rename_branch(DEV, "x")
    ),
    Case("Store.protect_branch", "1 PUT, 1 SQL transaction of 7 statements", lambda store: store.protect_branch(DEV)),
    Case("Store.tags", "2 SELECTs", lambda store: store.tags("weather")),
    Case("Store.delete_tag", "1 PUT, 1 SQL transaction of 6 statements", lambda store: store.delete_tag("weather@v1")),
    Case(
        "Store.reset",
        "as `commit`; 1 PUT, 1 SQL transaction of 9 statements",
        lambda store: store.reset(MAIN, f"{MAIN}~1"),
        counts="7 SELECTs, 1 PUT, 1 SQL transaction of 9 statements",
    ),
    Case("Store.drop", "1 PUT, 1 SQL transaction of 20 statements", lambda store: store.drop(DEV)),
    Case("Store.reflog", "2 SELECTs", lambda store: store.reflog(MAIN)),
    Case("Store.retention", "2 SELECTs", lambda store: store.retention(MAIN)),
    Case(
        "Store.set_retention",
        "1 PUT, 1 SQL transaction of 7 statements",
        lambda store: store.set_retention(MAIN, keep_last=3),
    ),
    Case(
        "Store.trigger",
        "4 SELECTs; 1 PUT, 1 SQL transaction of 11 statements",
        lambda store: store.trigger(DEV, on=MAIN, commits=1),
    ),
    Case(
        "Store.trigger",
        "For a new branch 4 SELECTs, 1 PUT and 1 SQL transaction of 13 statements more",
        lambda store: store.trigger("weather@new", on=MAIN, commits=1),
        counts="8 SELECTs, 2 PUTs, 2 SQL transactions of 24 statements",
    ),
    Case("Store.triggers", "1 SELECT", lambda store: store.triggers(), lambda store: (following(store, 9), store)[1]),
    Case(
        "Store.delete_trigger",
        "1 PUT, 1 SQL transaction of 8 statements",
        lambda store: store.delete_trigger("weather@new"),
        lambda store: (following(store, 9), store)[1],
    ),
    Case("Store.run_triggers", "1 SELECT while no branch is behind", lambda store: store.run_triggers(), fired),
    Case(
        "Store.run_triggers",
        "For each branch that is, 6 to 9 SELECTs more, and the pages that differ",
        lambda store: store.run_triggers(),
        lambda store: following(store, 9),
        counts="7 SELECTs",
    ),
    Case(
        "Store.run_triggers",
        "A firing: 1 PUT, 1 SQL transaction of 9 statements",
        lambda store: store.run_triggers(),
        lambda store: following(store, 1),
        counts="1 PUT, 7 SELECTs, 1 SQL transaction of 9 statements",
    ),
    Case(
        "Store.follow_triggers",
        "2 SELECTs for a branch that is behind as it was the round before",
        lambda run: run(),
        lambda store: looked(TriggerEvaluator(following(store, 9)._backend)),
    ),
    Case("Store.snapshot", "as `Store.commit`", lambda store: store.snapshot(MAIN), counts="3 SELECTs"),
    Case("Store.snapshot", "as `Store.commit`", lambda store: store.snapshot("weather@v1"), counts="4 SELECTs"),
    Case("Store.snapshot", "as `Store.commit`", lambda store: store.snapshot(f"{MAIN}~1"), counts="7 SELECTs"),
    Case(
        "Store.snapshot",
        "as `Store.commit`",
        lambda store: store.snapshot(f"{MAIN}@{{2100-01-01}}"),
        counts="10 SELECTs",
    ),
    Case(
        "Store.commit",
        "1 SELECT for an ID alone",
        lambda found: found[0].commit(found[1].id),
        lambda store: (store, store.commit(MAIN)),
    ),
    Case("Store.commit", "3 SELECTs for a branch", lambda store: store.commit(MAIN)),
    Case("Store.commit", "7 for ``~n``", lambda store: store.commit(f"{MAIN}~1"), counts="7 SELECTs"),
    Case(
        "Store.log",
        "as `commit`, and 2 SELECTs for each 200 commits",
        lambda store: list(store.log(MAIN)),
        counts="3 SELECTs, 2 SELECTs",
    ),
    Case(
        "Store.log",
        "1 look-up more for each change of it",
        lambda store: list(store.log(MAIN, path=FEBRUARY)),
        counts="5 SELECTs, 2 SELECTs, 2 GETs",
    ),
    Case(
        "Store.log",
        "4 SELECTs for each 1,000 commits, and the pages of those that changed it",
        lambda store: list(store.log(MAIN, path="2012")),
        counts="3 SELECTs, 4 SELECTs, 2 GETs",
    ),
    Case(
        "Store.find",
        "for each commit 1 GET for each page in which it differs from its parent",
        lambda store: list(store.find(MAIN, glob="**/02.csv")),
        counts="3 SELECTs, 2 SELECTs, 2 GETs",
    ),
    Case(
        "Store.short_ids",
        "1 SELECT for each 500 IDs",
        lambda found: found[0].short_ids([found[1].id]),
        lambda store: (store, store.commit(MAIN)),
    ),
    Case(
        "Store.diff",
        "as `commit` for both, and 1 GET for each page that differs on either side",
        lambda store: store.diff(f"{MAIN}~1", MAIN),
        counts="7 SELECTs, 3 SELECTs, 2 GETs",
    ),
    Case(
        "Store.diff",
        "as `commit` for both, and 1 GET for each page that differs on either side",
        lambda store: store.diff(MAIN, DEV),
        counts="3 SELECTs, 3 SELECTs, 2 GETs",
    ),
    Case(
        "Store.diff_data",
        "as `diff`, and the bytes of each changed table on both sides, once",
        lambda store: list(store.diff_data(f"{MAIN}~1", MAIN).tables),
        with_tables,
        counts="7 SELECTs, 3 SELECTs, 3 GETs",
    ),
    Case(
        "Store.affected",
        "as `diff`",
        lambda store: store.affected(f"{MAIN}~1", MAIN, MONTHS),
        counts="10 SELECTs, 2 GETs",
    ),
    Case(
        "Store.inputs",
        "none",
        lambda store: store.inputs(vio.glob(MAIN, "/*")),
        counts="none",
    ),
    Case(
        "Store.changes",
        "as `commit`, and 1 SELECT when nothing happened",
        lambda found: found[0].changes(MAIN, since=found[1].id, partitions=MONTHS),
        lambda store: (store, store.commit(MAIN)),
        counts="3 SELECTs, 1 SELECT",
    ),
    Case(
        "Store.inputs",
        "none",
        lambda store: store.inputs(vio.glob(MAIN, "/*")),
        counts="none",
    ),
    Case(
        "Store.changes",
        "else as `find_changes`",
        lambda found: found[0].changes(MAIN, since=found[1].id, partitions=MONTHS),
        lambda store: (store, store.commit(f"{MAIN}~1")),
        counts="3 SELECTs, 5 to 7 SELECTs, 2 GETs",
    ),
    Case(
        "Store.hold_cursor",
        "as `commit`, and 1 SQL transaction of 2 statements",
        lambda found: found[0].hold_cursor("mine", found[1], hold_for=timedelta(days=1)),
        lambda store: (store, store.commit(MAIN)),
        counts="1 SELECT, 1 SQL transaction of 2 statements",
    ),
    Case("Store.subscription", "2 SELECTs; the first time also 1 SQL transaction of 7 statements", subscribed, known),
    Case("Store.subscription", "2 SELECTs", subscribed, lambda store: (subscribed(store), store)[1]),
    Case("Store.relay", "1 SELECT", relay_of),
    Case("Store.watch", "1 SELECT", lambda store: store.watch(MAIN, relay="airflow", redeliver_after_s=300.0)),
    Case("Store.subscriptions", "2 SELECTs", lambda store: store.subscriptions(MAIN)),
    Case(
        "Store.due",
        "1 SELECT, and 2 for each subscription; 1 more to check *branch*",
        lambda store: store.due(MAIN),
        lambda store: (collected(store), store)[1],
        counts="4 SELECTs",
    ),
    Case("Store.merge", "1 PUT, 1 SQL transaction, 9 to 20 SELECTs", lambda store: store.merge(DEV, into=MAIN)),
    Case(
        "Store.merge",
        "1 GET for each page in which a side differs from it",
        lambda store: store.merge(DEV, into=MAIN),
        diverged,
        counts="1 PUT, 1 SQL transaction, 9 to 20 SELECTs, 3 GETs",
    ),
    Case(
        "Store.foresee_merge",
        "9 to 20 SELECTs, and 1 GET for each page in which a side differs from the base or from the other",
        lambda store: store.foresee_merge(DEV, into=MAIN),
        diverged,
        counts="9 to 20 SELECTs, 2 GETs",
    ),
    Case(
        "Store.cherry_pick",
        "as `merge`",
        lambda store: store.cherry_pick(DEV, onto=MAIN),
        diverged,
        counts="1 PUT, 1 SQL transaction, 9 to 20 SELECTs, 3 GETs",
    ),
    Case(
        "Store.revert",
        "as `merge`",
        lambda store: store.revert(MAIN, on=MAIN),
        counts="1 PUT, 1 SQL transaction, 9 to 20 SELECTs, 3 GETs",
    ),
    Case(
        "Store.squash",
        "2 PUTs, 1 SQL transaction, 9 to 20 SELECTs. Also 1 SELECT for each 200 commits, and 1 GET for each page",
        lambda store: store.squash(MAIN, since=f"{MAIN}~2"),
        diverged,
        counts="2 PUTs, 1 SQL transaction, 9 to 20 SELECTs, 2 GETs",
    ),
    Case("Store.run", "none", lambda store: store.run("report")),
    Case(
        "Store.lineage",
        "1 SELECT",
        lambda found: found[0].lineage(found[1].lineage_id),
        lambda store: (store, store.commit(MAIN)),
    ),
    Case(
        "Store.lineage_graph",
        "as `commit`, 1 SELECT for the highest order without a bound, 1 SELECT for the walk, 2 SELECTs for each 500",
        lambda store: store.lineage_graph("reports@main"),
        counts="7 SELECTs",
    ),
    Case(
        "Store.lineage_graph",
        "as `commit`, 1 SELECT for the highest order without a bound, 1 SELECT for the walk, 2 SELECTs for each 500",
        lambda store: store.lineage_graph("reports@main", depth=3, with_commits=True),
        counts="7 SELECTs",
    ),
    Case(
        "Store.export_lineage",
        "for a lineage ID 1 SELECT, 2 SELECTs for each 500 commits, and 1 SELECT for the commits",
        lambda found: found[0].export_lineage(found[1]),
        lambda store: (store, store.commit("reports@main").lineage_id),
        counts="4 SELECTs",
    ),
    Case(
        "Store.checkout_lineage",
        "1 SELECT, that of `commit` for each repo, and that of `Snapshot.checkout`",
        lambda found: found[0].checkout_lineage(found[1], found[0].url + "-then"),
        lambda store: (store, store.commit("reports@main").lineage_id),
        counts="13 SELECTs, 4 GETs",
    ),
    Case(
        "Store.run_of",
        "as `commit`, 3 SELECTs, and 1 for each 500 commits that the run read",
        lambda store: store.run_of("reports@main"),
        counts="7 SELECTs",
    ),
    Case(
        "Store.upstream",
        "as `commit`, 1 SELECT for the confirmations, 2 SELECTs a generation, and 1 SELECT for the commits",
        lambda store: store.upstream("reports@main:rain.txt"),
        counts="9 SELECTs, 1 GET",
    ),
    Case(
        "Store.upstream",
        "as `commit`, 1 SELECT for the confirmations, 2 SELECTs a generation, and 1 SELECT for the commits",
        lambda store: store.upstream("reports@main"),
        counts="9 SELECTs, 1 GET",
    ),
    Case(
        "Store.downstream",
        "as `upstream`, and 1 SELECT more",
        lambda store: store.downstream(f"{MAIN}:{FEBRUARY}"),
        counts="10 SELECTs, 1 GET",
    ),
    Case("Store.stats", "3 SELECTs", lambda store: store.stats()),
    Case(
        "Store.status",
        "6 SELECTs and 1 listing of the beacons, with 1 GET of the owner",
        lambda store: store.status(),
        counts="6 SELECTs",
    ),
    Case("Store.maintenance_status", "14 SELECTs", lambda store: store.maintenance_status()),
    Case("Store.transaction", "1 SELECT", lambda store: store.transaction(MAIN)),
    Case("Transaction.abandon", "as `abort`", lambda tx: tx.abandon(), staged, counts="none"),
    Case("Transaction.abort", "none", lambda tx: tx.abort(), staged),
    Case("Transaction.branch", "1 SELECT the first time", lambda tx: tx.branch(DEV), begun),
    Case("Transaction.write", "as `FileIntake.write`", lambda tx: tx.write("other.csv", b"1"), begun, counts="none"),
    Case(
        "Transaction.write",
        "An append reads the last chunk of the file",
        lambda tx: tx.write(JANUARY, b"1", append=True),
        begun,
        counts="3 GETs",
    ),
    Case(
        "Transaction.write_tree",
        "1 index look-up for every 4 MiB or 4,096 files",
        lambda found: found[0].write_tree(found[1], "d"),
        lambda store: (begun(store), store.url + "-tree"),
        counts="1 SELECT, 1 GET",
    ),
    Case(
        "Transaction.finish",
        "1 PUT, 2 SELECTs, 1 SQL transaction of 9 statements. Also 1 GET for each page that it changes",
        lambda tx: tx.finish(),
        staged,
    ),
    Case("Transaction.finish", "1 SELECT, 1 SQL transaction of 1 statement", lambda tx: tx.finish(), begun),
    Case("Transaction.read", "as `Snapshot.read`", lambda tx: tx.read(JANUARY), begun, counts="2 GETs"),
    Case("Transaction.read", "none for bytes that are still in memory", lambda tx: tx.read("new.csv"), staged),
    Case("Transaction.exists", "at most 1 GET a page level", lambda tx: tx.exists(JANUARY), begun),
    Case("Transaction.list", "as `Snapshot.list`", lambda tx: list(tx.list("")), begun, counts="1 GET"),
    Case("Transaction.delete", "at most 1 GET a page level", lambda tx: tx.delete(JANUARY), begun),
    Case("Transaction.delete_glob", "as `Snapshot.glob`", lambda tx: tx.delete_glob("2012/*"), begun, counts="1 GET"),
    Case(
        "Transaction.copy",
        "as `Store.commit`, and the pages of the source's files",
        lambda tx: tx.copy(f"{DEV}:{JANUARY}", "copy.csv"),
        begun,
        counts="3 SELECTs, 1 GET",
    ),
    Case(
        "Transaction.move",
        "the pages of the source's files",
        lambda tx: tx.move(JANUARY, "moved.csv"),
        begun,
        counts="1 GET",
    ),
    Case("Snapshot.batches", "1 GET a page", lambda seen: list(seen.batches()), snapshot),
    Case(
        "Snapshot.checkout",
        "1 GET for each page, and 1 for each run of neighbouring blocks",
        lambda found: found[0].checkout(found[1]),
        lambda store: (snapshot(store), store.url + "-checkout"),
        counts="3 GETs",
    ),
    Case("Snapshot.exists", "at most 2 GETs a page level", lambda seen: seen.exists(JANUARY), snapshot),
    Case("Snapshot.glob", "1 GET for each page", lambda seen: list(seen.glob("2012/*")), snapshot),
    Case("Snapshot.is_directory", "at most 2 GETs a page level", lambda seen: seen.is_directory("2012"), snapshot),
    Case(
        "Snapshot.list",
        "the pages that hold the entries' first rows",
        lambda seen: list(seen.list()),
        snapshot,
        counts="1 GET",
    ),
    Case(
        "Snapshot.open",
        "as for `stat` of a file; then 1 GET for each chunk",
        lambda seen: seen.open(JANUARY).read(),
        snapshot,
        counts="2 GETs",
    ),
    Case(
        "Snapshot.read",
        "at most 1 GET for each page level, run of neighbouring chunks",
        lambda seen: seen.read(JANUARY),
        snapshot,
        counts="at most 2 GETs",
    ),
    Case(
        "Snapshot.read_many",
        "1 GET for each run of neighbouring blocks",
        lambda seen: list(seen.read_many([JANUARY, FEBRUARY])),
        snapshot,
        counts="3 GETs",
    ),
    Case("Snapshot.row", "as `stat` of a file", lambda seen: seen.row(JANUARY), snapshot, counts="1 GET"),
    Case("Snapshot.rows", "1 GET a page", lambda seen: list(seen.rows()), snapshot),
    Case("Snapshot.stat", "at most 1 GET a page level", lambda seen: seen.stat(JANUARY), snapshot),
    Case(
        "Snapshot.versions", "as `stat` of a file", lambda seen: list(seen.versions(JANUARY)), snapshot, counts="1 GET"
    ),
    Case("Snapshot.walk", "1 GET a page", lambda seen: list(seen.walk()), snapshot),
    Case("Snapshot.writer_of", "as `stat` of a file", lambda seen: seen.writer_of(JANUARY), snapshot, counts="1 GET"),
    Case(
        "Snapshot.read",
        "none for cached ones",
        lambda seen: seen.read(JANUARY),
        lambda store: (store.snapshot(MAIN).read(JANUARY), snapshot(store))[1],
        counts="none",
    ),
    Case(
        "Snapshot.stat",
        "for a directory, whose digest is computed, 1 for each page of its files",
        lambda seen: seen.stat("2012"),
        snapshot,
        counts="1 GET",
    ),
    Case(
        "Subscription.advance",
        "1 SQL transaction of 3 statements",
        lambda found: found[0].advance(found[1]),
        lambda store: (subscribed(store), store.commit(MAIN)),
    ),
    Case(
        "Subscription.claim",
        "1 SQL transaction of 3 statements",
        lambda retrain: retrain.claim("2012-01", owner="worker"),
        collected,
    ),
    Case(
        "Subscription.claim",
        "with *force*, for a key that is not due, of 9 statements",
        lambda retrain: retrain.claim("2012-07", owner="worker", force=True),
        collected,
        counts="1 SQL transaction, 9 statements",
    ),
    Case("Subscription.collect", "1 SELECT when nothing happened", lambda retrain: retrain.collect(), collected),
    Case(
        "Subscription.collect",
        "Else 11 or 12 SELECTs and the pages, as `find_changes`, and 1 SQL transaction of 4 statements",
        lambda retrain: retrain.collect(),
        behind,
        counts="11 or 12 SELECTs, at most 2 GETs, 1 SQL transaction of 4 statements",
    ),
    Case(
        "Subscription.complete", "1 SQL transaction of 2 statements", lambda found: found[0].complete(found[1]), claimed
    ),
    Case(
        "Subscription.release", "1 SQL transaction of 3 statements", lambda found: found[0].release(found[1]), claimed
    ),
    Case("Subscription.cursor", "1 SELECT", lambda retrain: retrain.cursor, collected),
    Case("Subscription.due", "1 SELECT", lambda retrain: retrain.due(), collected),
    Case(
        "Subscription.due",
        "1 SELECT, 1 more when nothing is due",
        lambda retrain: retrain.due(),
        subscribed,
        counts="2 SELECTs",
    ),
    Case("Subscription.find", "1 SELECT", lambda retrain: retrain.find("2012-01"), collected),
    Case("Subscription.is_behind", "1 SELECT", lambda retrain: retrain.is_behind(), collected),
    Case(
        "Subscription.mark_announced",
        "1 SQL transaction of 1 statement, and 1 more for each request",
        lambda found: found[0].mark_announced(found[1]),
        lambda store: (collected(store), subscribed(store).due()),
        counts="1 SQL transaction of 3 statements",
    ),
    Case("Subscription.mark_announced", "none without requests", lambda retrain: retrain.mark_announced([]), collected),
    Case(
        "Subscription.request",
        "then 3 SELECTs, every page of the tree, and 1 SQL transaction of 3 statements",
        lambda retrain: retrain.request(),
        collected,
        counts="4 SELECTs, 1 SQL transaction of 3 statements",
    ),
    Case(
        "Relay.request",
        "4 SELECTs, and for each subscription as `Subscription.request`",
        lambda relay: relay.request(),
        settled,
        counts="4 SELECTs, 8 SELECTs, 2 SQL transactions of 8 statements",
    ),
    Case("Subscription.pending", "9 to 11 SELECTs", lambda retrain: retrain.pending(), behind),
    Case(
        "Subscription.unannounced", "1 SELECT", lambda retrain: retrain.unannounced(redeliver_after_s=300.0), collected
    ),
    Case(
        "Relay.subscribe",
        "as `Store.subscription`",
        lambda relay: relay.subscribe("check"),
        lambda store: relay_of(known(store)),
        counts="2 SELECTs, 1 SQL transaction of 7 statements",
    ),
    Case(
        "Relay.subscribe",
        "as `Store.subscription`",
        lambda relay: relay.subscribe("check"),
        relay_with_consumer,
        counts="2 SELECTs",
    ),
    Case("Relay.subscriptions", "2 SELECTs", lambda relay: relay.subscriptions(), relay_with_consumer),
    Case(
        "Relay.collect",
        "4 SELECTs, and 2 SELECTs for each subscription when nothing happened",
        collect,
        settled,
        counts="4 SELECTs, 4 SELECTs",
    ),
    Case(
        "Relay.collect",
        "for one that is behind, as `Subscription.collect`",
        collect,
        lambda store: (settled(store), write(store, MAIN, JANUARY))[0],
        counts="6 SELECTs, 22 to 24 SELECTs, at most 4 GETs, 3 SQL transactions of 12 statements",
    ),
    Case(
        "Relay.confirm",
        "4 SELECTs; for each subscription 1 SELECT, and 1 SQL transaction",
        lambda found: found[0].confirm(found[1], redeliver_after_s=300.0),
        announced,
        counts="4 SELECTs, 2 SELECTs, 3 SQL transactions of 8 statements",
    ),
    Case(
        "Relay.announce",
        "2 SELECTs without a relay",
        announce,
        lambda store: (relay_of(store), store.commit(MAIN)),
    ),
    Case(
        "Relay.announce",
        "With one, 2 SELECTs, 1 SELECT for each subscription, and 1 SQL transaction of 3 statements when nothing",
        announce,
        lambda store: (settled(store), store.commit(MAIN)),
        counts="2 SELECTs, 2 SELECTs, 1 SQL transaction of 3 statements",
    ),
    Case(
        "Relay.renew",
        "2 SELECTs, 1 SQL transaction of 2 statements",
        lambda found: found[0].renew(found[1]),
        announced,
    ),
    Case(
        "Relay.withdraw",
        "2 SELECTs, 1 SQL transaction of 2 statements",
        lambda found: found[0].withdraw(found[1]),
        announced,
    ),
    Case(
        "Relay.adopt",
        "else 6 SELECTs in all, and 1 SQL transaction",
        lambda found: found[0].adopt(found[1]),
        late_consumer,
        counts="6 SELECTs, 1 SQL transaction of 3 statements",
    ),
    Case(
        "Relay.adopt",
        "1 SELECT when nothing is unannounced",
        lambda found: found[0].adopt(found[1]),
        adopted,
    ),
    Case("BranchWatch.overtaken", "3 SELECTs", lambda watch: watch.overtaken(), watch_of),
    Case(
        "BranchWatch.free",
        "1 SQL transaction of 2 statements",
        lambda found: found[0].free(found[1]),
        lambda store: (watch_of(store), collected(store).due()[0]),
    ),
    Case("BranchWatch.look", "3 SELECTs while the branch stays as it is", lambda watch: watch.look(), seen_watch),
    Case(
        "BranchWatch.look",
        "6 or 7 SELECTs",
        lambda watch: watch.look(),
        lambda store: (seen_watch(store), write(store, MAIN, JANUARY))[0],
    ),
    Case(
        "create_store",
        "1 GET, 1 PUT, 2 SQL transactions",
        lambda place: vio.create_store(place).close(),
        lambda store: store.url + "-new",
    ),
    Case("open_store", "1 GET, 3 or 4 SELECTs", lambda place: vio.open_store(place).close(), lambda store: store.url),
    Case(
        "open_or_create_store",
        "as `open_store`",
        lambda place: vio.open_or_create_store(place).close(),
        lambda store: store.url,
        counts="1 GET, 3 or 4 SELECTs",
    ),
    Case(
        "open_or_create_store",
        "the first time as `create_store`",
        lambda place: vio.open_or_create_store(place).close(),
        lambda store: store.url + "-new",
        counts="2 GETs, 1 PUT, 2 SQL transactions",
    ),
    Case(
        "adopt_store",
        "as `open_store`, 1 SELECT, and 1 SQL transaction",
        vio.adopt_store,
        lambda store: store.url,
        counts="1 GET, 4 or 5 SELECTs, 1 SQL transaction of 2 statements",
    ),
    Case("upgrade_store", "1 GET, 2 SELECTs, 1 SQL transaction", vio.upgrade_store, lambda store: store.url),
]


_KINDS = ("PUT", "GET", "HEAD", "LIST", "DELETE", "SELECT", "SQL transaction", "statement")
_CLAIM = re.compile(rf"(at most )?(\d+)(?: (?:to|or) (\d+))? ({'|'.join(_KINDS)})s?\b")


def claims(text):
    """Return kind → (least, most) of the numbers in a sentence; several of a kind add up."""
    found = {}
    for at_most, first, last, kind in _CLAIM.findall(text):
        least, most = found.get(kind, (0, 0))
        found[kind] = (least + (0 if at_most else int(first)), most + int(last or first))
    return found


def cost_of(call):
    """Return what the docstring of ``Class.method``, or of a function, says after ``Cost:``, on one line."""
    name, _, method = call.partition(".")
    documented = inspect.getattr_static(getattr(vio, name), method) if method else getattr(vio, name)
    found = re.search(r"Cost:(.*?)(?:\n\n|\Z)", inspect.getdoc(documented) or "", re.DOTALL)
    return None if found is None else " ".join(found[1].split())


def front_door():
    methods = [f"{kind.__name__}.{name}" for kind in FRONT_DOOR for name in dir(kind) if not name.startswith("_")]
    return [*methods, *(function.__name__ for function in FUNCTIONS)]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The directory of a store with two branches, a tag, and a repo that was made from another one."""
    place = tmp_path_factory.mktemp("costs") / "store"
    with vio.create_store(place) as store:
        store.create_repo("weather")
        with store.transaction(MAIN) as tx:
            tx.write(JANUARY, b"1")
            tx.write(FEBRUARY, b"2")
        write(store, MAIN, FEBRUARY)
        store.create_branch(DEV, at=MAIN)
        store.create_tag("weather@v1", at=f"{MAIN}~1")
        write(store, DEV, "2012/03.csv")
        store.create_repo("reports")
        with store.run("report"), store.transaction("reports@main") as tx:
            tx.write("rain.txt", store.snapshot(MAIN).read(FEBRUARY))
    return place


def measure(case, template, place):
    """Return the counts of a call on a copy of the store, by a handle that has read nothing."""
    shutil.copytree(template, place)
    tree = place.with_name(f"{place.name}-tree")
    tree.mkdir()
    (tree / "file").write_bytes(b"1")
    with vio.open_store(place) as store:
        if "SQL transaction" in claims(case.counts or case.says):
            store.create_repo("first")  # the first change by a handle also checks who owns the store
        situation = case.prepare(store)
        with count_all() as counts:
            case.act(situation)
    return +counts


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.call}: {case.says}")
def test_a_call_costs_what_it_says(case, template, tmp_path):
    assert case.says in cost_of(case.call)
    expected = claims(case.counts or case.says)
    assert expected or (case.counts or case.says).startswith("none")
    counts = measure(case, template, tmp_path / "store")
    if "statement" not in expected:
        del counts["statement"]
    # They are listed when a store is opened, before a record is stored, and in each transaction, which deletes one.
    its_own = 2 * ("listing of the beacons" in case.says)  # and the owner is read
    assert counts.pop("beacon", 0) <= 3 * counts["SQL transaction"] + ("." not in case.call) + its_own
    wrong = {kind: count for kind, count in counts.items() if not _is_within(count, expected.get(kind))}
    wrong |= {kind: 0 for kind, (least, _) in expected.items() if least and not counts[kind]}
    assert not wrong, f"{case.call} claims {expected}"


def test_the_exact_deletion_of_a_file_that_merges_and_formats_stage_asks_nothing(template, tmp_path):
    case = Case("", "none", lambda tx: draft_of(tx).delete_exactly(JANUARY), begun)
    assert not measure(case, template, tmp_path / "store")


def _is_within(count, claim):
    least, most = claim or (0, 0)
    return least <= count <= most


@pytest.mark.parametrize("call", front_door())
def test_every_call_has_a_cost_that_is_counted(call):
    if cost_of(call) is None:
        assert call in FREE
    else:
        assert call not in FREE
        assert (call in UNCOUNTED) != any(case.call == call for case in CASES)


def test_the_lists_name_calls_that_there_are():
    assert {*FREE, *UNCOUNTED, *(case.call for case in CASES)} <= {*front_door()}


def test_a_claim_is_read_as_it_is_meant():
    assert claims("1 PUT, 2 or 3 SELECTs, and 1 SQL transaction of 4 statements; at most 2 GETs, 1 SELECT more.") == {
        "PUT": (1, 1),
        "SELECT": (3, 4),
        "SQL transaction": (1, 1),
        "statement": (4, 4),
        "GET": (0, 2),
    }
