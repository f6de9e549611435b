import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORCHESTRATORS = {"dagster", "airflow", "dagster_versioned", "airflow_versioned"}
HEAVY = {"pandas", "polars", "numpy", "pyarrow", "boto3", "sqlalchemy", "alembic", "obstore", "typer", "rich"}

MODULES_AFTER_IMPORT = """
import json, sys
before = set(sys.modules)
import versioned_io
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
ROUND_TRIP = """
import sys
import versioned_io as vio

for location in ("data", "memory://data"):
    with vio.create_store(location) as store:
        store.create_repo("weather")
        with store.transaction("weather@main", message="first") as tx:
            tx.write("2012/01.csv", b"a,b\\n1,2\\n")
        assert tx.commit.number == 1
        with vio.open_store(location) as opened:
            assert opened.snapshot("weather@main").read("2012/01.csv") == b"a,b\\n1,2\\n"
assert not {"dagster", "airflow", "pandas", "boto3"} & set(sys.modules), sorted(sys.modules)
print(vio.__file__)
"""


def test_importing_the_library_loads_nothing_heavy_and_no_orchestrator(core_environment, tmp_path):
    loaded = set(json.loads(core_environment.run("-c", MODULES_AFTER_IMPORT, cwd=tmp_path).stdout))
    assert "versioned_io" in loaded
    assert not loaded & (ORCHESTRATORS | HEAVY)


def test_the_core_is_installed_without_orchestrators_and_optional_packages(core_environment, tmp_path):
    code = "import importlib.util as u, json; print(json.dumps([n for n in {!r} if u.find_spec(n)]))"
    absent = sorted((ORCHESTRATORS - {"dagster_versioned", "airflow_versioned"}) | {"pandas", "polars", "boto3"})
    assert json.loads(core_environment.run("-c", code.format(absent), cwd=tmp_path).stdout) == []


def test_a_commit_is_written_and_read_with_the_core_alone(core_environment, tmp_path):
    where = core_environment.run("-c", ROUND_TRIP, cwd=tmp_path).stdout.strip()
    assert Path(where).is_relative_to(core_environment.directory)


def test_the_command_line_works_with_the_core_alone(core_environment, tmp_path):
    assert "lineage" in core_environment.run("-m", "versioned_io.interfaces.cli", "--help", cwd=tmp_path).stdout
    script = core_environment.directory / "bin" / "versioned"
    assert script.exists()
    core_environment.run(str(script), "init", "data", cwd=tmp_path)


def test_the_provider_describes_itself_without_airflow(core_environment, tmp_path):
    code = "from airflow_versioned.provider_info import get_provider_info as g; print(g()['package-name'])"
    assert core_environment.run("-c", code, cwd=tmp_path).stdout.strip() == "versioned-io"


QUICK = ["store/test_store.py", "versioning/transactions/test_transaction.py", "versioning/snapshots/test_snapshot.py"]
"""What stands for all tests of the core in `make test`; `make soak` runs them all."""


@pytest.fixture
def copied_tests(tmp_path):
    """The core's own tests, where neither the integrations nor the library's source are found beside them."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")  # some tests hold a document against the program
    shutil.copytree(ROOT / "tests" / "golden", tmp_path / "tests" / "golden")  # of older versions
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
    shutil.copytree(ROOT / "tests" / "versioned_io", tmp_path / "tests" / "versioned_io", ignore=ignore)
    return tmp_path


def run_tests(environment, directory, *arguments, timeout_s):
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-showlocals", *arguments]
    result = environment.run(*command, cwd=directory, timeout_s=timeout_s, check=False)
    sys.stdout.write(result.stdout[-20_000:])
    assert result.returncode == 0
    return result.stdout


@pytest.mark.soak
def test_every_test_of_the_core_can_be_collected_with_the_core_alone(core_environment, copied_tests):
    out = run_tests(core_environment, copied_tests, "--collect-only", "tests/versioned_io", timeout_s=600)
    assert " tests collected" in out


@pytest.mark.slow
def test_the_core_works_with_the_core_alone(core_environment, copied_tests):
    # Of the two kinds of store one is enough here: what they need from outside is the same.
    chosen = [f"tests/versioned_io/{name}" for name in QUICK]
    options = ["-m", "not slow and not e2e and not soak", "-k", "not memory"]
    assert " passed" in run_tests(core_environment, copied_tests, *chosen, *options, timeout_s=290)


@pytest.mark.soak
@pytest.mark.timeout(2500)
@pytest.mark.parametrize("half", [0, 1])  # side by side
def test_the_cores_own_tests_pass_with_the_core_alone(core_environment, copied_tests, half):
    by_size = sorted((copied_tests / "tests").rglob("test_*.py"), key=lambda path: (path.stat().st_size, path.name))
    chosen = [str(path.relative_to(copied_tests)) for path in by_size[half::2]]
    options = ["-m", "not slow and not e2e and not soak", "-k", "not memory"]
    assert " passed" in run_tests(core_environment, copied_tests, *chosen, *options, timeout_s=2400)
