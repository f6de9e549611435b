"""Run a command and write what it took: ``python launch.py RESULT COMMAND ...``.

A process counts the peak memory of the one that started it as its own. This one is small, so what it starts is measured
and not the benchmarks, with all that they have imported.
"""

import os
import sys
import time


def main(result: str, *command: str) -> int:
    """Run *command*; write its seconds and its peak memory in KiB, and return its exit code."""
    start = time.perf_counter()
    _, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
    wall_s = time.perf_counter() - start
    with open(result, "w") as file:  # noqa: PTH123 (pathlib would double the memory that is the least to be seen)
        file.write(f"{wall_s} {usage.ru_maxrss}")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
