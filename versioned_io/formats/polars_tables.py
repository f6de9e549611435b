"""polars frames, lazy frames and series as Arrow tables, if they come back exactly equal."""

from collections.abc import Mapping

import polars as pl
import pyarrow as pa

from versioned_io.formats.registry import Unfit

_SHAPE = "shape"


def table_of_polars(obj: object) -> tuple[pa.Table, dict[str, str]] | Unfit:
    """Return a frame or series as a table with the attributes for `polars_of_table`, or name the loss.

    A lazy frame is collected.
    """
    if isinstance(obj, pl.Series):
        frame, shape = obj.to_frame(), "series"
    elif isinstance(obj, pl.LazyFrame):
        frame, shape = obj.collect(), "lazy"
    elif isinstance(obj, pl.DataFrame):
        frame, shape = obj, "frame"
    else:
        return Unfit(f"it is a {type(obj).__name__}")
    if frame.width == 0 and frame.height > 0:
        return Unfit("it has rows but no column")
    try:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        found = pl.from_arrow(table.schema.empty_table())
    except (pa.ArrowException, pl.exceptions.PolarsError, NotImplementedError, TypeError, ValueError) as error:
        return Unfit(f"Arrow can't hold it: {str(error).partition(chr(10))[0]}")
    if not isinstance(found, pl.DataFrame) or found.schema != frame.schema:
        return Unfit("the types of its columns would change")
    return table, {_SHAPE: shape}


def polars_of_table(table: pa.Table, attributes: Mapping[str, str]) -> pl.DataFrame | pl.LazyFrame | pl.Series:
    """Return the frame or series that a table holds; a table of another library becomes a frame."""
    frame = pl.from_arrow(table)
    if isinstance(frame, pl.Series):
        frame = frame.to_frame()
    match attributes.get(_SHAPE, "frame"):
        case "series":
            return frame.to_series()
        case "lazy":
            return frame.lazy()
        case _:
            return frame
