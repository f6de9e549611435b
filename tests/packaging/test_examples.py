"""The calls of the front doors have examples in their docstrings, and `make test` runs them."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import versioned_io as vio

ROOT = Path(__file__).resolve().parents[2]

# Calls of the integrations without an example: each runs only inside Dagster or Airflow, which calls it.
CALLED_BY_ORCHESTRATORS = {
    "CommitTrigger.run",
    "CommitTrigger.serialize",
    "VersionedAsset.work",
    "VersionedCommitSensor.execute",
    "VersionedCommitSensor.look",
    "VersionedCommitSensor.poke",
    "VersionedCommitSensor.resume",
    "VersionedDatumOperator.execute",
    "VersionedMergeOperator.execute",
    "VersionedCommitOperator.execute",
    "VersionedCommitOperator.write",
    "VersionedHook.get_conn",
    "VersionedHook.run",
    "VersionedIOManager.handle_output",
    "VersionedIOManager.load_input",
    "VersionedIOManager.teardown_after_execution",
    "VersionedStoreResource.teardown_after_execution",
    "Work",
    "Work.transaction",
    "default_io_manager",
}


def front_door_of_the_core():
    for name in vio.__all__:
        value = getattr(vio, name)
        if inspect.isfunction(value):
            yield name, value.__doc__
        for called, member in vars(value).items() if inspect.isclass(value) else ():
            method = getattr(member, "__func__", member)  # of a class method
            if inspect.isfunction(method) and not called.startswith("_"):
                yield f"{name}.{called}", method.__doc__


def names_of(package):
    """Yield (name, its docstring) of the public functions, classes and methods, without importing an orchestrator."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    public = ast.literal_eval(
        next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    )
    for path in sorted((ROOT / package).glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in public:
                yield node.name, ast.get_docstring(node)
                for part in node.body if isinstance(node, ast.ClassDef) else ():
                    is_call = isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and not is_property(part)
                    if is_call and not part.name.startswith("_"):
                        yield f"{node.name}.{part.name}", ast.get_docstring(part)


def is_property(node):
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def lacking(calls):
    return {name for name, docstring in calls if ">>> " not in (docstring or "")}


def test_the_calls_of_the_core_have_examples():
    found = dict(front_door_of_the_core())
    assert {"Store.fsck", "PartitionTemplate.parse", "open_store"} <= found.keys()
    assert lacking(found.items()) == set()


@pytest.mark.parametrize("package", ["dagster_versioned", "airflow_versioned"])
def test_the_calls_of_an_integration_have_examples_where_one_can_run(package):
    found = dict(names_of(package))
    # A class is documented by its own example, or by those of its calls.
    shown = {name.partition(".")[0] for name in found.keys() - lacking(found.items())}
    without = lacking(found.items()) - shown
    assert without == CALLED_BY_ORCHESTRATORS & found.keys()


def test_make_test_runs_every_module_that_has_examples():
    listed = re.search(r"^EXAMPLES := (.*?[^\\])$", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    run = {ROOT / name for name in listed[1].replace("\\\n", " ").split()}
    have = {
        path
        for package in ("versioned_io", "dagster_versioned", "airflow_versioned")
        for path in (ROOT / package).rglob("*.py")
        if ">>> " in path.read_text()
    }
    assert have
    assert all(path.exists() for path in run)
    assert {path for path in have if not run & {path, *path.parents}} == set()
