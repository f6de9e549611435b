"""Python objects into a transaction and out of a snapshot, each in the format that its type chooses."""

import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, NamedTuple, NewType, Union, get_args, get_origin

import blake3

from versioned_io.errors import FormatError, IntegrityError, InvalidInputError, NotStorableError, PathNotFoundError
from versioned_io.formats.dataframes import FrameFormat
from versioned_io.formats.local_trees import TreeFormat
from versioned_io.formats.pickles import PICKLE, refuse_pickle
from versioned_io.formats.plain_files import read_plain, read_plain_selected
from versioned_io.formats.registry import (
    Encoded,
    Format,
    StoredFile,
    WantedTypes,
    find_format,
    full_type_name,
    registered_formats,
)
from versioned_io.formats.selections import Selection
from versioned_io.model.identifiers import Digest
from versioned_io.model.partitions import escape_glob
from versioned_io.model.paths import parse_path
from versioned_io.versioning.snapshots.file_info import FileInfo
from versioned_io.versioning.snapshots.snapshot import Snapshot
from versioned_io.versioning.transactions.transaction import Staged, draft_of

FORMAT = "format"
FORMAT_VERSION = "format_version"
TYPE = "type"
FALLBACK_REASON = "fallback_reason"
BELOW = "below"

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_NOTHING_STORED = "no object was stored under this name"

_TREE_DIGEST = "versioned-io 2026 tree object digest v1"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Where an object was put, and as what.

    Attributes:
        path: The file that it became, such as ``2012-01/data.parquet``.
        format: The name of the format, such as ``pandas-parquet``.
        digest: The digest of the stored content: equal digests, equal content.
        size: In bytes.
        rows: The number of rows, if it has rows.
    """

    path: str
    format: str
    digest: Digest
    size: int
    rows: int | None = None


def save_object(tx: Staged, path_stem: str, obj: object, *, format: str | None = None) -> StoredObject:  # noqa: A002 - the word of the front door
    """Stage *obj* as the one object at *path_stem*; an earlier object there is staged for deletion.

    Its type chooses the format:

    | object | stored as |
    |---|---|
    | table of pandas, polars or Arrow | Parquet, or Arrow IPC if Parquet would change it |
    | NumPy array | ``.npy`` |
    | plain value | JSON |
    | text, bytes | themselves |
    | `pathlib.Path` | the file or directory at that path |
    | anything else, and a value that its format would change | pickle |

    The format is recorded with the file, and the reason if it was not the first choice.

    Args:
        path_stem: The path without an extension; the format adds one.
        format: The only format to use, by name (``pandas-parquet``) or family (``parquet``, ``json``, ``pickle``).

    Raises:
        InvalidInputError: No format, or not the one asked for, gives this object back equal; the message says why.
        IllegalPathError: *path_stem* breaks the path rules.

    Cost: one file is staged, and one lookup for each extension that a registered format has.
    """
    stem = parse_path(path_stem)
    chosen, encoded, reasons = _encode(obj, format)
    path = stem + chosen.extension
    type_name = full_type_name(type(obj))
    attributes = {**encoded.attributes, FORMAT: chosen.name, FORMAT_VERSION: str(chosen.version), TYPE: type_name}
    if reasons:
        attributes[FALLBACK_REASON] = _without_addresses(reasons[0])
    if encoded.tree is not None:
        attributes[BELOW] = stem.rpartition("/")[2]
    _replace_others(tx, stem, chosen.extension, keeps_tree=encoded.tree is not None)
    info = tx.write(path, encoded.source, attributes=attributes)
    if encoded.tree is None:
        return StoredObject(path, chosen.name, info.digest, info.size, encoded.rows)
    if encoded.tree.is_dir():
        tx.write_tree(encoded.tree, to=stem)
    else:
        tx.write(f"{stem}/{encoded.tree.name}", encoded.tree)
    digest, size = _digest_tree(tx, stem, info)
    return StoredObject(path, chosen.name, digest, size, encoded.rows)


def load_object(
    snap: Snapshot,
    path_stem: str,
    *,
    type_hint: object = None,
    allow_pickle: bool = False,
    directory: Path | None = None,
    plain: bool = False,
    selection: Selection | None = None,
) -> object:
    """Return the object that `save_object` stored at *path_stem*, equal to what it was, or the selected part of it.

    Args:
        type_hint: The requested type, as a type annotation. A table of one library is converted to that of another.
            Anything else must match the stored type. ``None`` and ``Any`` accept any stored object.
        allow_pickle: Load a pickle, which runs code that its writer chose.
        directory: Where a stored file or directory is put, below its own path; the caller owns it.
        plain: Whether a file that `save_object` did not write is read by its extension; see
            `versioned_io.formats.plain_files`. *path_stem* may then be the whole path of a file. A directory is checked
            out into *directory*.
        selection: The columns and rows of a table to return; None or an empty one for the whole object. The rows come
            in their order. A pandas index stays with its rows; a default one (`RangeIndex`) is numbered from 0.

    Raises:
        PathNotFoundError: There is no object at *path_stem*.
        FormatError: Its format, or the version of it, is not known here: upgrade, or register the format.
        InvalidInputError: It is a pickle and that is not allowed, or it can't be what *type_hint* asks for. Or it has
            not what *selection* asks for.

    Cost: one lookup for each extension that a registered format has, and one read. Of Parquet with a selection, reads
        the end of the file and the chunks that hold the selected columns.
    """
    stem = parse_path(path_stem)
    info = _find_plain(snap, stem) if plain else _find_file(snap, stem)
    if plain and (info is None or FORMAT not in info.attributes):
        wanted = _classes_of(type_hint)
        if info is not None and not any(issubclass(one, PurePath) for one in wanted):
            return _read_plain_file(snap, info, wanted, selection)
        return select_part(_put_plain(snap, stem, info, directory), selection, stem)
    if info is None:
        raise PathNotFoundError(stem, snap.name, _NOTHING_STORED)
    name, version = _recorded_format(info)
    stored_as = find_format(name, version, info.path)
    if name == PICKLE and not allow_pickle:
        raise refuse_pickle(info.path)
    wanted = _classes_of(type_hint)
    if selection and isinstance(stored_as, FrameFormat):
        with snap.open(info.path) as opened:
            value = stored_as.decode_selected(opened, selection, info.path, info.attributes, wanted)
    else:
        tree = _check_out(snap, stem, directory) if BELOW in info.attributes and directory is not None else None
        file = StoredFile(info.path, snap.read(info.path), version, info.attributes, tree)
        value = select_part(stored_as.decode(file, wanted), selection, info.path)
    if not _accepts(wanted, value):
        raise _refuse_type(info, wanted)
    return value


def find_object(snap: Snapshot, path_stem: str) -> FileInfo | None:
    """Return the file that the object at *path_stem* is stored in; ``None`` when there is no object.

    Cost: one lookup for each extension that a registered format has.
    """
    stem = parse_path(path_stem)
    found = [stem + extension for extension in _extensions() if snap.exists(stem + extension)]
    if len(found) > 1:
        msg = f"there are several objects at {stem!r}: {', '.join(map(repr, found))}; delete all but one"
        raise InvalidInputError(msg)
    return snap.stat(found[0]) if found else None


def select_part(value: object, selection: Selection | None, path: str) -> object:
    """Return the selected part of a table that is in memory; without a selection, and of None, the value as it is.

    Args:
        path: Where the value is from, for messages.

    Raises:
        InvalidInputError: It is not a table with the columns that are asked for.
    """
    if not selection or value is None:
        return value
    from versioned_io.formats.selected_rows import select_from_object

    return select_from_object(value, selection, path)


class _Chosen(NamedTuple):
    """The format of an object, its content in it, and why the formats before it do not fit."""

    format: Format
    encoded: Encoded
    reasons: list[str]


def _encode(obj: object, wanted_format: str | None) -> _Chosen:
    """Return the first format that gives *obj* back equal."""
    reasons: list[str] = []
    asked = False
    for candidate in registered_formats():
        if wanted_format is not None and wanted_format not in {candidate.name, candidate.family}:
            continue
        asked = True
        if not candidate.claims(obj):
            continue
        encoded = candidate.encode(obj)
        if isinstance(encoded, Encoded):
            return _Chosen(candidate, encoded, reasons)
        reasons.append(encoded.reason)
    type_name = full_type_name(type(obj))
    if not asked:
        known = ", ".join(dict.fromkeys(known.family for known in registered_formats()))
        msg = f"there is no format {wanted_format!r}: take one of {known}, or leave it to the type of the object"
        raise InvalidInputError(msg)
    raise NotStorableError(type_name, wanted_format, reasons[-1] if reasons else f"it does not take a {type_name}")


def _extensions() -> Iterable[str]:
    return dict.fromkeys(known.extension for known in registered_formats())


def _replace_others(tx: Staged, stem: str, extension: str, *, keeps_tree: bool) -> None:
    """Stage the end of the object that was at *stem*, whatever it was, before another takes its place."""
    try:
        _replace_known(tx, stem, extension, keeps_tree=keeps_tree)
    except IntegrityError:
        # The earlier object can't be read. It is deleted unread, and the commit heals the damage or is refused.
        if keeps_tree:
            tx.delete(f"{stem}/")
        for other in _extensions():
            if other != extension:
                draft_of(tx).delete_exactly(stem + other)


def _replace_known(tx: Staged, stem: str, extension: str, *, keeps_tree: bool) -> None:
    had_tree = tx.exists(stem + TreeFormat().extension)
    if had_tree:
        tx.delete(f"{stem}/")
    elif keeps_tree and any(tx.list(stem)):
        msg = f"there are files below {stem!r} that belong to no object: choose another path, or delete them first"
        raise InvalidInputError(msg)
    for other in _extensions():
        # A directory that happens to be called like a file of this object is none of it.
        if other != extension and tx.exists(stem + other) and not any(tx.list(stem + other)):
            tx.delete(stem + other)


def _digest_tree(tx: Staged, stem: str, note: FileInfo) -> tuple[Digest, int]:
    """Return what identifies the content of a stored directory, names included, and its size in bytes."""
    digest = blake3.blake3(note.digest.encode(), derive_key_context=_TREE_DIGEST)
    size = note.size
    pending = [stem]
    while pending:
        for entry in tx.list(pending.pop()):
            if entry.is_directory:
                pending.append(entry.path)
                continue
            digest.update(f"{entry.path.removeprefix(stem)}\0{entry.digest}\0".encode())
            size += entry.size
    return Digest(digest.hexdigest()), size


def _find_file(snap: Snapshot, stem: str) -> FileInfo:
    info = find_object(snap, stem)
    if info is not None:
        return info
    for other in snap.glob(f"{escape_glob(stem)}.*"):
        if FORMAT in other.attributes and "/" not in other.path[len(stem) :]:
            name, version = _recorded_format(other)
            find_format(name, version, other.path)
    raise PathNotFoundError(stem, snap.name, _NOTHING_STORED)


def _find_plain(snap: Snapshot, stem: str) -> FileInfo | None:
    """Return the file of an object, the file *stem* itself, or the only file of that name with any extension.

    None if there is a directory.
    """
    info = find_object(snap, stem)
    if info is not None:
        return info
    if snap.exists(stem) and not snap.is_directory(stem):
        return snap.stat(stem)
    found = [one for one in snap.glob(f"{escape_glob(stem)}.*") if "/" not in one.path[len(stem) :]]
    if len(found) > 1:
        msg = f"there are several files at {stem!r}: {', '.join(repr(one.path) for one in found)}; delete all but one"
        raise InvalidInputError(msg)
    if found:
        return found[0]
    if snap.is_directory(stem):
        return None
    raise PathNotFoundError(stem, snap.name, _NOTHING_STORED)


def _put_plain(snap: Snapshot, stem: str, info: FileInfo | None, directory: Path | None) -> Path:
    """Return the local copy of a file, or of the directory *stem*."""
    if directory is None:
        msg = f"{stem!r} is a file or directory to be put somewhere: pass directory= to say where"
        raise InvalidInputError(msg)
    target = directory / stem
    target.parent.mkdir(parents=True, exist_ok=True)
    if info is not None:
        target = target.parent / info.path.rpartition("/")[2]
        target.write_bytes(snap.read(info.path))
    else:
        target.mkdir(exist_ok=True)
        snap.checkout(target, stem)
    return target


def _read_plain_file(snap: Snapshot, info: FileInfo, wanted: WantedTypes, selection: Selection | None) -> object:
    if selection:
        with snap.open(info.path) as opened:
            value = read_plain_selected(info.path, opened, wanted, selection)
    else:
        value = read_plain(info.path, snap.read(info.path), wanted)
    if not _accepts(wanted, value):
        msg = (
            f"{info.path!r} is a {full_type_name(type(value))}, which can't be read as "
            f"{' or '.join(full_type_name(cls) for cls in wanted)}: ask for what it is, for bytes, or for no type"
        )
        raise InvalidInputError(msg)
    return value


def _recorded_format(info: FileInfo) -> tuple[str, int]:
    name, version = info.attributes.get(FORMAT), info.attributes.get(FORMAT_VERSION, "")
    if name is None or not version.isdecimal():
        msg = f"{info.path!r} has no recorded format, so it is not a stored object: read its bytes with snapshot.read()"
        raise FormatError(msg)
    return name, int(version)


def _check_out(snap: Snapshot, stem: str, directory: Path) -> Path:
    target = directory / stem
    target.mkdir(parents=True, exist_ok=True)
    if snap.is_directory(stem):
        snap.checkout(target, stem)
    return target


def _refuse_type(info: FileInfo, wanted: WantedTypes) -> InvalidInputError:
    names = " or ".join(full_type_name(cls) for cls in wanted)
    msg = (
        f"{info.path!r} holds a {info.attributes.get(TYPE, 'value')} ({info.attributes[FORMAT]}), which can't be read "
        f"as {names}: ask for what it is, or for no type"
    )
    return InvalidInputError(msg)


def _without_addresses(reason: str) -> str:
    """Return *reason* the same in every process, so that equal objects get equal attributes."""
    return _ADDRESS.sub("", reason)[:200]


def _classes_of(hint: object) -> WantedTypes:
    """Return the classes that *hint* names; none when it takes anything, or can't be told.

    ``list[int]`` is ``list``, ``A | B`` is both, ``Annotated[A, …]`` and ``NewType("N", A)`` are ``A``; ``Any``,
    ``object``, type variables, literals and text take anything.
    """
    if hint is None or hint is object:
        return ()
    if isinstance(hint, NewType):
        return _classes_of(hint.__supertype__)
    origin = get_origin(hint)
    if origin is Annotated:
        return _classes_of(get_args(hint)[0])
    if origin is Union or origin is types.UnionType:
        return _classes_of_all(get_args(hint))
    if isinstance(origin, type):
        return (origin,)
    return (hint,) if isinstance(hint, type) else ()


def _accepts(wanted: WantedTypes, value: object) -> bool:
    """Return whether *value* is of one of the *wanted* classes; an integer counts as a float, as in annotations."""
    if not wanted or isinstance(value, wanted):
        return True
    return (float in wanted or complex in wanted) and isinstance(value, int | float)


def _classes_of_all(hints: tuple[object, ...]) -> WantedTypes:
    found: list[type] = []
    for hint in hints:
        classes = _classes_of(hint) if hint is not type(None) else (type(None),)
        if not classes:
            return ()
        found += classes
    return tuple(found)
