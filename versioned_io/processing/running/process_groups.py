"""Processes of commands: each has a group of its own, which is killed as a whole when the command ends."""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from versioned_io.processing.running.time_limit import late

_POLLED_EVERY_S: Final = 0.005
_LONGEST_POLL_MS: Final = 10**9
"""The system takes no number that is much larger."""


class CommandFailedError(Exception):
    """A command could not be started, ended with an exit code that is not accepted, or broke the worker protocol."""


class _Commands:
    """The commands that the threads of a run have started."""

    def __init__(self) -> None:
        self.is_over = False

    def take_thread(self) -> None:
        """Count commands that this thread starts from now on."""
        _of_thread.commands = self

    def take(self, process: "subprocess.Popen[bytes]") -> None:
        """Count a process that one of the threads has started, until it is reaped."""
        with _lock:
            _started[process] = self
            if self.is_over:
                signal_group(process)

    def end(self) -> None:
        """Kill the groups of the commands that run. The threads start no others."""
        with _lock:
            self.is_over = True
            for process, commands in _started.items():
                if commands is self:
                    signal_group(process)


_of_thread: Final = threading.local()
_lock: Final = threading.Lock()
_started: "Final[dict[subprocess.Popen[bytes], _Commands]]" = {}
"""Processes that are not reaped."""


@contextmanager
def threads_of_commands(workers: int) -> Iterator[Executor]:
    """Yield threads that evaluate datums by commands. If the block raises, as for an interrupt, these are killed."""
    commands = _Commands()
    with ThreadPoolExecutor(workers, initializer=commands.take_thread) as threads:
        try:
            yield threads
        except BaseException:
            commands.end()
            raise


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
        CommandFailedError: The program does not exist, or can't be executed. Or the run was interrupted.
    """
    commands: _Commands | None = getattr(_of_thread, "commands", None)
    if commands is not None and commands.is_over:
        raise CommandFailedError("the run was interrupted")
    try:
        process = subprocess.Popen(
            argv, cwd=directory, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        msg = (
            f"the program {argv[0]!r} can't be started ({why}); it was looked up in PATH={env.get('PATH', '')!r}, "
            f"and the working directory has only the files that the command declares"
        )
        raise CommandFailedError(msg) from error
    if commands is not None:
        commands.take(process)
    return process


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
        left_ms = None if timeout_s is None else max(0.0, timeout_s * 1000)
        while left_ms is not None and left_ms > _LONGEST_POLL_MS:
            if poll.poll(_LONGEST_POLL_MS):
                return True
            left_ms -= _LONGEST_POLL_MS
        return bool(poll.poll(left_ms))
    finally:
        os.close(descriptor)


def _ends_while_polled(pid: int, timeout_s: float | None) -> bool:
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while not has_ended(pid):
        if until is not None and time.monotonic() >= until:
            return False
        time.sleep(_POLLED_EVERY_S)
    return True


def has_ended(pid: int) -> bool:
    """Return whether a process has ended. It is not reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def signal_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill every process of the group of *process*, which is not reaped."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill every process of the group of *process*, and reap it. Its exit code is its own if it had ended."""
    if process.returncode is not None:
        return  # its number may be that of another process
    with _lock:
        _started.pop(process, None)
    signal_group(process)
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
