"""The kinds of repos: those of users, and the system repos that go with one of them, with the paths in these."""

import hashlib
from enum import StrEnum
from typing import Final

_LONGEST: Final = 100
"""A longer name is cut and ends in a digest, so that the catalog's columns hold the name of each system repo."""

MANIFESTS: Final = "m/"
"""``m/<fingerprint>`` is empty; its attributes are the number and the digest of the outputs, and who made them."""
OUTPUTS: Final = "o/"
"""``o/<fingerprint>/<path>`` is an output."""
LOGS: Final = "l/"
"""``l/<fingerprint>`` is what the evaluation printed, if it printed anything."""
FAILURES: Final = "f/"
"""``f/<fingerprint>`` is the error of an evaluation that failed."""
INPUTS: Final = "n/"
"""``n/<fingerprint>`` names the input files, where a row's attributes can't hold them."""
SOURCES_KEY: Final = "inputs"
"""The attribute of a manifest or a failure that names the input files: pairs of a commit and its paths."""
INVALIDATED: Final = "i/"
"""``i/<fingerprint>`` ends the result that the fingerprint had until then."""


INDEXED_KEY: Final = "indexed"
"""In the metadata of a commit of results: false if no other run may find them, as with ``cache="never"``."""

STATE_KEY: Final = "datums"
"""The metadata key that an output commit shares with the commits of the datum tree that describe it."""


class RepoKind(StrEnum):
    """The kind of a repo. A system repo is found by its owner and its kind, never by its name."""

    USER = "user"
    DATUMS = "datums"
    """Which datums a pipeline's output was made of, branch by branch."""
    RESULTS = "results"
    """The results of datums, one branch for each run."""


def name_system_repo(owner: str, kind: RepoKind) -> str:
    """Return the name of the system repo of *owner*, which users can't write, since it holds a ``~``.

    Args:
        owner: The recorded name of the owner, so that renaming the owner changes nothing here.
    """
    if len(owner) > _LONGEST:
        owner = f"{owner[:_LONGEST]}-{hashlib.blake2b(owner.encode(), digest_size=4).hexdigest()}"
    return f"{owner}~{kind.value}"


def fingerprint_in(path: str) -> bytes:
    """Return the fingerprint in the path of a manifest or a failure."""
    return bytes.fromhex(path[2:66])
