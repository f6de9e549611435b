"""The findings of a check: damages with their places, and facts that are not damage but worth knowing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from versioned_io.maintenance.evidence.contents import DAMAGES

_MALFORMED: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""The errors that a value of a wrong type or shape may cause anywhere in the code that uses it."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with the stage of the check and the amount of work that is done."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One damage: a stable *kind*, its place, and a description.

    The kinds:

    - ``pack``: an object or its row.
    - ``commit``, ``page``, ``file``: one that can't be read.
    - ``journal``: an entry.
    - ``head``: a branch or a tag.
    - ``history``: numbers and segments of commits.
    - ``lineage``: provenance and input files.
    - ``index``: places of contents.
    - ``source``: an object elsewhere that a file refers to is missing, has changed, or may not be read.
    - ``catalog``: an impossible value in a row, or a catalog that is older than the packs.
    """

    kind: str
    where: str
    found: str


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The numbers of things that were checked, and every damage.

    Without problems every byte is as it was written, and every name reaches its data.

    Attributes:
        files: Versions of files.
        chunks: Contents in packs, and references to parts elsewhere, that match their digests.
        bytes_checked: The bytes of contents in packs.
        sources: Checked objects elsewhere that files refer to, whether changed or not.
        orphans: Packs without a row in the catalog, from attempts that never counted or from transactions in progress.
            They are not damage: `gc` deletes them.
        unclear: Commits and journal entries in packs that no catalog knows, as commit IDs or names of packs. They are
            not damage, unless a problem says that the catalog is older than the packs. `gc` keeps them.
        condemned: Packs that a collection condemned before commits referenced them. They are not damage: the next `gc`
            or a repair sets them live again. Until then new commits can't refer to them.
        leaving: Damaged or missing packs that are not needed, each with its problem: intact copies of their contents
            exist, or no commit needs them. `maintain` deletes them after their grace period.
        healable: Damaged contents and pages with an intact copy, each as a sentence with its place. A repair redirects
            readers there.
        repaired: Repairs, each as a sentence. The repaired problems are among *problems* too.
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
    healable: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    leaving: tuple[Problem, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether no damage was found."""
        return not self.problems


@dataclass(slots=True)
class Findings:
    """The findings of a check in progress."""

    progress: Progress
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, where: object, found: object) -> None:
        """Add one damage."""
        self.problems.append(Problem(kind, str(where), str(found)))

    @contextmanager
    def guarded(self, kind: str, where: object) -> Iterator[None]:
        """Add a problem for an error in the block, so that the other checks can continue."""
        try:
            yield
        except DAMAGES as error:
            self.add(kind, where, error)
        except _MALFORMED as error:
            self.add(kind, where, f"it is malformed, so it can't be checked: {error!r}")
