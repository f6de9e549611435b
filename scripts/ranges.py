"""Run the tests at the ends of the ranges of versions that pyproject.toml declares.

Each end has an environment of its own under ``build/``, and all else in it has the versions of constraints.txt:

- ``dagster lowest`` and ``dagster newest``: the tests of `dagster_versioned` with that end of Dagster's range.
- ``core lowest``: the core's tests with the lowest version of each package that the core names itself.

Usage: ``python scripts/ranges.py all``, or ``… dagster|core lowest|newest [PYTEST ARGUMENT ...]``
"""

import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path

from set_up import CONSTRAINTS, ROOT, VENV, install, uv_environment

ENDS = (("dagster", "lowest"), ("dagster", "newest"), ("core", "lowest"))
EXTRAS_OF_CORE = ("s3", "postgres")
# Packages of tables, which the formats store; the core does not require them.
TABLES = ("pandas", "polars")
# Dagster names a range for these, and the newest versions don't fit its lowest.
OF_DAGSTER = ("universal-pathlib",)
# An older Dagster uses what newer packages deprecate. With the versions of constraints.txt a warning is an error.
LENIENT = ("-W", "default::DeprecationWarning", "-W", "default::PendingDeprecationWarning")


def main(arguments: list[str]) -> int:
    """Return pytest's exit code; of several ends the first that is not 0, after all have run."""
    if arguments[:1] == ["all"]:
        codes = [run(package, end, arguments[1:]) for package, end in ENDS]
        return next((code for code in codes if code != 0), 0)
    if tuple(arguments[:2]) not in ENDS:
        print(f"ranges: say which end: {', '.join(' '.join(one) for one in ENDS)}, or all")
        return 2
    return run(arguments[0], arguments[1], arguments[2:])


def run(package: str, end: str, rest: list[str]) -> int:
    """Make the environment of one end, run its tests in it, and return pytest's exit code."""
    environment = ROOT / "build" / f"{package}-{end}"
    environment.parent.mkdir(exist_ok=True)
    venv.create(environment, with_pip=True, symlinks=True, clear=True)
    constraints = environment / "constraints.txt"
    if package == "core":
        install_lowest_core(environment, constraints)
        tests = ["tests/versioned_io", *LENIENT]
    else:
        install_dagster(environment, constraints, end)
        tests = ["tests/dagster_versioned", *(LENIENT if end == "lowest" else ())]
    command = [str(environment / "bin" / "python"), "-m", "pytest", "-m", "not soak and not e2e", *tests, *rest]
    print(f"ranges: {package} {end}: {' '.join(command[1:])}", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def install_dagster(environment: Path, constraints: Path, end: str) -> None:
    """Install the project and its tools with one end of the range of Dagster's packages."""
    chosen = lowest(dagster_requirements()) if end == "lowest" else dagster_requirements()
    held = pinned(CONSTRAINTS.read_text(), [*core_requirements(), *tools()])
    constraints.write_text("\n".join(line for line in held if name_of(line) not in OF_DAGSTER) + "\n")
    print(f"ranges: installing {', '.join(chosen)}", flush=True)
    install(environment, "-e", f"{ROOT}[{','.join(EXTRAS_OF_CORE)}]", *chosen, *tools(), constraints=constraints)


def install_lowest_core(environment: Path, constraints: Path) -> None:
    """Install the core with the lowest version of each package that it names, and the tools."""
    constraints.write_text("\n".join(pinned(CONSTRAINTS.read_text(), tools())) + "\n")
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        sys.exit("ranges: only uv can choose the lowest versions, and .venv has none: make set-up installs it")
    requirements = core_requirements()
    print(f"ranges: installing the lowest of {', '.join(requirements)}", flush=True)
    command = [str(uv), "pip", "install", "--quiet", "--resolution", "lowest-direct", "--constraints", str(constraints)]
    env = {**uv_environment(), "VIRTUAL_ENV": str(environment)}
    subprocess.run([*command, *requirements, *tools()], env=env, check=True)
    build_constraints = ["--build-constraints", str(CONSTRAINTS)]
    subprocess.run(
        [str(uv), "pip", "install", "--quiet", "--no-deps", *build_constraints, "-e", str(ROOT)], env=env, check=True
    )


def dagster_requirements() -> list[str]:
    """Return what pyproject.toml requires of Dagster's own packages."""
    extras = project()["optional-dependencies"]
    return [one for one in [*extras["dagster"], *extras["demo"]] if one.startswith("dagster")]


def core_requirements() -> list[str]:
    """Return what the core requires, with the extras that its tests use and the packages of tables."""
    extras = project()["optional-dependencies"]
    tables = [one for one in extras["demo"] if name_of(one) in TABLES]
    return [*project()["dependencies"], *(one for extra in EXTRAS_OF_CORE for one in extras[extra]), *tables]


def tools() -> list[str]:
    """Return what the tests need beside the project and what it requires."""
    extras = project()["optional-dependencies"]
    others = {"versioned-io", "dagster-webserver", *TABLES}
    needed = [one for one in [*extras["demo"], *extras["dev"]] if name_of(one) not in others]
    return [one for one in needed if not name_of(one).startswith("apache-airflow")]


def lowest(ranges: list[str]) -> list[str]:
    """Return *ranges* as exact requirements of the lowest version that each allows."""
    return [re.sub(r"^([\w-]+)>=([\d.]+),.*$", r"\1==\2", one) for one in ranges]


def pinned(constraints: str, requirements: Iterable[str]) -> list[str]:
    """Return the lines of *constraints* for the packages of *requirements*; what those need stays free."""
    names = {name_of(one) for one in requirements}
    return [line for line in constraints.splitlines() if "==" in line and name_of(line) in names]


def name_of(requirement: str) -> str:
    """Return the package of a requirement."""
    found = re.match(r"[\w.-]+", requirement)
    return "" if found is None else found[0].lower().replace("_", "-")


def project() -> dict[str, dict[str, list[str]]]:
    """Return the table ``project`` of pyproject.toml."""
    table: dict[str, dict[str, list[str]]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
