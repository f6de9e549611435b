"""One server process: started under a guard, waited for until healthy, stopped with everything it started."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

GUARD = Path(__file__).with_name("guard.py")
LOG_TAIL_LINES = 60
POLL_S = 0.1
# Below Linux's ephemeral range (32768 up): an outgoing connection can't take the port before the server does.
PORTS = range(20_000, 32_000)

T = TypeVar("T")

_handed_out: set[int] = set()


class ServerError(Exception):
    """A server did not start, did not become healthy, or ended: the message carries the end of its logs."""


class ServerProcess:
    """A command that runs until it is stopped or its owner ends.

    The command is the leader of its own session. Stopping it sends *stop_signal* to the leader, waits
    *grace_s*, then kills it, and ends whatever it started and left behind. The same happens when the process that
    created this object ends in any way, SIGKILL included.

    Args:
        name: Its name in messages.
        command: Program and arguments; the program is looked up on the ``PATH`` of *env*.
        env: The whole environment of the command; nothing is inherited.
        log: The file for standard output and error; it is appended to, and kept.
        user: The operating-system user to run as, ``None`` for the caller's own.
        remove_after: A directory to remove once the command has ended, also when the owner was killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_s: float = 20.0,
        user: str | None = None,
        remove_after: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.env = dict(env)
        self.log = log
        self.cwd = cwd
        self.stop_signal = stop_signal
        self.grace_s = grace_s
        self.user = user
        self.remove_after = remove_after
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the command and return at once; wait for its health with `wait_until`."""
        if self._guard is not None:
            raise ServerError(f"{self.name} was already started")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        remove = "-" if self.remove_after is None else str(self.remove_after)
        arguments = (str(int(self.stop_signal)), str(self.grace_s), self.user or "-", remove, *self.command)
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, str(GUARD), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int | None:
        """The guard's process ID (the command is its child), ``None`` before `start` and after `stop`."""
        return None if self._guard is None else self._guard.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, ``None`` while it runs or before it was started."""
        return None if self._guard is None else self._guard.poll()

    def request_stop(self) -> None:
        """Begin to stop and return at once, so that several servers can stop side by side; `stop` waits."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()

    def stop(self) -> None:
        """End the command and everything it started; return when nothing of it runs. Idempotent."""
        guard, self._guard = self._guard, None
        if guard is None or guard.stdin is None:
            return
        guard.stdin.close()
        guard.wait()

    def kill(self) -> None:
        """End the command and everything it started with SIGKILL, without asking first, as a crash would."""
        if self._guard is not None:
            for process in psutil.Process(self._guard.pid).children(recursive=True):
                process.kill()
        self.stop()

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last *lines* lines of the log, under a title that names the server and the file."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.name}: {self.log}\n" + "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def run_command(
    name: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    timeout_s: float = 120.0,
    user: str | None = None,
) -> None:
    """Run *command* to its end, its output appended to *log*.

    Raises:
        ServerError: It failed or took longer than *timeout_s*; the message has the end of the log.
    """
    process = ServerProcess(name, command, env=env, log=log, user=user).start()
    try:
        wait_until(
            lambda: process.exit_code is not None, what=f"{name} to finish", timeout_s=timeout_s, logs=(process,)
        )
        if process.exit_code != 0:
            raise ServerError(f"{name} exited with code {process.exit_code}\n{process.log_tail()}")
    finally:
        process.stop()


def wait_until(
    condition: Callable[[], T | None],
    *,
    what: str,
    timeout_s: float,
    processes: Iterable[ServerProcess] = (),
    logs: Iterable[ServerProcess] = (),
    poll_s: float = POLL_S,
) -> T:
    """Return the first true value of *condition*, asked every *poll_s*.

    Args:
        what: The awaited event, for the message: "the DAG 'x' to be parsed".
        processes: Must keep running meanwhile; their logs are shown on failure.
        logs: Their logs are shown on failure, but they may end.

    Raises:
        ServerError: *timeout_s* passed, or one of *processes* ended.
    """
    must_run = tuple(processes)
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        for process in must_run:
            if process.exit_code is not None:
                raise ServerError(
                    f"{process.name} ended with code {process.exit_code} while waiting for {what}\n{process.log_tail()}"
                )
        if time.monotonic() > deadline:
            tails = "\n".join(process.log_tail() for process in (*must_run, *logs))
            raise ServerError(f"waited {timeout_s:g} s for {what}\n{tails}")
        time.sleep(poll_s)


def find_free_port() -> int:
    """Return a loopback TCP port that nothing listens on and that this process has not been given before."""
    for port in random.sample(PORTS, len(PORTS)):
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise ServerError(f"no free TCP port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


def inherited_environment(*, without: Iterable[str] = ()) -> dict[str, str]:
    """Return this process's environment, its own programs first on ``PATH``.

    Args:
        without: Prefixes of the variables to leave out: servers must not see a developer's own settings.
    """
    prefixes = tuple(without)
    env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes or ("\0",))}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["PYTHONUNBUFFERED"] = "1"
    return env
