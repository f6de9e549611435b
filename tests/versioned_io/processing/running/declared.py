"""Pipelines that other processes can load; each evaluation notes its process in the directory of `EVALUATED`."""

import os
import signal
import sys
import time
import uuid
from pathlib import Path

import versioned_io as vio

EVALUATED = "VERSIONED_TEST_EVALUATED"
"""The variable that names a directory in which each evaluation leaves a file."""

INPUT = vio.glob("r@main", "/(*)")


def note(path):
    """Leave a file that tells the datum and the process."""
    name = f"{path}.{os.getpid()}.{uuid.uuid4().hex}"
    (Path(os.environ[EVALUATED]) / name).touch()


def notes(directory):
    """Return the (datum, process) of each evaluation, sorted."""
    return sorted(tuple(one.name.split(".")[:2]) for one in Path(directory).iterdir())


@vio.pipeline("doubled", inputs=INPUT, output="out@main", code_version="1")
def doubled(datum, out):
    """Write the content twice."""
    note(datum["r"].path)
    print("in", os.getpid())
    time.sleep(0.01)
    out.write(datum["r"].path, datum["r"].read() * 2)


@vio.pipeline("strict", inputs=INPUT, output="out@main", code_version="1", timeout_s=2)
def strict(datum, out):
    """Take too long for one content."""
    note(datum["r"].path)
    if datum["r"].read() == b"slow":
        time.sleep(30)
    out.write(datum["r"].path, b"made")


@vio.pipeline("strict_to_death", inputs=INPUT, output="out@main", code_version="1")
def strict_to_death(datum, out):
    """End the process as the system does, for one content."""
    if datum["r"].read() == b"deadly":
        time.sleep(1)  # the other process finishes some meanwhile
        os.kill(os.getpid(), signal.SIGKILL)
    out.write(datum["r"].path, datum["r"].read() * 2)


def main(place):
    """Run the pipeline after a line on stdin, and print what it did."""
    with vio.open_store(place) as store:
        pipe = store.pipeline(doubled)
        print("ready", flush=True)
        sys.stdin.readline()
        run = pipe.run()
        print(run.state, run.counts["run"], run.counts["reused"], run.counts["skipped"])


if __name__ == "__main__":
    # Not as __main__, whose functions other processes can't find.
    from tests.versioned_io.processing.running import declared

    declared.main(sys.argv[1])
