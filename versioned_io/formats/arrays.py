"""NumPy arrays as ``.npy`` files, never with a pickle inside."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from versioned_io.formats.registry import Encoded, StoredFile, Unfit, WantedTypes, full_type_name

_Array = Any  # of any shape and type
_PIECE_BYTES = 8 << 20  # large enough to be written at full speed, small enough not to be a second copy


@dataclass(frozen=True, slots=True)
class NumPyFormat:
    """Arrays of numbers, times, text of fixed width and structures of them."""

    name: str = "numpy"
    version: int = 1
    extension: str = ".npy"
    family: str = "numpy"

    def claims(self, obj: object) -> bool:
        """Return whether it is an array, and not of a subclass such as a masked array or a matrix."""
        return full_type_name(type(obj)) == "numpy.ndarray"

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return it as a ``.npy`` file, without a copy of an array that is contiguous in memory."""
        import numpy as np
        from numpy.lib import format as npy

        if not isinstance(obj, np.ndarray):
            return Unfit(f"it is a {full_type_name(type(obj))}")
        dtype = obj.dtype
        if dtype.hasobject or dtype.kind == "T":
            return Unfit(f"an array of {dtype} holds Python objects")
        if dtype.metadata or npy.descr_to_dtype(npy.dtype_to_descr(dtype)) != dtype:
            return Unfit(f"its type {dtype} would change")
        array = obj if obj.flags.c_contiguous or obj.flags.f_contiguous else np.ascontiguousarray(obj)
        attributes = {"shape": "x".join(map(str, array.shape))}
        header = io.BytesIO()
        try:
            npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(array))
        except ValueError:  # names of fields that are not Latin-1, or too many of them
            whole = io.BytesIO()
            npy.write_array(whole, array, version=(3, 0), allow_pickle=False)
            return Encoded(whole.getvalue(), attributes)
        return Encoded(_pieces(header.getvalue(), array), attributes)

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:  # noqa: ARG002 - one representation
        """Return a writable array."""
        import numpy as np

        return np.load(io.BytesIO(file.content), allow_pickle=False, max_header_size=len(file.content))


def _pieces(header: bytes, array: _Array) -> Iterator[bytes]:
    yield header
    if array.nbytes == 0:
        return
    # In the order in which they lie in memory: rows first, or columns first as the header then says.
    flat = array.reshape(-1, order="A").view("u1")
    for start in range(0, flat.size, _PIECE_BYTES):
        yield flat[start : start + _PIECE_BYTES].tobytes()
