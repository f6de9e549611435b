import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from devservers.process import (
    ServerError,
    ServerProcess,
    find_free_port,
    inherited_environment,
    run_command,
    wait_until,
)

# Starts a child in a session of its own, as some servers do, and prints both process IDs.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def python(name, code, tmp_path, **options):
    return ServerProcess(
        name, [sys.executable, "-c", code], env=inherited_environment(), log=tmp_path / "log", **options
    )


def words_of(log):
    return wait_until(lambda: log.exists() and log.read_text().split(), what="output", timeout_s=60)


def all_gone(pids):
    return not any(psutil.pid_exists(pid) for pid in pids)


def test_stopping_ends_the_process_and_a_child_that_left_its_session(tmp_path):
    with python("family", FAMILY, tmp_path):
        pids = [int(word) for word in words_of(tmp_path / "log")]
        assert not all_gone(pids)
    assert all_gone(pids)


def test_killing_ends_the_family_too(tmp_path):
    process = python("family", FAMILY, tmp_path).start()
    pids = [int(word) for word in words_of(tmp_path / "log")]
    process.kill()
    assert all_gone(pids)


def test_a_process_that_ignores_the_signal_is_killed_after_its_grace(tmp_path):
    process = python("stubborn", STUBBORN, tmp_path, grace_s=0.5).start()
    words_of(tmp_path / "log")
    started = time.monotonic()
    process.stop()
    assert 0.5 <= time.monotonic() - started < 60


def test_nothing_outlives_an_owner_that_was_killed(tmp_path):
    owner_code = f"""
import sys, time
from pathlib import Path
from devservers.process import ServerProcess, inherited_environment
command = [sys.executable, "-c", {FAMILY!r}]
log, data = Path({str(tmp_path / "log")!r}), Path({str(tmp_path / "data")!r})
ServerProcess("family", command, env=inherited_environment(), log=log, remove_after=data).start()
time.sleep(600)
"""
    (tmp_path / "data").mkdir()
    owner = subprocess.Popen([sys.executable, "-c", owner_code], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    pids = [int(word) for word in words_of(tmp_path / "log")]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_until(lambda: all_gone(pids), what="the family to be gone", timeout_s=60)
    wait_until(lambda: not (tmp_path / "data").exists(), what="the data to be removed", timeout_s=60)


def test_waiting_for_a_server_that_ended_shows_its_log(tmp_path):
    process = python("broken", "print('no such setting'); raise SystemExit(3)", tmp_path).start()
    with pytest.raises(ServerError, match=r"(?s)broken ended with code 3 while waiting for health.*no such setting"):
        wait_until(lambda: False, what="health", timeout_s=60, processes=(process,))
    process.stop()


def test_waiting_too_long_shows_the_log(tmp_path):
    with python("slow", STUBBORN, tmp_path, grace_s=0.1) as process:
        words_of(tmp_path / "log")
        with pytest.raises(ServerError, match=r"(?s)waited 0.2 s for health.*slow.*up"):
            wait_until(lambda: False, what="health", timeout_s=0.2, processes=(process,))


def test_a_command_that_fails_says_its_code_and_output(tmp_path):
    command = [sys.executable, "-c", "print('bad'); raise SystemExit(4)"]
    with pytest.raises(ServerError, match=r"(?s)migrate exited with code 4.*bad"):
        run_command("migrate", command, env=inherited_environment(), log=tmp_path / "log")


def test_settings_of_the_developers_own_are_left_out(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "mine")
    assert "AIRFLOW__CORE__EXECUTOR" not in inherited_environment(without=("AIRFLOW_",))
    assert "AIRFLOW__CORE__EXECUTOR" in inherited_environment()


def test_a_port_is_handed_out_once():
    ports = {find_free_port() for _ in range(50)}
    assert len(ports) == 50
