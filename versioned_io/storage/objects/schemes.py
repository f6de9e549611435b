"""Opening the object store at a URL."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import check_mapping, parse_local_path
from versioned_io.platform.process import new_lock
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.port import ObjectStore

REMOTE_SCHEMES = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"})

_memory: dict[str, ObjectStore] = {}
_memory_lock = new_lock()


def open_objects(url: str | Path, options: Mapping[str, str] | None = None) -> ObjectStore:
    """Return the object store at *url*, without reading or writing.

    Args:
        url: A directory (a path or ``file://``), ``memory://name``, which is shared by name within this
            process, or ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``.
        options: Credentials and other storage options for the last three; see `versioned_io.storage.objects.clients`.

    Raises:
        InvalidInputError: The scheme or an option is not valid, or the URL holds credentials: pass those as storage
            options. The message repeats no credentials.
        StorageError: There are no credentials. Configure them, or pass them as storage options.
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
        from versioned_io.storage.objects.forked import PerProcessObjects
        from versioned_io.storage.objects.remote import open_remote

        return PerProcessObjects(open_remote(url, options), options or {})
    msg = f"can't open object store {_shown(url)!r}: give a directory, memory://, s3://, gs:// or az://"
    raise InvalidInputError(msg)


def _shown(url: str) -> str:
    """Return a location as a message may show it: only the scheme of a URL, since the rest may hold a password."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://..." if separator else url


def _refuse_secrets(url: str) -> None:
    """Raise if a URL holds a user, a password or a signature, since messages and logs show the URL of a store."""
    _, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if not bucket:
        msg = f"{_shown(url)!r} names no bucket: give {url.partition('://')[0]}://bucket/prefix"
        raise InvalidInputError(msg)
    # In abfss://container@account the part before the @ is the container, not a user.
    if ("@" in bucket and not url.startswith("abfs")) or "?" in rest or "#" in rest:
        msg = f"{_shown(url)!r} holds credentials or a query: give bucket and prefix, and credentials as options"
        raise InvalidInputError(msg)


def _open_memory(name: str) -> ObjectStore:
    from versioned_io.storage.objects.remote import open_memory

    with _memory_lock:
        if name not in _memory:
            _memory[name] = open_memory(f"memory://{name}")
        return _memory[name]
