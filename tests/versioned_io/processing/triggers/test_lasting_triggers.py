"""Triggers outlast a lost catalog, an older one, a backup, and the death of an evaluation at any durable step."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

import versioned_io as vio

EVALUATOR = """
import os, signal, sys
import versioned_io as vio
from versioned_io.storage.objects.local import LocalObjects

url, step = sys.argv[1], int(sys.argv[2])
done = 0

def dying(real):
    def call(*args, **kwargs):
        global done
        result = real(*args, **kwargs)
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

from sqlalchemy.engine import Connection
import sqlalchemy.engine.default as default
LocalObjects.put = dying(LocalObjects.put)
default.DefaultDialect.do_commit = dying(default.DefaultDialect.do_commit)
with vio.open_store(url) as store:
    store.run_triggers()
"""


@pytest.fixture
def store(tmp_path):
    with vio.create_store(tmp_path / "store") as made:
        for repo in ("r", "q"):
            made.create_repo(repo)
        yield made


def put(store, branch, path, data=b"1"):
    with store.transaction(branch) as tx:
        tx.write(path, data)
    return tx.commit


def lineages(store, branch):
    """The lineage ID of the branch's head, if it has one."""
    repo, name = branch.split("@")
    heads = [one.head for one in store.branches(repo) if one.name == name and one.head is not None]
    return {store.commit(head).lineage_id for head in heads}


def fill(store):
    """Triggers of each kind: fired, replaced, deleted, with a renamed source, with a source that was deleted."""
    put(store, "r@main", "a")
    store.trigger("r@train", on="r@main", commits=1)
    store.trigger("r@prod", on="r@train", changed_bytes="1GB", at_most_every="1h")
    store.trigger("q@copy", on="r@train", cron="0 6 * * *", time_zone="Europe/Berlin", commits=1)
    store.run_triggers()
    store.trigger("r@train", on="r@main", commits=2, metric=vio.metric("m.json", "auc", 0.1), any_=False)
    store.trigger("r@gone", on="r@main", commits=1)
    store.delete_trigger("r@gone")
    store.create_branch("r@doomed", at="r@main")
    store.trigger("q@lonely", on="r@doomed", commits=1)
    store.delete_branch("r@doomed", force=True)
    store.rename_branch("r@train", "learn")
    store.rename_repo("r", "renamed")
    store.rename_branch("renamed@main", "trunk")


def test_a_rebuilt_catalog_has_the_triggers_and_when_they_fired(store):
    fill(store)
    before = store.triggers()
    assert [(one.branch, one.on) for one in before] == [
        ("q@copy", "renamed@learn"),
        ("renamed@learn", "renamed@trunk"),
        ("renamed@prod", "renamed@learn"),
    ]
    assert [one.fired_at is None for one in before] == [False, False, True]
    assert store.fsck().is_clean
    store.close()
    for path in Path(store.url).glob("catalog.db*"):
        path.unlink()
    vio.rebuild_store(store.url)
    with vio.open_store(store.url) as rebuilt:
        assert rebuilt.triggers() == before
        assert rebuilt.fsck().is_clean


def test_an_older_catalog_gets_the_triggers_that_were_set_fired_and_deleted_since(store, tmp_path):
    put(store, "r@main", "a")
    store.trigger("r@early", on="r@main", commits=1)
    store.trigger("r@ended", on="r@main", commits=1)
    store.close()
    shutil.copy(Path(store.url) / "catalog.db", tmp_path / "older.db")
    store.run_triggers()
    store.delete_trigger("r@ended")
    store.trigger("r@late", on="r@early", commits=3)
    store.rename_branch("r@early", "soon")
    before = store.triggers()
    store.close()
    for path in Path(store.url).glob("catalog.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older.db", Path(store.url) / "catalog.db")
    vio.recover_store(store.url)
    with vio.open_store(store.url) as recovered:
        assert recovered.triggers() == before
        assert recovered.fsck().is_clean


def test_a_restored_backup_has_the_triggers(store, tmp_path):
    fill(store)
    store.backup(tmp_path / "backup", init=True)
    vio.restore_store(tmp_path / "backup", tmp_path / "restored")
    with vio.open_store(tmp_path / "restored") as restored:
        assert restored.triggers() == store.triggers()
        assert restored.fsck().is_clean


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM triggers",
        "UPDATE triggers SET fired_at = 5",
        """UPDATE triggers SET rule = '{"any": true, "commits": 99}'""",
        "UPDATE triggers SET source_id = branch_id",
        "INSERT INTO triggers SELECT id, id, '{}', 0, NULL FROM branches WHERE name = 'main' LIMIT 1",
    ],
)
def test_fsck_reports_a_trigger_that_is_not_as_the_journal_has_it(store, harm):
    store.trigger("r@train", on="r@main", commits=1)
    assert store.fsck().is_clean
    with store._backend.catalog.write() as connection:
        connection.execute(text(harm))
    found = store.fsck()
    assert not found.is_clean
    assert any("trigger" in str(one) for one in found.problems)


@pytest.mark.skipif(os.name != "posix", reason="kills by signals")
def test_an_evaluation_that_is_killed_at_any_durable_step_is_finished_by_the_next(store):
    store.trigger("r@train", on="r@main", commits=1)
    store.trigger("r@prod", on="r@train", commits=1)
    store.trigger("q@copy", on="r@prod", commits=1)
    names = ["r@train", "r@prod", "q@copy"]
    number = 0
    code = None
    while code != 0:
        number += 1
        made = put(store, "r@main", "a", b"%d" % number)
        command = [sys.executable, "-c", EVALUATOR, store.url, str(number)]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        reached = [made.lineage_id in lineages(store, one) for one in names]
        assert reached == sorted(reached, reverse=True)  # a prefix of the chain fired
        store.run_triggers()
        assert [store.commit(one).lineage_id for one in names] == [made.lineage_id] * 3
        assert store.commit("q@copy").number == number
    moves = [one for one in store.reflog("r@train") if one.entry.details.get("reason") == "trigger"]
    assert len(moves) == number
    assert number > 6
    assert store.fsck().is_clean
