"""Every error that versioned-io raises, branched by what the caller does next.

| branch | the caller |
|---|---|
| `NotFoundError` | looks elsewhere |
| `ConflictError` | re-reads and tries again |
| `InvalidInputError` | fixes the call |
| `StorageError` | backs off and retries |
| `IntegrityError` | stops: stored bytes differ from the written ones |
| `FormatError` | upgrades this library, or migrates the store |
| `GateError` | fixes the data |

Facts are in ``args``, words in ``str(error)``. Logs and the command line's exit codes use the stable ``code``. Every
class pickles, since executors raise across processes.
"""

from versioned_io.errors.conflict import (
    ClaimLostError,
    ConflictError,
    HeadMovedError,
    MaintenanceRunningError,
    MergeConflict,
    MergeConflictError,
    PackCondemnedError,
)
from versioned_io.errors.integrity import CatalogOlderError, PackLostError
from versioned_io.errors.invalid_input import (
    BoundBranchError,
    EmptyCommitError,
    ExistsError,
    ForkedError,
    IllegalPathError,
    InvalidInputError,
    NotAFileError,
    NotOwnerError,
    NotStorableError,
    PartitionKeyError,
    PathClaimedError,
    PathCollisionError,
    PathExistsError,
    ReadOnlyRefError,
    RefSyntaxError,
    SourceChangedError,
    TransactionClosedError,
    UncertainCodeError,
)
from versioned_io.errors.not_found import (
    CommitForgottenError,
    CommitNotFoundError,
    LineageNotFoundError,
    NotFoundError,
    ObjectNotFoundError,
    PathNotFoundError,
    ReferenceBrokenError,
    RefNotFoundError,
    RepoNotFoundError,
    StoreNotFoundError,
)
from versioned_io.errors.root import (
    AccessDeniedError,
    FormatError,
    GateError,
    IntegrityError,
    OutcomeUnknownError,
    StorageError,
    VersionedError,
)

__all__ = [
    "AccessDeniedError",
    "BoundBranchError",
    "CatalogOlderError",
    "ClaimLostError",
    "CommitForgottenError",
    "CommitNotFoundError",
    "ConflictError",
    "EmptyCommitError",
    "ExistsError",
    "ForkedError",
    "FormatError",
    "GateError",
    "HeadMovedError",
    "IllegalPathError",
    "IntegrityError",
    "InvalidInputError",
    "LineageNotFoundError",
    "MaintenanceRunningError",
    "MergeConflict",
    "MergeConflictError",
    "NotAFileError",
    "NotFoundError",
    "NotOwnerError",
    "NotStorableError",
    "ObjectNotFoundError",
    "OutcomeUnknownError",
    "PackCondemnedError",
    "PackLostError",
    "PartitionKeyError",
    "PathClaimedError",
    "PathCollisionError",
    "PathExistsError",
    "PathNotFoundError",
    "ReadOnlyRefError",
    "RefNotFoundError",
    "RefSyntaxError",
    "ReferenceBrokenError",
    "RepoNotFoundError",
    "SourceChangedError",
    "StorageError",
    "StoreNotFoundError",
    "TransactionClosedError",
    "UncertainCodeError",
    "VersionedError",
]

for _name in __all__:
    # They pickle by the name that callers import them by, so that a process with another version finds them, too.
    globals()[_name].__module__ = __name__
