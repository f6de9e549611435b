"""IDs of the DAGs that this provider makes: readable, and different for whatever differs."""

import hashlib
import json
from collections.abc import Sequence

LONGEST_DAG_ID = 250  # the width of Airflow's column
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
    digest = hashlib.sha256(json.dumps(list(identity)).encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{name[: LONGEST_DAG_ID - _DIGEST_CHARACTERS - 1]}.{digest}"


def escape_word(word: str) -> str:
    """Return *word* with a ``-`` for each character that a DAG ID can't have."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "-" for char in word)
