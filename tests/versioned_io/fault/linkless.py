"""A file system without hard links, as FAT is one.

Usage: ``python -m tests.versioned_io.fault.linkless DIRECTORY`` mounts it there until it is unmounted.
"""

import errno
import sys

import mfusepy

from tests.versioned_io.fault.forgetful import ForgetfulFiles


class LinklessFiles(ForgetfulFiles):
    """Files and directories, whose names can't be linked."""

    def link(self, target, source):
        raise mfusepy.FuseOSError(errno.EPERM)


if __name__ == "__main__":
    mfusepy.FUSE(LinklessFiles(), sys.argv[1], foreground=True, nothreads=True, use_ino=True, hard_remove=True)
