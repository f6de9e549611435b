"""Reads of other processes for a run: notes in a directory, which the run's own process collects.

A child process gets the handle of the run by inheritance or in a pickle, and appends its notes to its own file. The
directory has an unguessable name, and is created by the first note.
"""

import json
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from versioned_io.model.commits import InputFile
from versioned_io.model.identifiers import CommitId, LineageId


class ReadCommit(NamedTuple):
    """The facts that a run keeps about a commit that was read."""

    id: CommitId
    lineage_id: LineageId
    order: int


@dataclass(frozen=True, slots=True)
class Note:
    """One note of a process.

    Attributes:
        taken: The token of a handle that the process received.
        doubt: A reason why reads may be missing.
    """

    commit: ReadCommit | None = None
    files: tuple[InputFile, ...] = ()
    taken: str | None = None
    doubt: str | None = None


class Spool:
    """The notes that other processes write for a run. Thread-safe."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path or str(Path(tempfile.gettempdir()) / f"versioned-io-{uuid.uuid4().hex}")
        self._file: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._read: dict[str, int] = {}

    def write(self, note: Note) -> None:
        """Write a note for the process of the run, which can read it when this returns.

        Raises:
            OSError: The note can't be written. The caller must not use the data that it read, since the read would be
                missing from the provenance.

        Cost: 1 write; some system calls more for the first note of a process.
        """
        fields = {
            "commit": note.commit,
            "files": [asdict(file) for file in note.files],
            "taken": note.taken,
            "doubt": note.doubt,
        }
        os.write(self._own_file(), json.dumps(fields, separators=(",", ":")).encode() + b"\n")

    def collect(self) -> Iterator[Note]:
        """Yield the notes since the last call. Cost: 1 listing if there is no note."""
        with self._lock:
            try:
                names = sorted(file.name for file in Path(self.path).iterdir())
            except FileNotFoundError:
                return
            notes = [note for name in names for note in self._notes_of(name)]
        yield from notes

    def remove(self) -> None:
        """Delete the notes."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _own_file(self) -> int:
        """Return the open file of this process. A forked child opens its own instead of using its parent's."""
        if self._file is None or self._file[0] != os.getpid():
            Path(self.path).mkdir(mode=0o700, exist_ok=True)
            name = Path(self.path) / f"{os.getpid()}-{uuid.uuid4().hex}"
            self._file = (os.getpid(), os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600))
        return self._file[1]

    def _notes_of(self, name: str) -> Iterator[Note]:
        with (Path(self.path) / name).open("rb") as file:
            file.seek(self._read.get(name, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    yield Note(doubt=f"the process {name.partition('-')[0]} ended while it noted what it read")
                    return
                self._read[name] = self._read.get(name, 0) + len(line)
                yield _parse(line)


def _parse(line: bytes) -> Note:
    fields = json.loads(line)
    commit = None if fields["commit"] is None else ReadCommit(*fields["commit"])
    return Note(commit, tuple(InputFile(**file) for file in fields["files"]), fields["taken"], fields["doubt"])
