"""Files that no `save_object` wrote: read by their extension, as the requested type.

| extension | without a requested type |
|---|---|
| ``.parquet``, ``.pq``, ``.arrow``, ``.feather``, ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` | a table |
| ``.json`` | the value |
| ``.txt``, ``.md``, ``.html``, ``.xml``, ``.yaml``, ``.yml``, ``.sql``, ``.log`` | text |
| ``.npy`` | an array, never with a pickle inside |
| any other, such as ``.png`` | bytes |

A table is one of pandas if that is installed, otherwise of polars, otherwise of Arrow.
Asking for `bytes` or `str` returns any file as that. A pickle is refused.
"""

import io
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from versioned_io.errors import FormatError, InvalidInputError, VersionedError
from versioned_io.errors.root import quoted
from versioned_io.formats.registry import WantedTypes, full_type_name
from versioned_io.formats.selections import Selection

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET: Final = frozenset({".parquet", ".pq"})
_TABLES: Final = frozenset({".parquet", ".pq", ".arrow", ".feather", ".csv", ".tsv", ".jsonl", ".ndjson"})
_TEXTS: Final = frozenset({".txt", ".md", ".html", ".xml", ".yaml", ".yml", ".sql", ".log"})
_PICKLES: Final = frozenset({".pickle", ".pkl"})
_PACKAGES: Final = ("pandas", "polars", "pyarrow")


def read_plain(path: str, content: bytes, wanted: WantedTypes) -> object:
    """Return the value of a file, as the first of the *wanted* types that it can be.

    Raises:
        FormatError: It is a pickle.
        InvalidInputError: It is not what its extension says, or text in UTF-8 was wanted and it is none.

    Cost: memory for the value and one copy of *content*.
    """
    extension = _extension_of(path)
    if extension in _PICKLES:
        msg = f"{quoted(path)} is a pickle without a recorded format, which is never loaded: read its bytes"
        raise FormatError(msg)
    if bytes in wanted:
        return content
    try:
        if str in wanted or (not wanted and extension in _TEXTS):
            return content.decode()
        return _read(extension, content, wanted)
    except (ValueError, OSError) as error:  # as the parsers of all packages raise; Arrow's errors are among them
        msg = f"{quoted(path)} can't be read as {_named(wanted) or f'its extension {extension} says'}: {error}"
        raise InvalidInputError(msg) from error


def read_plain_selected(path: str, file: BinaryIO, wanted: WantedTypes, selection: Selection) -> object:
    """Return the selected part of a table file, as the first of the *wanted* types that it can be.

    Raises:
        FormatError, InvalidInputError: As for `read_plain`; or the file has no table with these columns.

    Cost: of Parquet, reads the needed columns alone; of other files, memory for the whole table.
    """
    from versioned_io.formats.selected_rows import read_selected, select_from_object

    if _extension_of(path) not in _PARQUET or bytes in wanted or str in wanted:
        return select_from_object(read_plain(path, file.read(), wanted), selection, path)
    try:
        return _as_wanted(read_selected(file, selection, path), wanted)
    except VersionedError:
        raise
    except (ValueError, OSError) as error:
        msg = f"{quoted(path)} can't be read as its extension says: {error}"
        raise InvalidInputError(msg) from error


def _read(extension: str, content: bytes, wanted: WantedTypes) -> object:
    if extension in _TABLES:
        return _table(extension, content, wanted)
    if extension == ".json":
        return json.loads(content)
    if extension == ".npy":
        import numpy as np

        return np.load(io.BytesIO(content), allow_pickle=False)
    return content.decode() if extension in _TEXTS else content


def _package(wanted: WantedTypes) -> str:
    """Return the package whose table to make: of the first wanted type that is one, else the first installed one."""
    named = (full_type_name(cls).partition(".")[0] for cls in wanted)
    asked = next((name for name in named if name in _PACKAGES), None)
    return asked or next(name for name in _PACKAGES if find_spec(name) is not None)


def _table(extension: str, content: bytes, wanted: WantedTypes) -> object:
    if extension in {".csv", ".tsv"}:
        return _lazy(_separated(content, "," if extension == ".csv" else "\t", _package(wanted)), wanted)
    return _as_wanted(_arrow(extension, content), wanted)


def _as_wanted(table: "pa.Table", wanted: WantedTypes) -> object:
    package = _package(wanted)
    if package == "pandas":
        return table.to_pandas()
    if package == "polars":
        import polars as pl

        return _lazy(pl.from_arrow(table), wanted)
    return table


def _lazy(table: Any, wanted: WantedTypes) -> object:  # noqa: ANN401 (a frame of any package)
    """Return a frame of polars as a lazy one if that is wanted and a plain frame is not; other tables as they are."""
    polars = [name for name in map(full_type_name, wanted) if name in {"polars.DataFrame", "polars.LazyFrame"}]
    return table.lazy() if polars == ["polars.LazyFrame"] and hasattr(table, "lazy") else table


def _separated(content: bytes, separator: str, package: str) -> object:
    """Return a table of text as the package itself reads it, since they differ in what they take for a number."""
    file: Any = io.BytesIO(content)
    if package == "pandas":
        import pandas as pd

        return pd.read_csv(file, sep=separator)
    if package == "polars":
        import polars as pl

        return pl.read_csv(file, separator=separator)
    import pyarrow.csv

    return pyarrow.csv.read_csv(file, parse_options=pyarrow.csv.ParseOptions(delimiter=separator))


def _arrow(extension: str, content: bytes) -> "pa.Table":
    if extension in {".jsonl", ".ndjson"}:
        import pyarrow.json

        return pyarrow.json.read_json(io.BytesIO(content))
    if extension in {".arrow", ".feather"}:
        import pyarrow.feather

        return pyarrow.feather.read_table(io.BytesIO(content))
    from versioned_io.formats.arrow_tables import read_parquet

    return read_parquet(content)


def _extension_of(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.rpartition(".")[2].lower() if "." in name else ""


def _named(wanted: WantedTypes) -> str:
    return " or ".join(full_type_name(cls) for cls in wanted)
