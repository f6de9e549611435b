"""Changes to single files and directories of branches, each staged in the group that is open around it."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from versioned_io.errors import (
    IntegrityError,
    InvalidInputError,
    NotAFileError,
    PathExistsError,
    PathNotFoundError,
)
from versioned_io.interfaces.filesystem.open_files import Place, WrittenFile
from versioned_io.interfaces.filesystem.pending import ChangeGroups
from versioned_io.interfaces.filesystem.trees import Trees
from versioned_io.interfaces.filesystem.urls import Name
from versioned_io.model.paths import parent_directories
from versioned_io.versioning.transactions.staged_branch import StagedBranch


class Edits:
    """Writes, copies and deletes files, and notes empty directories.

    Args:
        trees: The committed files.
        groups: Where changes are staged.
    """

    def __init__(self, trees: Trees, groups: ChangeGroups) -> None:
        self._trees = trees
        self._groups = groups

    def begin_file(self, name: Name, path: str, mode: str, opener: Place | None) -> WrittenFile:
        """Return a file, opened to be written.

        Args:
            path: The name as it was given.
            mode: ``wb``, ``ab`` or ``xb``.
            opener: See `WrittenFile`.

        Raises:
            InvalidInputError: It is another mode.
            PathExistsError: The mode is ``xb``, and something of this name exists.
            NotAFileError: It is a directory.
        """
        if mode not in {"wb", "ab", "xb"}:
            msg = f"can't open {path!r} in mode {mode!r}: use rb, wb, ab or xb; files of a commit never change"
            raise InvalidInputError(msg)
        branch = self._trees.branch_of(name)
        if mode == "xb" and self._trees.exists(name):
            raise PathExistsError(name.path, branch)
        with suppress(IntegrityError):  # a file under an unreadable page is judged by the commit: healed, or refused
            if self._trees.is_directory(name):
                raise NotAFileError(name.path, branch)

        def take(source: IO[bytes]) -> None:
            def write(staged: StagedBranch) -> None:
                if mode == "xb" and staged.exists(name.path):
                    raise PathExistsError(name.path, branch)
                staged.write(name.path, cast("Any", source), append=mode == "ab")

            self._stage(f"write {name.path}", branch, write)

        file = WrittenFile(str(name), take, is_continued=mode == "ab", opener=opener)
        if (transaction := self._groups.transaction()) is not None:
            transaction.add(file)
        return file

    def put(self, local: Path, name: Name, *, creates: bool) -> None:
        """Write one local file; a directory is noted, once the files that are put with it are visible.

        Raises:
            PathExistsError: *creates*, and something of this name exists.
            InvalidInputError: *local* is a special file. Reading a named pipe may never end.
        """
        if local.exists() and not (local.is_file() or local.is_dir()):
            msg = f"{str(local)!r} is a special file: copy its content to a file, or leave it out"
            raise InvalidInputError(msg)
        branch = self._trees.branch_of(name, needs_file=not local.is_dir())
        if creates and self._trees.exists(name):
            raise PathExistsError(name.path, branch)
        with self._groups.changes(f"write {name.path}") as changes:
            if local.is_dir():
                changes.new_directories.add(str(name))
                return
            changes.stage(branch, lambda staged: staged.write(name.path, local))

    def copy(self, source: Name, target: Name) -> None:
        """Copy one file by reference; of a directory, make an empty one."""
        branch = self._trees.branch_of(target)
        is_directory = self._trees.is_directory(source)
        with self._groups.changes(f"copy {source} to {target}") as changes:
            if is_directory:
                changes.new_directories.add(str(target))
                return
            ref = str(source.ref)
            origin = f":{source.path}" if ref == branch else f"{ref}:{source.path}"
            changes.stage(branch, lambda staged: staged.copy(origin, target.path))

    def delete(self, name: Name) -> None:
        """Delete one file.

        Raises:
            PathNotFoundError: There is none, neither committed nor written in this transaction.
        """
        branch = self._trees.branch_of(name)

        def delete(staged: StagedBranch) -> None:
            if not staged.exists(name.path):
                raise PathNotFoundError(name.path, branch)
            staged.delete(name.path)

        self._stage(f"delete {name.path}", branch, delete)

    def delete_all(self, names: list[Name], *, recursive: bool) -> None:
        """Delete files, and with *recursive* directories; each directory stands before the files in it.

        Raises:
            NotAFileError: One is a directory, and *recursive* is false.
        """
        for name in reversed(names):
            if not self._trees.is_directory(name):
                self.delete(name)
            elif recursive:
                self._trees.noted.discard(str(name))
            else:
                raise NotAFileError(name.path, name.head)

    def make_directory(self, name: Name, *, create_parents: bool) -> None:
        """Note an empty directory.

        Raises:
            PathExistsError: A file or directory of this name exists.
            PathNotFoundError: Its parent does not exist, and *create_parents* is false.
        """
        branch = self._trees.branch_of(name, needs_file=False)
        if self._trees.exists(name):
            raise PathExistsError(name.path, branch)
        for parent in parent_directories(name.path):
            above = Name(name.head, parent)
            if not create_parents and not self._trees.is_directory(above):
                raise PathNotFoundError(parent, branch)
            if self._trees.is_file(above):
                raise PathExistsError(parent, branch)
            self._trees.noted.add(str(above))
        self._trees.noted.add(str(name))

    def remove_directory(self, name: Name, path: str) -> None:
        """Forget an empty directory.

        Args:
            path: The name as it was given.

        Raises:
            OSError: It holds something.
            PathNotFoundError: There is none.
        """
        if self._trees.entries(name):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._trees.noted.discard(str(name))

    def _stage(self, message: str, branch: str, change: Callable[[StagedBranch], object]) -> None:
        with self._groups.changes(message) as changes:
            changes.stage(branch, change)
