"""Run the blocks of a documentation page in their order, exactly as printed, in an empty directory.

| fence | what happens |
|---|---|
| ``python`` | runs; all blocks of a page share their names |
| ``bash`` | runs; later blocks keep its exported variables and its directory |
| ``console`` | each line that begins with ``$`` runs, and the lines below it must be its output |
| any, with ``title="NAME"`` | is written to the file NAME |
| ``text``, ``json``, ``sql`` and others | is only shown |

In expected output a line ``...`` stands for any number of lines. IDs, times, sizes and durations may differ. A comment
above a fence, such as ``<!-- run: new -->``, has these options:

| option | effect |
|---|---|
| ``new`` | begins in another empty directory |
| ``fails`` | expects an exit code other than 0 |
| ``until 60`` | repeats for at most 60 seconds, until the block succeeds and prints the expected output |
| ``servers`` | runs only with ``--servers`` |
| ``background`` | runs only with ``--servers``, and until the end of the page |
| ``hidden`` | runs and is not shown: the comment closes after the fence |
| ``skip REASON`` | is never run |

Hidden blocks hold set-up that a reader should not paste, such as the commands that damage a store.

Usage: ``python scripts/run_page.py PAGE [--servers] [--update]``; ``--update`` writes the output of the commands into
the page.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHOWN_PLACE = "/home/ana/project"
"""The path that pages show in place of the empty directory."""

_FENCE = re.compile(
    r"(?:^<!-- run: (?P<run>[^\n]*?)(?P<end> -->\n+|\n))?"
    r"^```(?P<language>[a-z]*)(?P<options>[^\n]*)\n(?P<text>.*?)^```$(?P<late>\n-->$)?",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_SINGLE_QUOTED = re.compile(r"'[^']*'")
_REFERENCE = re.compile(r"\$([A-Z_]+)\b")
_NEEDS_A_SHELL = re.compile(r'[|&;<>$*?()`{}\[\]"]|(^|\s)~|^\w+=')
_VARIABLE = (
    (re.compile(r"\bhttp://localhost:\S+"), "ADDRESS"),
    (re.compile(r"\basset_triggered__\S+"), "RUN"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b"), "UUID"),
    (re.compile(r"\b(?=[a-f]*[0-9])[0-9a-f]{8,64}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?( UTC|Z|\+00:00)?"), "TIME"),
    (re.compile(r"[\d,.]+ ?(bytes|B|KiB|MiB|GiB)\b"), "SIZE"),
    (re.compile(r"[\d.]+ ?(µs|ms|s)\b"), "DURATION"),
    (re.compile(r"[ \t]+"), " "),
)
_FOREIGN = ("VERSIONED_", "AIRFLOW", "DAGSTER_", "AWS_", "COLUMNS", "PYTHONPATH")


class PageError(Exception):
    """A page shows something that does not happen."""


@dataclass(frozen=True)
class Block:
    """One fence of a page."""

    page: Path
    line: int
    start: int
    language: str
    title: str | None
    text: str
    run: list[str]

    @property
    def needs_servers(self) -> bool:
        """Whether it runs only when servers may be started."""
        return bool({"servers", "background"} & set(self.run))

    @property
    def is_skipped(self) -> bool:
        """Whether the page says that it is never run, and why."""
        return "skip" in self.run

    @property
    def patience_s(self) -> float:
        """For how long the block is repeated until it succeeds."""
        return float(self.run[self.run.index("until") + 1]) if "until" in self.run else 0.0

    def describe(self) -> str:
        """Return where the block stands."""
        return f"{self.page.name}:{self.line}"


def find_free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_blocks(page: Path) -> list[Block]:
    """Return the fences of a page, in order.

    Raises:
        PageError: A block says that it is hidden, and its comment does not enclose it; or the other way round.
    """
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        title = _TITLE.search(match["options"])
        line = text.count("\n", 0, match.start("text"))
        run = (match["run"] or "").split()
        block = Block(page, line, match.start("text"), match["language"], title and title[1], match["text"], run)
        encloses = match["late"] is not None and match["end"] == "\n"
        if encloses != ("hidden" in run) or (match["late"] is not None) != (match["end"] == "\n"):
            msg = f"{block.describe()}: a comment encloses a block if, and only if, it says hidden"
            raise PageError(msg)
        blocks.append(block)
    return blocks


def normalize(text: str, work: Path) -> list[str]:
    """Return the lines of an output without the parts that differ between two runs."""
    text = text.replace(str(work), SHOWN_PLACE)
    for pattern, name in _VARIABLE:
        text = pattern.sub(name, text)
    return [line.strip() for line in text.rstrip().splitlines()]


def is_like(expected: list[str], actual: list[str]) -> bool:
    """Return whether the lines match; a line ``...`` matches any lines."""
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(is_like(expected[1:], actual[at:]) for at in range(len(actual) + 1))
    return bool(actual) and expected[0] == actual[0] and is_like(expected[1:], actual[1:])


@dataclass
class Runner:
    """Runs the blocks of one page; ``close`` ends the background processes."""

    base: Path
    with_servers: bool = False
    work: Path = field(init=False)
    env: dict[str, str] = field(init=False)
    names: dict[str, object] = field(init=False)
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)
    outputs: dict[int, str] = field(default_factory=dict)
    directories: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Begin in another empty directory, with another empty home."""
        place = self.base / str(next(self.directories))
        self.work, home = place / "work", place / "home"
        self.work.mkdir(parents=True)
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        self.env = kept | {
            "AIRFLOW_HOME": str(home / "airflow"),
            "COLUMNS": "110",
            "HOME": str(home),
            "LOGNAME": "ana",
            "PATH": path,
            "PWD": str(self.work),
            "PYTHONWARNINGS": "default",
            "TERM": "dumb",
            "USER": "ana",
        }
        if self.with_servers:
            # Their defaults are fixed ports; two pages on one machine would fight for them.
            for variable in ("API__PORT", "LOGGING__WORKER_LOG_SERVER_PORT", "LOGGING__TRIGGER_LOG_SERVER_PORT"):
                self.env[f"AIRFLOW__{variable}"] = str(find_free_port())
            self.env["AIRFLOW__API__BASE_URL"] = f"http://localhost:{self.env['AIRFLOW__API__PORT']}"
        self.names = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            PageError: It failed, or printed something else.
        """
        if "new" in block.run:
            self.start_anew()
        if block.is_skipped or (block.needs_servers and not self.with_servers):
            return
        if block.title is not None:
            target = self.work / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self.repeat(block, self.run_python)
        elif block.language == "bash" and "background" in block.run:
            self.start_in_background(block)
        elif block.language == "bash":
            self.repeat(block, self.run_bash)
        elif block.language == "console":
            self.repeat(block, self.run_console)

    def repeat(self, block: Block, once: Callable[[Block], None]) -> None:
        """Run the block once, or until it succeeds where the page says for how long."""
        deadline = time.monotonic() + block.patience_s
        while True:
            try:
                return once(block)
            except PageError:
                if time.monotonic() > deadline:
                    if UPDATE.get() and block.start in self.outputs:
                        return None
                    raise
                time.sleep(1)

    def run_python(self, block: Block) -> None:
        """Run Python in this process, so that later blocks know the names."""
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.env["PWD"])
        # The lines before it are empty, so that a traceback names the line of the page.
        code = compile("\n" * block.line + block.text, str(block.page), "exec")
        try:
            exec(code, self.names)  # noqa: S102 - what the page shows
        except Exception as error:
            if "fails" in block.run:
                return
            error.add_note(f"in the block at {block.describe()}")
            raise
        if "fails" in block.run:
            msg = f"{block.describe()} should fail and does not"
            raise PageError(msg)

    def run_bash(self, block: Block) -> None:
        """Run a script, command by command where they are simple."""
        commands = split_commands(block.text)
        if not all(is_one_line(command) for command in commands):
            commands = [block.text]
        for command in commands:
            code, output = self.run_command(command)
            check_exit(block, command, code, output)

    def run_console(self, block: Block) -> None:
        """Run the command after each ``$``, and compare its output."""
        shown, is_as_shown = [], True
        for command, expected in read_session(block.text):
            code, output = self.run_command(command)
            check_exit(block, command, code, output)
            matches = is_like(normalize(expected, self.work), normalize(output, self.work))
            is_as_shown = is_as_shown and matches
            keeps = matches and "...\n" in expected
            shown.append("$ " + command.replace("\n", "\n> ") + "\n")
            printed = output.replace(str(self.work), SHOWN_PLACE).rstrip("\n")
            shown.append(expected if keeps else f"{printed}\n" if printed else "")
        self.outputs[block.start] = re.sub(r"[ \t]+$", "", "".join(shown), flags=re.MULTILINE)
        if not is_as_shown:
            msg = f"{block.describe()} shows something else than\n{self.outputs[block.start]}"
            raise PageError(msg)

    def run_command(self, command: str) -> tuple[int, str]:
        """Run one command as a shell would; of ``versioned`` without waiting for Python to start."""
        plain = self.expand(command)
        if is_simple(plain):
            words = shlex.split(plain, comments=True)
            if words and words[0] == "versioned":
                return run_versioned(words[1:], self.env, self.work.parent / "output")
        state = self.work.parent / "state"
        script = f"trap 'env -0 > {shlex.quote(str(state))}' EXIT\n{command}\n"
        result = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=self.env["PWD"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        lines = state.read_text().split("\0") if state.exists() else []
        self.env = dict(line.split("=", 1) for line in lines if "=" in line) or self.env
        return result.returncode, result.stdout.decode()

    def expand(self, command: str) -> str:
        """Return the command with the values of its variables, unless a quote makes that a shell's business."""
        if "'" in command or '"' in command:
            return command
        return _REFERENCE.sub(lambda match: self.env.get(match[1], ""), command)

    def start_in_background(self, block: Block) -> None:
        """Start a server that runs until the end of the page."""
        output = (self.work.parent / f"background-{len(self.background)}").open("wb")
        with output:
            command = ["/bin/bash", "-euc", block.text.rstrip().removesuffix("&")]
            self.background.append(
                subprocess.Popen(
                    command,
                    cwd=self.env["PWD"],
                    env=self.env,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def close(self) -> None:
        """End the background processes, with all their descendants."""
        for process in self.background:
            for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                    break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def background_output(self, length: int = 6000) -> str:
        """Return the end of the servers' output."""
        files = sorted(self.work.parent.glob("background-*"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-length:]}" for file in files)


class _Update:
    """Whether the output of the commands is written into the page; one per process."""

    def __init__(self) -> None:
        self._is_on = False

    def set(self, is_on: bool) -> None:  # noqa: FBT001 - a setter
        self._is_on = is_on

    def get(self) -> bool:
        return self._is_on


UPDATE = _Update()


def check_exit(block: Block, command: str, code: int, output: str) -> None:
    """Raise if a command failed that should not, or the other way round."""
    if (code != 0) != ("fails" in block.run):
        msg = f"{block.describe()}: exit code {code} of\n{command}\n{output}"
        raise PageError(msg)


def split_commands(text: str) -> list[str]:
    """Return the commands of a script, one a line, with continuation lines joined and comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def is_one_line(command: str) -> bool:
    """Return whether the line is a complete command, with or without a need for a shell."""
    return not re.match(r"(if|for|while|case|do|done|fi|then|else|esac|\}|\{|EOF|cat <<)", command)


def is_simple(command: str) -> bool:
    """Return whether no shell is needed to know the words of a command."""
    return "\n" not in command and not _NEEDS_A_SHELL.search(_SINGLE_QUOTED.sub("", command.partition(" #")[0]))


def read_session(text: str) -> list[tuple[str, str]]:
    """Return the commands of a session, each with the output that is printed below it."""
    session: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            session.append((line[2:].rstrip("\n"), ""))
        elif line.startswith("> ") and session and not session[-1][1]:
            session[-1] = (f"{session[-1][0]}\n{line[2:].rstrip()}", "")
        elif session:
            session[-1] = (session[-1][0], session[-1][1] + line)
    return session


def run_versioned(arguments: list[str], env: dict[str, str], output: Path) -> tuple[int, str]:
    """Run the command line tool in a process forked from one that has loaded it."""
    start_forkserver()
    process = FORKS.Process(target=_call_versioned, args=(arguments, env, str(output)))
    process.start()
    process.join()
    return int(process.exitcode or 0), output.read_text(encoding="utf-8")


@functools.cache
def start_forkserver() -> None:
    """Start the process that commands are forked from, once, with all that they need imported."""
    FORKS.set_forkserver_preload(["preload_versioned"])
    # It finds the module by this variable alone: before Python 3.13 it does not get this process's sys.path.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent)
    multiprocessing.forkserver.ensure_running()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def _call_versioned(arguments: list[str], env: dict[str, str], output: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(env["PWD"])
    with open(output, "wb") as file, open(os.devnull, "rb") as nothing:  # noqa: PTH123 - descriptors are wanted
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        os.dup2(nothing.fileno(), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as a new process has it
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = ["versioned", *arguments]
    _entry_point().load()()


@functools.cache
def _entry_point() -> importlib.metadata.EntryPoint:
    (found,) = importlib.metadata.entry_points(group="console_scripts", name="versioned")
    return found


FORKS = multiprocessing.get_context("forkserver")


def write_outputs(page: Path, blocks: list[Block], outputs: dict[int, str]) -> None:
    """Write what commands printed into the page, from the last block to the first."""
    text = page.read_text(encoding="utf-8")
    for block in reversed(blocks):
        if block.start in outputs:
            text = text[: block.start] + outputs[block.start] + text[block.start + len(block.text) :]
    page.write_text(text, encoding="utf-8")


def main() -> int:
    """Run one page."""
    parser = argparse.ArgumentParser(description="run what a page of the documentation shows")
    parser.add_argument("page", type=Path)
    parser.add_argument("--servers", action="store_true", help="run the blocks that start or need servers, too")
    parser.add_argument("--update", action="store_true", help="write what the commands printed into the page")
    given = parser.parse_args()
    UPDATE.set(given.update)
    # A process that is ended early must not leave its servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    page = given.page.resolve()
    blocks = read_blocks(page)
    with tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True) as base:
        runner = Runner(Path(base), given.servers)
        try:
            for block in blocks:
                runner.run(block)
        except BaseException as error:
            print(runner.background_output(), file=sys.stderr)
            if isinstance(error, PageError):
                print(f"run_page: {error}", file=sys.stderr)
                return 1
            raise
        finally:
            runner.close()
            os.chdir("/")
    if given.update:
        write_outputs(page, blocks, runner.outputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
