"""Every error that versioned-io raises, branched by what the caller does next.

| branch | the caller |
|---|---|
| `NotFoundError` | looks elsewhere |
| `ConflictError` | re-reads and tries again |
| `InvalidInputError` | fixes the call |
| `StorageError` | backs off and retries |
| `IntegrityError` | stops: stored bytes are not what was written |
| `FormatError` | upgrades this library, or migrates the store |
| `GateError` | fixes the data |

Facts are in ``args``, words in ``str(error)``, and a stable ``code`` is there for logs and for the
command line's exit codes. Every class pickles, since executors raise across processes.
"""

import errno
import os
from typing import ClassVar


class VersionedError(Exception):
    """The root of every error of this library; catch it to catch them all."""

    code: ClassVar[str] = "versioned"


class NotFoundError(VersionedError):
    """What was asked for does not exist: look elsewhere."""

    code: ClassVar[str] = "not_found"


class StoreNotFoundError(NotFoundError):
    """There is no store at this location. Args: the location."""

    code: ClassVar[str] = "store_not_found"

    def __init__(self, url: str) -> None:
        super().__init__(url)

    def __str__(self) -> str:
        return f"no store at {self.args[0]!r}: make one with create_store() or `versioned init`, or check the location"


class RepoNotFoundError(NotFoundError):
    """The store has no repo of this name. Args: the name, the names that exist (at most a few)."""

    code: ClassVar[str] = "repo_not_found"

    def __init__(self, repo: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(repo, known)

    def __str__(self) -> str:
        known: tuple[str, ...] = self.args[1]
        found = f"the store holds {', '.join(map(repr, known))}" if known else "the store holds no repo yet"
        return f"no repo {self.args[0]!r}: {found}; make it with create_repo({self.args[0]!r})"


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
    """The commit's record and lineage are kept, its data is not: retention, a drop or a purge let go of it.

    Args: the ID.
    """

    code: ClassVar[str] = "commit_forgotten"

    def __init__(self, commit_id: str) -> None:
        super().__init__(commit_id)

    def __str__(self) -> str:
        return (
            f"the data of commit {self.args[0]!r} was let go of, only its record and lineage are kept: "
            f"read a newer commit, or make the data again from what lineage says"
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
        return f"no file {path!r} in {where}" + (f": {hint}" if hint else "")

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
    """A file is a reference to an object elsewhere, which is not as it was when it was imported any more.

    Args: the object's URL, what was pinned of it, what was found.
    """

    code: ClassVar[str] = "reference_broken"

    def __init__(self, url: str, pinned: str, found: str) -> None:
        super().__init__(url, pinned, found)

    def __str__(self) -> str:
        url, pinned, found = self.args
        return (
            f"{url!r}, which the file is a reference to, changed since it was imported: {found}, not {pinned}; "
            f"import it again, or read a commit whose version is still there"
        )


class ConflictError(VersionedError):
    """Another writer changed the same thing first: read its commit, then decide and try again.

    Args: the branch (``repo@branch``), the overlapping paths, the commit that won.
    """

    code: ClassVar[str] = "conflict"

    def __init__(self, branch: str, paths: tuple[str, ...] = (), winner: str = "") -> None:
        super().__init__(branch, paths, winner)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that both writers changed, sorted."""
        paths: tuple[str, ...] = self.args[1]
        return paths

    @property
    def winner(self) -> str:
        """The ID of the commit that changed them first."""
        winner: str = self.args[2]
        return winner

    def __str__(self) -> str:
        branch, paths, winner = self.args
        shown = ", ".join(map(repr, paths[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        return (
            f"{branch} changed under this transaction: commit {winner} already changed {shown}; read it and try again"
        )


class MergeConflictError(ConflictError):
    """Both sides changed the same paths, differently, and no strategy decides: merge again with one.

    Args: the branch, the conflicts (path, and the digests in the base, in the branch and on the other side, None where
    there is none), the commit of the other side.
    """

    code: ClassVar[str] = "merge_conflict"

    def __init__(
        self, branch: str, conflicts: tuple[tuple[str, str | None, str | None, str | None], ...], theirs: str
    ) -> None:
        VersionedError.__init__(self, branch, conflicts, theirs)

    @property
    def conflicts(self) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
        """What both changed: path, digest in the common base, in the branch, and on the other side."""
        found: tuple[tuple[str, str | None, str | None, str | None], ...] = self.args[1]
        return found

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that both sides changed, sorted."""
        return tuple(conflict[0] for conflict in self.conflicts)

    def __str__(self) -> str:
        branch, conflicts, theirs = self.args
        shown = ", ".join(
            f"{path!r} ({_side(base, ours)} here, {_side(base, other)} there)"
            for path, base, ours, other in conflicts[:5]
        )
        more = f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        return (
            f"{branch} and {theirs or 'the other side'} both changed {shown}{more}: pass a strategy, or change one side"
        )


def _side(base: str | None, version: str | None) -> str:
    if version is None:
        return "deleted" if base is not None else "absent"
    return "added" if base is None else "unchanged" if base == version else "changed"


class HeadMovedError(ConflictError):
    """A branch's head is no longer the commit that this transaction was built on: rebase and retry.

    Args: the branch, the expected head, the head found.
    """

    code: ClassVar[str] = "head_moved"

    def __init__(self, branch: str, expected: str | None, found: str | None) -> None:
        VersionedError.__init__(self, branch, expected, found)

    @property
    def paths(self) -> tuple[str, ...]:
        """Always empty: the paths were not compared yet."""
        return ()

    @property
    def winner(self) -> str:
        """The ID of the commit that the branch points at."""
        return str(self.args[2])

    def __str__(self) -> str:
        branch, expected, found = self.args
        return f"the head of {branch} is {found}, not {expected}: rebase on it and try again"


class PackCondemnedError(ConflictError):
    """Stored data that this transaction counted on is being collected: begin the transaction again.

    Args: the name of the pack.
    """

    code: ClassVar[str] = "pack_condemned"

    def __init__(self, pack: str) -> None:
        VersionedError.__init__(self, pack)

    @property
    def paths(self) -> tuple[str, ...]:
        """Always empty: no path overlapped."""
        return ()

    @property
    def winner(self) -> str:
        """Always empty: no commit won."""
        return ""

    def __str__(self) -> str:
        return (
            f"pack {self.args[0]}, which holds data that this transaction refers to, is being collected: begin it again"
        )


class ClaimLostError(ConflictError):
    """The claim on a partition key passed to somebody else: throw this work away, theirs counts.

    Args: the subscription, the key, who holds or completed it.
    """

    code: ClassVar[str] = "claim_lost"

    def __init__(self, subscription: str, key: str, holder: str) -> None:
        VersionedError.__init__(self, subscription, key, holder)

    @property
    def paths(self) -> tuple[str, ...]:
        """Always empty: no path overlapped."""
        return ()

    @property
    def winner(self) -> str:
        """Who holds or completed it."""
        return str(self.args[2])

    def __str__(self) -> str:
        subscription, key, holder = self.args
        return (
            f"{holder!r} has taken partition key {key!r} of {subscription!r} over: throw this work away, theirs counts"
        )


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
        return f"illegal path {self.args[0]!r}: {self.args[1]}"


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
        return (
            f"{self.args[0]!r} is no ref: {self.args[1]}; write repo@branch, repo@tag, repo@<commit> or repo@branch~1"
        )


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


class StorageError(VersionedError):
    """The object store or the catalog failed or is out of reach: back off and retry. Args: one sentence."""

    code: ClassVar[str] = "storage"


class IntegrityError(VersionedError):
    """Stored bytes are not what was written: stop, and run fsck. Args: one sentence that names the object."""

    code: ClassVar[str] = "integrity"


class PackLostError(IntegrityError):
    """A pack that something leads to is gone. Args: the pack's name, the object store's URL.

    Whoever reads beside a collector asks once more where the data lies by now; raised to the caller, it is a loss.
    """

    code: ClassVar[str] = "pack_lost"

    def __init__(self, pack: str, url: str) -> None:
        super().__init__(pack, url)

    @property
    def pack(self) -> str:
        """The pack's name."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"pack {self.args[0]} is gone from {self.args[1]}: bring it back from a backup; fsck names what is lost"


class FormatError(VersionedError):
    """The store, or a file in it, has a format that this version can't handle: upgrade. Args: one sentence."""

    code: ClassVar[str] = "format"


class GateError(VersionedError):
    """A check that the branch requires was not passed: fix the data. Args: one sentence."""

    code: ClassVar[str] = "gate"
