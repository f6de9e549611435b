"""Objects outside of the store that its files refer to: pins, permitted places, and reads."""

from versioned_io.storage.elsewhere.parts import Part, Pin
from versioned_io.storage.elsewhere.permitted import Elsewhere

__all__ = ["Elsewhere", "Part", "Pin"]
