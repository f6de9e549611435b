"""Idempotency keys: names by which a retried transaction is recognised."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import parse_choice

LONGEST_KEY = 250

_CONTENT_MARK = "#"
_CONTENT_CHARACTERS = 64


class Retries(StrEnum):
    """The later transactions with the same key that count as retries of the first."""

    ANY = "any"
    """All of them, whatever they stage. The first result stays."""
    EQUAL = "equal"
    """Those that stage the same content. A different result of the same work is committed too, so the newest counts."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key by which a retry is recognised, and the rule for what counts as one."""

    text: str
    retries: Retries = Retries.ANY

    def of(self, content: Iterable[tuple[str, bytes]]) -> str:
        """Return the key as the catalog keeps it, for a transaction that stages *content*: (branch, digest) pairs."""
        if self.retries is Retries.ANY:
            return self.text
        found = hashlib.blake2b(digest_size=_CONTENT_CHARACTERS // 2)
        for branch, digest in sorted(content):
            found.update(f"{branch} {digest.hex()} ".encode())
        return f"{self.text}{_CONTENT_MARK}{found.hexdigest()}"


def parse_key(key: str | None, *, longest: int = LONGEST_KEY) -> str | None:
    """Return *key* if it is valid.

    Raises:
        InvalidInputError: It is empty, longer than *longest*, or has characters that can't be printed. Fix the key.
    """
    if key is not None and (not isinstance(key, str) or not 0 < len(key) <= longest or not key.isprintable()):
        msg = f"{quoted(key)} is not a valid idempotency key: it must be 1 to {longest} printable characters"
        raise InvalidInputError(msg)
    return key


def parse_idempotency(key: str | None, retries: Retries | str) -> IdempotencyKey | None:
    """Return the parsed idempotency key, or None without a key.

    Raises:
        InvalidInputError: The key is not valid, or *retries* is neither ``any`` nor ``equal``. Fix the argument.
    """
    kind = parse_choice(retries, Retries, "retries")
    room = 0 if kind is Retries.ANY else len(_CONTENT_MARK) + _CONTENT_CHARACTERS
    text = parse_key(key, longest=LONGEST_KEY - room)
    return None if text is None else IdempotencyKey(text, kind)
