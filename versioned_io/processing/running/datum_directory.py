"""The directory of a command's datum: its inputs as files, the outputs that it leaves, its code, and its log."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from versioned_io.errors import InvalidInputError
from versioned_io.processing.fingerprints.of_command import CodeFile
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.inputs.table_cuts import rows_of
from versioned_io.processing.running.datum_access import DatumOutput

MOUNTED: Final = "/pfs"
"""Where commands of Pachyderm expect the inputs."""
_OUT: Final = "out"
_MOST_LINKS: Final = 40
_CHANGED_AT: Final = (315619200, 315619200)
"""Every input was changed on the second day of 1980, so that archives of equal inputs are equal."""
MOST_LOG_BYTES: Final = 4 << 20
"""The end of a datum's log is kept, at most this much."""


class DatumDirectory:
    """A directory for one datum after the other. Close it to delete it.

    Attributes:
        inputs: Has a directory for each input, and ``out``. Its path is ``PFS_ROOT``.
        work: The working directory, with the files of the command.
        scratch: For temporary files, and the home directory.
    """

    def __init__(self, *, is_mounted: bool = False) -> None:
        self._is_mounted = is_mounted
        self.root = Path(tempfile.mkdtemp(prefix="versioned-io-datum-"))
        self.inputs, self.work, self.scratch = self.root / "pfs", self.root / "work", self.root / "scratch"
        self.stdin, self.log, self.mount = self.root / "stdin", self.root / "log", self.root / "mount"
        for path in (self.inputs, self.work, self.scratch, self.mount):
            path.mkdir()

    def close(self) -> None:
        """Delete the directory with everything in it."""
        _delete(self.root)

    def clear(self) -> None:
        """Delete inputs and outputs. The directory itself stays, since it may be mounted.

        Raises:
            InvalidInputError: It was replaced by a link, below which nothing may be deleted.
        """
        self._refuse_link()
        for path in self.inputs.iterdir():
            _delete(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def add_code(self, files: Sequence[CodeFile]) -> None:
        """Write the files of a command into the working directory."""
        for file in files:
            if file.data is not None:
                path = self.work / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.data)
                if file.is_executable:
                    path.chmod(0o755)

    def add_inputs(self, files: Mapping[str, Sequence[DatumFile]]) -> None:
        """Write the files of a datum, read-only, and make an empty output directory.

        Raises:
            InvalidInputError: Two files of one input have the same path and other bytes.
        """
        for name, some in files.items():
            top = self.inputs / name
            top.mkdir()
            for path, same in _by_path(name, some).items():
                target = top / path
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(target, same)
                target.chmod(0o444)
                os.utime(target, _CHANGED_AT)
        (self.inputs / _OUT).mkdir()

    def read_log(self) -> str:
        """Return the text that the command printed; the end of it if it is very long."""
        size = self.log.stat().st_size
        with self.log.open("rb") as file:
            file.seek(max(0, size - MOST_LOG_BYTES))
            return text_of_log(file.read(), size)

    def collect(self, out: DatumOutput, names_only: frozenset[str]) -> None:
        """Write the files below ``out`` as outputs.

        A link to a file of the datum stands for the content of the file.

        Args:
            names_only: The inputs whose content is not offered.

        Raises:
            InvalidInputError: Something is not a regular file, or is a link that leads out of the datum.
            IllegalPathError: A name breaks the path rules.
        """
        self._refuse_link()
        top = self.inputs / _OUT
        if top.is_symlink() or not top.is_dir():
            msg = "the directory 'out' was replaced by something else: write files below it"
            raise InvalidInputError(msg)
        for name, path in _walk(top, ""):
            out.write(name, self._read_output(name, path, names_only))

    def _refuse_link(self) -> None:
        if self.inputs.is_symlink():
            msg = "the directory of the datum was replaced by a link: write files below its directory 'out'"
            raise InvalidInputError(msg)

    def _read_output(self, name: str, path: Path, names_only: frozenset[str]) -> bytes:
        if path.is_symlink():
            path = self._followed(name, path, names_only)
        kind = path.lstat().st_mode
        if not stat.S_ISREG(kind):
            msg = f"the output {name!r} is {_kind_of(kind)}: write regular files, or links to files of the datum"
            raise InvalidInputError(msg)
        try:
            return path.read_bytes()
        except PermissionError:
            path.chmod(0o600)  # the command's own file
            return path.read_bytes()

    def _followed(self, name: str, link: Path, names_only: frozenset[str]) -> Path:
        """Return the file of the datum that a link leads to. `os.path.realpath` raises nothing for a loop."""
        path = link
        for _ in range(_MOST_LINKS):
            if not path.is_symlink():
                break
            target = str(path.readlink())
            if self._is_mounted and target.startswith(f"{MOUNTED}/"):
                target = f"{self.inputs}{target.removeprefix(MOUNTED)}"
            path = Path(os.path.normpath(Path(os.path.realpath(path.parent)) / target))
        home = self.inputs.resolve()
        found = Path(os.path.realpath(path))
        if not found.is_relative_to(home) or not found.exists():
            msg = (
                f"the output {name!r} is a link to {str(link.readlink())!r}, which is not a file of the datum: copy it"
            )
            raise InvalidInputError(msg)
        if names_only & {*found.relative_to(home).parts[:1]}:
            msg = f"the output {name!r} is a link into an input with empty_files: declare it without empty_files"
            raise InvalidInputError(msg)
        return found


def text_of_log(end: bytes, size: int) -> str:
    """Return the text of a log of *size* bytes, of which at most the last `MOST_LOG_BYTES` are in *end*."""
    text = end.decode("utf-8", "backslashreplace")
    lost = size - len(end)
    return f"[{lost} bytes before this are not kept]\n{text}" if lost else text


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Yield everything below a directory that is not a directory, sorted by name; links are not followed."""
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda one: one.name)
    for entry in found:
        name = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{name}/")
        else:
            yield name, Path(entry.path)


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a link to a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _by_path(name: str, files: Sequence[DatumFile]) -> dict[str, list[DatumFile]]:
    """Return files by path: more than one only of a table, whose rows go into one file."""
    found: dict[str, list[DatumFile]] = {}
    for file in files:
        same = found.setdefault(file.path, [])
        if same and file.column is None:
            if file.digest != same[0].digest:
                msg = f"the input {name!r} has two files {file.path!r} in one datum: give its arms different names"
                raise InvalidInputError(msg)
            continue
        same.append(file)
    return found


def _write(target: Path, files: Sequence[DatumFile]) -> None:
    first = files[0]
    if first.column is not None:
        _write_rows(target, pa.concat_tables([rows_of(file) for file in files]))
    elif first.is_names_only:
        target.touch()
    else:
        with first.snapshot.open(first.path) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def _write_rows(target: Path, rows: pa.Table) -> None:
    """Write rows as a Parquet file, or as an Arrow file if the name says so."""
    if target.suffix in {".arrow", ".feather", ".ipc"}:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
    else:
        pq.write_table(rows, target)


def _delete(top: Path) -> None:
    """Delete a directory, also what the command protected from writing."""
    try:
        shutil.rmtree(top)
    except OSError:
        top.chmod(0o700)
        for directory, names, _ in os.walk(top):
            for name in names:
                if not (Path(directory) / name).is_symlink():
                    (Path(directory) / name).chmod(0o700)
        # A process that left the command's group may still write there. It is a temporary directory.
        shutil.rmtree(top, ignore_errors=True)
