"""The names of the file system: ``repo@ref/path``."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from versioned_io.model.paths import parse_directory
from versioned_io.model.refs import Ref, parse_commit_ref


@dataclass(frozen=True, slots=True)
class Name:
    """A file or directory of a ref.

    Attributes:
        head: The ref as it was written, up to the first slash; ``""`` is the root, above all repos.
        path: The path in the repo; ``""`` is the repo's whole tree.
    """

    head: str
    path: str

    def __str__(self) -> str:
        return f"{self.head}/{self.path}" if self.path else self.head

    @property
    def ref(self) -> Ref:
        """The ref in *head*.

        Raises:
            RefSyntaxError: It is not a ref.
        """
        return parse_commit_ref(unquote(self.head))

    def child(self, path: str) -> str:
        """Return the whole name of another path of the ref."""
        return f"{self.head}/{path}" if path else self.head


def parse_name(text: str) -> Name:
    """Return the parts of ``repo@ref/path``; a slash in *ref* is written ``%2F``.

    Raises:
        IllegalPathError: The path breaks the path rules.
    """
    head, _, path = text.strip("/").partition("/")
    return Name(head, parse_directory(path))


def head_of_branch(repo: str, branch: str) -> str:
    """Return how a branch is written in names."""
    return f"{repo}@{quote(branch, safe='')}"
