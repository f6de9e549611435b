"""The start of a process: the CPU time of whole commands on a small store, of imports, and of a step's process."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench
from benchmarks.measures import OURS, CaseResult
from benchmarks.processes import CommandError, run_ours

_CLI: Final = ("-m", "versioned_io.interfaces.cli")
_FLOOR: Final = ("-c", "import pyarrow.compute")
_COMMANDS: Final = {
    "ls": (*_CLI, "ls", "r@main"),
    "log": (*_CLI, "log", "r@main"),
    "cat": (*_CLI, "cat", "r@main:a.txt"),
    "repo_list": (*_CLI, "repo", "list"),
}
_IMPORTS: Final = {
    "dagster": "import dagster",
    "dagster_versioned": "from dagster_versioned import *",
    "airflow": "import airflow.sdk, airflow.triggers.base",
    "airflow_versioned": "from airflow_versioned import *",
}
"""Ours load every name of theirs: some are loaded when first used."""

_STEPS: Final = {"dagster": "FilesystemIOManager", "dagster_versioned": "VersionedIOManager"}


def start_up(bench: Bench) -> CaseResult:
    """Run short commands, imports and single steps of Dagster, beside the floor that the libraries set."""
    result = CaseResult("start-up", "CPU of a command on a small store, of an import, and of one step of a Dagster run")
    source = bench.new_path("a.txt")
    source.write_bytes(b"a")
    # Compiled modules are written here and read again, whatever the environment says.
    store, compiled = str(bench.new_path("store")), str(bench.new_path("compiled"))
    environment = {**os.environ, "VERSIONED_STORE": store, "PYTHONPYCACHEPREFIX": compiled}
    environment |= {"AIRFLOW_HOME": str(bench.new_path("airflow"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for command in (("init", store), ("repo", "create", "r"), ("put", "r@main:a.txt", str(source))):
        _cpu_s((*_CLI, *command), environment, bench.work)
    measured: dict[str, dict[str, Sequence[str]]] = {
        "pyarrow": {"import_cpu_s": _FLOOR},
        OURS: {f"{name}_cpu_s": command for name, command in _COMMANDS.items()},
        **{tool: {"import_cpu_s": ("-c", code)} for tool, code in _IMPORTS.items()},
    }
    steps = {tool: _prepare_steps(bench, manager) for tool, manager in _STEPS.items()}
    for repeat in range(bench.repeats + 1):
        sample = {
            tool: {name: _cpu_s(command, environment, bench.work) for name, command in commands.items()}
            for tool, commands in measured.items()
        }
        for tool, (commands, added) in steps.items():
            sample[tool]["step_cpu_s"] = _cpu_s(commands[repeat], environment | added, bench.work, says="STEP_SUCCESS")
        if repeat:  # the first one compiles
            for tool, found in sample.items():
                result.add(tool, found)
    _check(result)
    return result


def _prepare_steps(bench: Bench, manager: str) -> tuple[list[list[str]], dict[str, str]]:
    """Return the arguments of one process for each repeat, and the environment of all."""
    directory, runs = bench.new_path("steps"), bench.repeats + 1
    module = "benchmarks.dagster_steps"
    found = run_ours("prepare", bench.work, module=module, directory=directory, manager=manager, runs=runs)[1]
    return found["steps"], found["environment"]


def _check(result: CaseResult) -> None:
    floor = result.median("import_cpu_s", "pyarrow")
    for name in _COMMANDS:
        result.check(f"{name} beside the import of pyarrow.compute", result.median(f"{name}_cpu_s") / floor, 2.2, "x")
    for name, own, ours, limit in (
        ("import dagster_versioned beside import dagster", "dagster", "dagster_versioned", 1.1),
        ("import airflow_versioned beside import airflow", "airflow", "airflow_versioned", 1.05),
    ):
        share = result.median("import_cpu_s", ours) / result.median("import_cpu_s", own)
        result.check(name, share, limit, "x")
    step = result.median("step_cpu_s", "dagster_versioned") / result.median("step_cpu_s", "dagster")
    result.check("a step's process beside FilesystemIOManager", step, 1.1, "x")


def _cpu_s(arguments: Sequence[str], environment: dict[str, str], cwd: Path, *, says: str = "") -> float:
    """Run Python to its end; return its user and system time.

    Args:
        says: A part of what it must say: Dagster's command of a step succeeds also if the step fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment, cwd=cwd
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if says not in ran.stderr:
        msg = f"{' '.join(arguments[:4])} did not say {says}: {ran.stderr[-2000:]}"
        raise CommandError(msg)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
