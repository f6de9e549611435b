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
"""

from versioned_io.formats import builtin as _builtin
from versioned_io.formats.registry import Encoded, Format, StoredFile, Unfit, register_format, registered_formats
from versioned_io.formats.stored_objects import StoredObject, find_object, load_object, save_object

__all__ = [
    "Encoded",
    "Format",
    "StoredFile",
    "StoredObject",
    "Unfit",
    "find_object",
    "load_object",
    "register_format",
    "registered_formats",
    "save_object",
]

BUILTIN_FORMATS = _builtin.BUILTIN_FORMATS
