"""Columns and rows of a table, read from Parquet without the rest, or taken from a table in memory.

Everything runs in the calling thread. Arrow's threads hold a buffer for a moment after a call has ended, and releasing
one that Python owns needs the interpreter.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.formats.arrow_tables import as_written
from versioned_io.formats.registry import full_type_name
from versioned_io.formats.selections import Condition, Selection

_COMPARE: Final[dict[str, Any]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_INCOMPARABLE: Final = (pa.ArrowException, NotImplementedError, TypeError, ValueError, OverflowError)


def read_selected(file: BinaryIO, selection: Selection, path: str) -> pa.Table:
    """Return the selected part of a Parquet file, with the columns that pandas uses as its index.

    Raises:
        InvalidInputError: The file lacks a column, or a condition does not fit the type of its column.

    Cost: reads the end of *file*, and the selected columns and those of the conditions. Row groups that the statistics
        of the file exclude are not read.
    """
    parquet = pq.ParquetFile(file, pre_buffer=False)
    names = parquet.schema_arrow.names
    selection.check(names, path)
    wanted = [*(selection.columns or names)]
    wanted += [name for name in _index_columns(parquet.schema_arrow) if name in names and name not in wanted]
    read = [*wanted, *(name for name in selection.filtered if name not in wanted)]
    groups = [number for number in range(parquet.num_row_groups) if _may_match(parquet, number, selection)]
    table = as_written(parquet, parquet.read_row_groups(groups, columns=read, use_threads=False))
    if selection.filters:
        table = table.filter(_mask(table, selection, path))
    return table.select(wanted)


def select_from_table(table: pa.Table, selection: Selection, path: str) -> pa.Table:
    """Return the selected part of *table*, with the columns that pandas uses as its index.

    Raises:
        InvalidInputError: As for `read_selected`.
    """
    selection.check(table.column_names, path)
    wanted = [*(selection.columns or table.column_names)]
    wanted += [name for name in _index_columns(table.schema) if name in table.column_names and name not in wanted]
    if selection.filters:
        table = table.filter(_mask(table, selection, path))
    return table.select(wanted)


def select_from_object(value: object, selection: Selection, path: str) -> object:
    """Return the selected part of a table of pandas, polars or Arrow that is in memory, as the same type.

    Raises:
        InvalidInputError: It is not such a table; or as for `read_selected`.
    """
    kind = full_type_name(type(value))
    table: Any = value
    if kind == "pyarrow.Table":
        return select_from_table(table, selection, path)
    if kind == "polars.LazyFrame":
        selected: Any = select_from_object(table.collect(), selection, path)
        return selected.lazy()
    if kind not in {"pandas.DataFrame", "polars.DataFrame"}:
        msg = f"{quoted(path)} is a {kind}, and columns and filters need a table: leave them out, or load a table"
        raise InvalidInputError(msg)
    selection.check([str(name) for name in table.columns], path)
    if selection.filters:
        compared = _as_arrow(table[list(selection.filtered)], path)
        kept = _mask(compared, selection, path).fill_null(fill_value=False).to_numpy()
        table = table[kept] if kind == "pandas.DataFrame" else table.filter(kept)
    return table[list(selection.columns)] if selection.columns else table


def _as_arrow(frame: Any, path: str) -> pa.Table:  # noqa: ANN401 (a frame of pandas or polars)
    try:
        return frame.to_arrow() if hasattr(frame, "to_arrow") else pa.Table.from_pandas(frame, preserve_index=False)
    except _INCOMPARABLE as error:
        msg = f"the columns of {quoted(path)} that the filters name can't be compared: {error}"
        raise InvalidInputError(msg) from error


def _mask(table: pa.Table, selection: Selection, path: str) -> Any:  # noqa: ANN401 (a chunked array of bools)
    """Return for each row whether it passes; null where that is not known."""
    groups = [reduce(pc.and_kleene, (_holds(table, one, path) for one in group)) for group in selection.filters]
    return reduce(pc.or_kleene, groups)


def _holds(table: pa.Table, condition: Condition, path: str) -> Any:  # noqa: ANN401 (a chunked array of bools)
    name, operator, value = condition
    column: Any = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        if operator in _COMPARE:
            return _COMPARE[operator](column, value)
        found = pc.is_in(column, value_set=pa.array(value, type=column.type))
    except _INCOMPARABLE as error:
        msg = (
            f"the column {quoted(name)} of {quoted(path)} has the type {column.type}, and can't be compared as the "
            f"filter {tuple(condition)!r} says: {str(error).partition(chr(10))[0]}"
        )
        raise InvalidInputError(msg) from error
    return pc.invert(found) if operator == "not in" else found


def _index_columns(schema: pa.Schema) -> Sequence[str]:
    metadata: Any = schema.pandas_metadata
    return [name for name in metadata["index_columns"] if isinstance(name, str)] if metadata else []


def _may_match(parquet: pq.ParquetFile, number: int, selection: Selection) -> bool:
    """Return whether a row group can hold a row that passes, as far as its statistics tell."""
    if not selection.filters:
        return True
    group = parquet.metadata.row_group(number)
    chunks = [group.column(position) for position in range(group.num_columns)]
    bounds = {one.path_in_schema: one.statistics for one in chunks}
    return any(all(_may_hold(bounds.get(one.column), one) for one in part) for part in selection.filters)


def _may_hold(bounds: Any, condition: Condition) -> bool:  # noqa: ANN401 (statistics of a column, or None)
    if bounds is None or not bounds.has_min_max:
        return True
    value, low, high = condition.value, bounds.min, bounds.max
    may: dict[str, Callable[[], bool]] = {
        "==": lambda: low <= value <= high,
        "<": lambda: low < value,
        "<=": lambda: low <= value,
        ">": lambda: high > value,
        ">=": lambda: high >= value,
        "in": lambda: None in value or any(low <= one <= high for one in value),
    }
    try:
        return bool(may[condition.operator]()) if condition.operator in may else True
    except TypeError:  # Python can't compare what the comparison of the column itself may
        return True
