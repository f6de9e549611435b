"""From a URL to the object store that it names."""

import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from versioned_io.arguments import check_mapping, parse_local_path
from versioned_io.errors import InvalidInputError
from versioned_io.objects.local import LocalObjects
from versioned_io.objects.port import ObjectStore

REMOTE_SCHEMES = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"})

_memory: dict[str, ObjectStore] = {}
_memory_lock = threading.Lock()


def open_objects(url: str | Path, options: Mapping[str, str] | None = None) -> ObjectStore:
    """Return the object store at *url*; nothing is read or written yet.

    Args:
        url: A directory (a path or ``file://``), ``memory://name``, which is shared by name within this
            process, or ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``.
        options: Credentials and the like, for the last three; see `versioned_io.objects.clients`.

    Raises:
        InvalidInputError: The scheme is none of these, an option makes no sense, or the URL holds credentials, which
            are storage options; none are repeated.
        StorageError: There are no credentials.
    """
    url = parse_local_path(url, "the location of a store")
    check_mapping(options, "storage_options")
    scheme, separator, rest = url.partition("://")
    if options and scheme not in REMOTE_SCHEMES:
        msg = f"{_shown(url)!r} takes no storage options: they are for s3://, gs:// and az://"
        raise InvalidInputError(msg)
    if not separator:
        return LocalObjects(Path(url))
    if scheme == "file":
        return LocalObjects(Path(unquote(urlsplit(url).path)))
    if scheme == "memory":
        return _open_memory(rest)
    if scheme in REMOTE_SCHEMES:
        _refuse_secrets(url)
        from versioned_io.objects.remote import open_remote

        return open_remote(url, options)
    msg = f"can't open object store {_shown(url)!r}: give a directory, memory://, s3://, gs:// or az://"
    raise InvalidInputError(msg)


def _shown(url: str) -> str:
    """Return what a message may repeat of a location: of a URL only its scheme, for the rest may be a password."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://..." if separator else url


def _refuse_secrets(url: str) -> None:
    """Refuse a URL with a user, a password or a signature in it: it would be shown wherever the store is named."""
    _, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if not bucket:
        msg = f"{_shown(url)!r} names no bucket: give {url.partition('://')[0]}://bucket/prefix"
        raise InvalidInputError(msg)
    # In abfss://container@account the part before the @ is no user.
    if ("@" in bucket and not url.startswith("abfs")) or "?" in rest or "#" in rest:
        msg = f"{_shown(url)!r} holds credentials or a query: give bucket and prefix, and credentials as options"
        raise InvalidInputError(msg)


def _open_memory(name: str) -> ObjectStore:
    from versioned_io.objects.remote import open_memory

    with _memory_lock:
        if name not in _memory:
            _memory[name] = open_memory(f"memory://{name}")
        return _memory[name]
