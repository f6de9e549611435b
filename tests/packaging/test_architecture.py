"""The import contracts of pyproject.toml are complete, and each is seen failing in a copy that breaks it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
FRONT_DOOR = {"errors", "formats", "model"}

BREAKS = {
    "layers": ("versioned_io/errors/__init__.py", "import versioned_io.catalog\n", "versioned_io.errors"),
    "storage": (
        "versioned_io/storage/objects/__init__.py",
        "import versioned_io.storage.packs\n",
        "versioned_io.storage.objects",
    ),
    "versioning": (
        "versioned_io/versioning/backend/__init__.py",
        "import versioned_io.versioning.runs\n",
        "versioned_io.versioning.backend",
    ),
    "maintenance": (
        "versioned_io/maintenance/evidence/__init__.py",
        "import versioned_io.maintenance.fsck\n",
        "versioned_io.maintenance.evidence",
    ),
    "acyclic": ("dagster_versioned/__init__.py", "", "dagster_versioned"),
    "core": ("versioned_io/model/paths.py", "import dagster\n", "versioned_io.model.paths"),
    "independent": ("dagster_versioned/__init__.py", "import airflow_versioned\n", "airflow_versioned"),
    "dagster": ("dagster_versioned/__init__.py", "import airflow\n", "airflow"),
    "airflow": ("airflow_versioned/__init__.py", "import dagster\n", "dagster"),
    "front-door": ("airflow_versioned/__init__.py", "import versioned_io.catalog\n", "versioned_io.catalog"),
}


def test_every_module_of_the_core_is_the_front_door_or_closed_to_the_integrations():
    modules = {path.stem for path in (ROOT / "versioned_io").iterdir() if path.is_dir() or path.suffix == ".py"}
    closed = {name.removeprefix("versioned_io.") for name in CONTRACTS["front-door"]["forbidden_modules"]}
    assert closed == modules - FRONT_DOOR - {"__init__", "__pycache__"}


def test_every_contract_has_a_test_that_breaks_it():
    assert set(BREAKS) == set(CONTRACTS)


@pytest.mark.parametrize("contract", sorted(BREAKS))
def test_a_contract_that_is_broken_fails_the_check(contract, tmp_path):
    copy = copy_of_the_tree(tmp_path)
    path, line, culprit = BREAKS[contract]
    if contract == "acyclic":
        (copy / "dagster_versioned" / "left.py").write_text("import dagster_versioned.right\n")
        (copy / "dagster_versioned" / "right.py").write_text("import dagster_versioned.left\n")
    with (copy / path).open("a") as file:
        file.write(f"\n{line}")
    result = lint(copy, contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "0 kept, 1 broken" in result.stdout
    assert culprit in result.stdout


@pytest.mark.parametrize(
    "line",
    ["import versioned_io.storage", "def late():\n    import versioned_io.storage", "{}import versioned_io.storage"],
)
def test_catalog_may_not_import_storage_however_it_is_done(line, tmp_path):
    copy = copy_of_the_tree(tmp_path)
    checked = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    "
    with (copy / "versioned_io" / "catalog" / "__init__.py").open("a") as file:
        file.write(f"\n{line.format(checked)}\n")
    result = lint(copy, "layers")
    assert result.returncode == 1
    assert "versioned_io.catalog -> versioned_io.storage" in result.stdout


def test_a_module_without_a_layer_fails_the_check(tmp_path):
    copy = copy_of_the_tree(tmp_path)
    (copy / "versioned_io" / "stray.py").write_text('"""Nobody said where this belongs."""\n')
    result = lint(copy, "layers")
    assert result.returncode == 1
    assert "versioned_io.stray" in result.stdout


def copy_of_the_tree(target):
    for package in ("versioned_io", "dagster_versioned", "airflow_versioned", "devservers"):
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


def lint(directory, contract):
    linter = Path(sys.executable).with_name("lint-imports")
    command = [str(linter), "--no-cache", "--contract", contract]
    env = {"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
