"""Offers of an orchestrator to a whole process, taken up when somebody asks: the run of its task, and the store.

A process that never uses a store pays nothing for them, not even an import.
"""

from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, Generic, Protocol, TypeVar

from versioned_io.platform.process import follow_forks, new_reentrant_lock


class _Closes(Protocol):
    """A value that is told when its offer ends."""

    def close(self) -> None:
        """End its use by this process."""
        ...


T = TypeVar("T")


class Offer(Generic[T]):
    """A value that is made by the first caller that asks for it, and is everybody's until the offer is withdrawn."""

    def __init__(self) -> None:
        self._build: Callable[[], T] | None = None
        self._made: T | None = None
        self._lock = new_reentrant_lock()
        self._builder: int | None = None  # the thread that is building
        self.number = 0  # of offers so far

    @property
    def made(self) -> T | None:
        """The value if a caller has asked for it."""
        return self._made

    def make(self, build: Callable[[], T]) -> None:
        """Offer what *build* returns; an earlier offer ends."""
        with self._lock:
            self._build, self._made = build, None
            self.number += 1

    def find(self) -> T | None:
        """Return the value, made now if nobody has asked before; None without an offer."""
        if self._made is not None or self._build is None or self._builder == get_ident():
            return self._made
        with self._lock:
            if self._made is None and self._build is not None:
                self._builder = get_ident()  # `build` may use the library
                try:
                    self._made = self._build()
                finally:
                    self._builder = None
            return self._made

    def withdraw(self) -> T | None:
        """End the offer, and return the value if somebody has asked for it; wait for a thread that is making it."""
        with self._lock:
            made, self._build, self._made = self._made, None, None
            return made


class _RunOffer(Offer[Any]):
    """The offer of a run, which is made before a ``fork()``: so the reads of the child count for the parent's run."""

    def before_fork(self) -> None:
        self.find()

    def after_fork_in_parent(self) -> None:
        """Do nothing."""

    def after_fork_in_child(self) -> None:
        """Do nothing: the run knows that this is another process."""


process_run: Final = _RunOffer()
"""The run of all reads and commits in this process that belong to no other run."""


class _SettingsOffer(Offer[Any]):
    """The offer of a store's settings.

    Attributes:
        prepare: Called with the store when fsspec has opened it; None for nothing.
    """

    prepare: Callable[[Any], object] | None = None


process_settings: Final = _SettingsOffer()
"""The settings of the store that fsspec opens if it is given none."""


def offer_run(build: Callable[[], _Closes]) -> None:
    """Make the run that *build* returns that of all reads and commits of this process outside of other runs.

    It is built at the first read or commit, in whichever thread. Call `withdraw_run` at its end.

    >>> vio.offer_run(lambda: vio.build_run("report").open())
    >>> rain = store.snapshot("weather@main").read("2012/02.csv")
    >>> [file.path for file in vio.withdraw_run().inputs]
    ['2012/02.csv']
    """
    withdraw_run()
    process_run.make(build)
    follow_forks(process_run)


def withdraw_run() -> Any:  # noqa: ANN401 (a Run, whose module need not be loaded)
    """End the offer of `offer_run`, and return the run; None if nothing was read or committed in it.

    >>> vio.withdraw_run() is None
    True
    """
    run = process_run.withdraw()
    if run is not None:
        run.close()
    return run


def offer_settings(build: Callable[[], object] | None, *, prepare: Callable[[Any], object] | None = None) -> None:
    """Set the store that fsspec opens if neither its caller nor the environment names one.

    >>> vio.offer_settings(lambda: vio.StoreSettings("./data"))
    >>> vio.offer_settings(None)

    Args:
        build: Returns its `StoreSettings` when fsspec first needs them. None ends the offer.
        prepare: Called with the `Store` when fsspec has opened it, such as to register an `after_commit` hook.
    """
    process_settings.withdraw()
    process_settings.prepare = prepare
    if build is not None:
        process_settings.make(build)
