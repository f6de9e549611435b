"""A bare input: its datums without a pipeline."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted
from versioned_io.model.arguments import check_mapping
from versioned_io.model.identifiers import is_id
from versioned_io.model.refs import Ref
from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from versioned_io.processing.inputs.affecting import AffectedKeys
    from versioned_io.processing.inputs.datum_set import DatumSet
    from versioned_io.processing.inputs.specs import InputSpec
    from versioned_io.versioning.snapshots.snapshot import Snapshot


class SelectedInput:
    """An input at the present heads of its refs; made by `Store.inputs`."""

    def __init__(self, spec: "InputSpec", backend: Backend, resolver: Resolver) -> None:
        self.spec = spec
        self._backend = backend
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

        return list_datums(self.spec, self._snapshots({}))

    def affected(self, since: Mapping[str, str]) -> "AffectedKeys":
        """Return the keys of the datums that differ from those at other refs: changed, added, and gone.

        >>> spec = vio.glob("weather@main", "/{year}/*.csv")
        >>> store.inputs(spec).affected({"weather@main": "weather@main~1"})
        AffectedKeys(changed=('2012/02.csv',), added=(), gone=())

        Args:
            since: For a ref of the input, as it is written there, the ref to compare with. Other refs did not change.

        Raises:
            NotFoundError: A repo or a ref does not exist.
            InvalidInputError: *since* names a ref that the input does not read.

        Cost: as `commit` for each ref. For globs and unions also 1 GET for each page that differs, and at most 2
            look-ups for each directory above a change. For other inputs as `datums` twice, if a file of theirs differs.
        """
        from versioned_io.processing.inputs.affecting import affected_datums

        check_mapping(since, "since")
        return affected_datums(self._backend, self.spec, self._snapshots(since), self._snapshots({}))

    def _snapshots(self, instead: Mapping[str, str]) -> "dict[str, Snapshot]":
        """Return the snapshot of each ref of the input, or of the ref that stands for it."""
        from versioned_io.processing.inputs.specs import refs_of

        refs = refs_of(self.spec)
        unknown = sorted(instead.keys() - set(refs))
        if unknown:
            msg = f"the input does not read {unknown[0]!r}: its refs are {', '.join(map(repr, refs))}"
            raise InvalidInputError(msg)
        return {ref: self._resolver.snapshot(self._ref(instead.get(ref, ref))) for ref in refs}

    def _ref(self, text: str) -> Ref:
        if not is_id(text):
            return self._resolver.parse_commit(text)
        commit = self._resolver.commit_by_id(text)
        return Ref(commit.repo, commit.id)


class Inputs:
    """The call of a store that lists inputs."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
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
        return SelectedInput(spec, self._backend, self._resolver)
