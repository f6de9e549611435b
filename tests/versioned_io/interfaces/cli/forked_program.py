"""Runs an installed program in forked children of one process, which has only loaded the packages of others.

``python forked_program.py PROGRAM``: each line of standard input is a list of arguments, as JSON; each line of standard
output is the exit code, and what the program wrote to its standard output and error. A child loads our own modules
anew, as a process of its own does, in half of the time.
"""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import tempfile

OF_OTHERS = ("typer", "sqlalchemy", "sqlalchemy.dialects.sqlite", "numpy", "pyarrow", "asyncio", "pydantic")


class ForkedProgram:
    """The process that forks; call it with the arguments of the program."""

    def __init__(self, program, environment):
        command = [sys.executable, __file__, str(program)]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._process:
            self._process.stdin.close()

    def __call__(self, *arguments):
        self._process.stdin.write(f"{json.dumps(arguments)}\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out, err)


def run_forked(program, arguments):
    """Return the exit code of the program, and what it wrote."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = [program, *arguments]
            runpy.run_path(program, run_name="__main__")
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode())
        return os.waitstatus_to_exitcode(status), *written


def main(program):
    for name in OF_OTHERS:
        if importlib.util.find_spec(name) is not None:  # where the core is alone, some are not there
            importlib.import_module(name)
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(run_forked(program, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
