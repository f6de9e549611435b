"""Run one command and end it, with everything it started, when standard input closes.

`devservers.process` starts it and holds the other end of the pipe. The kernel closes that end however its holder ends
(return, exception, SIGKILL). So no server outlives the test that started it. On Linux the guard is the reaper of all
orphans below it. So it also finds a server's children that moved to a session of their own.

Usage: ``python guard.py STOP_SIGNAL GRACE_S USER DIRECTORY COMMAND [ARG...]``. ``USER`` is ``-`` for the caller's own;
``DIRECTORY`` is removed at the end, ``-`` for none.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

import psutil

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
ORPHAN_GRACE_S = 2.0  # the time that remaining processes have between the server's end and SIGKILL


def main(arguments: list[str]) -> int:
    """Return the command's exit code once it, and everything it started, has ended.

    Args:
        arguments: Stop signal number, seconds of grace, user name, directory to remove, then the command.
    """
    stop_signal, grace_s, user, directory, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the caller's to handle
    if user == "-":
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    else:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=user,
            group=user_group(user),
            extra_groups=[],
        )
    ended = threading.Event()
    stopper = threading.Thread(
        target=stop_when_told,
        args=(child.pid, signal.Signals(int(stop_signal)), float(grace_s), stop, ended),
        daemon=True,
    )
    stopper.start()
    threading.Thread(target=set_at_end_of_input, args=(stop,), daemon=True).start()
    exit_code = reap_until_gone(child.pid)
    ended.set()
    end_orphans()
    if directory != "-":
        shutil.rmtree(directory, ignore_errors=True)  # the owner may be removing it too
    return exit_code


def user_group(user: str) -> int:
    """Return the primary group of *user*."""
    import pwd  # not on every platform, and only needed to change user

    return pwd.getpwnam(user).pw_gid


def set_at_end_of_input(stop: threading.Event) -> None:
    """Set *stop* when the caller closed its end of standard input, or ended."""
    while os.read(0, 4096):
        pass
    stop.set()


def stop_when_told(
    pid: int, stop_signal: signal.Signals, grace_s: float, stop: threading.Event, ended: threading.Event
) -> None:
    """Signal the process *pid* to stop once *stop* is set, and kill it if it has not ended within *grace_s*."""
    stop.wait()
    send(pid, stop_signal)
    if not ended.wait(grace_s):
        send(pid, signal.SIGKILL)


def send(pid: int, what: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    if psutil.pid_exists(pid):
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            return


def reap_until_gone(pid: int) -> int:
    """Return the exit code of *pid*, collecting adopted orphans that end before it."""
    while True:
        reaped, status = os.waitpid(-1, 0)
        if reaped == pid:
            return os.waitstatus_to_exitcode(status)


def end_orphans() -> None:
    """End everything below this process: SIGTERM, a short grace, SIGKILL, until nothing is left."""
    orphans = psutil.Process().children(recursive=True)
    for orphan in orphans:
        send(orphan.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(orphans, timeout=ORPHAN_GRACE_S)
    while alive:
        for orphan in alive:
            send(orphan.pid, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=ORPHAN_GRACE_S)
        alive = psutil.Process().children(recursive=True)  # processes that they started meanwhile


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
