"""IDs of the DAGs and branches that this provider makes: readable, and different for whatever differs."""

import hashlib
import json
from collections.abc import Sequence

LONGEST_DAG_ID = 250  # the width of Airflow's column
_LONGEST_BRANCH = 128  # the store's limit
_DIGEST_CHARACTERS = 10


def build_dag_id(words: Sequence[str], identity: Sequence[str | None], *, is_plain: bool) -> str:
    """Return a DAG ID of *words*: only letters, digits, ``-``, ``_`` and ``.``, at most 250 characters.

    Args:
        identity: The facts that tell two DAGs apart. They become a digest at the end of the ID.
        is_plain: Whether the words alone can't be those of another DAG; then the ID is short and has no digest.
    """
    safe = [escape_word(word) for word in words]
    name = ".".join(safe)
    if is_plain and safe == list(words) and len(name) <= LONGEST_DAG_ID:
        return name
    return _with_digest(name, identity, LONGEST_DAG_ID)


def name_run_branch(dag_id: str, run_id: str, group_id: str, into: str) -> str:
    """Return the name of the branch of one run: it shows the DAG and the run, and no other run or group has it."""
    shown = f"runs/{escape_word(dag_id)[:50]}/{escape_word(run_id)}"
    return _with_digest(shown, [dag_id, run_id, group_id, into], _LONGEST_BRANCH)


def _with_digest(name: str, identity: Sequence[str | None], longest: int) -> str:
    """Return *name*, shortened, with a digest of *identity*."""
    digest = hashlib.sha256(json.dumps(list(identity)).encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{name[: longest - _DIGEST_CHARACTERS - 1]}.{digest}"


def escape_word(word: str) -> str:
    """Return *word* with a ``-`` for each character that a DAG ID can't have."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in word)
