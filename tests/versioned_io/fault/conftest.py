"""A disk that loses power, for the tests of disasters."""

import ctypes.util
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def why_no_fuse():
    """Why no file system can be mounted here, or None."""
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is not this user's"
    if ctypes.util.find_library("fuse3") is None:
        return "libfuse3 is missing (make fuse)"
    return "mfusepy is missing" if find_spec("mfusepy") is None else None


@pytest.fixture
def forgetful(tmp_path):
    """The mount point of a file system that forgets what was not synced."""
    if (reason := why_no_fuse()) is not None:
        pytest.skip(f"no FUSE: {reason}")
    directory = tmp_path / "disk"
    directory.mkdir()
    command = [sys.executable, "-m", "tests.versioned_io.fault.forgetful", str(directory)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        deadline = time.monotonic() + 60
        while not directory.is_mount():
            assert server.poll() is None, "the file system did not start"
            assert time.monotonic() < deadline, "the file system was not mounted in a minute"
            time.sleep(0.02)
        try:
            yield directory
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(directory)], check=True)
            server.wait(60)
