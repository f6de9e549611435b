"""A process that runs a pipeline and kills itself at the n-th durable step, before or after it.

Usage: python -m tests.versioned_io.processing.pipelines.die_in_run STORE EVALUATED STEP
"""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

import versioned_io as vio
from versioned_io.platform.clock import system_clock
from versioned_io.storage.objects.local import LocalObjects

LATER = timedelta(minutes=5)
"""A run after the crash comes when the leases of the killed one are over."""


def note(path, text):
    """Append a line that survives this process."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def declare(evaluated):
    """Return the pipeline, which notes each evaluation in the file *evaluated*."""

    @vio.pipeline("edges", inputs=vio.glob("images@main", "/(*)"), output="edges@main", code_version="1")
    def edges(datum, out):
        note(evaluated, datum["images"].path)
        out.write(f"made/{datum['images'].path}", datum["images"].read() * 2)

    return edges


class Dying:
    """Counts durable steps, and kills this process at one of them."""

    def __init__(self, step):
        self.step = step
        self.count = 0

    def pass_one(self, *_):
        """Count a step."""
        self.count += 1
        if self.count == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def later_clock():
    """Return the time after the leases of a killed run."""
    return system_clock() + LATER


def main(place, evaluated, step):
    """Run the pipeline, and print the number of steps if it survives."""
    dying = Dying(step)
    with vio.open_store(place) as store:
        pipe = store.pipeline(declare(evaluated))
        event.listen(Engine, "commit", dying.pass_one)
        event.listen(Engine, "checkin", dying.pass_one)
        real = LocalObjects.put

        def put(self, *args, **kwargs):
            dying.pass_one()
            done = real(self, *args, **kwargs)
            dying.pass_one()
            return done

        LocalObjects.put = put
        pipe.run()
    print(dying.count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
