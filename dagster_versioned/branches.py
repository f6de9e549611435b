"""The branch that outputs are committed to, made where it is missing."""

from contextlib import suppress

import versioned_io as vio
from versioned_io.errors import ExistsError


def ensure_branch(store: "vio.Store", repo: str, branch: str, base: str) -> str:
    """Make the repo, and its branch from *base*, if they are missing; return the branch's ref.

    Cost: 1 transaction if the repo is missing, 1 if the branch is, and 1 SELECT.
    """
    ref = f"{repo}@{branch}"
    info = store.create_repo(repo, exist_ok=True)
    if branch not in {one.name for one in info.branches}:
        with suppress(ExistsError):  # another process made it meanwhile
            store.create_branch(ref, at=f"{repo}@{base}")
    return ref
