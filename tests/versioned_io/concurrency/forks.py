"""Children that are forked from a test, each with a time limit of its own."""

import os
import signal
import sys
import traceback

LIMIT_S = 60


class Child:
    """A process that is forked to call a function; its exit code says whether that returned."""

    def __init__(self, work):
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_S)
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 (the exit code tells of it)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def join(self):
        """Wait for it, and return its exit code; negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def in_child(work):
    """Call *work* in a child, and fail when it fails, hangs or crashes."""
    code = Child(work).join()
    assert code == 0, f"the child ended with {code}"
