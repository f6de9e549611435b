"""The start of a process: the CPU time of whole commands on a small store, and of imports."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench
from benchmarks.measures import OURS, CaseResult

_CLI: Final = ("-m", "versioned_io.interfaces.cli")
_FLOOR: Final = ("-c", "import pyarrow.compute")
_COMMANDS: Final = {
    "ls": (*_CLI, "ls", "r@main"),
    "log": (*_CLI, "log", "r@main"),
    "cat": (*_CLI, "cat", "r@main:a.txt"),
    "repo_list": (*_CLI, "repo", "list"),
}


def start_up(bench: Bench) -> CaseResult:
    """Run short commands, and import what a Dagster process imports, beside the floor that the libraries set."""
    result = CaseResult("start-up", "CPU of a command on a small store, and of an import")
    source = bench.new_path("a.txt")
    source.write_bytes(b"a")
    # Compiled modules are written here and read again, whatever the environment says.
    store, compiled = str(bench.new_path("store")), str(bench.new_path("compiled"))
    environment = {**os.environ, "VERSIONED_STORE": store, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for command in (("init", store), ("repo", "create", "r"), ("put", "r@main:a.txt", str(source))):
        _cpu_s((*_CLI, *command), environment, bench.work)
    measured = {
        "pyarrow": {"import_cpu_s": _FLOOR},
        OURS: {f"{name}_cpu_s": command for name, command in _COMMANDS.items()},
        "dagster": {"import_cpu_s": ("-c", "import dagster")},
        "dagster_versioned": {"import_cpu_s": ("-c", "import dagster_versioned")},
    }
    for repeat in range(bench.repeats + 1):
        for tool, commands in measured.items():
            sample = {name: _cpu_s(command, environment, bench.work) for name, command in commands.items()}
            if repeat:  # the first one compiles
                result.add(tool, sample)
    floor = result.median("import_cpu_s", "pyarrow")
    for name in _COMMANDS:
        result.check(f"{name} beside the import of pyarrow.compute", result.median(f"{name}_cpu_s") / floor, 2.2, "x")
    share = result.median("import_cpu_s", "dagster_versioned") / result.median("import_cpu_s", "dagster")
    result.check("import dagster_versioned beside import dagster", share, 1.1, "x")
    return result


def _cpu_s(arguments: Sequence[str], environment: dict[str, str], cwd: Path) -> float:
    """Run Python to its end; return its user and system time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
