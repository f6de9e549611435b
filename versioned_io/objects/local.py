"""Objects as files under a local directory, each durable before `put` returns."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from versioned_io.errors import ExistsError, IntegrityError, ObjectNotFoundError, StorageError
from versioned_io.objects.port import Buffer, ObjectInfo, check_key, check_prefix

_TEMPORARY_MARK = ".tmp-"
_LARGEST_VECTOR = 1024  # IOV_MAX on Linux


class LocalObjects:
    """The object store of one local directory; a key is a path below it.

    An object is written to a temporary file beside its place, synced, linked to its name (which
    fails when the name is taken) and made durable by syncing the directories. Temporary files that
    a crash leaves behind are never listed; `remove_leftovers` deletes them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._synced_directories: set[Path] = set()

    @property
    def url(self) -> str:
        """The directory, as an absolute path."""
        return str(self._root)

    @property
    def is_remote(self) -> bool:
        """False: a read is a system call."""
        return False

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`. Cost: one file, two syncs (more while a new directory is made)."""
        target = self._path(key)
        try:
            self._make_directory(target.parent)
            temporary = target.parent / f"{_TEMPORARY_MARK}{secrets.token_hex(8)}"
            try:
                _write_synced(temporary, data)
                # link(2) fails when the name is taken, unlike rename(2), which would replace the object.
                os.link(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_directory(target.parent)
        except FileExistsError as error:
            raise ExistsError("object", key) from error
        except OSError as error:
            raise self._storage_error("put", key, error) from error

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(key, self.url) from error
        except OSError as error:
            raise self._storage_error("get", key, error) from error

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`. Cost: one open, one read a range."""
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return [self._read_exactly(descriptor, key, offset, length) for offset, length in ranges]
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(key, self.url) from error
        except OSError as error:
            raise self._storage_error("get", key, error) from error

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        try:
            status = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFoundError(key, self.url) from error
        except OSError as error:
            raise self._storage_error("size", key, error) from error
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFoundError(key, self.url)
        return status.st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        base = self._root / check_prefix(prefix)
        try:
            for directory, _, names in os.walk(base, onerror=_raise_unless_missing):
                for name in names:
                    if name.startswith(_TEMPORARY_MARK):
                        continue
                    path = Path(directory, name)
                    try:
                        status = path.stat()
                    except FileNotFoundError:
                        continue  # deleted meanwhile
                    modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
                    yield ObjectInfo(path.relative_to(self._root).as_posix(), status.st_size, modified_at)
        except OSError as error:
            raise self._storage_error("list", prefix, error) from error

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        for key in keys:
            try:
                self._path(key).unlink()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise self._storage_error("delete", key, error) from error

    def remove_leftovers(self, prefix: str, *, older_than: datetime) -> int:
        """Delete the temporary files under *prefix* that nobody has written to since *older_than*; return how many.

        They are left by processes that died inside `put`, and hold no object.
        """
        removed = 0
        for path in (self._root / check_prefix(prefix)).rglob(f"{_TEMPORARY_MARK}*"):
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) < older_than:
                path.unlink()
                removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _make_directory(self, directory: Path) -> None:
        """Make *directory* and its missing parents, each durable in its own parent."""
        if directory in self._synced_directories and directory.is_dir():
            return
        missing: list[Path] = []
        current = directory
        while not current.is_dir():
            missing.append(current)
            current = current.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
        # Synced even when another process made them: it may not have reached its own sync yet.
        for path in [directory, *directory.parents]:
            if not path.is_relative_to(self._root) or (path in self._synced_directories and path not in missing):
                break
            _sync_directory(path.parent)
            self._synced_directories.add(path)

    def _read_exactly(self, descriptor: int, key: str, offset: int, length: int) -> memoryview:
        data = os.pread(descriptor, length, offset)
        if len(data) == length:
            return memoryview(data)
        parts = [data]
        missing = length - len(data)
        while missing:  # one read(2) stops at 2 GiB
            data = os.pread(descriptor, missing, offset + length - missing)
            if not data:
                msg = f"object {key!r} in {self.url} ends before byte {offset + length}, which a reader was sent to"
                raise IntegrityError(msg)
            parts.append(data)
            missing -= len(data)
        return memoryview(b"".join(parts))

    def _storage_error(self, action: str, key: str, error: OSError) -> StorageError:
        reason = error.strerror or str(error)
        hint = ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "; free some space and try again"
        elif action in {"put", "delete"} and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            hint = "; the store can be read but not changed here"
        return StorageError(f"can't {action} {key!r} in {self.url}: {reason}{hint}")


def _write_synced(path: Path, data: Sequence[Buffer]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        waiting = [memoryview(part).cast("B") for part in data if len(part)]
        while waiting:
            written = os.writev(descriptor, waiting[:_LARGEST_VECTOR])
            done = 0
            while done < len(waiting) and written >= len(waiting[done]):
                written -= len(waiting[done])
                done += 1
            del waiting[:done]
            if written:
                waiting[0] = waiting[0][written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
