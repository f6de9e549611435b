"""The output of ``diff --data``: the rows and columns of tables that differ."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from versioned_io.errors.root import counted
from versioned_io.interfaces.cli.output import echo, print_json, print_line, print_table

if TYPE_CHECKING:
    from versioned_io.formats.table_diff import RowChange, TableDiff
    from versioned_io.store import Store

_NULL: Final = "null"


def show_data_diff(opened: "Store", old: str, new: str, *, key: str | None, limit: int, as_json: bool) -> None:
    """Print how the tables of two commits, or two tables, differ; *key* names columns, with commas between them."""
    columns = [name.strip() for name in key.split(",")] if key else []
    found = opened.diff_data(old, new, key=columns, limit=limit)
    if as_json:
        print_json({"tables": [asdict(table) for table in found.tables], "others": list(found.others)})
        return
    tables = 0
    for table in found.tables:
        _print_table_diff(table)
        tables += 1
    if found.others:
        echo(f"{counted(len(found.others), 'other file')} differ{'s' if len(found.others) == 1 else ''}: see `diff`")
    elif not tables:
        echo("no table differs")


def _print_table_diff(table: "TableDiff") -> None:
    print_line(
        f"{counted(table.rows_added, 'row')} added, {table.rows_removed} removed, {table.rows_changed} changed, "
        f"{table.rows_unchanged} unchanged",
        heading=f"{table.path} ({table.change}):",
    )
    columns = [("added", name, kind) for name, kind in table.columns_added.items()]
    columns += [("removed", name, kind) for name, kind in table.columns_removed.items()]
    columns += [("type changed", one.name, f"{one.old} -> {one.new}") for one in table.columns_retyped]
    if table.change == "modified" and columns:
        print_table(("column", "name", "type"), columns)
    if table.rows:
        names = list(table.rows[0].new or table.rows[0].old or ())
        print_table(("row", *names), [line for one in table.rows for line in _lines(one, names)])
    shown = {"added": 0, "removed": 0, "changed": 0}
    for one in table.rows:
        shown[_kind(one)] += 1
    left = {"added": table.rows_added, "removed": table.rows_removed, "changed": table.rows_changed}
    rest = [f"{left[kind] - count:,} {kind}" for kind, count in shown.items() if left[kind] > count]
    if rest:
        echo(f"not shown: {', '.join(rest)}; --limit N shows more, and equal rows are shown once")
    if table.is_equal:
        echo("its bytes differ; its columns and rows are equal")


def _kind(one: "RowChange") -> str:
    return "added" if one.old is None else "removed" if one.new is None else "changed"


def _lines(one: "RowChange", names: Sequence[str]) -> list[tuple[str, ...]]:
    if one.old is not None and one.new is not None:
        return [("changed from", *_cells(one.old, names)), ("changed to", *_cells(one.new, names))]
    return [(_kind(one), *_cells(one.new or one.old or {}, names))]


def _cells(row: dict[str, str | None], names: Sequence[str]) -> list[str]:
    return [_NULL if row[name] is None else str(row[name]) for name in names]
