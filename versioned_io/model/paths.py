"""The rules that every path in a repo obeys, and the escaping of names that don't."""

import unicodedata

from versioned_io.errors import IllegalPathError

MAX_PATH_BYTES = 1024
"""The longest path, in bytes of UTF-8: object stores stop at 1,024."""

_SEPARATOR = "/"


def parse_path(text: str) -> str:
    """Return *text* as the path of a file: UTF-8, NFC, ``/``-separated, case-sensitive.

    One leading ``/`` is dropped, so ``/2012/01.csv`` and ``2012/01.csv`` are the same path.

    Raises:
        IllegalPathError: It is empty, too long, not NFC, has an empty, ``.`` or ``..`` part, or a NUL or other
            control character. The message names the rule; choose another name.
    """
    _check_type(text)
    path = text.removeprefix(_SEPARATOR)
    _check_characters(text, path)
    for part in path.split(_SEPARATOR):
        if part in {"", ".", ".."}:
            raise IllegalPathError(text, "a part between slashes can't be empty, '.' or '..'")
    return path


def parse_directory(text: str) -> str:
    """Return *text* as the path of a directory, without slashes at its ends; the root is ``""``.

    Raises:
        IllegalPathError: As for `parse_path`.
    """
    _check_type(text)
    stripped = text.removesuffix(_SEPARATOR)
    if stripped.removeprefix(_SEPARATOR) == "":
        return ""
    return parse_path(stripped)


def parent_directories(path: str) -> list[str]:
    """Return every proper prefix of *path* that is a directory, outermost first: ``a/b/c`` → ``a``, ``a/b``."""
    parts = path.split(_SEPARATOR)
    return [_SEPARATOR.join(parts[:count]) for count in range(1, len(parts))]


def _check_type(text: object) -> None:
    if not isinstance(text, str):
        raise IllegalPathError(str(text), f"it is of type {type(text).__name__}, not text")


def _check_characters(text: str, path: str) -> None:
    if path == "":
        raise IllegalPathError(text, "it is empty")
    if path.isascii() and path.isprintable() and len(path) <= MAX_PATH_BYTES:
        return  # nearly every path, at a tenth of the cost of what follows
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise IllegalPathError(text, "it is not valid Unicode") from None
    if size_bytes > MAX_PATH_BYTES:
        raise IllegalPathError(text, f"it is {size_bytes} bytes long, more than {MAX_PATH_BYTES}")
    if not path.isascii() and not unicodedata.is_normalized("NFC", path):
        raise IllegalPathError(
            text, "it is not in Unicode normalisation form C; pass unicodedata.normalize('NFC', path)"
        )
    if any(unicodedata.category(character) == "Cc" for character in path):
        raise IllegalPathError(text, "it has a control character")
