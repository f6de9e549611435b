"""A file system that forgets what was not synced: a machine that loses power, in one process and without root's help.

Usage: ``python -m tests.versioned_io.fault.forgetful DIRECTORY`` mounts it there until it is unmounted. It lives in
memory. Writing to ``DIRECTORY/.lose-power`` takes it back to what was durable: ``all`` forgets everything that no fsync
covers; a number is the seed by which each page of a file and each name survives or not, as on a disk that had begun to
write.

A file's bytes are durable once the file was synced, a name once its directory was. POSIX promises no more.
"""

import errno
import os
import random
import stat
import sys
import time
from dataclasses import dataclass, field

import mfusepy

_PAGE = 4096
_SWITCH = "/.lose-power"


@dataclass(slots=True)
class File:
    """A file: its bytes as everybody sees them, and as they were when it was last synced."""

    number: int
    mode: int
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    links: int = 1
    changed_at: float = field(default_factory=time.time)

    def forget(self, luck):
        if luck is None:
            self.data = bytearray(self.durable)
            return
        now, before = self.data, self.durable
        size = luck.choice([len(now), len(before)])
        kept = bytearray(size)
        for start in range(0, size, _PAGE):
            part = bytes(luck.choice([now, before])[start : min(start + _PAGE, size)])
            kept[start : start + len(part)] = part
        self.data, self.durable = kept, bytes(kept)


@dataclass(slots=True)
class Directory:
    """A directory: its names as everybody sees them, and as they were when it was last synced."""

    number: int
    mode: int
    names: dict = field(default_factory=dict)
    durable: dict = field(default_factory=dict)
    changed_at: float = field(default_factory=time.time)

    def forget(self, luck):
        kept = dict(self.durable)
        if luck is not None:
            for name in sorted({*self.names, *self.durable}):
                chosen = luck.choice([self.names, self.durable])
                kept.pop(name, None)
                if name in chosen:
                    kept[name] = chosen[name]
        self.names, self.durable = kept, dict(kept)
        for node in kept.values():
            node.forget(luck)


class ForgetfulFiles(mfusepy.Operations):
    """The file system. A node is found by its path, or by its number where a descriptor is open."""

    use_ns = True

    def __init__(self):
        self._numbers = 1
        self._root = Directory(1, stat.S_IFDIR | 0o755)
        self._open = {}

    def _node(self, path):
        node = self._root
        for name in filter(None, path.split("/")):
            if not isinstance(node, Directory):
                raise mfusepy.FuseOSError(errno.ENOTDIR)
            if name not in node.names:
                raise mfusepy.FuseOSError(errno.ENOENT)
            node = node.names[name]
        return node

    def _parent(self, path):
        directory, _, name = path.rpartition("/")
        return self._node(directory), name

    def _opened(self, path, handle):
        return self._open[handle] if handle in self._open else self._node(path)

    def _add(self, path, kind, mode):
        parent, name = self._parent(path)
        if name in parent.names:
            raise mfusepy.FuseOSError(errno.EEXIST)
        self._numbers += 1
        parent.names[name] = kind(self._numbers, mode)
        return parent.names[name]

    def _hand_out(self, node):
        handle = len(self._open) + 1
        while handle in self._open:
            handle += 1
        self._open[handle] = node
        return handle

    # What FUSE calls:

    def getattr(self, path, fh=None):
        if path == _SWITCH:
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": 0, "st_ino": 2**31}
        node = self._opened(path, fh)
        at = int(node.changed_at * 1e9)
        facts = {"st_mode": node.mode, "st_ino": node.number, "st_uid": os.getuid(), "st_gid": os.getgid()}
        is_file = isinstance(node, File)
        sizes = {"st_size": len(node.data) if is_file else 0, "st_nlink": node.links if is_file else 2}
        return facts | sizes | dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), at)

    def readdir(self, path, fh):
        directory = self._node(path)
        named = {".": directory, "..": directory, **directory.names}
        # With the numbers: a listing leaves out what has none.
        return [(name, {"st_mode": node.mode, "st_ino": node.number}, 0) for name, node in named.items()]

    def mkdir(self, path, mode):
        self._add(path, Directory, stat.S_IFDIR | mode)
        return 0

    def create(self, path, mode, fi=None):
        return self._hand_out(self._add(path, File, stat.S_IFREG | stat.S_IMODE(mode)))

    def open(self, path, flags):
        return 0 if path == _SWITCH else self._hand_out(self._node(path))

    def release(self, path, fh):
        self._open.pop(fh, None)
        return 0

    def read(self, path, size, offset, fh):
        return bytes(self._opened(path, fh).data[offset : offset + size])

    def write(self, path, data, offset, fh):
        if path == _SWITCH:
            self._lose_power(data.decode().strip())
            return len(data)
        node = self._opened(path, fh)
        if len(node.data) < offset:
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset : offset + len(data)] = data
        node.changed_at = time.time()
        return len(data)

    def truncate(self, path, length, fh=None):
        if path == _SWITCH:
            return 0
        node = self._opened(path, fh)
        del node.data[length:]
        node.data.extend(bytes(length - len(node.data)))
        node.changed_at = time.time()
        return 0

    def unlink(self, path):
        parent, name = self._parent(path)
        self._node(path).links -= 1
        del parent.names[name]
        return 0

    def rmdir(self, path):
        parent, name = self._parent(path)
        if self._node(path).names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        del parent.names[name]
        return 0

    def rename(self, old, new):
        source, name = self._parent(old)
        target, new_name = self._parent(new)
        target.names[new_name] = self._node(old)
        if (source, name) != (target, new_name):
            del source.names[name]
        return 0

    def link(self, target, source):
        node = self._node(source)
        parent, name = self._parent(target)
        if name in parent.names:
            raise mfusepy.FuseOSError(errno.EEXIST)
        parent.names[name] = node
        node.links += 1
        return 0

    def chmod(self, path, mode):
        node = self._node(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path, uid, gid):
        return 0

    def utimens(self, path, times=None):
        self._node(path).changed_at = times[1] / 1e9 if times else time.time()
        return 0

    def fsync(self, path, datasync, fh):
        node = self._opened(path, fh)
        node.durable = bytes(node.data)
        return 0

    def fsyncdir(self, path, datasync, fh):
        node = self._node(path)
        node.durable = dict(node.names)
        return 0

    def flush(self, path, fh):
        return 0

    def statfs(self, path):
        return {"f_bsize": _PAGE, "f_frsize": _PAGE, "f_blocks": 1 << 20, "f_bavail": 1 << 20, "f_bfree": 1 << 20}

    def _lose_power(self, how):
        self._root.forget(None if how == "all" else random.Random(int(how)))


if __name__ == "__main__":
    mfusepy.FUSE(
        ForgetfulFiles(),
        sys.argv[1],
        foreground=True,
        nothreads=True,
        use_ino=True,
        hard_remove=True,
        entry_timeout=0,
        attr_timeout=0,
        negative_timeout=0,
    )
