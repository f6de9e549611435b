"""The calls of the front door have examples in their docstrings, and `make test` runs them."""

import inspect
import re
from pathlib import Path

import versioned_io as vio

ROOT = Path(__file__).resolve().parents[2]
CLASSES = (vio.Store, vio.Transaction, vio.Snapshot, vio.Subscription)

# Calls that still lack an example. Take a name out when it has one; don't add any.
LACKING = {
    "Subscription.collect",
    "Subscription.complete",
    "Subscription.find",
    "Subscription.mark_announced",
    "Subscription.release",
    "Subscription.unannounced",
}


def methods(cls):
    return {
        f"{cls.__name__}.{name}": method
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }


def test_the_calls_of_the_front_door_have_examples():
    lacking = {name for cls in CLASSES for name, method in methods(cls).items() if ">>>" not in (method.__doc__ or "")}
    assert lacking == LACKING


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
