"""Errors of a call that cannot mean anything: the caller fixes it."""

import errno
import os
from typing import ClassVar

from versioned_io.errors.root import VersionedError, quoted


class InvalidInputError(VersionedError, ValueError):
    """The call cannot mean anything: fix it. Args: one sentence."""

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
    """A local file changed, or vanished, while it was being imported. Args: its path, what was found."""

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
    """A commit, a tag or a place above the files was to be written to. Args: what was named, why it can't be."""

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
    """The text is no ref. Args: the text, what is wrong."""

    code: ClassVar[str] = "ref_syntax"

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)

    def __str__(self) -> str:
        text, reason = self.args
        return f"{quoted(text)} is no ref: {reason}; write repo@branch, repo@tag, repo@<commit> or repo@branch~1"


class PartitionKeyError(InvalidInputError):
    """The partition template can't produce this key, or can't produce one from it. Args: one sentence."""

    code: ClassVar[str] = "partition_key"


class TransactionClosedError(InvalidInputError):
    """The transaction was committed or abandoned already. Args: what was tried."""

    code: ClassVar[str] = "transaction_closed"

    def __init__(self, action: str) -> None:
        super().__init__(action)

    def __str__(self) -> str:
        return f"can't {self.args[0]}: the transaction is closed; begin another with store.transaction()"


class EmptyCommitError(InvalidInputError):
    """Nothing changed, and the transaction was told to refuse that. Args: the branch."""

    code: ClassVar[str] = "empty_commit"

    def __init__(self, branch: str) -> None:
        super().__init__(branch)

    def __str__(self) -> str:
        return f"nothing changed on {self.args[0]}: pass empty='skip' to make no commit, or empty='allow' to record one"
