"""Tables of pandas, polars and Arrow as Parquet, and as Arrow IPC where Parquet would change them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.formats.registry import Encoded, StoredFile, Unfit, WantedTypes, full_type_name
from versioned_io.formats.selections import Selection

if TYPE_CHECKING:
    import pyarrow as pa

_SHAPE = "shape"
_INDEX_FREQUENCY = "index_freq"


class Package(StrEnum):
    """Whose tables they are."""

    PANDAS = "pandas"
    POLARS = "polars"
    ARROW = "arrow"


class Container(StrEnum):
    """The file format of a table."""

    PARQUET = "parquet"
    IPC = "ipc"


_CLAIMED = {
    Package.PANDAS: frozenset({"pandas.DataFrame", "pandas.Series"}),
    Package.POLARS: frozenset({"polars.DataFrame", "polars.LazyFrame", "polars.Series"}),
    Package.ARROW: frozenset({"pyarrow.Table", "pyarrow.RecordBatch"}),
}
# The types as which a table of another type can be read.
_REPRESENTATIONS = ("pandas.DataFrame", "polars.DataFrame", "polars.LazyFrame", "pyarrow.Table")


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Tables of one package in one container; any of them can be read as a table of another package."""

    package: Package
    container: Container
    version: int = 1

    @property
    def name(self) -> str:
        """Such as ``pandas-parquet``."""
        return f"{self.package}-{self.container}"

    @property
    def extension(self) -> str:
        """``.parquet`` or ``.arrow``."""
        return ".parquet" if self.container is Container.PARQUET else ".arrow"

    @property
    def family(self) -> str:
        """The container: asking for it takes the format of the object's package."""
        return self.container.value

    def claims(self, obj: object) -> bool:
        """Return whether it is one of the package's own tables or columns, and not of a subclass."""
        return full_type_name(type(obj)) in _CLAIMED[self.package]

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return the table's bytes, unless it would come back different."""
        from versioned_io.formats import arrow_tables as tables

        made = _table_of(self.package, obj)
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
        from versioned_io.formats import arrow_tables as tables

        read = tables.read_parquet if self.container is Container.PARQUET else tables.read_ipc
        return self._object(read(file.content), file.attributes, wanted)

    def decode_selected(
        self, opened: BinaryIO, selection: Selection, path: str, attributes: Mapping[str, str], wanted: WantedTypes
    ) -> object:
        """Return the selected part of the table in the file *opened*, as `decode` returns the whole.

        Raises:
            InvalidInputError: The table lacks a column, or a condition does not fit the type of its column.

        Cost: of Parquet, reads the needed columns alone.
        """
        from versioned_io.formats import arrow_tables as tables
        from versioned_io.formats.selected_rows import read_selected, select_from_table

        if selection.columns and "series" in attributes.get(_SHAPE, ""):
            msg = f"{quoted(path)} is a Series, which has one column: leave columns out"
            raise InvalidInputError(msg)
        if self.container is Container.PARQUET:
            table = read_selected(opened, selection, path)
        else:
            table = select_from_table(tables.read_ipc(opened.read()), selection, path)
        # Some rows of an index have another frequency than all, or none.
        kept = {name: value for name, value in attributes.items() if name != _INDEX_FREQUENCY or not selection.filters}
        return self._object(table, kept, wanted)

    def _object(self, table: "pa.Table", attributes: Mapping[str, str], wanted: WantedTypes) -> object:
        target = self._target(attributes, wanted)
        if target is None:
            return _object_of(self.package, table, attributes)
        package = {"pandas": Package.PANDAS, "polars": Package.POLARS}.get(target.partition(".")[0], Package.ARROW)
        kept = attributes if package is self.package else {}
        return _object_of(package, table, {**kept, _SHAPE: "lazy" if target == "polars.LazyFrame" else "frame"})

    def _target(self, attributes: Mapping[str, str], wanted: WantedTypes) -> str | None:
        """Return the representation to convert to; ``None`` for the stored one, and if nothing fits."""
        names = [full_type_name(cls) for cls in wanted]
        if not names or attributes.get("type") in names:
            return None
        return next((name for name in names if name in _REPRESENTATIONS), None)


def _table_of(package: Package, obj: object) -> "tuple[pa.Table, dict[str, str]] | Unfit":
    match package:
        case Package.PANDAS:
            from versioned_io.formats.pandas_tables import table_of_pandas

            return table_of_pandas(obj)
        case Package.POLARS:
            from versioned_io.formats.polars_tables import table_of_polars

            return table_of_polars(obj)
        case Package.ARROW:
            from versioned_io.formats.arrow_tables import table_of_arrow

            return table_of_arrow(obj)


def _object_of(package: Package, table: "pa.Table", attributes: Mapping[str, str]) -> object:
    match package:
        case Package.PANDAS:
            from versioned_io.formats.pandas_tables import pandas_of_table

            return pandas_of_table(table, attributes)
        case Package.POLARS:
            from versioned_io.formats.polars_tables import polars_of_table

            return polars_of_table(table, attributes)
        case Package.ARROW:
            from versioned_io.formats.arrow_tables import arrow_of_table

            return arrow_of_table(table, attributes)
