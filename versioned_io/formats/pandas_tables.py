"""pandas frames and series as Arrow tables, if they come back exactly equal."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from versioned_io.formats.plain_values import not_exact_in_json
from versioned_io.formats.registry import Unfit

_Dtype = Any  # of NumPy or an extension: they have no class in common
_Scalar = Any

_OBJECT = pd.Series([], dtype=object).dtype
_SHAPE = "shape"
_INDEX_FREQUENCY = "index_freq"
_SERIES_NAME = "series"
_SCALARS = frozenset({"str", "bytes", "int", "float", "bool", "Decimal", "date", "time", "datetime"})


def table_of_pandas(obj: object) -> tuple[pa.Table, dict[str, str]] | Unfit:
    """Return a frame or series as a table with the attributes for `pandas_of_table`, or name the loss."""
    attributes = {_SHAPE: "frame"}
    flags: Any = getattr(obj, "flags", None)
    if flags is not None and not flags.allows_duplicate_labels:
        return Unfit("its flag allows_duplicate_labels=False is not recorded")
    if isinstance(obj, pd.Series):
        if obj.name is not None and not isinstance(obj.name, str):
            return Unfit(f"the name {obj.name!r} of the series is not text")
        attributes = {_SHAPE: "series"} if obj.name is None else {_SHAPE: "named series"}
        frame = obj.to_frame(name=_SERIES_NAME if obj.name is None else obj.name)
        frame.attrs = obj.attrs
    elif isinstance(obj, pd.DataFrame):
        frame = obj
    else:
        return Unfit(f"it is a {type(obj).__name__}")
    frequency = getattr(frame.index, "freqstr", None) if isinstance(frame.index, pd.DatetimeIndex) else None
    if frequency is not None:
        attributes[_INDEX_FREQUENCY] = frequency
    unfit = _unfit_by_structure(frame)
    if unfit is not None:
        return unfit
    try:
        table = pa.Table.from_pandas(frame)
        return _changed(frame, table, attributes) or (table, attributes)
    except (pa.ArrowException, NotImplementedError, TypeError, ValueError, OverflowError, KeyError) as error:
        return Unfit(f"Arrow can't hold it: {str(error).partition(chr(10))[0]}")


def pandas_of_table(table: pa.Table, attributes: Mapping[str, str]) -> pd.DataFrame | pd.Series:
    """Return the frame or series that a table holds; a table of another library becomes a frame."""
    # Integers with holes in a frame of pandas were Python objects there; in a table of another library they never were.
    frame: pd.DataFrame = table.to_pandas(integer_object_nulls=table.schema.pandas_metadata is not None)
    for position, dtype in enumerate(_recorded_dtypes(table, frame)):
        if dtype == "object" and frame.dtypes.iloc[position] != _OBJECT:
            column = frame.iloc[:, position].astype(object)
            values: Any = column.where(column.notna(), None)
            frame.isetitem(position, values)
    frequency = attributes.get(_INDEX_FREQUENCY)
    if frequency is not None and len(frame.index) > 0:
        index: Any = frame.index
        index.freq = frequency
    shape = attributes.get(_SHAPE, "frame")
    if shape == "frame":
        return frame
    series = frame.iloc[:, 0]
    series.attrs = frame.attrs
    return series.rename(None) if shape == "series" else series


def _unfit_by_structure(frame: pd.DataFrame) -> Unfit | None:
    reason = not_exact_in_json(frame.attrs)
    if reason is not None:
        return Unfit(f"its attrs can't be recorded: {reason}")
    if not frame.columns.is_unique:
        return Unfit("it has two columns of one name")
    for level in range(frame.columns.nlevels):
        if frame.columns.get_level_values(level).inferred_type.startswith("mixed"):
            return Unfit("its column labels are of several types")
    return None


def _changed(frame: pd.DataFrame, table: pa.Table, attributes: Mapping[str, str]) -> Unfit | None:
    """Return what would come back different: types of all columns, values where the type leaves it open."""
    of_frame = {**attributes, _SHAPE: "frame"}
    empty = pandas_of_table(table.slice(0, 0), {_SHAPE: "frame"})
    if not isinstance(empty, pd.DataFrame) or not _same_index(frame.columns, empty.columns):
        return Unfit("its column labels would change")
    if empty.attrs != frame.attrs:
        return Unfit("its attrs would change")
    doubtful = [position for position, dtype in enumerate(frame.dtypes) if not _is_exact_in_arrow(dtype)]
    for position, (old, new) in enumerate(zip(frame.dtypes, empty.dtypes, strict=True)):
        if position not in doubtful and not _same_dtype(old, new):
            return Unfit(f"the column {frame.columns[position]!r} of type {old} would become {new}")
    sample = frame.iloc[:, doubtful]
    found = pandas_of_table(pa.Table.from_pandas(sample), of_frame)
    if not isinstance(found, pd.DataFrame) or not _same_index(frame.index, found.index):
        return Unfit("its index would change")
    for position in range(len(doubtful)):
        if not _same_values(sample.iloc[:, position], found.iloc[:, position]):
            return Unfit(
                f"the values of column {sample.columns[position]!r} of type {sample.dtypes.iloc[position]} would change"
            )
    return None


def _recorded_dtypes(table: pa.Table, frame: pd.DataFrame) -> list[str]:
    metadata: Any = table.schema.pandas_metadata
    if not metadata:
        return []
    recorded = {column["field_name"]: str(column["numpy_type"]) for column in metadata["columns"]}
    data = [name for name in table.column_names if name not in metadata["index_columns"]]
    return [recorded.get(name, "") for name in data[: frame.shape[1]]]


def _is_exact_in_arrow(dtype: _Dtype) -> bool:
    return dtype.kind in "iufbmM" and not isinstance(dtype, pd.CategoricalDtype | pd.SparseDtype | pd.ArrowDtype)


def _same_dtype(old: _Dtype, new: _Dtype) -> bool:
    return bool(old == new) and repr(old) == repr(new)


def _same_index(old: "pd.Index[Any]", new: "pd.Index[Any]") -> bool:
    if old.nlevels != new.nlevels or list(old.names) != list(new.names):
        return False
    if getattr(old, "freq", None) != getattr(new, "freq", None):
        return False
    return all(
        _same_values(pd.Series(old.get_level_values(level)), pd.Series(new.get_level_values(level)))
        for level in range(old.nlevels)
    )


def _same_values(old: "pd.Series[Any]", new: "pd.Series[Any]") -> bool:
    if not _same_dtype(old.dtype, new.dtype):
        return False
    if isinstance(old.dtype, pd.CategoricalDtype) and isinstance(new.dtype, pd.CategoricalDtype):
        categories, found = pd.Series(old.dtype.categories), pd.Series(new.dtype.categories)
        return _same_values(categories, found) and bool((old.cat.codes.to_numpy() == new.cat.codes.to_numpy()).all())
    if old.dtype == _OBJECT:
        return len(old) == len(new) and all(map(_same_scalar, old, new))
    return len(old) == len(new) and old.reset_index(drop=True).equals(new.reset_index(drop=True))


def _same_scalar(old: _Scalar, new: _Scalar) -> bool:
    """Return whether two Python values are the same; None, NaN and NA count as the same missing value."""
    if type(old).__name__ in _SCALARS and type(old) is type(new):
        return bool(old == new) or (old != old and new != new)  # noqa: PLR0124 - NaN
    return bool(pd.api.types.is_scalar(old) and pd.isna(old) and pd.api.types.is_scalar(new) and pd.isna(new))
