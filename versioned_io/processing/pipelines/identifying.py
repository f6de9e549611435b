"""The identity of a pipeline's computation, and the fingerprints of its datums."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from versioned_io.processing.datums.datum_tree import Identity
from versioned_io.processing.fingerprints.code_manifest import CodeManifest
from versioned_io.processing.fingerprints.computation import computation_digest, fingerprints
from versioned_io.processing.fingerprints.of_function import code_of_function
from versioned_io.processing.pipelines.declaring import PipelineFunction


class Identified(NamedTuple):
    """A computation that can be told from every other one.

    Attributes:
        fingerprints: Returns the fingerprints of datums, of the bytes that their code can see.
    """

    manifest: CodeManifest
    identity: Identity
    fingerprints: Callable[[Sequence[bytes]], list[bytes]]


def identify(function: PipelineFunction) -> Identified:
    """Return the identity of a pipeline's computation: code, parameters, and the name if it shares no results.

    Raises:
        UncertainCodeError: Something that the function reaches, or a parameter, has no certain digest.

    Cost: that of `code_of_function`.
    """
    manifest = code_of_function(function.function, code_version=function.code_version)
    salt = "" if function.is_shared else function.name
    whole = computation_digest(manifest.digest, function.parameters, salt)
    identity = Identity(manifest.digest.hex(), computation_digest(b"", function.parameters).hex(), salt)
    return Identified(manifest, identity, partial(fingerprints, whole))
