"""Objects outside of the store that files of it refer to: what was pinned of them, where they may be, reading them."""

from versioned_io.elsewhere.parts import Part, Pin
from versioned_io.elsewhere.permitted import Elsewhere

__all__ = ["Elsewhere", "Part", "Pin"]
