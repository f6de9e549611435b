"""Edges of lineage in the catalog: the commits and the versions of files that each commit was made from.

The statements are fixed texts, and take the commits and files to look up as one JSON value. Building and compiling a
statement takes ten times as long as running it. Each arm of a union has an index of its own.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, CursorResult, TextClause, text

from versioned_io.model.commits import InputFile
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.path_ranges import PathRange
from versioned_io.model.paths import parent_directories

_BATCH = 500
_PLACES_AT_ONCE = 200
_MANY_PATHS = 1_000
"""With more paths of one commit, reading all of its rows is faster than looking up each path."""

_T = TypeVar("_T")

Places = Mapping[CommitId, Collection[str] | None]
"""Files and directories, by commit; None means the whole commit."""


@dataclass(frozen=True, slots=True)
class Use:
    """One version of one file, and the commit that was made from it."""

    consumer: CommitId
    file: InputFile


def inputs_of(connection: Connection, commit_ids: Sequence[CommitId]) -> list[Use]:
    """Return every file that the commits were made from, sorted by consumer, repo and path.

    Cost: 1 SELECT for each 500 commits.
    """
    return [
        use
        for batch in batches(commit_ids, _BATCH)
        for use in _uses(connection, _INPUTS, {"wholes": batch, "places": []})
    ]


def inputs_for(connection: Connection, outputs: Places) -> list[Use]:
    """Return the files that some outputs of commits were made from, sorted by consumer, repo and path.

    Args:
        outputs: The output files to look up, by commit. An input matches if it was read for the file itself, for a
            directory above it, or for the whole commit.

    Cost: 1 SELECT for each 200 files and directories, which reads only their rows.
    """
    wholes = [commit for commit, paths in outputs.items() if paths is None or len(paths) > _MANY_PATHS]
    places = [
        (commit, place)
        for commit, paths in outputs.items()
        if paths is not None and len(paths) <= _MANY_PATHS
        for place in sorted({"", *paths, *(above for path in paths for above in parent_directories(path))})
    ]
    return [use for asked in _together(wholes, places) for use in _uses(connection, _INPUTS, asked)]


def uses_of(connection: Connection, made: Places) -> list[Use]:
    """Return the uses of files that commits made or confirmed, in the version that was read.

    Args:
        made: The files and directories to look up, by commit.

    Cost: 1 SELECT for each 200 files and directories, which reads only their rows. For a directory PostgreSQL reads all
        rows of its commit.
    """
    wholes = [commit for commit, paths in made.items() if paths is None]
    places = [(commit, path) for commit, paths in made.items() if paths is not None for path in sorted(paths)]
    return [use for asked in _together(wholes, places) for use in _uses(connection, _MADE, asked)]


def uses_of_content(connection: Connection, digest: Digest) -> list[Use]:
    """Return every use of a file with this content, in any repo and by any writer.

    Cost: 1 SELECT, by an index.
    """
    return _uses(connection, _CONTENT, {}, digest=bytes.fromhex(digest))


def bare_sources(connection: Connection, commit_ids: Sequence[CommitId]) -> list[tuple[CommitId, CommitId]]:
    """Return (commit, source commit) pairs for which no input files are recorded.

    Cost: 1 SELECT for each 500 commits.
    """
    return _bare(connection, _BARE_SOURCES, commit_ids)


def bare_consumers(connection: Connection, commit_ids: Sequence[CommitId]) -> list[tuple[CommitId, CommitId]]:
    """Return (consumer, commit) pairs for which no input files are recorded.

    Cost: 1 SELECT for each 500 commits.
    """
    return _bare(connection, _BARE_CONSUMERS, commit_ids)


def batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield *items* in lists of *size*; the last one may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


class Statement(NamedTuple):
    """One query, in the SQL dialect of each database.

    ``{wholes}`` and ``{places}`` stand for tables of the commits and files to look up. ``{join}`` makes the database
    start with its left side.
    """

    sqlite: TextClause
    postgresql: TextClause

    @classmethod
    def of(cls, query: str, columns: Mapping[str, Sequence[str]]) -> "Statement":
        """Return *query* with its parameter tables, whose rows are passed as JSON; *columns* names their columns."""
        members = "json_each(:{})"
        field = "json_extract(value, '$[{}]')"
        sqlite = {table: _table(table, names, field, members) for table, names in columns.items()}
        members = "jsonb_array_elements(CAST(:{} AS jsonb)) AS one(value)"
        postgresql = {table: _table(table, names, "value ->> {}", members) for table, names in columns.items()}
        return cls(
            text(query.format(join="CROSS JOIN", is_below=_BELOW_IN_BYTES, **sqlite)),
            text(query.format(join="JOIN", is_below=_BELOW_IN_TEXT, **postgresql)),
        )

    def run(self, connection: Connection, asked: Mapping[str, object], **values: object) -> CursorResult[Any]:
        """Execute the query with the rows of its parameter tables. Cost: 1 SELECT."""
        statement = self.sqlite if connection.dialect.name == "sqlite" else self.postgresql
        return connection.execute(statement, {**{name: json.dumps(rows) for name, rows in asked.items()}, **values})


def _table(name: str, columns: Sequence[str], field: str, members: str) -> str:
    fields = ", ".join(f"{field.format(number)} AS {column}" for number, column in enumerate(columns))
    return f"SELECT {fields} FROM {members.format(name)}"  # noqa: S608 (of names in this module, not of values)


_BELOW_IN_BYTES: Final = "i.path >= asked.first AND i.path < asked.stop"
_BELOW_IN_TEXT: Final = "starts_with(i.path, asked.first)"
"""PostgreSQL orders text by locale, so a range of text is not a prefix there."""

_OF_COMMITS: Final = {"wholes": ("of",)}
_OF_PLACES: Final = {**_OF_COMMITS, "places": ("of", "place", "first", "stop")}

_USES: Final = """
    SELECT i.commit_id, r.name AS repo, i.input_id, i.path, i.digest, i.written_by, i.output, i.confirmed_by
    FROM ({found}) AS i JOIN commits AS c ON c.id = i.input_id JOIN repos AS r ON r.id = c.repo_id
    ORDER BY i.commit_id, r.name, i.path, i.output
"""
_ARM: Final = "SELECT i.* FROM ({{{table}}}) AS asked {{join}} input_files AS i ON {condition}"


def _uses_where(columns: Mapping[str, Sequence[str]], *arms: tuple[str, str]) -> Statement:
    found = " UNION ALL ".join(_ARM.format(table=table, condition=condition) for table, condition in arms)
    return Statement.of(_USES.replace("{found}", found), columns)


_INPUTS: Final = _uses_where(
    _OF_PLACES,
    ("wholes", "i.commit_id = asked.of"),
    ("places", "i.commit_id = asked.of AND i.output = asked.place"),
)
_MADE: Final = _uses_where(
    _OF_PLACES,
    ("wholes", "i.written_by = asked.of AND i.confirmed_by IS NULL"),
    ("places", "i.written_by = asked.of AND i.confirmed_by IS NULL AND i.path = asked.place"),
    ("places", "i.written_by = asked.of AND i.confirmed_by IS NULL AND {is_below}"),
    ("wholes", "i.confirmed_by = asked.of"),
    ("places", "i.confirmed_by = asked.of AND i.path = asked.place"),
    ("places", "i.confirmed_by = asked.of AND {is_below}"),
)
_CONTENT: Final = Statement.of(_USES.replace("{found}", "SELECT * FROM input_files WHERE digest = :digest"), {})
_BARE: Final = """
    SELECT p.commit_id, p.input_id FROM ({{wholes}}) AS asked {{join}} provenance AS p ON p.{column} = asked.of
    WHERE NOT EXISTS (SELECT 1 FROM input_files AS i WHERE i.commit_id = p.commit_id AND i.input_id = p.input_id)
    ORDER BY p.commit_id, p.input_id
"""
_BARE_SOURCES: Final = Statement.of(_BARE.format(column="commit_id"), _OF_COMMITS)
_BARE_CONSUMERS: Final = Statement.of(_BARE.format(column="input_id"), _OF_COMMITS)


def _together(wholes: Sequence[CommitId], places: Sequence[tuple[CommitId, str]]) -> Iterator[dict[str, list[object]]]:
    """Yield the parameters of one statement after another: whole commits, and places in commits."""
    of_commits, of_places = list(batches(wholes, _BATCH)), list(batches(places, _PLACES_AT_ONCE))
    for number in range(max(len(of_commits), len(of_places))):
        commit_ids = of_commits[number] if number < len(of_commits) else []
        pairs = of_places[number] if number < len(of_places) else []
        yield {"wholes": list(commit_ids), "places": [(one, place, *_range_below(place)) for one, place in pairs]}


def _range_below(place: str) -> tuple[str, str]:
    below = PathRange.of_prefix(f"{place}/")
    return below.start, below.end or below.start


def _uses(
    connection: Connection, statement: Statement, asked: Mapping[str, Sequence[object]], **values: object
) -> list[Use]:
    if "wholes" in asked:
        asked = {**asked, "wholes": [[one] for one in asked["wholes"]]}
    return [
        Use(
            row.commit_id,
            InputFile(
                row.repo,
                row.input_id,
                row.path,
                Digest(bytes(row.digest).hex()),
                row.written_by,
                row.output,
                row.confirmed_by,
            ),
        )
        for row in statement.run(connection, asked, **values)
    ]


def _bare(
    connection: Connection, statement: Statement, commit_ids: Sequence[CommitId]
) -> list[tuple[CommitId, CommitId]]:
    return [
        (CommitId(row.commit_id), CommitId(row.input_id))
        for batch in batches(commit_ids, _BATCH)
        for row in statement.run(connection, {"wholes": [[one] for one in batch]})
    ]
