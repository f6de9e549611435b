"""Local directories for inputs that are files: the path that a step gets must hold as long as it may be used."""

import atexit
import shutil
import tempfile
import threading
import uuid
from pathlib import Path


class Checkouts:
    """The local directories that one IO manager puts files into; none is made before something is. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None

    def new_directory(self, *, kept: bool) -> Path:
        """Return the path of a directory that nobody else has; whoever needs it makes it.

        Args:
            kept: Whether it lasts as long as the process, for a value that is loaded outside of a run, and
                not only until `remove`.
        """
        if kept:
            return _directory_of_process() / uuid.uuid4().hex
        with self._lock:
            if self._root is None:
                self._root = _directory_of_process() / uuid.uuid4().hex
            return self._root / uuid.uuid4().hex

    def remove(self) -> None:
        """Remove what was put into the directories that are not kept."""
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
