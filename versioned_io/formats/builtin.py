"""The formats that every installation knows, registered in the order in which they are asked."""

from versioned_io.formats.arrays import NumPyFormat
from versioned_io.formats.frames import Container, FrameFormat, Package
from versioned_io.formats.pickles import PickleFormat
from versioned_io.formats.registry import Format, register_format
from versioned_io.formats.trees import TreeFormat
from versioned_io.formats.values import BytesFormat, JSONFormat, TextFormat

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
