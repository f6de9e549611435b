"""Reading every byte of the backups at a place."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from blake3 import blake3

from versioned_io.errors import IntegrityError, ObjectNotFoundError
from versioned_io.maintenance.backup.destination import (
    BackupManifest,
    list_backups,
    packs_of_backup,
    read_manifest,
    read_part,
)
from versioned_io.maintenance.backup.table_rows import decode_lines
from versioned_io.maintenance.fsck.pack_checks import check_bytes
from versioned_io.model.identifiers import PackName
from versioned_io.model.places import pack_key
from versioned_io.storage.objects.port import ObjectStore

_AT_ONCE: Final = 3  # each holds a pack, 32 to 64 MiB


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Which of the backups at a place can be restored.

    Attributes:
        backups: All of them by their IDs, oldest first.
        whole: Those of them that can be restored.
        packs, packs_bytes: The packs that were read.
        problems: The damages, each as a sentence.
        damaged: Packs that were damaged in the store already when they were backed up.
    """

    backups: tuple[str, ...]
    whole: tuple[str, ...]
    packs: int
    packs_bytes: int
    problems: tuple[str, ...]
    damaged: tuple[str, ...] = ()


@dataclass(slots=True)
class _WantedPack:
    """A pack as backups name it.

    Attributes:
        digests: The digest that each backup names.
        may_be_whole: The backups that had it damaged; a later one may have put a whole one in its place.
    """

    digests: dict[str, str] = field(default_factory=dict)
    may_be_whole: set[str] = field(default_factory=set)


def verify_place(objects: ObjectStore, *, progress: Callable[[str, int], None] = lambda *_: None) -> VerifyReport:
    """Read every byte of all backups at a place, and compare it with its digest; change nothing.

    Args:
        progress: Called with ``packs`` and how many were read.

    Raises:
        ObjectNotFoundError: There are no backups.
        FormatError: A newer version made some of them; upgrade.
        StorageError: The place failed; call again.

    Cost: 1 GET for each object; memory for 3 packs.
    """
    problems: list[str] = []
    broken: set[str] = set()
    backups = list_backups(objects)
    wanted: dict[PackName, _WantedPack] = {}
    damaged: set[str] = set()
    for backup_id in backups:
        try:
            manifest = read_manifest(objects, backup_id)
            _read_tables(objects, manifest)
            for pack in packs_of_backup(objects, manifest):
                one = wanted.setdefault(pack.name, _WantedPack())
                one.digests[backup_id] = pack.digest
                if pack.name in manifest.damaged:
                    one.may_be_whole.add(backup_id)
            damaged.update(manifest.damaged)
        except IntegrityError as error:
            broken.add(backup_id)
            problems.append(str(error))
    size = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = sorted(wanted)
        checked = pool.map(partial(_check_pack, objects, wanted), names)
        for number, found in enumerate(checked, 1):
            size += found.size_bytes
            broken |= found.harmed
            problems += [found.problem] if found.problem else []
            progress("packs", number)
    return VerifyReport(
        backups=tuple(backups),
        whole=tuple(one for one in backups if one not in broken),
        packs=len(wanted),
        packs_bytes=size,
        problems=tuple(problems),
        damaged=tuple(sorted(damaged)),
    )


def _read_tables(objects: ObjectStore, manifest: BackupManifest) -> None:
    for part in manifest.tables.values():
        rows = sum(1 for _ in decode_lines(read_part(objects, part)))
        if rows != part.rows:
            msg = f"{part.key} of the backups at {objects.url} has {rows} rows of {part.rows}"
            raise IntegrityError(msg)


class _CheckedPack(NamedTuple):
    """A pack's size, the backups that can't be restored because of it, and a sentence for people."""

    size_bytes: int
    harmed: set[str]
    problem: str | None


def _check_pack(objects: ObjectStore, wanted: dict[PackName, _WantedPack], name: PackName) -> _CheckedPack:
    """Read one pack and compare it with the digests in the backups' lists."""
    own = wanted[name]
    try:
        data = objects.get(pack_key(name))
    except ObjectNotFoundError:
        problem = f"pack {name} is gone; the next backup copies it again, if the store has it"
        return _CheckedPack(0, set(own.digests), problem)
    digest = blake3(data).hexdigest()
    harmed = {backup for backup, one in own.digests.items() if one != digest}
    if harmed & own.may_be_whole and not check_bytes(name, data).damages:
        harmed -= own.may_be_whole
    advice = f"delete {pack_key(name)} there, so that the next backup copies it again"
    return _CheckedPack(len(data), harmed, f"pack {name} is damaged: {advice}" if harmed else None)
