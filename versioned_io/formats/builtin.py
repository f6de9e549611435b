"""The formats that every installation knows, registered in the order in which they are asked."""

from versioned_io.formats.arrays import NumPyFormat
from versioned_io.formats.dataframes import Container, FrameFormat, Package
from versioned_io.formats.local_trees import TreeFormat
from versioned_io.formats.pickles import PickleFormat
from versioned_io.formats.plain_values import BytesFormat, JSONFormat, TextFormat
from versioned_io.formats.registry import Format, register_format

BUILTIN_FORMATS: tuple[Format, ...] = (
    JSONFormat(),
    TextFormat(),
    BytesFormat(),
    *(FrameFormat(package, container) for package in Package for container in Container),
    NumPyFormat(),
    TreeFormat(),
    PickleFormat(),
)

for _format in reversed(BUILTIN_FORMATS):
    register_format(_format)
