"""Local directories for inputs that are files: the path that a step gets must stay valid while the step may use it."""

import atexit
import shutil
import tempfile
import threading
import uuid
from pathlib import Path


class Checkouts:
    """The local directories for the files of one IO manager; a directory is made at its first use. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None

    def new_directory(self, *, kept: bool) -> Path:
        """Return the path of a new directory that no other value uses; the caller makes the directory.

        Args:
            kept: Whether it lasts as long as the process and not only until `remove`. A value that is loaded outside
                a run needs this.
        """
        if kept:
            return _directory_of_process() / uuid.uuid4().hex
        with self._lock:
            if self._root is None:
                self._root = _directory_of_process() / uuid.uuid4().hex
            return self._root / uuid.uuid4().hex

    def remove(self) -> None:
        """Delete the directories that are not kept."""
        with self._lock:
            root, self._root = self._root, None
        if root is not None and root.exists():
            shutil.rmtree(root)


_lock = threading.Lock()
_process_directory: Path | None = None


def _directory_of_process() -> Path:
    """Return this process's directory, made at the first call and removed when the process ends."""
    global _process_directory  # noqa: PLW0603 (the one directory of the process, made under the lock)
    with _lock:
        if _process_directory is None:
            _process_directory = Path(tempfile.mkdtemp(prefix="dagster-versioned-"))
            atexit.register(shutil.rmtree, _process_directory, ignore_errors=True)
        return _process_directory
