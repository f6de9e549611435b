"""Run the tests of `dagster_versioned` with the lowest or the newest Dagster that pyproject.toml allows.

They run in an environment of their own under ``build/``, with all else at the versions of constraints.txt.

Usage: ``python scripts/dagster_range.py lowest|newest [PYTEST ARGUMENT ...]``
"""

import re
import subprocess
import sys
import tomllib
import venv

from set_up import CONSTRAINTS, ROOT, install


def main(arguments: list[str]) -> int:
    """Return pytest's exit code."""
    if not arguments or arguments[0] not in {"lowest", "newest"}:
        print("dagster: say which end of the range: make dagster END=lowest, or END=newest")
        return 2
    end, *rest = arguments
    environment = ROOT / "build" / f"dagster-{end}"
    environment.parent.mkdir(exist_ok=True)
    venv.create(environment, with_pip=True, symlinks=True, clear=True)
    constraints = environment / "constraints.txt"
    constraints.write_text(without_dagster(CONSTRAINTS.read_text()))
    chosen = lowest(requirements()) if end == "lowest" else requirements()
    print(f"dagster: installing {', '.join(chosen)}", flush=True)
    install(environment, "-e", f"{ROOT}[dev]", *chosen, constraints=constraints)
    pytest = [str(environment / "bin" / "python"), "-m", "pytest", "-m", "not soak", "tests/dagster_versioned", *rest]
    return subprocess.run(pytest, cwd=ROOT, check=False).returncode


def requirements() -> list[str]:
    """Return what pyproject.toml requires of Dagster's own packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [one for one in [*extras["dagster"], *extras["demo"]] if one.startswith("dagster")]


def lowest(ranges: list[str]) -> list[str]:
    """Return *ranges* as exact requirements of the lowest version that each allows."""
    return [re.sub(r"^([\w-]+)>=(\d+\.\d+),.*$", r"\1==\2.0", one) for one in ranges]


def without_dagster(constraints: str) -> str:
    """Return *constraints* without the packages that Dagster releases together."""
    return "\n".join(line for line in constraints.splitlines() if not line.startswith("dagster")) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
