"""The commit that made or confirmed a file that was read: the newest whose run wrote these bytes.

Source: docs/design/0012-lineage-answers.md, "Made or confirmed".
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from versioned_io.catalog.commits import squashes_of
from versioned_io.catalog.lineage import Statement, batches
from versioned_io.catalog.tables import commits, confirmations, repos, segments
from versioned_io.model.commits import InputFile
from versioned_io.model.identifiers import CommitId

_FEW_FILES = 200
_BATCH = 500


class _ReadVersion(NamedTuple):
    """A file as it was read at a commit, and the commit that wrote it."""

    commit: CommitId
    written_by: CommitId
    path: str


def with_confirmations(connection: Connection, files: Sequence[InputFile]) -> tuple[InputFile, ...]:
    """Return *files*, each with the newest commit that confirmed it, in the history of the commit it was read at.

    A commit confirms a file when its run writes the same bytes again.

    Cost: 1 SELECT for up to 200 files. For more files, 1 for each 500 commits that wrote them. Then 1 for each 200
        files by commits with confirmed files. 3 more for each commit that may have confirmed a file.
    """
    asked = _worth_asking(connection, [_ReadVersion(file.commit, file.written_by, file.path) for file in files])
    if not asked:
        return tuple(files)
    found: dict[_ReadVersion, CommitId] = {}
    history = _History(connection)
    for batch in batches(asked, _FEW_FILES):
        for version, candidate in _newest_candidates(connection, batch):
            confirmed_by = candidate if history.holds(version.commit, candidate) else history.newest(version)
            if confirmed_by is not None:
                found[version] = confirmed_by
    return tuple(
        replace(file, confirmed_by=found.get(_ReadVersion(file.commit, file.written_by, file.path))) for file in files
    )


def _worth_asking(connection: Connection, versions: Sequence[_ReadVersion]) -> list[_ReadVersion]:
    unique = list(dict.fromkeys(versions))
    if len(unique) <= _FEW_FILES:
        return unique
    confirmed: set[str] = set()
    for batch in batches(sorted({one.written_by for one in unique}), _BATCH):
        query = select(confirmations.c.written_by).where(confirmations.c.written_by.in_(batch)).distinct()
        confirmed |= set(connection.execute(query).scalars())
    return [one for one in unique if one.written_by in confirmed]


def _newest_candidates(
    connection: Connection, versions: Sequence[_ReadVersion]
) -> Iterator[tuple[_ReadVersion, CommitId]]:
    """Yield each confirmed version with the newest candidate: a confirming commit that may be in the history."""
    for row in _NEWEST.run(connection, {"versions": versions}):
        if row.newest is not None:
            yield _ReadVersion(row.read_at, row.author, row.path), CommitId(row.newest)


_NEWEST: Final = Statement.of(
    """
    SELECT asked.read_at, asked.author, asked.path, (
        SELECT n.commit_id FROM confirmations AS n
        WHERE n.written_by = asked.author AND n.path = asked.path
        AND n."order" <= (SELECT c."order" FROM commits AS c WHERE c.id = asked.read_at)
        ORDER BY n."order" DESC, n.commit_id DESC LIMIT 1
    ) AS newest
    FROM ({versions}) AS asked
    """,
    {"versions": ("read_at", "author", "path")},
)


class _History:
    """The commits in the history of a commit: its parents, the commits they merged, and those squashed into them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: dict[tuple[CommitId, CommitId], bool] = {}

    def holds(self, newest: CommitId, candidate: CommitId) -> bool:
        """Return whether *newest* is *candidate* or descends from it."""
        pair = (newest, candidate)
        if pair not in self._answers:
            self._answers[pair] = newest == candidate or self._look(newest, candidate)
        return self._answers[pair]

    def newest(self, version: _ReadVersion) -> CommitId | None:
        """Return the newest commit that confirmed a version, in the history of the commit it was read at."""
        limit = select(commits.c.order).where(commits.c.id == version.commit).scalar_subquery()
        query = (
            select(confirmations.c.commit_id)
            .where(confirmations.c.written_by == version.written_by, confirmations.c.path == version.path)
            .where(confirmations.c.order <= limit)
            .order_by(confirmations.c.order.desc(), confirmations.c.commit_id.desc())
        )
        candidates = list(self._connection.execute(query).scalars())
        return next((CommitId(one) for one in candidates if self.holds(version.commit, CommitId(one))), None)

    def _look(self, newest: CommitId, candidate: CommitId) -> bool:
        query = select(commits.c.segment_id, commits.c.number, commits.c.order).where(commits.c.id == candidate)
        wanted = self._connection.execute(query).one()
        seen = {newest}
        waiting = [newest]
        while waiting:
            for segment, number in self._lines(waiting.pop()):
                if segment == wanted.segment_id and number >= wanted.number:
                    return True
                further = {*self._merged(segment, number, wanted.order), *self._squashed(segment, number, candidate)}
                waiting += further - seen
                seen |= further
        return False

    def _lines(self, newest: CommitId) -> Iterator[tuple[int, int]]:
        """Yield the segments of a history, each with the last commit number that belongs to the history."""
        query = select(commits.c.segment_id, commits.c.number).where(commits.c.id == newest)
        segment, number = self._connection.execute(query).one()
        while segment is not None:
            yield segment, number
            row = self._connection.execute(select(segments).where(segments.c.id == segment)).one()
            segment, number = row.parent_id, row.first_number - 1

    def _merged(self, segment: int, number: int, after: int) -> set[CommitId]:
        """Return the commits that a segment's commits merged, of merges with an order above *after*."""
        query = select(commits.c.merged_id).where(
            commits.c.segment_id == segment,
            commits.c.number <= number,
            commits.c.order > after,
            commits.c.merged_id.is_not(None),
        )
        return {CommitId(one) for one in self._connection.execute(query).scalars()}

    def _squashed(self, segment: int, number: int, candidate: CommitId) -> set[CommitId]:
        """Return the heads that squashes replaced by commits of a segment."""
        repo = select(repos.c.name).join(commits, commits.c.repo_id == repos.c.id).where(commits.c.id == candidate)
        squashes = squashes_of(self._connection, self._connection.execute(repo).scalar_one())
        news = {new: old for old, new in squashes}
        own = select(commits.c.id).where(commits.c.id.in_(list(news)[:_BATCH]), commits.c.segment_id == segment)
        return {
            news[CommitId(one)] for one in self._connection.execute(own.where(commits.c.number <= number)).scalars()
        }
