"""Which files a call means: a name that exists is that file alone, whatever is in it; else it may be a pattern."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.utils import other_paths

from versioned_io.errors import PathNotFoundError
from versioned_io.interfaces.filesystem.pending import ChangeGroups
from versioned_io.interfaces.filesystem.trees import Trees
from versioned_io.interfaces.filesystem.urls import Name

Pairs = tuple[list[str], list[str]]
"""Sources, each with its target."""


def is_pattern(path: object) -> bool:
    """Return whether fsspec would take *path* for a pattern."""
    return isinstance(path, str | os.PathLike) and bool(has_magic(os.fspath(path)))


class Expansion:
    """Decides whether a path is a name or a pattern. A file or directory that exists is meant by its name alone.

    Args:
        parse: Returns the name that a path of the file system is.
    """

    def __init__(self, trees: Trees, groups: ChangeGroups, parse: Callable[[Any], Name]) -> None:
        self._trees = trees
        self._groups = groups
        self._parse = parse

    def hides_pattern(self, path: object) -> bool:
        """Return whether fsspec would take *path* for a pattern, but a file or directory of this name exists.

        It may be committed, or staged in this transaction.
        """
        if not isinstance(path, str) or not is_pattern(path):
            return False
        name = self._parse(path)
        if is_pattern(name.head):
            return False
        transaction = self._groups.transaction()
        if transaction is not None and name.path:
            branch = f"{name.ref.repo}@{name.ref.name}"
            if transaction.changes.has(branch, name.path):
                return True
        return self._trees.exists(name)

    def refuse_patterns(self, path: Any) -> None:  # noqa: ANN401 (fsspec's protocol: a path or a list of them)
        """Refuse a path, or one of a list, that is a pattern.

        Raises:
            PathNotFoundError: Nothing of this name exists.
        """
        for one in [path] if isinstance(path, str) else path:
            if is_pattern(one) and not self.hides_pattern(one):
                name = self._parse(one)
                hint = "a deletion or move takes names, not patterns; pass the result of fs.glob()"
                raise PathNotFoundError(name.path, name.head, hint)

    def expand(self, paths: Sequence[str], *, recursive: bool, maxdepth: int | None) -> set[str]:
        """Return *paths*, which are names, and with *recursive* everything below each of them that exists."""

        def find(path: str) -> Sequence[str]:
            return list(self._trees.find(self._parse(path), maxdepth, withdirs=True))

        def exists(path: str) -> bool:
            return self._trees.exists(self._parse(path))

        return expand_names(paths, exists=exists, find=find if recursive else None)

    def pair(self, source: str, target: str, names: Sequence[str], *, into: bool, takes_directories: bool) -> Pairs:
        """Return the target of each of *names*, as `pair_names` does."""

        def is_directory(path: str) -> bool:
            return self._trees.is_directory(self._parse(path))

        return pair_names(
            source, target, names, is_directory=is_directory, into=into, takes_directories=takes_directories
        )


def expand_names(
    names: Sequence[str], *, exists: Callable[[str], bool], find: Callable[[str], Sequence[str]] | None
) -> set[str]:
    """Return *names*, and with *find* everything below each of them; a missing name is left out."""
    found: set[str] = set()
    for name in names:
        if find is not None:
            found.update(find(name))
        if name not in found and (find is None or exists(name)):
            found.add(name)
    return found


def pair_names(
    source: str,
    target: str,
    names: Sequence[str],
    *,
    is_directory: Callable[[str], bool],
    into: bool,
    takes_directories: bool,
) -> Pairs:
    """Return the target of each of *names*, the expansion of *source*, by fsspec's rules for a path without magic.

    Args:
        into: Whether *target* is a directory.
        takes_directories: Whether directories are among the sources.
    """
    chosen = [name for name in names if takes_directories or not is_directory(name)]
    return chosen, other_paths(chosen, target, exists=into and not source.endswith("/"))


def pair_local(source: Any, target: Any, *, into: bool, recursive: bool, maxdepth: int | None) -> Pairs | None:  # noqa: ANN401 (fsspec's protocol)
    """Return the sources and targets for a put of local files if an existing name has magic in it; otherwise None.

    fsspec would treat such a name as a pattern, and put other files.
    """
    is_single = isinstance(source, str | os.PathLike)
    sources = [os.fspath(one) for one in ([source] if is_single else source)]
    if isinstance(target, list) or not any(is_pattern(one) and Path(one).exists() for one in sources):
        return None
    local, below = LocalFileSystem(), maxdepth

    def find(name: str) -> Sequence[str]:
        return list(local.find(name, maxdepth=below, withdirs=True))

    names: set[str] = set()
    for one in map(make_path_posix, sources):
        if is_pattern(one) and not Path(one).exists():
            names.update(local.expand_path(one, recursive=recursive, maxdepth=maxdepth))
        else:
            plain = one.rstrip("/")
            names.update(expand_names([plain], exists=local.exists, find=find if recursive else None))
    if not is_single:
        return sorted(names), other_paths(sorted(names), target, flatten=True)
    takes_directories = recursive and maxdepth is None
    return pair_names(
        sources[0], target, sorted(names), is_directory=local.isdir, into=into, takes_directories=takes_directories
    )
