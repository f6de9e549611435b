"""The process that made a handle, and its hooks at a ``fork()``, so that no child uses its parent's objects."""

import ctypes
import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import Final, Protocol

from versioned_io.errors import ForkedError


@dataclass(frozen=True, slots=True)
class HomeProcess:
    """The process that made something."""

    pid: int = field(default_factory=os.getpid)

    @property
    def is_here(self) -> bool:
        """Whether this is that process. Cost: one system call, 0.1 us."""
        return os.getpid() == self.pid

    def check(self, what: str, instead: str) -> None:
        """Return in the process that made it.

        Raises:
            ForkedError: This is a child that ``fork()`` made of it.
        """
        if not self.is_here:
            raise ForkedError(what, instead, self.pid)


class FollowsForks(Protocol):
    """A handle that prepares for a ``fork()`` of its process, in the thread that forks."""

    def before_fork(self) -> None:
        """Bring the inherited objects into a state that the child can use, or leave alone."""
        ...

    def after_fork_in_parent(self) -> None:
        """Restore the state for the parent's further work."""
        ...

    def after_fork_in_child(self) -> None:
        """Drop the parent's objects; no other thread exists."""
        ...


_handles: Final["weakref.WeakSet[FollowsForks]"] = weakref.WeakSet()
_locks: Final["weakref.WeakSet[threading.Lock]"] = weakref.WeakSet()
_registered: Final[list[int]] = []


def follow_forks(handle: FollowsForks) -> None:
    """Notify *handle* of every ``fork()`` of this process, as long as *handle* is referenced."""
    _register()
    _handles.add(handle)


def new_lock() -> threading.Lock:
    """Return a lock that a child finds free, even if another thread of the parent held it when the child was made.

    So it must guard only state that is consistent at every moment, such as one dict, or state that the child discards.
    """
    return _free_in_children(threading.Lock())


def new_reentrant_lock() -> "threading.RLock":
    """Return a lock as `new_lock` does, which its thread may take again."""
    lock = threading.RLock()
    _free_in_children(lock)  # type: ignore[arg-type]  # both kinds have what is needed
    return lock


def keep_for_ever(thing: object) -> None:
    """Prevent the finalisation of *thing* in this process, even at the end of the interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _free_in_children(lock: threading.Lock) -> threading.Lock:
    _register()
    _locks.add(lock)
    return lock


def _register() -> None:
    if not _registered:
        _registered.append(os.getpid())
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before() -> None:
    for handle in list(_handles):
        handle.before_fork()


def _after_in_parent() -> None:
    for handle in list(_handles):
        handle.after_fork_in_parent()


def _after_in_child() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 (what threading does with its own)
    for handle in list(_handles):
        handle.after_fork_in_child()
