"""Importing this loads all that a command of ``versioned`` needs: for the process that commands are forked from."""

import importlib
import importlib.metadata

import versioned_io

for name in ("open_store", "create_store", "Store", "Snapshot", "Transaction"):
    getattr(versioned_io, name)
(found,) = importlib.metadata.entry_points(group="console_scripts", name="versioned")
for module in (f"{found.module}.app", "pyarrow.compute", "numpy.ma", "pydantic.type_adapter", "typer._adapters"):
    importlib.import_module(module)
