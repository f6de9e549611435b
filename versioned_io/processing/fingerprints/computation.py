"""The fingerprint of one computation: its code, parameters and environment, and all that it can see of its files."""

from collections.abc import Iterable, Mapping
from typing import Final

from blake3 import blake3

from versioned_io.processing.fingerprints.canonical_values import canonical_text

FINGERPRINT_CONTEXT: Final = "versioned-io 2026 fingerprint of a datum v1"
COMPUTATION_CONTEXT: Final = "versioned-io 2026 fingerprint of a computation v1"

_FORMAT: Final = b"\x01"


def computation_digest(
    code_digest: bytes, parameters: Mapping[str, object], salt: str = "", environment: str = ""
) -> bytes:
    """Return the digest of everything in a fingerprint that is equal for all datums of one pipeline: 32 bytes.

    Args:
        code_digest: `CodeManifest.digest`.
        parameters: Values that `canonical_text` can write.
        salt: A text that tells apart what would be equal, such as the pipeline's name with ``share=False``.
        environment: The digest of an image or of a lock file; empty if it is not part of the identity.

    Raises:
        UncertainCodeError: A parameter can't be written canonically.
    """
    values = [f"{name}={canonical_text(value, f'parameter {name!r}')}" for name, value in sorted(parameters.items())]
    texts = [salt.encode(), environment.encode(), *(value.encode() for value in values)]
    data = _FORMAT + b"".join(len(one).to_bytes(8, "little") + one for one in [code_digest, *texts])
    return blake3(data, derive_key_context=COMPUTATION_CONTEXT).digest()


def fingerprint(
    code_digest: bytes, parameters: Mapping[str, object], salt: str, environment: str, seen: bytes
) -> bytes:
    """Return the fingerprint of one datum: 32 bytes, equal if and only if nothing that the code can see differs.

    Args:
        seen: `DatumSet.seen` of the datum. The other arguments are those of `computation_digest`.
    """
    (found,) = fingerprints(computation_digest(code_digest, parameters, salt, environment), [seen])
    return found


def fingerprints(computation: bytes, seen: Iterable[bytes]) -> list[bytes]:
    """Return the fingerprints of many datums of one computation; *seen* is `DatumSet.seen_page`. Cost: 1 us each."""
    start = _FORMAT + computation
    return [blake3(start + one, derive_key_context=FINGERPRINT_CONTEXT).digest() for one in seen]
