"""Errors of another writer who was first: the caller re-reads and tries again."""

from typing import ClassVar, NamedTuple

from versioned_io.errors.root import VersionedError


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
        if not winner:
            return f"{branch} changed under this transaction: its commits were reset or dropped; read it and try again"
        if not paths:
            return f"{branch} changed under this transaction: it was moved to commit {winner}; read it and try again"
        shown = ", ".join(map(repr, paths[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        return (
            f"{branch} changed under this transaction: commit {winner} already changed {shown}; read it and try again"
        )


class MergeConflict(NamedTuple):
    """A path that both sides of a merge changed, and the digests of its versions; None where the file is missing.

    Attributes:
        base: In the common base.
        ours: In the branch that receives the changes.
        theirs: On the other side.
    """

    path: str
    base: str | None
    ours: str | None
    theirs: str | None


class MergeConflictError(ConflictError):
    """Both sides changed the same paths, differently, and no strategy decides: merge again with one.

    Args: the branch, the conflicts, the commit of the other side.
    """

    code: ClassVar[str] = "merge_conflict"

    def __init__(self, branch: str, conflicts: tuple[MergeConflict, ...], theirs: str) -> None:
        VersionedError.__init__(self, branch, conflicts, theirs)

    @property
    def conflicts(self) -> tuple[MergeConflict, ...]:
        """The paths that both sides changed, sorted, each with its digests."""
        found: tuple[MergeConflict, ...] = self.args[1]
        return found

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that both sides changed, sorted."""
        return tuple(conflict.path for conflict in self.conflicts)

    @property
    def finding(self) -> str:
        """The paths that both sides changed, and how: the message without its advice."""
        branch, conflicts, theirs = self.args
        shown = ", ".join(
            f"{path!r} ({_side(base, ours)} here, {_side(base, other)} there)"
            for path, base, ours, other in conflicts[:5]
        )
        more = f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        return f"{branch} and {theirs or 'the other side'} both changed {shown}{more}"

    def __str__(self) -> str:
        return f"{self.finding}: pass a strategy, or change one side"


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
    """Stored data that this transaction refers to is being collected: begin the transaction again.

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


class MaintenanceRunningError(ConflictError):
    """Another process maintains this store, so nothing was done. Try again when it has ended.

    Args: the time at which it began, as ISO 8601.
    """

    code: ClassVar[str] = "maintenance_running"

    def __init__(self, since: str) -> None:
        VersionedError.__init__(self, since)

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
            f"another process has maintained this store since {self.args[0]}, so nothing was done here: let it finish, "
            "and see its progress with `versioned maintain --status`"
        )


class ClaimLostError(ConflictError):
    """Another owner took the claim on a partition key over: discard this work, theirs counts.

    Args: the subscription, the key, the owner that holds or completed it.
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
        """The owner that holds or completed it."""
        return str(self.args[2])

    def __str__(self) -> str:
        subscription, key, holder = self.args
        return f"{holder!r} has taken partition key {key!r} of {subscription!r} over: discard this work, theirs counts"
