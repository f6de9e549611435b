"""How Python objects are stored: an object's type chooses the format, which is recorded with the file, never guessed.

| object | format |
|---|---|
| `None`, bool, int, float, list, dict | `json`, when JSON gives it back exactly |
| str, bytes | `text`, `bytes` |
| pandas `DataFrame`, `Series` | `pandas-parquet`, else `pandas-ipc` |
| polars `DataFrame`, `LazyFrame`, `Series` | `polars-parquet`, else `polars-ipc` |
| Arrow `Table`, `RecordBatch` | `arrow-parquet`, else `arrow-ipc` |
| NumPy `ndarray` | `numpy` |
| `pathlib.Path` | `tree`: the file or directory it points at |
| the rest | `pickle` |

Names are loaded when first used, so that ``import versioned_io.formats`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from versioned_io.formats.builtin import BUILTIN_FORMATS
    from versioned_io.formats.changed_rows import COMPARED_BYTES, ColumnChange, TableChange, find_table_change
    from versioned_io.formats.pickles import PICKLE
    from versioned_io.formats.registry import Encoded, Format, StoredFile, Unfit, register_format, registered_formats
    from versioned_io.formats.selections import Selection
    from versioned_io.formats.stored_objects import StoredObject, find_object, load_object, save_object, select_part

_HOMES = {
    "BUILTIN_FORMATS": "builtin",
    "COMPARED_BYTES": "changed_rows",
    "ColumnChange": "changed_rows",
    "Encoded": "registry",
    "Format": "registry",
    "PICKLE": "pickles",
    "Selection": "selections",
    "StoredFile": "registry",
    "StoredObject": "stored_objects",
    "TableChange": "changed_rows",
    "Unfit": "registry",
    "find_object": "stored_objects",
    "find_table_change": "changed_rows",
    "load_object": "stored_objects",
    "register_format": "registry",
    "registered_formats": "registry",
    "save_object": "stored_objects",
    "select_part": "stored_objects",
}

__all__ = [
    "BUILTIN_FORMATS",
    "COMPARED_BYTES",
    "PICKLE",
    "ColumnChange",
    "Encoded",
    "Format",
    "Selection",
    "StoredFile",
    "StoredObject",
    "TableChange",
    "Unfit",
    "find_object",
    "find_table_change",
    "load_object",
    "register_format",
    "registered_formats",
    "save_object",
    "select_part",
]


def __getattr__(name: str) -> object:
    """Load a name of this package from the module that it lives in, after the built-in formats were registered."""
    if name not in _HOMES:
        msg = f"module 'versioned_io.formats' has no attribute {name!r}"
        raise AttributeError(msg)
    import_module("versioned_io.formats.builtin")
    value: object = getattr(import_module(f"versioned_io.formats.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
