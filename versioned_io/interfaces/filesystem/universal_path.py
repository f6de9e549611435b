"""``UPath("versioned://repo@main/dir/file", store=...)``: found by universal_pathlib, when that is installed."""

from upath import UPath


class VersionedPath(UPath):
    """A path in a repo, with the abilities of the file system."""

    __slots__ = ()
