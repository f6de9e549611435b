"""Commands that stay alive for many datums: one line of JSON each way, and the programs that wait for more."""

import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from typing import IO, Final, NamedTuple

from versioned_io.processing.fingerprints.of_command import CodeFile, CommandText
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.running.datum_directory import MOST_LOG_BYTES, DatumDirectory, text_of_log
from versioned_io.processing.running.process_groups import (
    CommandFailedError,
    ends_within,
    has_ended,
    kill_group,
    signal_group,
    start,
)
from versioned_io.processing.running.time_limit import late

_PATIENCE_S: Final = 2.0
"""How long a program may take to end by itself when its input ends."""
_LOOKED_EVERY_S: Final = 0.5
"""A program may end while a process that it started keeps its streams open."""
_LONGEST_LINE: Final = 1 << 24
_MOST_READS: Final = 64
"""This many reads empty the pipes of a program that has stopped writing."""

Files = Mapping[str, Sequence[DatumFile]]


class KeptCommand(NamedTuple):
    """A command to be kept alive.

    Attributes:
        argv, environment: Return arguments and variables for a directory.
    """

    text: CommandText
    files: tuple[CodeFile, ...]
    argv: Callable[[DatumDirectory], Sequence[str]]
    environment: Callable[[DatumDirectory], dict[str, str]]
    is_mounted: bool

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for commands whose programs can stand for each other."""
        return self.text, self.files, self.is_mounted


class KeptProgram:
    """A process that evaluates one datum after the other."""

    def __init__(self, command: KeptCommand) -> None:
        self.key = command.key
        self._name = command.text.argv[0]
        self._number = 0
        self.directory = DatumDirectory(is_mounted=command.is_mounted)
        try:
            self.directory.add_code(command.files)
            environment = command.environment(self.directory)
            self._root = environment["PFS_ROOT"]
            self._process = start(
                command.argv(self.directory),
                directory=self.directory.work,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            self.directory.close()
            raise
        self._streams = _Streams(self._process)

    def evaluate(
        self, files: Files, variables: Callable[[DatumDirectory, Files], dict[str, str]], timeout_s: float | None
    ) -> str | None:
        """Return the program's error for a datum, None if it succeeded, and print the text that it printed.

        Raises:
            CommandFailedError: It ended, or its answer is not one of the protocol. Close it.
            DatumTimeoutError: It took too long. Close it.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        self.directory.add_inputs(files)
        self._number += 1
        request = {"id": self._number, "dir": self._root, "env": variables(self.directory, files)}
        try:
            answer = self._streams.ask(json.dumps(request).encode() + b"\n", self._number, until)
        finally:
            print(self._streams.take_log(), end="")  # noqa: T201 (it becomes the log of the datum)
        if answer is None:
            if until is not None and time.monotonic() >= until:
                raise late(timeout_s)
            raise self._ended()
        error = answer.get("error")
        return None if error is None else str(error)

    def _ended(self) -> CommandFailedError:
        ends_within(self._process, _PATIENCE_S)
        kill_group(self._process)
        return CommandFailedError(
            f"{self._name} ended with exit code {self._process.returncode} while it evaluated a datum: with "
            f"keep_alive, answer each line of the input with a line of JSON"
        )

    def close(self) -> None:
        """End the program: its input ends first, and its group is killed a little later."""
        self._streams.close()
        ends_within(self._process, _PATIENCE_S)
        kill_group(self._process)
        self.directory.close()

    def kill(self) -> None:
        """End the program at once."""
        kill_group(self._process)
        self._streams.close()
        self.directory.close()


class _Streams:
    """The three streams of a program: requests, answers, and text for the log."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._input, self._output, self._errors = (
            _present(stream) for stream in (process.stdin, process.stdout, process.stderr)
        )
        self._process = process
        self._selector = selectors.DefaultSelector()
        for stream in (self._output, self._errors):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._half = b""
        self._log = _Log()

    def ask(self, request: bytes, number: int, until: float | None) -> Mapping[str, object] | None:
        """Return the answer to a request; None if the program ended or the time is over."""
        try:
            self._input.write(request)
            self._input.flush()
        except BrokenPipeError:
            self._drain()
            return None
        while until is None or time.monotonic() < until:
            is_over = has_ended(self._process.pid)
            if is_over:
                signal_group(self._process)  # else a process that it left might write permanently
            found = self._read(0 if is_over else _patience(until))
            for at, line in enumerate(found.lines):
                answer = _answer(line, number)
                if answer is not None:
                    self._log.add(b"".join(found.lines[at + 1 :]))
                    self._drain()
                    return answer
                self._log.add(line)
            if not found.is_open or (is_over and not found.was_ready):
                return None
        return None

    def take_log(self) -> str:
        """Return the text since the last call; the end of it if it is very long."""
        found, self._log = self._log, _Log()
        return found.text()

    def close(self) -> None:
        """Close all streams."""
        self._selector.close()
        for stream in (self._input, self._output, self._errors):
            with suppress(BrokenPipeError):
                stream.close()

    def _drain(self) -> None:
        """Take over the text that the program printed before it answered, which is in the pipes."""
        for _ in range(_MOST_READS):
            found = self._read(0)
            self._log.add(b"".join(found.lines))
            if not (found.was_ready and found.is_open):
                return

    def _read(self, timeout_s: float) -> "_ProgramText":
        """Return the text that the program has written."""
        is_open, lines = True, []
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            stream = key.fileobj
            data = os.read(key.fd, 1 << 16)
            if stream is self._errors:
                self._log.add(data)
                if not data:
                    self._selector.unregister(stream)
                continue
            is_open = bool(data)
            *whole, self._half = (self._half + data).split(b"\n")
            lines += [line + b"\n" for line in whole]
            if len(self._half) > _LONGEST_LINE:
                lines.append(self._half)
                self._half = b""
        return _ProgramText(is_open, bool(ready), lines)


class _ProgramText(NamedTuple):
    """The text that a program has written.

    Attributes:
        is_open: Whether it may still write answers.
        was_ready: Whether there was something to read.
        lines: Whole lines of its output.
    """

    is_open: bool
    was_ready: bool
    lines: list[bytes]


class _Log:
    """The end of a text that may be very long."""

    def __init__(self) -> None:
        self._end = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._end += data
        self._size += len(data)
        if len(self._end) > 2 * MOST_LOG_BYTES:
            del self._end[:-MOST_LOG_BYTES]

    def text(self) -> str:
        return text_of_log(bytes(self._end[-MOST_LOG_BYTES:]), self._size)


def _patience(until: float | None) -> float:
    """Return how long to wait for an answer before the program is looked at."""
    return _LOOKED_EVERY_S if until is None else min(_LOOKED_EVERY_S, max(0.0, until - time.monotonic()))


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        msg = "the process was started without pipes"
        raise RuntimeError(msg)
    return stream


def _answer(line: bytes, number: int) -> Mapping[str, object] | None:
    """Return the answer with this number; None of any other text."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("id") == number else None


_idle: list[KeptProgram] = []
_lock: Final = threading.Lock()
_home = 0


@contextmanager
def kept_program(command: KeptCommand) -> Iterator[KeptProgram]:
    """Yield a program of a command that waits for a datum; it waits again after the block, unless that raises."""
    program = _take(command) or KeptProgram(command)
    try:
        yield program
    except BaseException:
        program.kill()
        raise
    with _lock:
        _idle.append(program)


def end_kept_programs() -> None:
    """End the programs of this process that wait for a datum."""
    with _lock:
        waiting, _idle[:] = (list(_idle) if _home == os.getpid() else []), []
    for program in waiting:
        program.close()


def _take(command: KeptCommand) -> KeptProgram | None:
    global _home
    with _lock:
        if _home != os.getpid():
            _home, _idle[:] = os.getpid(), []
            # The processes of a pool end without the exit handlers of Python, but with these.
            Finalize(None, end_kept_programs, exitpriority=0)
        found = next((one for one in _idle if one.key == command.key), None)
        if found is not None:
            _idle.remove(found)
        return found
