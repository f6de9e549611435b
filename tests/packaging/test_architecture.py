"""The import contracts of pyproject.toml are complete, and each is seen failing in a copy that breaks it."""

import ast
import re
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
    "processing": (
        "versioned_io/processing/seen_histories.py",
        "import versioned_io.processing.expired\n",
        "versioned_io.processing.seen_histories",
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


NAMED = re.compile(r"`(?P<name>[A-Za-z_][\w.]*)`(?:\s\(`(?P<place>[\w/.]+)`\))?")
"""A name in a walk, and the room or the module that the walk says it is in."""
OBJECTS = {"tx": "StagedBranch", "store": "Store"}


def names_in_the_walks():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    walks = text[text.index("## Five walks") : text.index("## What a write does")]
    return sorted({(match["name"], match["place"] or "") for match in NAMED.finditer(walks)} - {("with", "")})


def test_the_drawn_house_is_that_of_the_source(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "draw_house.py"), str(ROOT), str(tmp_path / "house.svg")]
    subprocess.run(command, check=True)
    drawn = (ROOT / "docs" / "pictures" / "house-after.svg").read_text()
    assert (tmp_path / "house.svg").read_text() == drawn, "run python scripts/draw_house.py, and edit 0017"
    counts = re.search(r"<title>(\d+ rooms) on (\d+) floors, (\d+) arrows</title>", drawn)
    record = (ROOT / "docs" / "design" / "0017-the-tree.md").read_text()
    assert f"{counts[1]} with {counts[3]} arrows between rooms" in " ".join(record.split())


def test_there_are_five_walks_of_five_steps():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    walks = text[text.index("## Five walks") : text.index("## What a write does")]
    assert len(re.findall(r"^\*\*.*\*\*$", walks, re.MULTILINE)) == 5
    assert re.findall(r"^(\d)\. ", walks, re.MULTILINE) == [*"12345"] * 5


@pytest.mark.parametrize(("name", "place"), names_in_the_walks())
def test_a_name_in_a_walk_is_in_the_code_where_the_walk_says(name, place):
    if (ROOT / "versioned_io" / name).is_dir():
        return
    first, _, member = name.partition(".")
    owner = OBJECTS.get(first, first)
    found = [
        path.relative_to(ROOT)
        for package in ("versioned_io", "dagster_versioned", "airflow_versioned")
        for path in (ROOT / package).rglob("*.py")
        if owner in (text := path.read_text()) and is_defined(ast.parse(text), owner, member)
    ]
    assert any(f"{path}/".replace(".py/", ".py").find(place) >= 0 for path in found), (name, place, found)


def is_defined(tree, name, member):
    """Return whether a module defines the class or function *name*, with the attribute *member* if there is one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name and not member:
            return True
        if isinstance(node, ast.ClassDef) and node.name == name:
            assigned = {
                one.id
                for part in ast.walk(node)
                if isinstance(part, ast.Assign)
                for one in part.targets
                if isinstance(one, ast.Name)
            }
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
            return not member or member in methods | assigned
    return False


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
