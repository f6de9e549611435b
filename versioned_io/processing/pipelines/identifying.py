"""The identity of a pipeline's computation, and the fingerprints of its datums."""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Callable
from typing import Final

from blake3 import blake3

from versioned_io.processing.datums.datum_tree import Identity
from versioned_io.processing.pipelines.declaring import PipelineFunction

_CONTEXT: Final = "versioned-io 2026 fingerprint of a datum v1"


def identify(function: PipelineFunction) -> Identity:
    """Return the digests of code, parameters and environment of a pipeline."""
    parameters = json.dumps(dict(function.parameters), sort_keys=True, separators=(",", ":"))
    salt = "" if function.is_shared else function.name
    environment = f"python {sys.version_info.major}.{sys.version_info.minor}"
    return Identity(_code(function), _digest(f"{len(salt)}:{salt}{parameters}"), _digest(environment))


def fingerprints_of(identity: Identity) -> Callable[[bytes], bytes]:
    """Return the function from the bytes that a datum's code can see to the datum's fingerprint."""
    begun = blake3(derive_key_context=_CONTEXT)
    for part in identity:
        begun.update(f"{len(part)}:{part}".encode())

    def fingerprint(seen: bytes) -> bytes:
        hasher = begun.copy()
        hasher.update(seen)
        found: bytes = hasher.digest()
        return found

    return fingerprint


def _code(function: PipelineFunction) -> str:
    if function.code_version is not None:
        return _digest(f"version {function.code_version}")
    source = textwrap.dedent(inspect.getsource(function.function))
    return _digest(ast.dump(ast.parse(source)))


def _digest(text: str) -> str:
    return blake3(text.encode()).hexdigest()
