"""Running one measurement in a process of its own, and measuring that process."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LAUNCHER = Path(__file__).with_name("launch.py")


class CommandError(Exception):
    """A measured command failed; the end of its output says why."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that succeeded: wall-clock seconds, peak memory in MiB, and its output."""

    wall_s: float
    peak_mib: float
    output: str


def run_command(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> Finished:
    """Run *command* to its end.

    Raises:
        CommandError: It exited with another code than 0.
    """
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as output:
        result = Path(scratch, "result")
        launched = subprocess.run(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), *command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        text = output.read()
        if launched.returncode != 0:
            msg = f"{' '.join(command[:4])} ... exited with {launched.returncode}: {text[-2000:]}"
            raise CommandError(msg)
        wall_s, peak_kib = map(float, result.read_text().split())
    return Finished(wall_s, peak_kib / 1024, text)


def run_ours(
    action: str, cwd: Path, *, module: str = "benchmarks.ours", **arguments: object
) -> tuple[Finished, dict[str, Any]]:
    """Run an action of *module* in a new Python; return the finished process, and the measurements that it printed."""
    command = [sys.executable, "-m", module, action, json.dumps(arguments, default=str)]
    finished = run_command(command, cwd=cwd, env={"PYTHONPATH": str(ROOT)})
    return finished, last_json(finished)


def last_json(finished: Finished) -> dict[str, Any]:
    """Return the object in the last line that a process printed."""
    found: dict[str, Any] = json.loads(finished.output.splitlines()[-1])
    return found


def settle() -> None:
    """Flush all written data to the disk, so that one measurement does not pay for another's."""
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
