"""The IO manager beside Dagster's own, in one process: ``python -m benchmarks.ours_dagster compare JSON``."""

import json
import logging
import os
import pickle
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_versioned import VersionedIOManager

FILESYSTEM = "FilesystemIOManager"
VERSIONED = "versioned-io"
DURABLE = "pickle, write, fsync"
"""A file that is written and synced by hand: what an output that survives a loss of power takes at least."""
ASSETS = 10
LARGE_BYTES = 10_000_000

Samples = dict[str, dict[str, list[float]]]

_stored_ms: list[float] = []


def _timed(handle: Callable[[dg.OutputContext, object], None], context: dg.OutputContext, obj: object) -> None:
    start = time.perf_counter()
    handle(context, obj)
    _stored_ms.append((time.perf_counter() - start) * 1_000)


class _Timed(dg.IOManager):
    """Notes how long another IO manager takes to store an output."""

    def __init__(self, inner: dg.IOManager) -> None:
        self._inner = inner

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        _timed(self._inner.handle_output, context, obj)

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 (Dagster's signature)
        return self._inner.load_input(context)


class TimedFilesystem(dg.ConfigurableIOManagerFactory[dg.IOManager]):
    """Dagster's own, timed."""

    base_dir: str

    def create_io_manager(self, context: dg.InitResourceContext) -> _Timed:
        """Return the manager that Dagster would, timed."""
        return _Timed(dg.FilesystemIOManager(base_dir=self.base_dir).create_io_manager(context))


class TimedVersioned(VersionedIOManager):
    """Ours, timed."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Store, and note how long it takes."""
        _timed(super().handle_output, context, obj)


def chain() -> list[dg.AssetsDefinition]:
    """Return ten assets, each made of the one before."""

    @dg.asset(name="asset_0")
    def first() -> dict[str, int]:
        return {"value": time.time_ns()}

    def follow(number: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"asset_{number}", ins={"before": dg.AssetIn(key=f"asset_{number - 1}")})
        def follower(before: dict[str, int]) -> dict[str, int]:
            return {"value": before["value"] + 1}

        return follower

    return [first, *(follow(number) for number in range(1, ASSETS))]


def large(content: bytes) -> list[dg.AssetsDefinition]:
    """Return a small asset, and one with that content after it."""

    @dg.asset
    def small_before() -> int:
        return 1

    @dg.asset(deps=[small_before])
    def large_value() -> bytes:
        return content

    return [small_before, large_value]


def write_durably(content: bytes, path: Path) -> float:
    """Pickle *content* into a synced file; return the milliseconds that it takes."""
    start = time.perf_counter()
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=pickle.HIGHEST_PROTOCOL)
        file.flush()
        os.fsync(file.fileno())
    return (time.perf_counter() - start) * 1_000


def compare(directory: str, repeats: int, seed: int) -> dict[str, Any]:
    """Run the same assets with both managers in turns; return the milliseconds of each.

    A process opens the store for each run, so the first output of a run pays for that; small is the median of the
    others. The large value differs from repeat to repeat: a value that is already stored would cost ours less.
    """
    logging.disable(logging.INFO)  # a run logs forty lines to the terminal
    noise = random.Random(seed)
    samples: Samples = {FILESYSTEM: {}, VERSIONED: {}, DURABLE: {}}
    managers: dict[str, Callable[[], Any]] = {
        FILESYSTEM: lambda: TimedFilesystem(base_dir=str(Path(directory, "files"))),
        VERSIONED: lambda: TimedVersioned(store=str(Path(directory, "store"))),
    }
    assets = chain()
    with dg.DagsterInstance.local_temp(directory, overrides={"telemetry": {"enabled": False}}) as instance:
        for repeat in range(repeats + 1):
            content = noise.randbytes(LARGE_BYTES)
            for name in list(managers) if repeat % 2 else list(reversed(managers)):
                run_ms, (first, *others) = _run(instance, managers[name](), assets)
                _, (_, large_ms) = _run(instance, managers[name](), large(content))
                found = {
                    "first_output_ms": first,
                    "small_output_ms": statistics.median(others),
                    "large_output_ms": large_ms,
                    "run_of_10_ms": run_ms,
                }
                if repeat:  # the first warms up
                    for measure, value in found.items():
                        samples[name].setdefault(measure, []).append(value)
            durable_ms = write_durably(content, Path(directory, f"durable-{repeat}"))
            if repeat:
                samples[DURABLE].setdefault("large_output_ms", []).append(durable_ms)
    return {"samples": samples}


def _run(instance: dg.DagsterInstance, manager: object, assets: list[dg.AssetsDefinition]) -> tuple[float, list[float]]:
    """Return the milliseconds that a run takes, and that the manager took to store each output in it."""
    _stored_ms.clear()
    start = time.perf_counter()
    done = dg.materialize(assets, instance=instance, resources={"io_manager": manager})
    run_ms = (time.perf_counter() - start) * 1_000
    if not done.success:
        msg = f"the run {done.run_id} failed"
        raise RuntimeError(msg)
    return run_ms, [*_stored_ms]


if __name__ == "__main__":
    print(json.dumps({"compare": compare}[sys.argv[1]](**json.loads(sys.argv[2]))))
