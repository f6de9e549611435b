"""The work of ``put --in-place``: the branch refers to files and objects at their place."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from versioned_io.errors import InvalidInputError

if TYPE_CHECKING:
    from versioned_io.versioning.snapshots.file_info import TransferProgress
    from versioned_io.versioning.transactions.transaction import Transaction


def put_in_place(
    tx: "Transaction",
    sources: Sequence[str],
    path: str,
    *,
    below: bool,
    glob: str | None,
    versions: bool,
    report: "Callable[[TransferProgress], None]",
) -> None:
    """Stage references to one file, directory, object or prefix.

    Args:
        sources: Exactly one: a local path or a URL; a URL of all that is below a prefix ends with ``/``.
        path: Where it goes; a file keeps its name when that is empty or *below* is true.

    Raises:
        InvalidInputError: There are several, or a glob is given for one file; or as `Transaction.reference_tree` says.
    """
    if len(sources) != 1:
        msg = "--in-place takes one file, directory or prefix at a time"
        raise InvalidInputError(msg)
    (source,) = sources
    if _is_tree(source):
        tx.reference_tree(source, to=path, glob=glob, versions=versions, progress=report)
        return
    if glob is not None:
        msg = f"{source!r} is one file: --glob is for directories, and for prefixes, which end with '/'"
        raise InvalidInputError(msg)
    name = source.rpartition("/")[2]
    target = "/".join(filter(None, (path, name))) if below or not path else path
    tx.reference(source, to=target, versions=versions)


def _is_tree(source: str) -> bool:
    scheme, separator, rest = source.partition("://")
    if not separator:
        return Path(source).is_dir()
    return source.endswith("/") or (scheme != "file" and "/" not in rest)
