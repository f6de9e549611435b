"""Any other Python object as a pickle, as far as possible with the same bytes in every process."""

import io
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

from versioned_io.errors import FormatError, InvalidInputError
from versioned_io.formats.registry import Encoded, StoredFile, Unfit, WantedTypes

PROTOCOL = 5
PICKLE = "pickle"

_SET_OPCODES = (pickle.EMPTY_SET, pickle.FROZENSET)
_MAX_REORDERED_BYTES = 1 << 20  # the pickler that sorts sets is pure Python, about fifty times slower


@dataclass(frozen=True, slots=True)
class PickleFormat:
    """Any object that pickles. Loading a pickle runs code that its writer chose, so a reader must allow it."""

    name: str = PICKLE
    version: int = 1
    extension: str = ".pickle"
    family: str = PICKLE

    def claims(self, obj: object) -> bool:  # noqa: ARG002 - the last resort takes everything
        """Return True."""
        return True

    def encode(self, obj: object) -> Encoded | Unfit:
        """Return its pickle, with the elements of small sets in an order that does not depend on the process."""
        try:
            return Encoded(_stable(pickle.dumps(obj, PROTOCOL), obj))
        except Exception as error:  # noqa: BLE001 - any class may fail to pickle in its own way
            return Unfit(f"it can't be pickled: {error}")

    def decode(self, file: StoredFile, wanted: WantedTypes) -> object:  # noqa: ARG002 - one representation
        """Return the object, which needs the classes that it was made of."""
        try:
            value: object = pickle.loads(file.content)  # noqa: S301 - the caller allowed it
        except Exception as error:
            msg = (
                f"{file.path!r} is a pickle of a {file.attributes.get('type', 'Python object')} that can't be loaded "
                f"here ({type(error).__name__}: {error}): install what it needs, in the version that wrote it"
            )
            raise FormatError(msg) from error
        return value


def refuse_pickle(path: str) -> InvalidInputError:
    """Return the error for a pickle that the caller did not allow."""
    msg = (
        f"{path!r} is a pickle, and loading one runs code that its writer chose: pass allow_pickle=True if you trust it"
    )
    return InvalidInputError(msg)


def _stable(content: bytes, obj: object) -> bytes:
    """Return a pickle of *obj* that does not depend on the order of its sets, if it has any and is small."""
    if len(content) > _MAX_REORDERED_BYTES or not any(opcode in content for opcode in _SET_OPCODES):
        return content
    try:
        return _dumps_sorted(obj)
    except RecursionError:  # an element of a set that refers back to the set
        return content


def _dumps_sorted(obj: object) -> bytes:
    sink = io.BytesIO()
    _SortingPickler(sink, PROTOCOL).dump(obj)
    return sink.getvalue()


# The C pickler can't be told how to write a built-in type; this one, which the standard library keeps beside it, can.
_PurePickler: Any = pickle._Pickler  # noqa: SLF001


class _SortingPickler(_PurePickler):  # type: ignore[misc]
    dispatch: ClassVar[dict[type, Any]] = dict(_PurePickler.dispatch)

    def save_sorted(self, obj: set[object] | frozenset[object]) -> None:
        """Write a set as a call of its class with its elements, in the order of their pickles."""
        self.save_reduce(type(obj), (sorted(obj, key=_dumps_sorted),), obj=obj)

    dispatch[set] = save_sorted
    dispatch[frozenset] = save_sorted
