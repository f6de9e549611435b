"""Values that an older IO manager stored before the store took its place: read where they are, and exported there."""

import hashlib
import io
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import dagster as dg

from dagster_versioned import compat_older
from versioned_io.errors import InvalidInputError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OlderInput:
    """One value that was read from an older IO manager, as an input of a commit.

    Attributes:
        uri: The address of its file; of an IO manager without files, the asset's key and the partition.
        digest: ``sha256:`` and the digest of the file's bytes; of an IO manager without files, ``pickle-sha256:`` and
            the digest of the value's pickle.
        output: The partition that was made from it; empty for all outputs of the step.
    """

    uri: str
    digest: str
    output: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it for a commit's metadata."""
        found = {"uri": self.uri, "digest": self.digest}
        return found | {"output": self.output} if self.output else found


class OlderValue(NamedTuple):
    """A value, and the input that it is."""

    value: Any
    input: OlderInput


class Fallback:
    """The IO manager that stored values before.

    Args:
        given: The directory of a `FilesystemIOManager`, the prefix of an `S3PickleIOManager` as
            ``s3://bucket/prefix``, the URL of another file system of fsspec, or an IO manager.
        s3: The `S3Resource` to reach a prefix with; None for boto3's own chain.
        allow_pickle: Whether values that are pickles may be loaded.
    """

    def __init__(self, given: object, *, s3: object = None, allow_pickle: bool = True) -> None:
        self._given = given
        self._s3 = s3
        self._allow_pickle = allow_pickle

    def __str__(self) -> str:
        return self._given if isinstance(self._given, str) else type(self.manager).__name__

    @cached_property
    def manager(self) -> dg.IOManager:
        """The IO manager.

        Raises:
            InvalidInputError: It is neither a location nor an IO manager, or a directory that does not exist.
        """
        given = self._given
        if isinstance(given, str):
            return (
                compat_older.s3_pickle_manager(given, self._s3) if given.startswith("s3://") else _in_directory(given)
            )
        if isinstance(given, dg.IOManager):
            return given
        msg = f"fallback is a {type(given).__name__}: pass a directory, a URL, or an IO manager"
        raise InvalidInputError(msg)

    def load(self, context: dg.InputContext, key: str | None) -> OlderValue:
        """Return the value of an input, or of one partition of it.

        Args:
            key: The partition; None for an input without partitions.

        Raises:
            FileNotFoundError: The older IO manager has no such value.
            DagsterInvariantViolationError: It is a pickle, and those are not allowed.
            Exception: Whatever an IO manager of your own raises.

        Cost: 1 read. Other IO managers than Dagster's own read their file a second time, for its digest.
        """
        one = context if key is None else compat_older.input_of_partition(context, key)
        manager = self.manager
        if not isinstance(manager, dg.UPathIOManager):
            value = manager.load_input(one)
            name = context.asset_key.to_user_string() if context.has_asset_key else "/".join(context.get_identifier())
            uri = name if key is None else f"{name}[{key}]"
            digest = hashlib.sha256(pickle.dumps(value)).hexdigest()
            return OlderValue(value, OlderInput(f"{type(manager).__name__}:{uri}", f"pickle-sha256:{digest}"))
        return self._load_file(manager, one)

    def has(self, context: dg.InputContext) -> bool:
        """Return whether there is a value of an input, or of its only partition.

        Cost: 1 look-up; an IO manager without files loads the value.
        """
        manager = self.manager
        if isinstance(manager, dg.UPathIOManager):
            return manager.path_exists(compat_older.paths_of(manager, context)[0])
        try:
            manager.load_input(context)
        except FileNotFoundError:
            return False
        return True

    def _load_file(self, manager: dg.UPathIOManager, context: dg.InputContext) -> OlderValue:
        path = compat_older.paths_of(manager, context)[0]
        if not compat_older.is_stock_pickle_manager(manager):
            digest = _digest_of(path)
            return OlderValue(manager.load_input(context), OlderInput(_uri(manager, path), digest))
        if not self._allow_pickle:
            raise dg.DagsterInvariantViolationError(
                f"{_uri(manager, path)} is a pickle, but allow_pickle is False: allow pickles, or import the value once"
            )
        with compat_older.open_stock_pickle(manager, path) as file:
            value, digest = _unpickled(file)
        return OlderValue(value, OlderInput(_uri(manager, path), digest))

    def export(self, context: dg.OutputContext, obj: object, key: str | None) -> str:
        """Write a value to the place where the older IO manager would keep it, and return its address.

        Raises:
            DagsterInvariantViolationError: The older IO manager has no places of its own to write to.
        """
        manager = self.manager
        if not isinstance(manager, dg.UPathIOManager):
            raise dg.DagsterInvariantViolationError(
                f"a {type(manager).__name__} can't keep an exported copy: export is for IO managers with files"
            )
        path = (
            compat_older.paths_of(manager, context)[0]
            if key is None
            else compat_older.partition_paths_of(manager, context)[key]
        )
        manager.make_directory(path.parent)
        manager.dump_to_path(context, obj, path)
        return _uri(manager, path)


def _in_directory(location: str) -> dg.IOManager:
    if "://" not in location and not Path(location).is_dir():
        msg = f"fallback={location!r} is not a directory: name the base_dir of the older IO manager, or leave it out"
        raise InvalidInputError(msg)
    return compat_older.filesystem_manager(location)


class _Hashing(io.RawIOBase):
    """Reads a file, and digests the bytes as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (any writable buffer)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        return len(data)


def _unpickled(file: IO[bytes]) -> tuple[Any, str]:
    """Return the value of a pickle, and the digest of exactly the bytes that it was made from."""
    hashing = _Hashing(file)
    buffered = io.BufferedReader(hashing, _CHUNK_BYTES)
    value = pickle.load(buffered)  # noqa: S301 (as the IO manager that wrote it does; allow_pickle was asked)
    while buffered.read(_CHUNK_BYTES):
        pass
    return value, f"sha256:{hashing.digest.hexdigest()}"


def _digest_of(path: Any) -> str:  # noqa: ANN401 (a UPath; its package is imported only when it is used)
    """Return the digest of a file, or of the files of a directory with their names.

    Raises:
        FileNotFoundError: There is neither.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted((one for one in path.rglob("*") if one.is_file()), key=str):
            digest.update(f"{file.relative_to(path)}\0{_digest_of(file)}\n".encode())
        return f"sha256:{digest.hexdigest()}"
    with path.open("rb") as opened:
        while data := cast("IO[bytes]", opened).read(_CHUNK_BYTES):
            digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def _uri(manager: dg.UPathIOManager, path: Any) -> str:  # noqa: ANN401 (a UPath)
    bucket = getattr(manager, "bucket", None)
    if bucket is not None:
        return f"s3://{bucket}/{path.as_posix()}"
    return str(path.absolute().as_uri() if isinstance(path, Path) else path)
