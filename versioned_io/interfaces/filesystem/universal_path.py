"""``UPath("versioned://repo@main/dir/file", store=...)``: found by universal_pathlib, when that is installed."""

from typing import Any

from fsspec import get_filesystem_class
from upath import UPath


class VersionedPath(UPath):
    """A path in a repo, with the abilities of the file system."""

    __slots__ = ()

    @classmethod
    def _parse_storage_options(cls, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (upath's)
        get_filesystem_class("versioned")  # upath warns of a file system that fsspec has not loaded
        return super()._parse_storage_options(*arguments, **options)
