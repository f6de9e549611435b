"""Defaults of maintenance: grace and expiry, sizes of packs, the budget. Naming a value loads no maintenance."""

from datetime import timedelta
from typing import Final

DEFAULT_GRACE: Final = timedelta(hours=24)
"""The time for which an unreferenced pack is kept: readers may have an open snapshot, and writers a pending commit."""

DEFAULT_EXPIRE: Final = timedelta(days=14)
"""The time for which an unreachable commit is kept, and a moved branch can be moved back."""

DEFAULT_MIN_LIVE: Final = 0.6
"""A pack with a smaller part alive is rewritten."""

DEFAULT_SMALL_BYTES: Final = 4 * 1024 * 1024
"""A pack smaller than this is merged with others."""

DEFAULT_BUDGET: Final = timedelta(minutes=5)
"""How long a call of `maintain` begins new steps."""
