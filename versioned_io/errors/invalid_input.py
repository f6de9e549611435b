"""Errors of an invalid call: the caller fixes it."""

import errno
import os
from typing import ClassVar

from versioned_io.errors.root import VersionedError, quoted


class InvalidInputError(VersionedError, ValueError):
    """The call is invalid: fix it. Args: one sentence."""

    code: ClassVar[str] = "invalid_input"


class ExistsError(InvalidInputError):
    """The thing to be made exists already. Args: what kind of thing, its name."""

    code: ClassVar[str] = "exists"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name)

    def __str__(self) -> str:
        return f"{self.args[0]} {self.args[1]!r} exists already: open it, or choose another name"


class IllegalPathError(InvalidInputError):
    """The path breaks the path rules. Args: the path, which rule."""

    code: ClassVar[str] = "illegal_path"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"illegal path {quoted(self.args[0])}: {self.args[1]}"


class PathCollisionError(InvalidInputError):
    """A path would be a file and a directory in one tree. Args: the path that is a file, the path below it."""

    code: ClassVar[str] = "path_collision"

    def __init__(self, file_path: str, below: str) -> None:
        super().__init__(file_path, below)

    def __str__(self) -> str:
        file_path, below = self.args
        return (
            f"{file_path!r} can't be a file while {below!r} is below it: "
            f"delete one of them in the same transaction, or choose another path"
        )


class NotAFileError(InvalidInputError, IsADirectoryError):
    """A directory was given where a file is needed. Args: the path, the snapshot."""

    code: ClassVar[str] = "not_a_file"

    def __init__(self, path: str, where: str) -> None:
        super().__init__(errno.EISDIR, os.strerror(errno.EISDIR))
        self.args = (path, where)
        self.filename = path

    def __reduce__(self) -> tuple[type["NotAFileError"], tuple[str, str]]:
        path, where = self.args
        return type(self), (path, where)

    def __str__(self) -> str:
        return f"{self.args[0]!r} in {self.args[1]} is a directory, not a file: name a file below it, or list it"


class SourceChangedError(InvalidInputError):
    """A local file changed, or vanished, while it was being imported. Args: its path, the change."""

    code: ClassVar[str] = "source_changed"

    def __init__(self, path: str, found: str = "it was written to") -> None:
        super().__init__(path, found)

    def __str__(self) -> str:
        return (
            f"{self.args[0]!r} changed while it was being imported ({self.args[1]}): nothing of this import is staged; "
            "import again when nobody writes to it"
        )


class PathExistsError(InvalidInputError, FileExistsError):
    """A path that was to be made exists already. Args: the path, the branch."""

    code: ClassVar[str] = "path_exists"

    def __init__(self, path: str, where: str) -> None:
        super().__init__(errno.EEXIST, os.strerror(errno.EEXIST))
        self.args = (path, where)
        self.filename = path

    def __reduce__(self) -> tuple[type["PathExistsError"], tuple[str, str]]:
        path, where = self.args
        return type(self), (path, where)

    def __str__(self) -> str:
        return f"{self.args[0]!r} exists in {self.args[1]} already: choose another name, or overwrite it"


class ReadOnlyRefError(InvalidInputError, PermissionError):
    """A commit, a tag or a place above the files was to be written to. Args: the name, why it can't be."""

    code: ClassVar[str] = "read_only_ref"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(errno.EACCES, os.strerror(errno.EACCES))
        self.args = (where, reason)
        self.filename = where

    def __reduce__(self) -> tuple[type["ReadOnlyRefError"], tuple[str, str]]:
        where, reason = self.args
        return type(self), (where, reason)

    def __str__(self) -> str:
        return f"can't write to {self.args[0]!r}: {self.args[1]}; write to a file below repo@branch"


class RefSyntaxError(InvalidInputError):
    """The text is not a valid ref. Args: the text, the reason."""

    code: ClassVar[str] = "ref_syntax"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)

    def __str__(self) -> str:
        text, reason = self.args
        return (
            f"{quoted(text)} is not a valid ref: {reason}; write repo@branch, repo@tag, repo@<commit> or repo@branch~1"
        )


class NotOwnerError(InvalidInputError, PermissionError):
    """Another catalog owns the store, so this one can only be read. Args: this catalog, the store, the owner's URL.

    The URL is empty where the store has no owner any more, although this catalog had claimed it.
    """

    code: ClassVar[str] = "not_owner"

    def __init__(self, catalog: str, url: str, owner: str) -> None:
        super().__init__(errno.EACCES, os.strerror(errno.EACCES))
        self.args = (catalog, url, owner)

    def __reduce__(self) -> tuple[type["NotOwnerError"], tuple[str, str, str]]:
        catalog, url, owner = self.args
        return type(self), (catalog, url, owner)

    def __str__(self) -> str:
        catalog, url, owner = self.args
        found = f"the catalog {owner} owns the store {url}" if owner else f"the store {url} has lost its owner object"
        return (
            f"{found}, so the catalog {catalog} can only be read: "
            f"run `versioned adopt` to make it the owner, which makes any other read-only"
        )


class PartitionKeyError(InvalidInputError):
    """The partition template can't produce this key, or can't produce one from it. Args: one sentence."""

    code: ClassVar[str] = "partition_key"


class NotStorableError(InvalidInputError):
    """No format stores the object and reads it as an equal one. Args: its type, the requested format or None, why.

    Store another value, or register a format that takes it.
    """

    code: ClassVar[str] = "not_storable"

    def __init__(self, kind: str, wanted: str | None, reason: str) -> None:
        super().__init__(kind, wanted, reason)

    def __str__(self) -> str:
        kind, wanted, reason = self.args
        if wanted is None:
            return f"a {kind} can't be stored: {reason}; store another value, or register_format() one that takes it"
        return f"a {kind} can't be stored as {wanted!r}: {reason}; leave the format to the type of the object"


class TransactionClosedError(InvalidInputError):
    """The transaction was committed or abandoned already. Args: the call."""

    code: ClassVar[str] = "transaction_closed"

    def __init__(self, action: str) -> None:
        super().__init__(action)

    def __str__(self) -> str:
        return f"can't {self.args[0]}: the transaction is closed; begin another with store.transaction()"


class ForkedError(InvalidInputError):
    """A handle was carried into a child by ``fork()``, where it can't be used; the parent still can.

    Args: its kind, the call to make instead, the process that made it.
    """

    code: ClassVar[str] = "forked"

    def __init__(self, what: str, instead: str, pid: int) -> None:
        super().__init__(what, instead, pid)

    def __str__(self) -> str:
        what, instead, pid = self.args
        return f"{what} belongs to process {pid}, of which fork() made this one: {instead}"


class EmptyCommitError(InvalidInputError):
    """Nothing changed, and the transaction was told to refuse that. Args: the branch."""

    code: ClassVar[str] = "empty_commit"

    def __init__(self, branch: str) -> None:
        super().__init__(branch)

    def __str__(self) -> str:
        return f"nothing changed on {self.args[0]}: pass empty='skip' to make no commit, or empty='allow' to record one"


class UncertainCodeError(InvalidInputError):
    """The code, or a parameter, can't be digested with certainty. Args: the symbol, what it is or reaches."""

    code: ClassVar[str] = "uncertain_code"

    def __init__(self, name: str, found: str) -> None:
        super().__init__(name, found)

    def __str__(self) -> str:
        name, found = self.args
        return f"{name} is {found}, which has no certain digest: pass it as a parameter, or give code_version"


class BoundBranchError(InvalidInputError):
    """The output branch belongs to another pipeline: name another output, or say that this pipeline replaces that one.

    Args: the output branch (``repo@branch``), its pipeline, the pipeline that was refused.
    """

    code: ClassVar[str] = "bound_branch"

    def __init__(self, branch: str, owner: str, refused: str) -> None:
        super().__init__(branch, owner, refused)

    def __str__(self) -> str:
        branch, owner, refused = self.args
        return (
            f"{branch} is the output of the pipeline {owner!r}, and {refused!r} would replace its files: "
            f"name another output, or declare that it replaces {owner!r}"
        )


class PathClaimedError(InvalidInputError):
    """Two datums of a pipeline write one path: let each write to paths that depend on the datum.

    Args: the output branch (``repo@branch``), the path, the keys of the two datums.
    """

    code: ClassVar[str] = "path_claimed"

    def __init__(self, branch: str, path: str, first: str, second: str) -> None:
        super().__init__(branch, path, first, second)

    @property
    def path(self) -> str:
        """The path that both write; one of them may write below it."""
        path: str = self.args[1]
        return path

    @property
    def keys(self) -> tuple[str, str]:
        """The keys of the two datums."""
        return self.args[2], self.args[3]

    def __str__(self) -> str:
        branch, path, first, second = self.args
        return (
            f"{first!r} and {second!r} both write {path!r} of {branch}, as a file or a directory: "
            f"let each datum write to paths of its own"
        )
