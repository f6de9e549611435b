"""Pages: a tree of files as sorted runs of Arrow rows, cut where the paths say, shared between versions."""

from versioned_io.pages.build import build_tree
from versioned_io.pages.collisions import Collision, find_collisions
from versioned_io.pages.diff import DIFF, diff
from versioned_io.pages.edit import edit_tree
from versioned_io.pages.ranges import PathRange
from versioned_io.pages.read import (
    LISTING,
    DirectoryStat,
    FileRow,
    file_rows,
    list_directory,
    lookup,
    lookup_many,
    scan,
    stat_directory,
)
from versioned_io.pages.schema import ROWS, PageRef
from versioned_io.pages.source import PageSink, PageSource

__all__ = [
    "DIFF",
    "LISTING",
    "ROWS",
    "Collision",
    "DirectoryStat",
    "FileRow",
    "PageRef",
    "PageSink",
    "PageSource",
    "PathRange",
    "build_tree",
    "diff",
    "edit_tree",
    "file_rows",
    "find_collisions",
    "list_directory",
    "lookup",
    "lookup_many",
    "scan",
    "stat_directory",
]
