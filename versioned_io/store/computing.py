"""Pipelines of a store."""

from typing import TYPE_CHECKING

from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.processing.pipelines.declaring import PipelineFunction
    from versioned_io.processing.pipelines.pipeline import Pipeline


class Computing:
    """The computations of a store."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

    def pipeline(self, function: "PipelineFunction") -> "Pipeline":
        """Return the pipeline of this store that a decorated function declares.

        >>> store.pipeline(upper).plan().runs
        ['2012/01.csv', '2012/02.csv']

        Args:
            function: Made by the decorator ``@vio.pipeline``.

        This reads the code of the function, and nothing of the store.

        Raises:
            InvalidInputError: *function* is a plain function. Decorate it.
        """
        from versioned_io.errors import InvalidInputError
        from versioned_io.processing.pipelines.declaring import PipelineFunction
        from versioned_io.processing.pipelines.pipeline import Pipeline
        from versioned_io.processing.running.definition import PipelineStore

        if not isinstance(function, PipelineFunction):
            msg = f"{function!r} is not a pipeline: decorate a function with @vio.pipeline(...)"
            raise InvalidInputError(msg)
        resolver = self._resolver
        places = PipelineStore(self._backend, lambda ref: resolver.snapshot(resolver.parse_commit(ref), is_noted=False))
        return Pipeline(places, function)
