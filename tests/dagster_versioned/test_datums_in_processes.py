"""Assets of pipelines in real processes: a run that is killed is finished by its re-execution, without a repetition."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import dagster as dg
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MODULE = "tests.dagster_versioned.datum_definitions"


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").touch()
    return home


@pytest.fixture
def journal(tmp_path):
    journal = tmp_path / "journal"
    journal.touch()
    return journal


@pytest.fixture
def commit(opened):
    opened.create_repo("drawings")

    def commit(names):
        with opened.transaction("drawings@main") as tx:
            for name in names:
                tx.write(f"{name}.txt", name.encode())

    return commit


@pytest.fixture
def start(store_url, home, journal):
    def start(*arguments, slowness, batch=0):
        facts = {"STORE": store_url, "JOURNAL": str(journal), "SLOWNESS": str(slowness), "BATCH": str(batch)}
        env = {**os.environ, "DAGSTER_HOME": str(home), **{f"VERSIONED_TEST_{key}": one for key, one in facts.items()}}
        return subprocess.Popen([sys.executable, "-m", MODULE, *arguments], env=env, start_new_session=True)

    return start


@pytest.mark.soak
def test_steps_in_processes_of_their_own_evaluate_each_datum_once(opened, commit, start, journal):
    commit("abcdef")
    assert start(slowness=0.1, batch=2).wait() == 0
    assert sorted(journal.read_text().split()) == list("abcdef")
    assert [info.path for info in opened.snapshot("measures@main").walk()] == list("abcdef")
    assert len(list(opened.log("measures@main"))) == 1


def test_a_killed_run_is_finished_by_its_re_execution_and_one_new_file_is_one_datum(
    opened, commit, start, home, journal
):
    commit("abcd")
    running = start(slowness=0.6)
    until = time.monotonic() + 120
    while len(journal.read_text().split()) < 4:
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (killed,) = instance.get_runs()
        instance.report_run_failed(killed)  # as the daemon does, some time later
    began = time.monotonic()
    assert start(killed.run_id, slowness=0).wait() == 0
    assert time.monotonic() - began < 50  # it need not wait until the claims of the killed run are over
    ran = Counter(journal.read_text().split())
    assert ran.keys() == set("abcd")
    assert ran["a"] == ran["b"] == 1  # their results were stored before the kill
    commit("e")
    assert start(slowness=0).wait() == 0
    assert Counter(journal.read_text().split()) - ran == {"e": 1}
    assert [info.path for info in opened.snapshot("measures@main").walk()] == ["a", "b", "c", "d", "e"]
