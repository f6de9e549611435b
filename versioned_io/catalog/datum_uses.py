"""Which commit of a repo of datums describes an output, and which of its datums were made from a content.

The datum trees are the truth, and both tables are rebuilt from them.

Source: docs/design/0019-datums-and-results.md, "Lineage".
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection, delete, insert, select

from versioned_io.catalog.plain import AnyConnection, rows
from versioned_io.catalog.tables import commits, confirmations, datum_states, datum_uses, repos
from versioned_io.catalog.upserts import upsert
from versioned_io.model.commits import CommitState, Confirmation, parse_root
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import STATE_KEY, RepoKind

_T = TypeVar("_T", CommitId, bytes, str)

_BATCH: Final = 500
_ROWS: Final = 20_000
DIGEST_BYTES: Final = 6
"""The index has the beginnings of digests; its reader compares the whole digest with the datum."""


class DescribedBy(NamedTuple):
    """A commit of a repo of datums, and the commit of the output that it describes."""

    output: CommitId
    datums: CommitId


class DatumPlace(NamedTuple):
    """A datum that was made from some content: its name in the datum tree of an output's commit."""

    output: CommitId
    datum: str


@dataclass(frozen=True, slots=True)
class NewDatums:
    """The index rows of a commit of a repo of datums.

    Attributes:
        uses: Pairs of a content's digest and the name of a datum that was made from it.
        confirmed: Outputs that other inputs gave again with the same bytes.
    """

    uses: Iterable[tuple[bytes, str]] = ()
    confirmed: Sequence[Confirmation] = ()


def has_states(connection: AnyConnection) -> bool:
    """Return whether the store has datums at all. Cost: 1 SELECT."""
    return bool(rows(connection, "SELECT 1 FROM datum_states LIMIT 1"))


def find_states(connection: AnyConnection, outputs: Collection[CommitId]) -> dict[CommitId, list[CommitId]]:
    """Return the live commits of datums of each of these commits of outputs, oldest first.

    The last one of each branch counts.

    Cost: 1 SELECT for each 500.
    """
    query = """SELECT s.output_id, s.commit_id FROM datum_states s JOIN commits c ON c.id = s.commit_id
        WHERE s.output_id IN :outputs AND c.state = 'live' ORDER BY s.number"""
    found: dict[CommitId, list[CommitId]] = {}
    for batch in _batches(sorted(set(outputs))):
        for output, datums in rows(connection, query, outputs=batch):
            found.setdefault(CommitId(output), []).append(CommitId(datums))
    return found


class TreeRow(NamedTuple):
    """The tree of a commit, which is much less than the commit.

    Attributes:
        root: The tree; None if it is empty or has expired.
    """

    repo: str
    root: PageRef | None
    is_live: bool
    parent: CommitId | None
    branch: str


def find_trees(connection: AnyConnection, commit_ids: Collection[CommitId]) -> dict[CommitId, TreeRow]:
    """Return the trees of commits. Cost: 1 SELECT for each 500."""
    query = """SELECT c.id, r.name, c.root, c.state, c.parent_id, c.branch FROM commits c
        JOIN repos r ON r.id = c.repo_id WHERE c.id IN :ids"""
    found: dict[CommitId, TreeRow] = {}
    for batch in _batches(sorted(set(commit_ids))):
        for one, repo, root, state, parent, branch in rows(connection, query, ids=batch):
            is_live = state == CommitState.LIVE.value
            found[CommitId(one)] = TreeRow(repo, parse_root(root) if is_live else None, is_live, parent, branch)
    return found


def list_states(connection: AnyConnection) -> list[DescribedBy]:
    """Return every commit of datums with the commit of the output that it describes, oldest first. Cost: 1 SELECT."""
    found = rows(connection, "SELECT output_id, commit_id FROM datum_states ORDER BY number")
    return [DescribedBy(CommitId(output), CommitId(datums)) for output, datums in found]


def last_of_pipelines(connection: AnyConnection) -> tuple[int, int]:
    """Return numbers that each commit of datums, or of results, raises. Cost: 1 SELECT, which counts the results."""
    query = """SELECT (SELECT coalesce(max(number), 0) FROM datum_states),
        (SELECT count(*) FROM commits c JOIN repos r ON r.id = c.repo_id WHERE r.kind = :kind)"""
    ((states, results),) = rows(connection, query, kind=RepoKind.RESULTS.value)
    return int(states), int(results)


def first_kept_trees(connection: AnyConnection, commit_id: CommitId) -> list[PageRef | None]:
    """Return the trees of the first commits in the repo of this one whose data has not expired. Cost: 1 SELECT."""
    query = """SELECT c.root FROM commits c JOIN commits p ON p.id = c.parent_id WHERE c.state = 'live'
        AND p.state <> 'live' AND c.repo_id = (SELECT repo_id FROM commits WHERE id = :one)"""
    return [parse_root(root) for (root,) in rows(connection, query, one=commit_id)]


def commits_beside(connection: AnyConnection, commit_ids: Collection[CommitId]) -> set[CommitId]:
    """Return the live commits of the repos of these commits. Cost: 1 SELECT for each 500."""
    query = """SELECT id FROM commits WHERE state = 'live'
        AND repo_id IN (SELECT repo_id FROM commits WHERE id IN :ids)"""
    batches = _batches(sorted(set(commit_ids)))
    return {CommitId(one) for batch in batches for (one,) in rows(connection, query, ids=batch)}


def find_datums_with(connection: AnyConnection, digests: Collection[bytes]) -> set[DatumPlace]:
    """Return the datums that may have been made from contents with these digests.

    Cost: 1 SELECT for each 500 digests, by the primary key.
    """
    query = """SELECT s.output_id, u.datum FROM datum_uses u JOIN datum_states s ON s.number = u.state
        WHERE u.digest IN :digests"""
    return {
        DatumPlace(CommitId(output), datum)
        for batch in _batches(sorted({one[:DIGEST_BYTES] for one in digests}))
        for output, datum in rows(connection, query, digests=batch)
    }


def confirmed_by(connection: AnyConnection, commit_id: CommitId) -> list[str]:
    """Return the paths that a commit confirmed, sorted. Cost: 1 SELECT."""
    query = "SELECT path FROM confirmations WHERE commit_id = :one ORDER BY path"
    return [path for (path,) in rows(connection, query, one=commit_id)]


def enter_datums(connection: Connection, datums: CommitId, output: CommitId, order: int, new: NewDatums) -> None:
    """Enter the rows of one commit of datums, unless the catalog has them.

    Args:
        output: The commit that it describes.
        order: The order of *output*.

    Cost: 2 statements, 1 INSERT for each 20,000 uses, 1 for the confirmations.
    """
    made = upsert(connection, datum_states).values(commit_id=datums, output_id=output)
    made = made.on_conflict_do_nothing()
    number = connection.execute(made.returning(datum_states.c.number)).scalar()
    if number is None:
        return
    # Sorted, so that a large commit fills the pages of the index one after the other.
    ordered = iter(sorted({(digest[:DIGEST_BYTES], datum) for digest, datum in new.uses}))
    while batch := list(islice(ordered, _ROWS)):
        values = [{"digest": digest, "state": number, "datum": datum} for digest, datum in batch]
        connection.execute(insert(datum_uses), values)
    others = [one._asdict() for one in new.confirmed if one.written_by != output]
    if others:
        values = [{"commit_id": output, "order": order, **one} for one in others]
        connection.execute(upsert(connection, confirmations).on_conflict_do_nothing(), values)


def forget_datums(connection: Connection, commit_ids: Sequence[CommitId]) -> None:
    """Delete the rows of these commits of datums. Cost: 1 SELECT and 2 DELETEs for each 500; one scans the uses."""
    for batch in _batches(commit_ids):
        numbers = select(datum_states.c.number).where(datum_states.c.commit_id.in_(batch))
        gone = list(connection.execute(numbers.order_by(datum_states.c.number)).scalars())
        if gone:
            connection.execute(delete(datum_uses).where(datum_uses.c.state.in_(gone)))
            connection.execute(delete(datum_states).where(datum_states.c.number.in_(gone)))


def forget_uses(connection: Connection, commit_id: CommitId, names: Collection[str]) -> None:
    """Delete the uses of some datums of a commit of datums. Cost: 1 SELECT, and 1 DELETE for each 500."""
    number = connection.execute(select(datum_states.c.number).where(datum_states.c.commit_id == commit_id)).scalar()
    for batch in _batches(sorted(names)):
        own = (datum_uses.c.state == number) & datum_uses.c.datum.in_(batch)
        connection.execute(delete(datum_uses).where(own))


def states_without_rows(connection: Connection) -> list[DescribedBy]:
    """Return the live commits of datums that have no rows yet, with the outputs that they describe, oldest first.

    The data of an output may have expired.

    Cost: 3 SELECTs, which read the commits of the repos of datums and of outputs.
    """
    known = set(connection.execute(select(datum_states.c.commit_id)).scalars())
    every = (
        select(commits.c.id, commits.c.metadata)
        .join(repos, repos.c.id == commits.c.repo_id)
        .order_by(commits.c.order, commits.c.id)
    )
    is_live = commits.c.state == CommitState.LIVE.value
    of_datums = [
        (CommitId(one), json.loads(metadata).get(STATE_KEY))
        for one, metadata in connection.execute(every.where(repos.c.kind == RepoKind.DATUMS.value, is_live))
        if one not in known
    ]
    if not of_datums:
        return []
    likely = every.where(repos.c.kind == RepoKind.USER.value, commits.c.metadata.like(f'%"{STATE_KEY}"%'))
    outputs: dict[str, CommitId] = {}
    for one, metadata in connection.execute(likely):
        state = json.loads(metadata).get(STATE_KEY)
        if isinstance(state, str):  # another value under that key is its writer's
            outputs.setdefault(state, CommitId(one))
    return [DescribedBy(outputs[state], one) for one, state in of_datums if state in outputs]


def _batches(items: Sequence[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), _BATCH):
        yield list(items[start : start + _BATCH])
