"""Running one measurement in a process of its own, and what that process took."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class CommandError(Exception):
    """A measured command failed; its last words say why."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: wall-clock seconds, peak memory in MiB, and what it printed."""

    wall_s: float
    peak_mib: float
    output: str


def run_command(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run *command* to its end.

    Raises:
        CommandError: It exited with another code than 0.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        msg = f"{' '.join(command[:4])} ... exited with {process.returncode}: {text[-2000:]}"
        raise CommandError(msg)
    return Finished(wall_s, usage.ru_maxrss / 1024, text)


def run_ours(action: str, cwd: Path, **arguments: object) -> tuple[Finished, dict[str, Any]]:
    """Run an action of `benchmarks.ours` in a new Python, and return what it took and what it measured inside."""
    command = [sys.executable, "-m", "benchmarks.ours", action, json.dumps(arguments, default=str)]
    finished = run_command(command, cwd=cwd, env={"PYTHONPATH": str(ROOT)})
    return finished, json.loads(finished.output.splitlines()[-1])


def settle() -> None:
    """Let what is written reach the disk, so that one measurement does not pay for another's."""
    os.sync()


def size_of(directory: Path) -> int:
    """Return the bytes of all files below *directory*."""
    total = 0
    for parent, _, names in os.walk(directory):
        total += sum(Path(parent, name).stat().st_size for name in names)
    return total


def files_in(directory: Path, *, suffix: str = "") -> int:
    """Return how many files below *directory* end with *suffix*."""
    return sum(name.endswith(suffix) for _, _, names in os.walk(directory) for name in names)
