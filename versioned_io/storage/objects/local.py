"""Objects as files under a local directory, each durable before `put` returns."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from versioned_io.errors import AccessDeniedError, ExistsError, IntegrityError, ObjectNotFoundError, StorageError
from versioned_io.platform.file_modes import (
    OWN_MODE,
    file_mode,
    give_mode,
    make_directory_like,
    make_file,
    mode_like,
)
from versioned_io.storage.objects.mount import HeldPlace
from versioned_io.storage.objects.port import Buffer, ObjectInfo, check_key, check_prefix

_TEMPORARY_MARK = ".tmp-"
_LARGEST_VECTOR = 1024  # IOV_MAX on Linux


class LocalObjects:
    """The object store of one local directory; a key is a path below it.

    `put` writes a temporary file in the object's directory, syncs it, and links it to the object's name. The link fails
    if the name is taken. Then `put` syncs the directories. Temporary files that a crash leaves are never listed;
    `remove_leftovers` deletes them. All directories get the mode of the root directory. So do all files, without the
    right to execute. The umask has no effect.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._root_name = str(self._root)
        self._synced_directories: set[Path] = set()
        self._place: HeldPlace | None = None

    @property
    def url(self) -> str:
        """The directory, as an absolute path."""
        return str(self._root)

    @property
    def is_remote(self) -> bool:
        """False: a read is a system call."""
        return False

    def hold(self, marker: str, payload: bytes) -> None:
        """Require from now on that the directory is the one whose object *marker* holds *payload*.

        Otherwise a put, a listing, and a get of a missing object raise `StorageError`. So a put never writes to the
        mount point of an unmounted disk. The directory itself is never recreated.
        """
        self._place = HeldPlace(self._root, self._path(marker), payload)

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`. Cost: 1 file, 2 syncs, and more syncs for new directories."""
        target = self._path(key)
        self._check_place()
        try:
            self._make_directory(target.parent)
            temporary = target.parent / f"{_TEMPORARY_MARK}{secrets.token_hex(8)}"
            try:
                _write_synced(temporary, data, file_mode(mode_like(self._root)))
                # link(2) fails if the name is taken. rename(2) would replace the object.
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
            self._check_place()
            raise ObjectNotFoundError(key, self.url) from error
        except OSError as error:
            raise self._storage_error("get", key, error) from error

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`. Cost: 1 open(2), and 1 read(2) for each range."""
        try:
            descriptor = os.open(self._name(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return [self._read_exactly(descriptor, key, offset, length) for offset, length in ranges]
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            self._check_place()
            raise ObjectNotFoundError(key, self.url) from error
        except OSError as error:
            raise self._storage_error("get", key, error) from error

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        try:
            status = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            self._check_place()
            raise ObjectNotFoundError(key, self.url) from error
        except OSError as error:
            raise self._storage_error("size", key, error) from error
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFoundError(key, self.url)
        return status.st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        self._check_place()
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

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names directly below *prefix*, without sizes and times. Cost: 1 listing of a directory."""
        self._check_place()
        try:
            found = os.listdir(self._root / check_prefix(prefix))  # noqa: PTH208 (a Path for each would cost more)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._storage_error("list", prefix, error) from error
        return [name for name in found if not name.startswith(_TEMPORARY_MARK)]

    def touch(self, key: str) -> None:
        """Create an empty object, unless it exists; a power failure may undo it. Cost: 1 open(2)."""
        target = self._path(key)
        self._check_place()
        try:
            try:
                make_file(target, file_mode(mode_like(self._root)))
            except FileNotFoundError:
                self._make_directory(target.parent)
                make_file(target, file_mode(mode_like(self._root)))
        except OSError as error:
            raise self._storage_error("put", key, error) from error

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
        """Delete the temporary files under *prefix* last written before *older_than*, and return how many.

        Processes that died inside `put` leave them; they hold no object.

        Raises:
            StorageError: One can't be deleted.
        """
        removed = 0
        for path in (self._root / check_prefix(prefix)).rglob(f"{_TEMPORARY_MARK}*"):
            try:
                if datetime.fromtimestamp(path.stat().st_mtime, UTC) < older_than:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer has made an object of it, or another process deleted it
            except OSError as error:
                raise self._storage_error("delete", f"{prefix}{path.name}", error) from error
        return removed

    def _check_place(self) -> None:
        if self._place is not None:
            self._place.check()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _name(self, key: str) -> str:
        """Return the path as text: to build a `Path` takes as long as to open the file."""
        return f"{self._root_name}/{check_key(key)}"

    def _make_directory(self, directory: Path) -> None:
        """Create *directory* and its missing parents, and sync each parent."""
        if directory in self._synced_directories and directory.is_dir():
            return
        missing: list[Path] = []
        current = directory
        while not current.is_dir():
            if self._place is not None and current == self._root:
                raise FileNotFoundError(errno.ENOENT, "the store's directory is gone; its disk may be unmounted")
            missing.append(current)
            current = current.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                if path.is_relative_to(self._root) and path != self._root:
                    make_directory_like(path, self._root)
                else:
                    path.mkdir(mode=OWN_MODE if path == self._root else 0o777)
        # Synced even if another process created them, since that process may not have synced them yet.
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
        while missing:  # one read(2) returns at most 2 GiB
            data = os.pread(descriptor, missing, offset + length - missing)
            if not data:
                msg = f"object {key!r} in {self.url} ends before byte {offset + length}, up to which it is referenced"
                raise IntegrityError(msg)
            parts.append(data)
            missing -= len(data)
        return memoryview(b"".join(parts))

    def _storage_error(self, action: str, key: str, error: OSError) -> StorageError:
        reason = error.strerror or str(error)
        hint = ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "; free some space and try again"
        elif error.filename2 is not None:  # only errors of link(2) have a second file name
            hint = "; a store needs a file system that has hard links"
        elif action in {"put", "delete"} and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            hint = "; the store can be read but not changed here"
        is_denied = action == "list" and error.errno in {errno.EACCES, errno.EPERM}
        kind = AccessDeniedError if is_denied else StorageError
        return kind(f"can't {action} {key!r} in {self.url}: {reason}{hint}")


def _write_synced(path: Path, data: Sequence[Buffer], mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        give_mode(descriptor, mode)
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
