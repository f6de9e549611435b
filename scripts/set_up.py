"""Make ``.venv`` hold this project and everything that its tests and demo need, at the versions of constraints.txt.

It runs on the machine's own Python with only the standard library. The versions come from ``constraints.txt``. The
package index comes from the machine's own pip configuration. uv installs the packages if it is available, and pip
otherwise.

Usage: ``python scripts/set_up.py``, from anywhere; ``make`` calls it when something has changed.
"""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "constraints.txt"
STAMP = VENV / "set-up.stamp"
MINIMUM_PYTHON = (3, 11)
# pip's settings, and the variables that pass them to uv, which does not read pip's configuration.
UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
}


def main() -> int:
    """Return 0 once the environment is complete, having said each step in one line."""
    if sys.version_info < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        say(f"needs Python {wanted}+, {sys.executable} is {sys.version.split()[0]}: make PYTHON=/path/to/python")
        return 1
    if STAMP.exists() and STAMP.read_text() == fingerprint():
        os.utime(STAMP)  # newer than its sources, so that make skips this the next time
        return 0
    started = time.monotonic()
    try:
        create_environment()
        install_project()
    except subprocess.CalledProcessError as error:
        say(f"failed with exit code {error.returncode}: {' '.join(map(str, error.cmd))}")
        return 1
    STAMP.write_text(fingerprint())
    say(f"done in {time.monotonic() - started:.0f} s")
    return 0


def fingerprint() -> str:
    """Return a text that changes when the environment has to be rebuilt."""
    import tomllib  # an older Python must get as far as being told that it is too old

    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    digest = hashlib.sha256(repr((project["project"], project["build-system"])).encode())
    for path in (CONSTRAINTS, Path(__file__)):
        digest.update(path.read_bytes())
    return f"{sys.version}\n{digest.hexdigest()}\n"


def create_environment() -> None:
    """Create a new virtual environment, without packages that the project no longer needs, and install uv in it."""
    say(f"creating .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        say("this Python can't create virtual environments with pip; on Debian: apt-get install python3-venv")
        raise
    say("installing uv")
    # This may fail: then pip installs everything.
    subprocess.run([*pip(VENV), "install", "--quiet", "-c", str(CONSTRAINTS), "uv"], check=False)


def install_project() -> None:
    """Install the project in editable form with everything for tests and demo."""
    say("installing versioned-io and its tools")
    install(VENV, "-e", f"{ROOT}[dev]")


def install(environment: Path, *requirements: str, constraints: Path = CONSTRAINTS) -> None:
    """Install *requirements* into a virtual environment at the versions of *constraints*, with uv or else pip.

    Raises:
        subprocess.CalledProcessError: pip failed too; its output says why.
    """
    arguments = ["install", "--quiet", "-c", str(constraints), *requirements]
    uv = VENV / "bin" / "uv"
    if uv.exists():
        # Compiled once here. A test of a real Airflow starts many processes. If Python is set to write no bytecode,
        # # each of them would compile thousands of modules again.
        command = [str(uv), "pip", *arguments, "--build-constraints", str(constraints), "--compile-bytecode"]
        env = {**uv_environment(), "VIRTUAL_ENV": str(environment)}
        if subprocess.run(command, env=env, check=False).returncode == 0:
            return
    say("uv can't, so pip does: some minutes")
    subprocess.run([*pip(environment), *arguments], check=True)


def pip(environment: Path) -> list[str]:
    """Return the command of an environment's pip, never asking anything."""
    return [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]


def uv_environment() -> dict[str, str]:
    """Return the environment that makes uv use the same package index as pip."""
    env = dict(os.environ)
    listing = subprocess.run([*pip(VENV), "config", "list"], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        variable = UV_VARIABLES.get(name.rpartition(".")[2])
        if separator and variable and variable not in os.environ:
            env[variable] = " ".join(str(ast.literal_eval(value)).split())
    if "UV_FIND_LINKS" in env:
        env["UV_FIND_LINKS"] = env["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in env:
        env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # several indexes mean to uv what they mean to pip
    return env


def say(text: str) -> None:
    """Print one line at once."""
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
