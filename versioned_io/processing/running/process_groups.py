"""Processes of commands: each has a group of its own, which is killed as a whole when the command ends."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from versioned_io.processing.running.time_limit import late

_POLLED_EVERY_S: Final = 0.005


class CommandFailedError(Exception):
    """A command could not be started, ended with an exit code that is not accepted, or broke the worker protocol."""


def start(
    argv: Sequence[str],
    *,
    directory: Path,
    env: Mapping[str, str],
    stdin: IO[bytes] | int,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
) -> "subprocess.Popen[bytes]":
    """Return the process of a command, in a session and a group of its own, with exactly this environment.

    Raises:
        CommandFailedError: The program does not exist, or can't be executed.
    """
    try:
        return subprocess.Popen(
            argv, cwd=directory, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        msg = (
            f"the program {argv[0]!r} can't be started ({why}); it was looked up in PATH={env.get('PATH', '')!r}, "
            f"and the working directory has only the files that the command declares"
        )
        raise CommandFailedError(msg) from error


def run_to_end(
    argv: Sequence[str], *, directory: Path, env: Mapping[str, str], stdin: Path, log: Path, timeout_s: float | None
) -> int:
    """Run a command until it ends, kill what is left of its group, and return its exit code.

    Args:
        stdin: The file that it reads; *log* gets its two output streams.

    Raises:
        CommandFailedError: It can't be started.
        DatumTimeoutError: It took longer, and its group was killed.
    """
    with stdin.open("rb") as source, log.open("wb") as sink:
        process = start(argv, directory=directory, env=env, stdin=source, stdout=sink, stderr=subprocess.STDOUT)
    try:
        if not ends_within(process, timeout_s):
            raise late(timeout_s)
    finally:
        kill_group(process)
    return process.returncode


def ends_within(process: "subprocess.Popen[bytes]", timeout_s: float | None) -> bool:
    """Return whether a process ends in time. It is not reaped, so its group's number stays its own."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # an old kernel, or a sandbox
        return _ends_while_polled(process.pid, timeout_s)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else max(0, timeout_s * 1000)))
    finally:
        os.close(descriptor)


def _ends_while_polled(pid: int, timeout_s: float | None) -> bool:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if until is not None and time.monotonic() >= until:
            return False
        time.sleep(_POLLED_EVERY_S)
    return True


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill every process of the group of *process*, and reap it. Its exit code is its own if it had ended."""
    if process.returncode is not None:
        return  # its number may be that of another process
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check_exit(code: int, program: str, accepted: Sequence[int], log: str) -> None:
    """Raise unless an exit code is accepted.

    Raises:
        CommandFailedError: With the last line of the log.
    """
    if code in accepted:
        return
    how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
    msg = f"{program} {how}" + (f": {last}" if last else "")
    raise CommandFailedError(msg)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
