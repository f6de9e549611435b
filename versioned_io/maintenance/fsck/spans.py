"""A check across adjacent pages that no path is both a file and a directory."""

from collections.abc import Sequence
from dataclasses import dataclass

from versioned_io.errors import IntegrityError
from versioned_io.errors.root import quoted
from versioned_io.storage.pages.collisions import directories_of


@dataclass(frozen=True, slots=True)
class Span:
    """The paths of a page, or of adjacent pages, that can collide with paths of other pages.

    Between a file ``a`` and the files below a directory ``a`` sort only paths that begin with ``a``, such as ``a-b``.
    So only files that are a prefix of the last path can collide with pages to the right. Only directories that are a
    prefix of the first path can collide with pages to the left.

    Attributes:
        files: The files that the last path begins with.
        directories: The directories of paths that sort before the first path.
    """

    first: str
    last: str
    files: frozenset[str]
    directories: frozenset[str]

    @classmethod
    def of_paths(cls, paths: Sequence[str]) -> "Span":
        """Return the span of the paths of one leaf, which ascend.

        Raises:
            IntegrityError: A path is both a file and a directory. Run fsck.
        """
        first, last = paths[0], paths[-1]
        directories = directories_of(paths)
        _refuse(directories.intersection(paths))
        files = frozenset(path for path in paths if last.startswith(path))
        return cls(first, last, files, frozenset(one for one in directories if one < first))

    def followed_by(self, other: "Span") -> "Span":
        """Return the joint span of this and the pages to its right.

        Raises:
            IntegrityError: A path is a file in one and a directory in the other. Run fsck.
        """
        _refuse(self.files & other.directories)
        files = {path for path in self.files if other.last.startswith(path)}
        directories = {one for one in other.directories if one < self.first}
        return Span(self.first, other.last, other.files | files, self.directories | directories)


def _refuse(collisions: set[str] | frozenset[str]) -> None:
    if collisions:
        msg = f"{quoted(min(collisions))} is both a file and a directory in it"
        raise IntegrityError(msg)
