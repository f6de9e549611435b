"""Columns and rows of a table, read from Parquet without the rest, or taken from a table in memory.

Everything runs in the calling thread. Arrow's threads hold a buffer for a moment after a call has ended, and releasing
one that Python owns needs the interpreter.
"""

from collections.abc import Sequence
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
_INCOMPARABLE: Final = (pa.ArrowException, NotImplementedError, TypeError, ValueError, ArithmeticError)


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
    _refuse_twice(names, read, path)
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
    labels = {str(name): name for name in table.columns}  # those of pandas may be numbers
    selection.check([*labels], path)
    _refuse_twice([str(name) for name in table.columns], (*selection.columns, *selection.filtered), path)
    if selection.filters:
        compared = _as_arrow(table[[labels[name] for name in selection.filtered]], path)
        kept = _mask(compared, selection, path).fill_null(fill_value=False).to_numpy()
        table = _rows_of_pandas(table, kept) if kind == "pandas.DataFrame" else table.filter(kept)
    return table[[labels[name] for name in selection.columns]] if selection.columns else table


def _rows_of_pandas(frame: Any, kept: Any) -> Any:  # noqa: ANN401 (a frame of pandas, and an array of bools)
    """Return the rows of a frame; a default index is numbered from 0, as Parquet gives it back."""
    is_default = full_type_name(type(frame.index)) == "pandas.RangeIndex" and not kept.all()
    return frame[kept].reset_index(drop=True) if is_default else frame[kept]


def _refuse_twice(names: Sequence[str], read: Sequence[str], path: str) -> None:
    """Refuse to read a column whose name another one has, too.

    Raises:
        InvalidInputError: Two columns have one name.
    """
    twice = next((name for name in read if names.count(name) > 1), None)
    if twice is not None:
        msg = f"{quoted(path)} has two columns {quoted(twice)}: rename one, so that columns and filters can name it"
        raise InvalidInputError(msg)


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
            return _COMPARE[operator](column, pa.scalar(value))
        found = pc.is_in(column, value_set=_value_set(value, column.type))
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


def _value_set(values: Sequence[Any], kind: pa.DataType) -> Any:  # noqa: ANN401 (an Arrow array)
    """Return the values of a list as cells of a type.

    Raises:
        ArrowException, TypeError, ValueError: A value is of another type, such as 1.5 for whole numbers. Or it is a
            time without a time zone for times that have one.
    """
    cells = pa.array(values, type=kind)
    given = [value for value in values if value is not None]
    if given and not pa.types.is_floating(kind):  # a float of 32 bits stands for the nearest one of 64
        kept = pc.equal(pa.array(given), cells.drop_null())
        if not pc.all(kept).as_py():
            raise pa.ArrowInvalid(f"a value of the list is not of the type {kind}")
    return cells


def _may_match(parquet: pq.ParquetFile, number: int, selection: Selection) -> bool:
    """Return whether a row group can hold a row that passes, as far as its statistics tell."""
    if not selection.filters:
        return True
    bounds = {name: _bounds_of(parquet, number, name) for name in selection.filtered}
    return any(all(_may_hold(bounds[one.column], one) for one in part) for part in selection.filters)


def _bounds_of(parquet: pq.ParquetFile, number: int, name: str) -> Any:  # noqa: ANN401 (an Arrow array, or None)
    """Return the least and the greatest cell of a column in a row group, other than NaN; None if they are not known."""
    group = parquet.metadata.row_group(number)
    chunks = [group.column(position) for position in range(group.num_columns)]
    # The path "a.b" is that of a column, or of a field in a column "a"; or of both.
    found = [one.statistics for one in chunks if one.path_in_schema == name]
    kind: Any = parquet.schema_arrow.field(name).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    # Python has no nanoseconds, so a time of day would be cut.
    if len(found) != 1 or found[0] is None or not found[0].has_min_max or kind == pa.time64("ns"):
        return None
    try:
        return pa.array([found[0].min, found[0].max], type=kind)
    except _INCOMPARABLE:  # such as a date after the year 9999, which Python does not have
        return None


def _may_hold(bounds: Any, condition: Condition) -> bool:  # noqa: ANN401 (an Arrow array, or None)
    """Return whether a cell between *bounds* can pass; they are compared just as the cells are."""
    _, operator, value = condition
    if bounds is None or operator in {"!=", "not in"}:
        return True
    low, high = bounds.slice(0, 1), bounds.slice(1, 1)
    try:
        if operator == "in":
            cells = _value_set(value, bounds.type)
            inside = pc.and_(pc.greater_equal(cells, low[0]), pc.less_equal(cells, high[0]))
            is_open = pc.is_null(cells, nan_is_null=True)  # the statistics leave out null and NaN
            return bool(pc.any(pc.or_kleene(is_open, inside)).as_py())
        sides = {"==": ((low, "<="), (high, ">=")), "<": ((low, "<"),), "<=": ((low, "<="),)}
        sides |= {">": ((high, ">"),), ">=": ((high, ">="),)}
        return all(_COMPARE[one](side, pa.scalar(value))[0].as_py() is not False for side, one in sides[operator])
    except _INCOMPARABLE:  # the comparison of the cells names the reason
        return True
