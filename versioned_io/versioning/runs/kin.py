"""Runs across processes: handles that a child process inherits or receives, and children that miss a run.

`multiprocessing` passes a private dictionary of each process to the processes that it starts, by any start method. The
active runs are stored there. Pools of `concurrent.futures` and of joblib consist of the same processes.
"""

import os
import sys
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from versioned_io.model.commits import RunInfo
from versioned_io.model.identifiers import LineageId

_KEY = "versioned_io_runs"


@dataclass(frozen=True, slots=True)
class RunHandle:
    """The data that another process needs to record its reads for a run.

    Attributes:
        pid: The ID of the run's process.
        output: The output that the reads are for.
        token: A token that the receiver confirms, so that the run knows that the handle arrived; empty if inherited.
    """

    spool: str
    pid: int
    info: RunInfo | None
    lineage_id: LineageId | None
    output: str = ""
    token: str = ""


def announce(handle: RunHandle) -> None:
    """Pass an active run to processes that are started from now on."""
    config = _config()
    if config is not None:
        # Plain values, so that a child that uses no store need not import this package at its start.
        config[_KEY] = {**config.get(_KEY, {}), handle.spool: asdict(handle)}


def withdraw(handle: RunHandle) -> None:
    """Stop passing the run to processes that are started from now on."""
    config = _config()
    if config is not None:
        config[_KEY] = {spool: one for spool, one in config.get(_KEY, {}).items() if spool != handle.spool}


def inherited_runs() -> list[RunHandle]:
    """Return the runs that were active in the parent when it started this process. Cost: a look-up in a dictionary."""
    module = _processes()
    if module is None or module.parent_process() is None:
        return []
    handles = [_of_plain(plain) for plain in (_config() or {}).get(_KEY, {}).values()]
    return [handle for handle in handles if handle.pid != os.getpid()]


def _of_plain(fields: dict[str, Any]) -> RunHandle:
    info = fields["info"]
    return RunHandle(**{**fields, "info": None if info is None else RunInfo(**info)})


def living_children() -> set[int]:
    """Return the IDs of live processes that this one has started by `multiprocessing`."""
    module = _processes()
    if module is None:
        return set()
    return {child.pid for child in module.active_children() if child.pid is not None}


def _processes() -> ModuleType | None:
    """Return the module if the program has imported it; otherwise there are no such processes."""
    return sys.modules.get("multiprocessing.process")


def _config() -> dict[str, Any] | None:
    import multiprocessing.process

    return getattr(multiprocessing.process.current_process(), "_config", None)
