"""Errors where the caller stops: what is stored is not what was written."""

from typing import ClassVar

from versioned_io.errors.root import IntegrityError


class PackLostError(IntegrityError):
    """A pack that something leads to is gone. Args: the pack's name, the object store's URL.

    Whoever reads beside a collector asks once more where the data lies by now; raised to the caller, it is a loss.
    """

    code: ClassVar[str] = "pack_lost"

    def __init__(self, pack: str, url: str) -> None:
        super().__init__(pack, url)

    @property
    def pack(self) -> str:
        """The pack's name."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"pack {self.args[0]} is gone from {self.args[1]}: bring it back from a backup; fsck names what is lost"
