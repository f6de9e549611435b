"""The part of a table that a reader asks for: some columns, and the rows that pass a filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted

OPERATORS: Final = ("==", "=", "!=", "<", "<=", ">", ">=", "in", "not in")

_EXAMPLE: Final = "[('year', '>=', 2020), ('city', 'in', ['oslo', 'rome'])]"


class Condition(NamedTuple):
    """A comparison that a row passes or not."""

    column: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Selection:
    """Columns and rows of a table.

    Attributes:
        columns: The columns in their order; empty for all.
        filters: A row is kept if all conditions of one of these groups hold; empty for all rows.
    """

    columns: tuple[str, ...] = ()
    filters: tuple[tuple[Condition, ...], ...] = ()

    @classmethod
    def parse(cls, columns: object, filters: object) -> Self:
        """Return the selection that a user wrote.

        Args:
            columns: A list of names; None for all.
            filters: A list of conditions such as ``("year", ">=", 2020)``, which must all hold. Or a list of such
                lists, of which one must hold. It is the form of `pyarrow.parquet.read_table`. None for all rows.

        Raises:
            InvalidInputError: They have another form; the message shows the right one.
        """
        return cls(_parse_columns(columns), _parse_filters(filters))

    def __bool__(self) -> bool:
        return bool(self.columns or self.filters)

    @property
    def filtered(self) -> tuple[str, ...]:
        """The columns that the conditions compare."""
        return tuple(dict.fromkeys(one.column for group in self.filters for one in group))

    def check(self, names: Sequence[str], path: str) -> None:
        """Do nothing if a table of the columns *names* has all columns that are asked for.

        Raises:
            InvalidInputError: A column is missing; the message names those that exist.
        """
        for name in (*self.columns, *self.filtered):
            if name not in names:
                shown = ", ".join(map(quoted, names[:50]))
                msg = f"{quoted(path)} has no column {quoted(name)}, which columns or filters name; it has {shown}"
                raise InvalidInputError(msg)


def _shown(given: object) -> str:
    return repr(given)[:200]


def _parse_columns(columns: object) -> tuple[str, ...]:
    if columns is None:
        return ()
    given = columns if isinstance(columns, list | tuple) else ()
    if not given or not all(isinstance(name, str) for name in given) or len(set(given)) < len(given):
        msg = f"columns={_shown(columns)} is not a list of different names: write columns=['city', 'rain']"
        raise InvalidInputError(msg)
    return tuple(given)


def _parse_filters(filters: object) -> tuple[tuple[Condition, ...], ...]:
    if filters is None:
        return ()
    groups = _list_of(filters, filters)
    if not isinstance(groups[0], list | tuple) or not groups[0]:
        raise _refused(filters)
    if isinstance(groups[0][0], str):
        groups = [groups]
    return tuple(tuple(_parse_condition(one, filters) for one in _list_of(group, filters)) for group in groups)


def _parse_condition(condition: Any, filters: object) -> Condition:  # noqa: ANN401 (a user wrote it)
    match condition:
        case (str(column), str(operator), value) if operator in OPERATORS:
            is_list = isinstance(value, list | tuple | set | frozenset)
            if is_list and operator in {"in", "not in"}:
                return Condition(column, operator, list(value))
            if not is_list and value is not None and operator not in {"in", "not in"}:
                return Condition(column, "==" if operator == "=" else operator, value)
    raise _refused(filters)


def _list_of(given: object, filters: object) -> list[Any]:
    if isinstance(given, list | tuple) and given:
        return list(given)
    raise _refused(filters)


def _refused(filters: object) -> InvalidInputError:
    msg = (
        f"filters={_shown(filters)} is not a list of conditions: write filters={_EXAMPLE}, whose conditions must all "
        f"hold, or a list of such lists, of which one must hold. The operators are {', '.join(OPERATORS)}. 'in' and "
        "'not in' take a list, the others a value that is not None"
    )
    return InvalidInputError(msg)
