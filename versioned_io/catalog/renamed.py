"""The two names of a renamed repo: its present name, and the recorded name, which its packs keep."""

import json
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select

from versioned_io.catalog.tables import journal, repos
from versioned_io.errors import IntegrityError
from versioned_io.model.journal import Action
from versioned_io.model.refs import BranchRef

RECORDED_NAME: Final[ColumnElement[Any]] = func.coalesce(repos.c.recorded_name, repos.c.name)
"""The name of a repo in commit records and the journal, whatever its present name is."""


def is_recorded_as(name: str) -> ColumnElement[bool]:
    """Return the SQL condition that the packs call the repo in a row of `repos` *name*."""
    return func.coalesce(repos.c.recorded_name, repos.c.name) == name


def recorded_name_of(repo: str) -> ScalarSelect[str]:
    """Return a subquery for the recorded name of the repo whose present name is *repo*; NULL if there is none."""
    return select(RECORDED_NAME).where(repos.c.name == repo).scalar_subquery()


def former_names_of(connection: Connection, ref: BranchRef) -> list[BranchRef]:
    """Return what a branch was called before, by its own renamings and those of its repo; the newest name first.

    A name may have been another branch's in between, so the caller compares more than the name.

    Raises:
        IntegrityError: A journal entry about a renaming is malformed. Run fsck.

    Cost: 1 SELECT, which scans the repo's part of the journal.
    """
    kinds = (Action.RENAME_BRANCH.value, Action.RENAME_REPO.value)
    query = select(journal.c.sequence, journal.c.name, journal.c.action, journal.c.details)
    own = query.where(journal.c.repo == recorded_name_of(ref.repo), journal.c.action.in_(kinds))
    found: list[BranchRef] = []
    now = ref
    for row in connection.execute(own.order_by(journal.c.sequence.desc())):
        try:
            details = json.loads(row.details)
            if row.action == Action.RENAME_REPO.value:
                before = BranchRef(str(details["from"]), now.branch) if details["to"] == now.repo else now
            else:
                before = BranchRef(now.repo, row.name) if details["to"] == now.branch else now
        except (TypeError, ValueError, KeyError) as error:
            msg = f"entry {row.sequence} of the catalog's journal is malformed ({error}); run fsck"
            raise IntegrityError(msg) from error
        if before != now:
            found.append(before)
            now = before
    return found
