"""What checking a store finds: damages, each with where it is, and what is no damage but worth knowing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from versioned_io.errors import FormatError, IntegrityError, NotFoundError

Progress: TypeAlias = Callable[[str, int], None]
"""Called with the stage of the check and how much of it was done."""

DAMAGES = (IntegrityError, NotFoundError, FormatError)
"""What reading a damaged store raises. That a store is out of reach says nothing about it, so that is not caught."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One damage: a stable *kind*, where it is, and what was found.

    The kinds: ``pack`` (an object or its row), ``commit``, ``page`` and ``file`` (what can't be read because of it),
    ``journal``, ``head`` (a name), ``history`` (numbers and segments), ``lineage``, ``index`` (places of contents), and
    ``source``: an object elsewhere that a file refers to changed, is gone, or may not be looked at.
    """

    kind: str
    where: str
    found: str


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What was checked, and every damage; none means that every byte is as it was written and every name leads to it.

    Attributes:
        files: Versions of files.
        chunks: Contents in packs, and references to parts elsewhere, that are what their names say.
        bytes_checked: Of contents in packs.
        sources: Objects elsewhere that files refer to and that were looked at, changed or not.
        orphans: Packs that the catalog does not know: of attempts that never counted, or of writers at work. No damage;
            `gc` takes them away.
        condemned: Packs that commits lead to and that a collection condemned before it could know. No damage: the next
            `gc` makes them live again, and so does a repair. Until then new commits can't refer to them.
        repaired: What was put right, each as a sentence; the problem is among *problems* too.
    """

    problems: tuple[Problem, ...]
    commits: int
    files: int
    chunks: int
    bytes_checked: int
    packs: int = 0
    sources: int = 0
    orphans: tuple[str, ...] = ()
    condemned: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether no damage was found."""
        return not self.problems


@dataclass(slots=True)
class Findings:
    """What a check under way has found so far."""

    progress: Progress
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, where: object, found: object) -> None:
        """Note one damage."""
        self.problems.append(Problem(kind, str(where), str(found)))
