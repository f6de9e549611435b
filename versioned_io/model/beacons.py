"""The names of beacons: each names one thing that a catalog has acknowledged."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

BEACON_PREFIX: Final = "beacons/"


_BEACON: Final = re.compile(r"(commit|pack)-([0-9a-f]{32})|(entry)-([0-9a-f]{32})-(0|[1-9][0-9]{0,17})")


class BeaconKind(StrEnum):
    """The kind of thing that a beacon names."""

    COMMIT = "commit"
    ENTRY = "entry"
    """An entry of the journal, by its pack and its sequence number."""
    PACK = "pack"
    """A pack that a compaction or a purge made."""


@dataclass(frozen=True, slots=True)
class Beacon:
    """Something that a catalog transaction has made, and that was acknowledged.

    Attributes:
        id: The commit's ID, or the name of the pack.
        sequence: The number of an entry in the journal; 0 for anything else.
    """

    kind: BeaconKind
    id: str
    sequence: int = 0

    @property
    def key(self) -> str:
        """The key of the object: everything that a beacon says is in its name."""
        return f"{BEACON_PREFIX}{self}"

    def __str__(self) -> str:
        return f"{self.kind}-{self.id}" + (f"-{self.sequence}" if self.kind is BeaconKind.ENTRY else "")


def parse_beacon(key: str) -> Beacon | None:
    """Return the beacon whose object key is *key*; None when the key is not a beacon's."""
    found = _BEACON.fullmatch(key.removeprefix(BEACON_PREFIX))
    if found is None:
        return None
    kind, name, entry, pack, sequence = found.groups()
    return Beacon(BeaconKind(kind), name) if entry is None else Beacon(BeaconKind.ENTRY, pack, int(sequence))
