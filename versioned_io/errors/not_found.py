"""Errors about missing things: the caller looks elsewhere."""

import errno
import os
from typing import ClassVar

from versioned_io.errors.root import VersionedError, quoted


class NotFoundError(VersionedError):
    """The named thing does not exist: look elsewhere."""

    code: ClassVar[str] = "not_found"


class StoreNotFoundError(NotFoundError):
    """There is no store at this location. Args: the location."""

    code: ClassVar[str] = "store_not_found"

    def __init__(self, url: str) -> None:
        super().__init__(url)

    def __str__(self) -> str:
        return f"no store at {self.args[0]!r}: make one with create_store() or `versioned init`, or check the location"


class RepoNotFoundError(NotFoundError):
    """The store has no repo of this name.

    Args: the name, the names that exist (at most a few), when it was deleted, what it is called since it was renamed.
    """

    code: ClassVar[str] = "repo_not_found"

    def __init__(self, repo: str, known: tuple[str, ...] = (), deleted: str = "", renamed: str = "") -> None:
        super().__init__(repo, known, deleted, renamed)

    @property
    def was_there(self) -> bool:
        """Whether the store had a repo of this name, which was deleted or renamed."""
        return bool(self.args[2] or self.args[3])

    def __str__(self) -> str:
        known: tuple[str, ...] = self.args[1]
        if self.args[2]:
            return (
                f"no repo {self.args[0]!r}: it was deleted at {self.args[2]}; "
                f"`versioned repo restore {self.args[0]}` restores it until gc expires its commits"
            )
        if self.args[3]:
            return f"no repo {self.args[0]!r}: it was renamed and is {self.args[3]!r} now, use that name"
        found = f"the store holds {', '.join(map(repr, known))}" if known else "the store holds no repo yet"
        return f"no repo {self.args[0]!r}: {found}; `versioned repo create {self.args[0]}` makes it"


class RefNotFoundError(NotFoundError):
    """The repo has no branch, tag, commit or lineage ID of this name. Args: the repo, the ref, the branches."""

    code: ClassVar[str] = "ref_not_found"

    def __init__(self, repo: str, ref: str, branches: tuple[str, ...] = (), reason: str = "") -> None:
        super().__init__(repo, ref, branches, reason)

    def __str__(self) -> str:
        repo, ref, branches, reason = self.args
        if reason:
            return f"no commit for {f'{repo}@{ref}'!r}: {reason}"
        found = f"; its branches are {', '.join(map(repr, branches))}" if branches else ""
        return f"repo {repo!r} has no branch, tag, commit or lineage ID {ref!r}{found}"


class CommitNotFoundError(NotFoundError):
    """The store has no commit with this ID. Args: the ID."""

    code: ClassVar[str] = "commit_not_found"

    def __init__(self, commit_id: str) -> None:
        super().__init__(commit_id)

    def __str__(self) -> str:
        return f"no commit {self.args[0]!r} in this store: list the commits of a branch with log()"


class CommitForgottenError(NotFoundError):
    """The commit's record and lineage are kept, its data is not: it was expired, dropped or purged.

    Args: the ID.
    """

    code: ClassVar[str] = "commit_forgotten"

    def __init__(self, commit_id: str) -> None:
        super().__init__(commit_id)

    def __str__(self) -> str:
        return (
            f"the data of commit {self.args[0]!r} has expired, only its record and lineage are kept: "
            f"read a newer commit, or compute the data again"
        )


class LineageNotFoundError(NotFoundError):
    """No commit carries this lineage ID. Args: the ID."""

    code: ClassVar[str] = "lineage_not_found"

    def __init__(self, lineage_id: str) -> None:
        super().__init__(lineage_id)

    def __str__(self) -> str:
        return f"no commit carries the lineage ID {self.args[0]!r}: take one from log()"


class PathNotFoundError(NotFoundError, FileNotFoundError):
    """The snapshot has no such file (or directory). Args: the path, the snapshot, a hint.

    It is a `FileNotFoundError` too, because that is what readers of files already catch.
    """

    code: ClassVar[str] = "path_not_found"

    def __init__(self, path: str, where: str, hint: str = "") -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT))
        self.args = (path, where, hint)
        self.filename = path

    def __str__(self) -> str:
        path, where, hint = self.args
        return f"no file {quoted(path)} in {where}" + (f": {hint}" if hint else "")

    def __reduce__(self) -> tuple[type["PathNotFoundError"], tuple[str, str, str]]:
        # OSError would rebuild itself from an errno and a text.
        path, where, hint = self.args
        return type(self), (path, where, hint)


class ObjectNotFoundError(NotFoundError):
    """The object store holds no object of this key. Args: the key, the object store's URL."""

    code: ClassVar[str] = "object_not_found"

    def __init__(self, key: str, url: str) -> None:
        super().__init__(key, url)

    def __str__(self) -> str:
        return f"no object {self.args[0]!r} in {self.args[1]}"


class ReferenceBrokenError(NotFoundError):
    """A file refers to an object elsewhere that changed since it was imported.

    Args: the object's URL, the pinned version, the version found.
    """

    code: ClassVar[str] = "reference_broken"

    def __init__(self, url: str, pinned: str, found: str) -> None:
        super().__init__(url, pinned, found)

    def __str__(self) -> str:
        url, pinned, found = self.args
        return (
            f"the file refers to {url!r}, which changed since it was imported: {found}, not {pinned}; "
            f"import it again, or read a commit whose version still exists"
        )
