"""Remote objects in forked children, where obstore does not work and S3 is accessed through boto3."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from versioned_io.errors import ForkedError
from versioned_io.platform.process import HomeProcess, follow_forks, keep_for_ever
from versioned_io.storage.objects.port import Buffer, ObjectInfo, ObjectStore

_INSTEAD: Final = "start processes by spawn or forkserver, or open the store for the first time in the child"
_runtime: list[HomeProcess] = []
"""The process whose threads run obstore, set at its first request."""


def runs_obstore() -> bool:
    """Return whether obstore works in this process; it does if no process before has used it.

    Its first request starts its threads, which do not exist in a forked child. A request in the child would wait
    without end, even through a new client.
    """
    if not _runtime:
        _runtime.append(HomeProcess())
    return _runtime[0].is_here


def require_obstore(what: str) -> None:
    """Raise unless obstore works in this process.

    Raises:
        ForkedError: This is a forked child of a process that has used obstore. Start it by spawn or forkserver.
    """
    if not runs_obstore():
        raise ForkedError(what, _INSTEAD, _runtime[0].pid)


class PerProcessObjects:
    """Forwards all calls to *inner*, or, in a forked child of the process that runs obstore, to a client of the child.

    The child never closes *inner*. Closing its connections would remove them from an epoll set that parent and child
    share. The parent would then never be notified of answers, and wait without end.

    Args:
        inner: The objects, through obstore.
        options: Storage options for the child's client.

    Source: docs/design/0013-processes.md, "Object stores".
    """

    def __init__(self, inner: ObjectStore, options: Mapping[str, str]) -> None:
        self._inner = inner
        self._options = dict(options)
        self._forked: ObjectStore | None = None
        follow_forks(self)

    @property
    def url(self) -> str:
        """The URL of *inner*."""
        return self._inner.url

    @property
    def is_remote(self) -> bool:
        """Whether *inner* is remote."""
        return self._inner.is_remote

    def before_fork(self) -> None:
        """See `FollowsForks`."""

    def after_fork_in_parent(self) -> None:
        """See `FollowsForks`."""

    def after_fork_in_child(self) -> None:
        """Keep the parent's client open but unused, and open another one when it is needed."""
        self._forked = None
        keep_for_ever(self._inner)

    def put(self, key: str, data: Sequence[Buffer]) -> None:
        """See `ObjectStore.put`."""
        self._here().put(key, data)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return self._here().get(key)

    def get_range(self, key: str, offset: int, length: int) -> memoryview:
        """See `ObjectStore.get_range`."""
        return self._here().get_range(key, offset, length)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """See `ObjectStore.get_ranges`."""
        return self._here().get_ranges(key, ranges)

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        return self._here().size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        return self._here().list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """See `ObjectStore.delete`."""
        self._here().delete(keys)

    def _here(self) -> ObjectStore:
        if runs_obstore():
            return self._inner
        if self._forked is None:
            if not self.url.startswith(("s3://", "s3a://")):
                require_obstore(f"the client of {self.url}")
            from versioned_io.storage.objects.s3 import open_s3

            self._forked = open_s3(self.url, self._options)
        return self._forked
