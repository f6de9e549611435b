"""Single steps of Dagster runs, each in a process of its own: ``python -m benchmarks.dagster_steps prepare JSON``."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._grpc.types import ExecuteStepArgs

from benchmarks.processes import ROOT

FILESYSTEM: Final = "FilesystemIOManager"
MANAGER: Final = "BENCHMARKED_IO_MANAGER"
"""The environment variable with the name of the IO manager: Dagster's own, or ours."""
DIRECTORY: Final = "BENCHMARKED_IO_DIRECTORY"
"""The environment variable with the directory that the IO manager stores in."""

_JOB: Final = "both"
_MODULE: Final = "benchmarks.dagster_steps"
_STEP: Final = "made_from_it"


@dg.asset
def small() -> dict[str, int]:
    """Return a small value."""
    return {"value": 1}


@dg.asset
def made_from_it(small: dict[str, int]) -> dict[str, int]:
    """Return a small value that no step returned before."""
    return {"value": small["value"] + time.time_ns()}


@dg.definitions
def definitions() -> dg.Definitions:
    """Return both assets with the IO manager that the environment names."""
    job = dg.define_asset_job(_JOB, [small, made_from_it], executor_def=dg.in_process_executor)
    return dg.Definitions(assets=[small, made_from_it], jobs=[job], resources={"io_manager": _manager()})


def _manager() -> object:
    directory = os.environ[DIRECTORY]
    if os.environ[MANAGER] == FILESYSTEM:
        return dg.FilesystemIOManager(base_dir=directory)
    # A step with Dagster's own manager loads nothing of ours.
    from dagster_versioned import VersionedIOManager

    return VersionedIOManager(store=directory)


def prepare(directory: str, manager: str, runs: int) -> dict[str, Any]:
    """Run both assets once, and create more runs.

    Returns:
        ``steps``, what Python executes one step of each of those runs by, in one process. This is what Dagster's own
        launchers of steps call. ``environment``, which those processes need.
    """
    environment = {
        "DAGSTER_HOME": str(Path(directory, "home")),
        DIRECTORY: str(Path(directory, "data")),
        MANAGER: manager,
        "PYTHONPATH": str(ROOT),
    }
    os.environ |= environment
    home = Path(environment["DAGSTER_HOME"])
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    repository = ReconstructableRepository.for_module(_MODULE, "definitions", working_directory=str(ROOT))
    job = repository.get_reconstructable_job(_JOB)
    origin = job.get_python_origin()
    with dg.DagsterInstance.get() as instance:
        with dg.execute_job(job, instance, raise_on_error=True):
            pass
        created = [instance.create_run_for_job(job.get_definition(), job_code_origin=origin) for _ in range(runs)]
        steps = [ExecuteStepArgs(origin, run.run_id, [_STEP], instance.get_ref()) for run in created]
        return {"steps": [["-m", *step.get_command_args()] for step in steps], "environment": environment}


if __name__ == "__main__":
    print(json.dumps({"prepare": prepare}[sys.argv[1]](**json.loads(sys.argv[2]))))
