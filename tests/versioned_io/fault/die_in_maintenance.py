"""Run one upkeep of a store again and again, each time in a process that kills itself one stage later than the last.

``python -m tests.versioned_io.fault.die_in_maintenance BASE OUT WORK``: as `die_at_every_stage`, whose stages these
are, for WORK = ``gc``, ``compact``, ``maintain`` or ``purge``. To delete an object is a stage as well: it is
``before os.remove``.
"""

import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

from tests.versioned_io.fault.die_at_every_stage import Stages, open_watched

NOW = {"grace": timedelta(0), "expire": timedelta(0)}


def work_on(store, work: str) -> None:
    if work == "gc":
        store.gc(**NOW)
    elif work == "compact":
        store.compact()
    elif work == "maintain":
        store.maintain(full=True, **NOW)
    else:
        store.purge("data", "secret", reason="a request")


def main(base: Path, out: Path, work: str) -> None:
    number = 0
    while True:
        number += 1
        location, note = out / str(number), out / f"{number}.stage"
        shutil.copytree(base, location)
        child = os.fork()
        if child == 0:
            stages = Stages(number, note)
            store = open_watched(location, stages)
            stages.begin()
            work_on(store, work)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            location.rename(out / "alive")
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
