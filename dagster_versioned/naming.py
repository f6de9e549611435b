"""The repo and the path of every value that Dagster stores, named so that distinct values never share one.

| value | repo | path |
|---|---|---|
| asset | its key's parts joined by ``.`` | ``data.<ext>`` |
| partition of an asset | the same | ``<partition>/data.<ext>`` |
| output of an op | `OP_OUTPUTS_REPO` | ``<run>/<step>/<output>[/<mapping key>]/data.<ext>`` |

Illegal characters of a repo's name or a path are escaped. Every escape is injective: two different keys have different
places, whatever characters they hold.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

import dagster as dg

OP_OUTPUTS_REPO = "dagster=ops"
"""The repo of op outputs. In an asset's repo ``=`` is never followed by ``o``, so no asset's repo has this name."""

DATA_STEM = "data"
"""The file name, before its extension, of every stored value."""

_PLAIN_IN_REPO = re.compile(r"[A-Za-z0-9_-]")
_LEGAL_FIRST_IN_REPO = re.compile(r"[A-Za-z0-9_]")
_MAX_REPO_CHARACTERS = 128
_MAX_STEM_BYTES = 960
"""The core allows 1,024 bytes; the rest is for the extension and for the files of a directory."""

_HASH_BYTES = 16


def repo_of_asset(asset_key: dg.AssetKey, *, prefix: str = "") -> str:
    """Return the name of the repo that holds the versions of the asset *asset_key*.

    The parts are joined by ``.``. Each byte that is not ``[A-Za-z0-9_-]`` is written ``=XX``. A name that would start
    with an illegal character gets the prefix ``_=``. A name longer than 128 characters is cut, and ends with ``=_`` and
    a digest of the whole name. Neither sequence is an escape, so distinct keys have distinct repos.

    Args:
        prefix: Added in front, unescaped, e.g. ``team.``.
    """
    name = prefix + ".".join(_escape_repo_part(part) for part in asset_key.path)
    if not name or _LEGAL_FIRST_IN_REPO.match(name) is None:
        name = "_=" + name
    if len(name) > _MAX_REPO_CHARACTERS:
        digest = _digest_of(name)
        name = f"{name[: _MAX_REPO_CHARACTERS - len(digest) - 2]}=_{digest}"
    return name


def asset_of_repo(repo: str) -> dg.AssetKey:
    """Return the key of the asset whose repo has this name; of a name that no asset has, its parts between dots."""
    return dg.AssetKey([_unescape(part) for part in repo.removeprefix("_=").split(".")])


def stem_of_asset(asset_key: dg.AssetKey, partition_key: str | None, *, in_shared_repo: bool = False) -> str:
    """Return the path, without extension, of an asset's value or of one of its partitions.

    Args:
        partition_key: ``None`` for an unpartitioned asset.
        in_shared_repo: Whether one repo holds every asset. Then the first directory has the name of the asset's own
            repo, so that no asset is stored inside another's partitions.
    """
    directories = [repo_of_asset(asset_key)] if in_shared_repo else []
    if partition_key is not None:
        directories.extend(partition_segments(partition_key))
    return _stem(directories)


def stem_of_op_output(identifier: Sequence[str]) -> str:
    """Return the path, without extension, of the op output that Dagster identifies by *identifier*."""
    return _stem(_escape_segment(part) for part in identifier)


def partition_segments(partition_key: str) -> list[str]:
    """Return the directories that *partition_key* is stored under, outermost first.

    A slash in an ordinary key separates directories, as in Dagster's filesystem IO manager. For a multi-dimensional
    key, each value is one directory, in the order of the dimensions' *names*, and a slash in a value is escaped.
    """
    if isinstance(partition_key, dg.MultiPartitionKey):
        by_dimension = sorted(partition_key.keys_by_dimension.items())
        return [_escape_segment(value) for _, value in by_dimension]
    return [_escape_segment(segment) for segment in partition_key.split("/")]


def _escape_repo_part(part: str) -> str:
    return "".join(
        character if _PLAIN_IN_REPO.match(character) else "".join(f"={byte:02X}" for byte in character.encode())
        for character in part
    )


def _unescape(part: str) -> str:
    return re.sub(r"((?:=[0-9A-F]{2})+)", lambda found: bytes.fromhex(found[1].replace("=", "")).decode(), part)


def _escape_segment(segment: str) -> str:
    """Return *segment* as a legal part of a path; only the empty segment becomes a lone ``%``."""
    if segment == "":
        return "%"
    if segment in {".", ".."}:
        return segment.replace(".", "%2E")
    whole = unicodedata.is_normalized("NFC", segment)
    escaped = "".join(_escape_character(character, keep_unicode=whole) for character in segment)
    # If a partition had the name of its parent's file, one path would be a file and a directory.
    if escaped == DATA_STEM or escaped.startswith(DATA_STEM + "."):
        return f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped


def _escape_character(character: str, *, keep_unicode: bool) -> str:
    illegal = character in {"%", "/"} or unicodedata.category(character) in {"Cc", "Cs"}
    if illegal or not (character.isascii() or keep_unicode):
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    return character


def _stem(directories: Iterable[str]) -> str:
    stem = "/".join([*directories, DATA_STEM])
    encoded = stem.encode()
    if len(encoded) <= _MAX_STEM_BYTES:
        return stem
    # ``%_`` is not an escape, so a shortened path is never also the path of a short key.
    digest = _digest_of(stem)
    kept = encoded[: _MAX_STEM_BYTES - len(digest) - len(f"/%_/{DATA_STEM}")].decode(errors="ignore").rpartition("/")[0]
    return "/".join(part for part in (kept, f"%_{digest}", DATA_STEM) if part)


def _digest_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).hexdigest()
