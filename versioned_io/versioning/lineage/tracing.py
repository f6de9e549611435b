"""Lineage queries: the commits and the exact files that a commit was made from, and those that were made from it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Protocol

from versioned_io.catalog import lineage as catalog
from versioned_io.catalog.commit_edges import Edge
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.confirming import with_confirmations
from versioned_io.catalog.lineage import Places, Use
from versioned_io.model.commits import Commit, InputFile
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.paths import parent_directories
from versioned_io.versioning.backend.backend import Backend

EXTERNAL_INPUTS = "external_inputs"
"""Metadata of a commit: its inputs outside of the store, each a mapping with ``uri`` and ``digest``."""


@dataclass(frozen=True, slots=True)
class ExternalUse:
    """One input that lies outside of the store, and the commit that was made from it.

    Attributes:
        uri: Its address, such as ``file:///old/orders`` or ``s3://bucket/old/orders``.
        digest: The digest of its content as it was read, such as ``sha256:…``.
        output: The path or directory of the commit that was made from it; empty for all of the commit.
    """

    consumer: CommitId
    uri: str
    digest: str
    output: str = ""


class DatumOrigin(NamedTuple):
    """The evaluation that made an output of a pipeline.

    Attributes:
        commit, path: The output.
        key: The key of its datum.
        code, parameters: The digests of the code and of the parameters that made it.
        run_id: The run that evaluated it.
    """

    commit: CommitId
    path: str
    key: str
    code: str
    parameters: str
    run_id: str


class DatumStep(NamedTuple):
    """Edges of lineage between files, and the evaluations that they are of."""

    uses: Sequence[Use] = ()
    origins: Sequence[DatumOrigin] = ()


class DatumLineage(Protocol):
    """The edges that are known datum by datum. They replace those of the whole commits."""

    def replaced(self, edges: Collection[Edge]) -> set[Edge]:
        """Return those edges between whole commits that are known datum by datum."""
        ...

    def inputs_of(self, outputs: Places) -> DatumStep:
        """Return the files that outputs of pipelines were made from."""
        ...

    def uses_of(self, made: Places) -> DatumStep:
        """Return the outputs that were made from some files."""
        ...

    def uses_of_content(self, digest: Digest) -> DatumStep:
        """Return the outputs that were made from files with a content."""
        ...


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """A graph of commits, with edges from each commit to its sources.

    Attributes:
        roots: The commits at which the query began.
        commits: Every commit in the answer, roots included, in the order of commits.
        edges: (commit, source commit) pairs, sorted. The source made or confirmed a file that the commit was made from.
        files: Every version of a file that one of the commits was made from, with that commit.
        asked: The versions of files in the query, if it was about files. ``written_by`` is the commit that first wrote
            the bytes. ``made_by`` is the newest commit whose run made or confirmed them; the answer begins there.
        external: The inputs outside of the store, in the order of commits. Only `find_upstream` looks for them.
        datums: For outputs of pipelines, the evaluations that made them.
    """

    roots: tuple[CommitId, ...]
    commits: tuple[Commit, ...]
    edges: tuple[tuple[CommitId, CommitId], ...]
    files: tuple[Use, ...]
    asked: tuple[InputFile, ...] = field(default=(), compare=False)
    external: tuple[ExternalUse, ...] = ()
    datums: tuple[DatumOrigin, ...] = ()

    def commit(self, commit_id: CommitId) -> Commit:
        """Return the commit of the graph with this ID.

        >>> made = store.commit("weather@main")
        >>> store.upstream("weather@main").commit(made.id) == made
        True
        """
        return next(commit for commit in self.commits if commit.id == commit_id)


@dataclass(frozen=True, slots=True)
class Roots:
    """The starting points of a query: files of the commits that made or confirmed them, or whole commits.

    Attributes:
        places: The files by commit; None for everything in the commit.
        asked: The files in the query.
    """

    places: Mapping[CommitId, Iterable[str] | None]
    asked: tuple[InputFile, ...] = ()

    @classmethod
    def of_commit(cls, commit_id: CommitId) -> "Roots":
        """Return the root for a whole commit: everything that its run read, made or confirmed."""
        return cls({commit_id: None})

    @classmethod
    def of_files(cls, files: Sequence[InputFile]) -> "Roots":
        """Return the roots for *files*, as `makers_of` returns them."""
        places: dict[CommitId, set[str]] = {}
        for file in files:
            places.setdefault(file.made_by, set()).add(file.path)
        return cls(dict(sorted(places.items())), tuple(files))


def makers_of(backend: Backend, files: Sequence[InputFile]) -> tuple[InputFile, ...]:
    """Return files at a commit, each with the newest commit whose run confirmed it.

    Cost: that of `with_confirmations`.
    """
    with backend.catalog.read() as connection:
        return with_confirmations(connection, files)


def find_upstream(backend: Backend, roots: Roots, datums: DatumLineage) -> LineageGraph:
    """Return everything that *roots* were made from, transitively.

    If the exact files are known, the walk continues from the commits whose runs *made or confirmed* those versions. It
    ignores the snapshots that they were read from. It follows only the inputs that those runs read for these files. So
    a model that read 48 files, written by 2 commits, came from those 48. It did not come from a version that the second
    commit replaced.

    Args:
        datums: Knows the exact inputs of each output of a pipeline.

    Cost: 2 SELECTs for each 200 files in each generation, which read only the rows of those files, and that of *datums*
        for commits of pipelines. At the end 2 for each 500 commits.
    """
    return _grow(backend, roots, partial(_inputs, datums), with_external=True)


def find_downstream(backend: Backend, roots: Roots, datums: DatumLineage) -> LineageGraph:
    """Return everything that was made from *roots*, transitively: the same edges in the other direction.

    Cost: that of `find_upstream`.
    """
    return _grow(backend, roots, partial(_consumers, datums))


def find_uses_of_content(backend: Backend, digest: Digest, datums: DatumLineage) -> LineageGraph:
    """Return everything that was made, transitively, from files with this content, by any writer.

    Cost: 1 SELECT, and that of `find_downstream`.
    """
    with backend.catalog.read() as connection:
        recorded = catalog.uses_of_content(connection, digest)
    told = datums.uses_of_content(digest)
    uses = [*recorded, *told.uses]
    first = _Step(
        {(use.consumer, use.file.made_by) for use in uses},
        uses,
        {(use.consumer, use.file.output or None) for use in uses},
        told.origins,
    )
    makers = tuple(sorted({use.file.made_by for use in uses}))
    found = _walk(backend, _Places(), first, partial(_consumers, datums))
    return replace(found, roots=makers, commits=_in_order(backend, {*makers, *(one.id for one in found.commits)}))


def find_set(backend: Backend, commit_ids: Sequence[CommitId]) -> LineageGraph:
    """Return some commits with everything that they were made from, one edge away.

    Cost: 2 SELECTs for each 500 commits, and 1 for each 500 commits of the answer.
    """
    roots = tuple(sorted(commit_ids))
    with backend.catalog.read() as connection:
        uses = catalog.inputs_of(connection, roots)
        bare = catalog.bare_sources(connection, roots)
    edges = {(use.consumer, use.file.made_by) for use in uses} | set(bare)
    commits = _in_order(backend, {*roots, *(source for _, source in edges)})
    external = [use for commit in commits if commit.id in roots for use in external_inputs_of(commit)]
    return LineageGraph(roots, commits, tuple(sorted(edges)), tuple(uses), external=tuple(external))


def external_inputs_of(commit: Commit) -> tuple[ExternalUse, ...]:
    """Return the inputs of a commit that lie outside of the store."""
    found = (ExternalUse(commit.id, one["uri"], one["digest"], one["path"]) for one in _recorded_external(commit))
    return tuple(dict.fromkeys(found))


class _Places:
    """Files and directories of commits: everything of a commit, or some paths."""

    def __init__(self) -> None:
        self._paths: dict[CommitId, set[str] | None] = {}
        self._above: dict[CommitId, set[str]] = {}

    def commits(self) -> list[CommitId]:
        return sorted(self._paths)

    def paths(self) -> dict[CommitId, set[str] | None]:
        return {commit: self._paths[commit] for commit in self.commits()}

    def add(self, commit_id: CommitId, path: str | None) -> bool:
        """Add a path of a commit, or the whole commit for None, and return whether it was new."""
        paths = self._paths.setdefault(commit_id, set())
        if paths is None or (path is not None and path in paths):
            return False
        if path is None:
            self._paths[commit_id] = None
        else:
            paths.add(path)
            self._above.setdefault(commit_id, set()).update(parent_directories(path))
        return True

    def touch(self, commit_id: CommitId, path: str) -> bool:
        """Return whether *path*, a file or directory, is inside or above one of these places; ``""`` is the root."""
        paths = self._paths.get(commit_id, set())
        if paths is None or not path:
            return True
        around = {path, *parent_directories(path)}
        return not around.isdisjoint(paths) or path in self._above.get(commit_id, ())


@dataclass(frozen=True, slots=True)
class _Step:
    edges: set[tuple[CommitId, CommitId]]
    uses: list[Use]
    reached: set[tuple[CommitId, str | None]]
    origins: Sequence[DatumOrigin] = ()


_Stepper = Callable[[Backend, _Places], _Step]


def _grow(backend: Backend, roots: Roots, step: _Stepper, *, with_external: bool = False) -> LineageGraph:
    seen, first = _Places(), set[tuple[CommitId, str | None]]()
    for commit_id, paths in roots.places.items():
        first |= {(commit_id, path) for path in ([None] if paths is None else paths)}
    found = _walk(backend, seen, _Step(set(), [], first), step)
    external = _external_inputs(found.commits, seen) if with_external else ()
    return replace(found, roots=tuple(roots.places), asked=roots.asked, external=external)


def _external_inputs(commits: Iterable[Commit], places: _Places) -> tuple[ExternalUse, ...]:
    """Return the inputs outside of the store from which these places of the commits were made."""
    found = (use for commit in commits for use in external_inputs_of(commit))
    return tuple(use for use in found if places.touch(use.consumer, use.output))


def _recorded_external(commit: Commit) -> Iterable[dict[str, str]]:
    """Yield the external inputs that the metadata of a commit records; another value under that key is its writer's."""
    recorded = commit.metadata.get(EXTERNAL_INPUTS)
    for one in recorded if isinstance(recorded, list | tuple) else ():
        if isinstance(one, Mapping):
            fields = {name: one.get(name, "") for name in ("uri", "digest", "path")}
            if fields["uri"] and all(isinstance(value, str) for value in fields.values()):
                yield {name: str(value) for name, value in fields.items()}


def _walk(backend: Backend, seen: _Places, found: _Step, step: _Stepper) -> LineageGraph:
    """Walk on from the places in *found*, and return the graph, with the edges and uses of *found*."""
    edges: set[tuple[CommitId, CommitId]] = set()
    files: dict[Use, None] = {}
    origins: dict[DatumOrigin, None] = {}
    while True:
        edges |= found.edges
        files.update(dict.fromkeys(found.uses))
        origins.update(dict.fromkeys(found.origins))
        generation = _Places()
        for commit_id, path in sorted(found.reached, key=str):
            if seen.add(commit_id, path):
                generation.add(commit_id, path)
        if not generation.commits():
            commits = _in_order(backend, seen.commits())
            return LineageGraph((), commits, tuple(sorted(edges)), tuple(files), datums=tuple(origins))
        found = step(backend, generation)


def _inputs(datums: DatumLineage, backend: Backend, places: _Places) -> _Step:
    with backend.catalog.read() as connection:
        every_use = catalog.inputs_for(connection, places.paths())
        bare = set(catalog.bare_sources(connection, places.commits()))
    paths = places.paths()
    told = datums.inputs_of({commit: paths[commit] for commit in sorted({consumer for consumer, _ in bare})})
    bare -= datums.replaced(bare)
    uses = [*(use for use in every_use if places.touch(use.consumer, use.file.output)), *told.uses]
    reached: set[tuple[CommitId, str | None]] = {(use.file.made_by, use.file.path) for use in uses}
    reached |= {(source, None) for _, source in bare}
    return _Step({(use.consumer, use.file.made_by) for use in uses} | bare, uses, reached, told.origins)


def _consumers(datums: DatumLineage, backend: Backend, places: _Places) -> _Step:
    with backend.catalog.read() as connection:
        every_use = catalog.uses_of(connection, places.paths())
        bare = set(catalog.bare_consumers(connection, places.commits()))
    told = datums.uses_of(places.paths())
    bare -= datums.replaced(bare)
    uses = [*(use for use in every_use if places.touch(use.file.made_by, use.file.path)), *told.uses]
    reached = {(use.consumer, use.file.output or None) for use in uses} | {(commit, None) for commit, _ in bare}
    return _Step({(use.consumer, use.file.made_by) for use in uses} | bare, uses, reached, told.origins)


def _in_order(backend: Backend, commit_ids: Iterable[CommitId]) -> tuple[Commit, ...]:
    with backend.catalog.read() as connection:
        found = get_commits(connection, sorted(commit_ids))
    return tuple(sorted(found.values(), key=lambda commit: (commit.order, commit.id)))
