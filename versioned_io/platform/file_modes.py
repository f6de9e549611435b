"""The modes of a local store's files and directories: the store directory's mode decides, not a writer's umask."""

import os
import stat
from pathlib import Path
from typing import Final

OWN_MODE: Final = 0o700
"""The mode of a new store directory: only its owner can read it, unless the owner changes the mode."""

_PASSED_ON: Final = stat.S_ISGID | 0o777
_STICKY: Final = stat.S_ISVTX
_NOT_IN_STICKY: Final = ~0o022  # everybody may write into /tmp, but not into the files in it


def mode_like(directory: Path) -> int:
    """Return the mode of directories in *directory*; that of files is `file_mode` of it. Cost: 1 stat(2)."""
    mode = directory.stat().st_mode
    return mode & _PASSED_ON & (_NOT_IN_STICKY if mode & _STICKY else -1)


def file_mode(mode: int) -> int:
    """Return the mode of files where directories have *mode*."""
    return mode & 0o666


def make_own_directory(path: Path) -> None:
    """Make *path*, for its owner alone, and its parents with the usual mode; an existing one stays unchanged.

    Raises:
        OSError: It can't be made, or the path is not a directory.
    """
    try:
        path.mkdir(parents=True, mode=OWN_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(OWN_MODE)  # some umasks restrict the owner, too


def make_directory_like(path: Path, root: Path) -> None:
    """Make one directory below *root*, with its mode.

    Raises:
        OSError: It can't be made, or is there.
    """
    mode = mode_like(root)
    path.mkdir(mode=mode & 0o777)
    give_mode(path, mode)


def give_mode(target: int | Path, mode: int) -> None:
    """Set the mode of an open file or a directory, whatever the umask is. Cost: 1 stat(2); most need no more."""
    if stat.S_IMODE(os.stat(target).st_mode) != mode:  # noqa: PTH116 (it may be a descriptor)
        try:
            os.chmod(target, mode)  # noqa: PTH101 (likewise)
        except PermissionError:
            return  # a file system without modes, or a directory that somebody else has just made


def make_file(path: Path, mode: int) -> None:
    """Make an empty file of this mode, unless one is there. Cost: 1 open(2), and 1 fstat(2) where it is made.

    Raises:
        OSError: It can't be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    try:
        give_mode(descriptor, mode)
    finally:
        os.close(descriptor)
