"""The time limit of one try: an alarm in the main thread, a thread that is abandoned elsewhere."""

import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class DatumTimeoutError(TimeoutError):
    """An evaluation took longer than it may."""


class _TimeOver(BaseException):
    """The time of a try is over. A function that catches every `Exception` does not catch this."""


def call_within(call: Callable[[], object], timeout_s: float | None) -> None:
    """Call a function, or give up when its time is over.

    Raises:
        DatumTimeoutError: It took longer. In the main thread it has ended; elsewhere its thread is abandoned.
    """
    if timeout_s is None:
        call()
    elif threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        with _alarm(timeout_s):
            call()
    else:
        _in_thread(call, timeout_s)


def late(timeout_s: float | None) -> DatumTimeoutError:
    """Return the error of a try that took too long."""
    return DatumTimeoutError(f"it took longer than {timeout_s:g} s")


@contextmanager
def _alarm(timeout_s: float) -> Iterator[None]:
    """Raise `DatumTimeoutError` in the block when its time is over; an alarm that was set before comes afterwards."""
    is_active = True

    def stop(_number: int, _frame: FrameType | None) -> None:
        if is_active:
            raise _TimeOver

    before, began = signal.signal(signal.SIGALRM, stop), time.monotonic()
    outer_s, every_s = signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        try:
            yield
        finally:
            is_active = False
    except _TimeOver:
        raise late(timeout_s) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer_s:  # an alarm of the caller's, such as the time limit of a task of an orchestrator
            signal.setitimer(signal.ITIMER_REAL, max(outer_s - (time.monotonic() - began), 1e-3), every_s)


def _in_thread(function: Callable[[], object], timeout_s: float) -> None:
    """Call the function in a thread that is abandoned when its time is over: only the main thread gets alarms."""
    raised: list[BaseException] = []
    context = contextvars.copy_context()

    def call() -> None:
        try:
            context.run(function)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise late(timeout_s)
    if raised:
        raise raised[0]
