"""Errors where the caller stops: stored bytes differ from the written ones."""

from typing import ClassVar, Final

from versioned_io.errors.root import IntegrityError

WAYS_OUT: Final = (
    "bring the pack back from a backup (`versioned restore`), write the lost files again (`versioned put`) or give up "
    "those commits (`versioned squash`, `versioned drop`), and then run `versioned fsck --repair`"
)
"""Advice for people after a loss."""


class PackLostError(IntegrityError):
    """A referenced pack is missing. Args: the pack's name, the object store's URL.

    A reader beside a collector looks up the data's new place first. The caller sees this error only when there is none.
    """

    code: ClassVar[str] = "pack_lost"

    def __init__(self, pack: str, url: str) -> None:
        super().__init__(pack, url)

    @property
    def pack(self) -> str:
        """The pack's name."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"pack {self.args[0]} is missing from {self.args[1]}: {WAYS_OUT}"


class CatalogOlderError(IntegrityError):
    """The catalog lacks acknowledged commits: it is older than the packs, and can only be read.

    It was restored from a backup, copied without its log, or lost rows. `recover_store` adds the missing rows from the
    packs. Args: the catalog's URL, the object store's URL, some of the missing entries.
    """

    code: ClassVar[str] = "catalog_older"

    def __init__(self, catalog: str, url: str, unknown: tuple[str, ...]) -> None:
        super().__init__(catalog, url, unknown)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Acknowledged entries that the catalog lacks, such as ``commit-<ID>``; at most a few."""
        unknown: tuple[str, ...] = self.args[2]
        return unknown

    def __str__(self) -> str:
        catalog, url, unknown = self.args
        return (
            f"the catalog {catalog} is older than the packs in {url}: it lacks {', '.join(unknown)}; "
            f"run `versioned recover`, until then it can only be read"
        )
