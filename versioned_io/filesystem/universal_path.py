"""``UPath("versioned://repo@main/dir/file", store=...)``: found by universal_pathlib, when that is installed."""

from upath import UPath


class VersionedPath(UPath):
    """A path in a repo; all that it can do is what the file system can do."""

    __slots__ = ()
