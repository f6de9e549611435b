"""A command's own view of the file system, in which its datum is at ``/pfs``."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shutil import which
from typing import Final

from versioned_io.processing.running.datum_directory import MOUNTED
from versioned_io.processing.running.process_groups import CommandFailedError

_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SCRIPT: Final = "\n".join(
    (
        "set -e",
        "root=$1 datum=$2 directory=$3 given=$PATH",
        "shift 3",
        f"PATH={_SYSTEM_PATH}",
        'mount -t tmpfs none "$root"',
        "for entry in /* /.[!.]*; do",
        f'  if [ "$entry" = {MOUNTED} ]; then continue',
        '  elif [ -L "$entry" ]; then cp -P "$entry" "$root$entry"',
        '  elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"',
        '  elif [ -e "$entry" ]; then : > "$root$entry"; mount --bind "$entry" "$root$entry"',
        "  fi",
        "done",
        f'mkdir "$root{MOUNTED}"',
        f'mount --bind "$datum" "$root{MOUNTED}"',
        """exec chroot "$root" /bin/sh -c 'cd "$1"; PATH=$2; shift 2; exec "$@"' sh "$directory" "$given" "$@\"""",
    )
)
"""Copies the root directory by references into an empty one, adds the datum, and makes it the root of the command."""


def mounted(argv: Sequence[str], *, root: Path, datum: Path, directory: Path) -> list[str]:
    """Return the command that runs *argv* where the directory *datum* is at ``/pfs``.

    It has namespaces of its own for users and mounts, so nobody else sees the mount, and it ends with the command.

    Args:
        root: An empty directory.
        directory: The working directory.

    Raises:
        CommandFailedError: The machine does not allow it. Let the command use ``$PFS_ROOT`` in place of ``/pfs``.
    """
    if not can_mount():
        msg = (
            f"this machine lets no process mount {MOUNTED} for itself (`unshare --user --mount` fails): "
            f"let the command use $PFS_ROOT, and declare it without pfs"
        )
        raise CommandFailedError(msg)
    return [*_unshare(), "/bin/sh", "-c", _SCRIPT, "sh", str(root), str(datum), str(directory), *argv]


@cache
def can_mount() -> bool:
    """Return whether this machine lets a command have a view of its own. Cost: starts a process, once."""
    if which("unshare", path=_SYSTEM_PATH) is None:
        return False
    found = subprocess.run([*_unshare(), "/bin/true"], capture_output=True, check=False)
    return found.returncode == 0


def _unshare() -> list[str]:
    return [which("unshare", path=_SYSTEM_PATH) or "unshare", "--user", "--map-root-user", "--mount"]
