"""A bare input: its datums without a pipeline."""

from typing import TYPE_CHECKING

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.identifiers import is_id
from versioned_io.model.refs import Ref
from versioned_io.store.resolving import Resolver

if TYPE_CHECKING:
    from versioned_io.processing.inputs.datum_set import DatumSet
    from versioned_io.processing.inputs.specs import InputSpec


class SelectedInput:
    """An input at the present heads of its refs; made by `Store.inputs`."""

    def __init__(self, spec: "InputSpec", resolver: Resolver) -> None:
        self.spec = spec
        self._resolver = resolver

    def __repr__(self) -> str:
        return f"SelectedInput({self.spec!r})"

    def datums(self) -> "DatumSet":
        """Return the datums, sorted by key. Nothing is written, and no file is opened.

        >>> found = store.inputs(vio.glob("weather@main", "/{year}/*.csv")).datums()
        >>> found.keys.to_pylist(), found.page(0, 1)[0].inputs["weather"][0].fields
        (['2012/01.csv', '2012/02.csv'], {'year': '2012'})
        >>> [one.pattern for one in store.inputs(vio.glob("weather@main", "/2013/*")).datums().empty_inputs]
        ['/2013/*']

        Raises:
            NotFoundError: A repo or a ref of the input does not exist.
            InvalidInputError: A cron input has no ref yet.

        Cost: as `commit` for each ref, and 1 GET for each page of the paths that begin as the patterns do.
        """
        from versioned_io.processing.inputs.selecting import list_datums
        from versioned_io.processing.inputs.specs import refs_of

        snapshots = {}
        for ref in refs_of(self.spec):
            snapshots[ref] = self._resolver.snapshot(self._ref(ref))
        return list_datums(self.spec, snapshots)

    def _ref(self, text: str) -> Ref:
        if not is_id(text):
            return self._resolver.parse_commit(text)
        commit = self._resolver.commit_by_id(text)
        return Ref(commit.repo, commit.id)


class Inputs:
    """The call of a store that lists inputs."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def inputs(self, spec: "InputSpec") -> SelectedInput:
        """Return the input that *spec* describes, to list its datums without a pipeline.

        >>> spec = vio.cross(vio.glob("weather@main", "/*/*"), vio.glob("weather@main", "/", name="all"))
        >>> [row.key for row in store.inputs(spec).datums()]
        ['2012/01.csv /', '2012/02.csv /']

        Args:
            spec: Made by `glob`, `cross`, `union`, `join`, `group`, `cron` or `table`.

        Raises:
            InvalidInputError: *spec* is not an input.

        Cost: none.
        """
        from versioned_io.processing.inputs.specs import INPUT_KINDS

        if not isinstance(spec, INPUT_KINDS):
            msg = f"spec must be an input, such as versioned_io.glob('images@main', '/*'), not {quoted(spec)}"
            raise InvalidInputError(msg)
        return SelectedInput(spec, self._resolver)
