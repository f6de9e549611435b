"""Edges between whole commits: for each commit, the commits whose runs made or confirmed the files that it read.

If a commit records a source without files, the edge leads to the commit as it was read. The statements are in plain
SQL, so a command that only reads loads no SQLAlchemy.
"""

import json
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from versioned_io.catalog.plain import AnyConnection, PlainConnection, only_row, rows
from versioned_io.model.identifiers import CommitId

Edge: TypeAlias = tuple[CommitId, CommitId]
"""A commit, and one of the commits that it was made from."""

_MOST: Final = 2**62


class Way(StrEnum):
    """The direction of a walk along the edges."""

    UP = "up"
    """To what a commit was made from."""
    DOWN = "down"
    """To what was made from it."""


class _Arm(NamedTuple):
    """One table of edges: rows *e*, the commit that each row leads to, and the condition on the rows."""

    found: str
    table: str
    condition: str


_MAKER: Final = "coalesce(e.confirmed_by, e.written_by)"
_IS_BARE: Final = """NOT EXISTS (
    SELECT 1 FROM input_files AS i WHERE i.commit_id = e.commit_id AND i.input_id = e.input_id)"""
_ARMS: Final = {
    Way.UP: (
        _Arm(_MAKER, "input_files", "e.commit_id = w.id"),
        _Arm("e.input_id", "provenance", f"e.commit_id = w.id AND {_IS_BARE}"),
    ),
    Way.DOWN: (
        _Arm("e.commit_id", "input_files", "e.written_by = w.id AND e.confirmed_by IS NULL"),
        _Arm("e.commit_id", "input_files", "e.confirmed_by = w.id"),
        _Arm("e.commit_id", "provenance", f"e.input_id = w.id AND {_IS_BARE}"),
    ),
}
# SQLite takes several recursive arms, and CROSS JOIN makes it begin with the walk. PostgreSQL takes one arm.
_SQLITE: Final = {
    "roots": "SELECT value, 0 FROM json_each(:roots)",
    "arm": "UNION SELECT {found}, w.depth + :step FROM walk AS w CROSS JOIN {table} AS e"
    " WHERE {condition} AND w.depth < :depth",
    "walk": "{arms} LIMIT :most",
    "end": "",
}
_POSTGRESQL: Final = {
    "roots": "SELECT value, 0 FROM json_array_elements_text(CAST(:roots AS json)) AS of_json(value)",
    "arm": "UNION ALL SELECT {found} AS id FROM {table} AS e WHERE {condition}",
    "walk": "UNION SELECT found.id, w.depth + CAST(:step AS integer) FROM walk AS w"
    " CROSS JOIN LATERAL ({arms}) AS found WHERE w.depth < CAST(:depth AS integer)",
    "end": "LIMIT :most",
}


def _walk_text(way: Way, dialect: dict[str, str]) -> str:
    arms = " ".join(dialect["arm"].format(**arm._asdict()) for arm in _ARMS[way])
    walk = dialect["walk"].format(arms=arms.removeprefix("UNION ALL "))
    return f"WITH RECURSIVE walk(id, depth) AS ({dialect['roots']} {walk}) SELECT id, depth FROM walk {dialect['end']}"  # noqa: S608 (constants)


_WALKS: Final = {way: (_walk_text(way, _SQLITE), _walk_text(way, _POSTGRESQL)) for way in Way}
_FILES_EDGES: Final = f"SELECT e.commit_id, {_MAKER} FROM input_files AS e"  # noqa: S608 (constants)
_BARE_EDGES: Final = f"SELECT e.commit_id, e.input_id FROM provenance AS e WHERE {_IS_BARE}"  # noqa: S608 (constants)
_EVERY_BARE_EDGE: Final = """SELECT commit_id, input_id FROM provenance
    EXCEPT SELECT commit_id, input_id FROM input_files ORDER BY 1, 2"""
"""Both tables are read in the order of their keys, which takes half the time of a look-up for each edge."""
_BATCH: Final = 500


def walk_commits(
    connection: AnyConnection, roots: Sequence[str], way: Way, *, depth: int | None, limit: int | None
) -> dict[CommitId, int]:
    """Return *roots* and the commits that a walk from them reaches, the nearest first, each with its depth.

    Args:
        depth: The most edges between a root and a commit. None for any number; then each depth is 0.
        limit: The walk may end after this many commits. It ends before it reads everything.

    Cost: 1 SELECT, which reads only the rows of the commits in the answer.
    """
    # A commit that several paths of different lengths lead to comes once with each depth.
    levels = 1 if depth is None else depth + 1
    found = rows(
        connection,
        _WALKS[way][0 if _is_sqlite(connection) else 1],
        roots=json.dumps(list(roots)),
        step=0 if depth is None else 1,
        depth=1 if depth is None else depth,
        most=_MOST if limit is None else min(limit * levels, _MOST),
    )
    reached: dict[CommitId, int] = {}
    for commit, at in found:
        reached.setdefault(CommitId(commit), at)
    return reached


def edges_between(connection: AnyConnection, commits: Collection[str], *, from_only: bool = False) -> list[Edge]:
    """Return the edges between some commits, sorted; with *from_only*, all that lead from them.

    Cost: 2 SELECTs for each 500 commits.
    """
    known, asked, found = set(commits), sorted(commits), set[Edge]()
    for start in range(0, len(asked), _BATCH):
        batch = asked[start : start + _BATCH]
        for text in (f"{_FILES_EDGES} WHERE e.commit_id IN :ids", f"{_BARE_EDGES} AND e.commit_id IN :ids"):
            found.update(rows(connection, text, ids=batch))
    return sorted(edge for edge in found if from_only or edge[1] in known)


def every_edge(connection: AnyConnection) -> list[Edge]:
    """Return all edges of the store, nearly sorted; an edge comes once for each file that was read along it.

    Cost: 2 SELECTs, which read every edge, about 1 us each.
    """
    return [*rows(connection, _EVERY_BARE_EDGE), *rows(connection, _FILES_EDGES)]


def highest_order(connection: AnyConnection) -> int:
    """Return the highest order of a commit, which is about the number of commits. Cost: 1 SELECT, by an index."""
    return int(only_row(rows(connection, 'SELECT max("order") FROM commits'))[0] or 0)


def _is_sqlite(connection: AnyConnection) -> bool:
    return isinstance(connection, PlainConnection) or connection.dialect.name == "sqlite"
