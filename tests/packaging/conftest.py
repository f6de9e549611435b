"""A wheel of this tree, and an environment that holds nothing but the core installed from it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.set_up import install

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CoreEnvironment:
    """A virtual environment with the core, its dependencies and pytest: no extras, no orchestrator."""

    directory: Path

    @property
    def python(self):
        return self.directory / "bin" / "python"

    def run(self, *arguments, cwd, timeout_s=300, check=True):
        """Run its Python where the checkout can't be imported."""
        env = {"PATH": f"{self.directory / 'bin'}:/usr/bin:/bin", "HOME": str(cwd), "CI": "true"}
        command = [str(self.python), *arguments]
        result = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check:
            assert result.returncode == 0, f"{command} failed\n{result.stdout}\n{result.stderr}"
        return result


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The path of a wheel built from this tree."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def core_environment(tmp_path_factory, wheel):
    """The core alone, installed from the wheel at the versions of constraints.txt."""
    directory = tmp_path_factory.mktemp("core") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, capture_output=True)
    install(directory, str(wheel), "pytest", "pytest-timeout", "hypothesis")
    return CoreEnvironment(directory)
