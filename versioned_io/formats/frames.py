"""Tables of pandas, polars and Arrow as Parquet, and as Arrow IPC where Parquet would change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from versioned_io.formats.registry import Encoded, StoredFile, Unfit, WantedTypes, full_type_name

if TYPE_CHECKING:
    import pyarrow as pa

_SHAPE = "shape"


class Library(StrEnum):
    """Whose tables they are."""

    PANDAS = "pandas"
    POLARS = "polars"
    ARROW = "arrow"


class Container(StrEnum):
    """What a table is written as."""

    PARQUET = "parquet"
    IPC = "ipc"


_CLAIMED = {
    Library.PANDAS: frozenset({"pandas.DataFrame", "pandas.Series"}),
    Library.POLARS: frozenset({"polars.DataFrame", "polars.LazyFrame", "polars.Series"}),
    Library.ARROW: frozenset({"pyarrow.Table", "pyarrow.RecordBatch"}),
}
# What a table of one library can be read as, besides what it was.
_REPRESENTATIONS = ("pandas.DataFrame", "polars.DataFrame", "polars.LazyFrame", "pyarrow.Table")


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Tables of one library in one container; any of them can be read as a table of another library."""

    library: Library
    container: Container
    version: int = 1

    @property
    def name(self) -> str:
        """Such as ``pandas-parquet``."""
        return f"{self.library}-{self.container}"

    @property
    def extension(self) -> str:
        """``.parquet`` or ``.arrow``."""
        return ".parquet" if self.container is Container.PARQUET else ".arrow"

    @property
    def family(self) -> str:
        """The container: asking for it takes the format of the object's library."""
        return self.container.value

    def claims(self, obj: object) -> bool:
        """Say whether it is one of the library's own tables or columns, and not of a subclass."""
        return full_type_name(type(obj)) in _CLAIMED[self.library]

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return the table's bytes, unless it would come back different."""
        from versioned_io.formats import tables

        made = _table_of(self.library, obj)
        if isinstance(made, Unfit):
            return made
        table, attributes = made
        write = tables.write_parquet if self.container is Container.PARQUET else tables.write_ipc
        content = write(table)
        if isinstance(content, Unfit):
            return content
        return Encoded(tables.open_buffer(content), {**attributes, "rows": str(table.num_rows)}, rows=table.num_rows)

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:
        """Return what was stored, or the first of the *wanted* types that a table can be."""
        from versioned_io.formats import tables

        read = tables.read_parquet if self.container is Container.PARQUET else tables.read_ipc
        table = read(file.content)
        target = self._target(file, wanted)
        if target is None:
            return _object_of(self.library, table, file.attributes)
        library = {"pandas": Library.PANDAS, "polars": Library.POLARS}.get(target.partition(".")[0], Library.ARROW)
        kept = file.attributes if library is self.library else {}
        return _object_of(library, table, {**kept, _SHAPE: "lazy" if target == "polars.LazyFrame" else "frame"})

    def _target(self, file: StoredFile, wanted: WantedTypes) -> str | None:
        """Return the representation to convert to; ``None`` for what was stored, and when nothing fits."""
        names = [full_type_name(cls) for cls in wanted]
        if not names or file.attributes.get("type") in names:
            return None
        return next((name for name in names if name in _REPRESENTATIONS), None)


def _table_of(library: Library, obj: object) -> "tuple[pa.Table, dict[str, str]] | Unfit":
    match library:
        case Library.PANDAS:
            from versioned_io.formats.pandas_tables import table_of_pandas

            return table_of_pandas(obj)
        case Library.POLARS:
            from versioned_io.formats.polars_tables import table_of_polars

            return table_of_polars(obj)
        case Library.ARROW:
            from versioned_io.formats.tables import table_of_arrow

            return table_of_arrow(obj)


def _object_of(library: Library, table: "pa.Table", attributes: Mapping[str, str]) -> object:
    match library:
        case Library.PANDAS:
            from versioned_io.formats.pandas_tables import pandas_of_table

            return pandas_of_table(table, attributes)
        case Library.POLARS:
            from versioned_io.formats.polars_tables import polars_of_table

            return polars_of_table(table, attributes)
        case Library.ARROW:
            from versioned_io.formats.tables import arrow_of_table

            return arrow_of_table(table, attributes)
