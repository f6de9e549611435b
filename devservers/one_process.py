"""A throw-away server that is one process on loopback."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devservers.process import ServerProcess, find_free_port, inherited_environment, wait_until

START_TIMEOUT_S = 120.0


class OneProcessServer(ABC):
    """Runs while its ``with`` block does; when it stops, all its data is gone.

    Args:
        name: Its name in messages; its log is *logs* / ``{name}.log``, which is kept.
    """

    def __init__(self, name: str, logs: Path) -> None:
        self.port = find_free_port()
        self._name = name
        self._log = logs / f"{name}.log"
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the server; return when it answers (about 2 s)."""
        env = {**inherited_environment(), **self._environment()}
        self._process = ServerProcess(self._name, self._command(), env=env, log=self._log).start()
        what = f"the server {self._name} to answer"
        wait_until(self._answers, what=what, timeout_s=START_TIMEOUT_S, processes=[self._process])
        return self

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Return the command to run."""

    def _environment(self) -> Mapping[str, str]:
        """Return the variables to add to the environment."""
        return {}

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether the server is ready."""
