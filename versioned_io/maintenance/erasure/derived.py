"""Everything that pipelines derived from some files: datums, outputs, results and logs, transitively, in every commit.

Source: docs/design/0019-datums-and-results.md, "Forget".
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from versioned_io.catalog.datum_uses import TreeRow, commits_beside, find_datums_with, find_trees, list_states
from versioned_io.catalog.evaluated import commits_of_results
from versioned_io.catalog.repo_rows import find_system_repo
from versioned_io.maintenance.erasure.doomed import DoomedPath, DoomedResults, DoomedRows
from versioned_io.model.commits import parse_root
from versioned_io.model.identifiers import CommitId
from versioned_io.model.places import PageRef
from versioned_io.model.repo_kinds import (
    FAILURES,
    INPUTS,
    INVALIDATED,
    LOGS,
    MANIFESTS,
    OUTPUTS,
    RepoKind,
    fingerprint_in,
)
from versioned_io.processing.datums.basis import BASIS_PLACE, read_unsettled
from versioned_io.processing.datums.datum_tree import (
    INVALID,
    DatumFacts,
    output_place,
    place_of_name,
    read_changed,
    read_datums,
)
from versioned_io.processing.results.stored_results import read_sources
from versioned_io.storage.pages.read import file_rows, lookup, lookup_many, scan
from versioned_io.versioning.backend.backend import Backend


@dataclass(slots=True)
class Derived:
    """The rows that pipelines derived from some files.

    Attributes:
        outputs: The doomed outputs of each commit of a pipeline's output.
        datums: The doomed rows of each commit of a repo of datums.
        results: The doomed rows of each commit of a repo of results.
        keys: The keys of the datums, by the repo of their output.
        fingerprints: Those of the results, also of evaluations that failed or were never committed.
        failures: How many of these evaluations failed.
    """

    outputs: dict[CommitId, set[str]] = field(default_factory=dict)
    datums: dict[CommitId, set[str]] = field(default_factory=dict)
    results: dict[CommitId, set[str]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)
    fingerprints: set[bytes] = field(default_factory=set)
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _DescribedState:
    """A commit of an output, and one of the datums that describe it, with their trees."""

    output: CommitId
    datums: CommitId
    output_tree: TreeRow
    datum_tree: TreeRow


class DerivedSearch:
    """Looks for everything that was derived from the files of a repo.

    Args:
        digests: The digests of all versions of the files. None are known if no kept commit has the files.
    """

    def __init__(self, backend: Backend, repo: str, doomed: DoomedPath, digests: Collection[bytes]) -> None:
        self._backend = backend
        self._repo = repo
        self._doomed = doomed
        self._trees: dict[CommitId, TreeRow] = {}
        self._states = self._list_states()
        self.found = Derived()
        self._digests = set(digests) or self._recorded_digests()

    def run(self) -> Derived:
        """Find datums and outputs transitively, and then all results and logs that are kept of them.

        Cost: for each commit of datums the pages of the datums found; and all manifests of all repos of results.
        """
        names: dict[str, set[str]] = {}
        seen: set[bytes] = set()
        frontier = self._digests
        known = -1
        while frontier or known < (known := self._count()):
            seen |= frontier
            with self._backend.catalog.ask() as connection:
                places = find_datums_with(connection, frontier)
            self._know({place.output for place in places})
            for place in places:
                names.setdefault(self._trees[place.output].repo, set()).add(place.datum)
            frontier = {one for state in self._states for one in self._of_state(state, names)} - seen
            self._add_copies()
        self._add_results()
        return self.found

    def _count(self) -> int:
        return sum(map(len, self.found.outputs.values()))

    def targets(self, commits: Mapping[CommitId, set[str]]) -> dict[CommitId, DoomedRows]:
        """Return the rows of these commits as targets of a purge."""
        unnamed = frozenset({BASIS_PLACE})
        return {commit: DoomedRows(frozenset(paths), unnamed) for commit, paths in commits.items()}

    def repo_of(self, commit: CommitId) -> str:
        """Return the repo of a commit that was found."""
        return self._trees[commit].repo

    def _list_states(self) -> list[_DescribedState]:
        with self._backend.catalog.ask() as connection:
            states = list_states(connection)
        self._know({one for state in states for one in state})
        live = [one for one in states if self._trees[one.datums].is_live]
        return [
            _DescribedState(one.output, one.datums, self._trees[one.output], self._trees[one.datums]) for one in live
        ]

    def _recorded_digests(self) -> set[bytes]:
        """Return the digests of the files as datums recorded them. Cost: the pages in which datum trees differ."""
        self._know([one for state in self._states if (one := state.datum_tree.parent) is not None])
        found: set[bytes] = set()
        for state in self._states:
            tree = state.datum_tree
            before = None if tree.parent is None else self._trees[tree.parent].root
            files = [file for facts in read_changed(self._backend, before, tree.root) for file in facts.files()]
            self._know({file.commit for file in files})
            found |= {bytes.fromhex(file.digest) for file in files if self._is_doomed(file.commit, file.path)}
        return found

    def _know(self, commits: Collection[CommitId]) -> None:
        with self._backend.catalog.ask() as connection:
            self._trees |= find_trees(connection, [one for one in commits if one not in self._trees])

    def _of_state(self, state: _DescribedState, names: Mapping[str, set[str]]) -> Iterator[bytes]:
        """Note the doomed datums of a state, and yield the digests of their outputs."""
        root = state.datum_tree.root
        places = [place_of_name(name) for name in sorted(names.get(state.output_tree.repo, ()))]
        found = read_datums(self._backend, root, places) | read_unsettled(self._backend, root)
        new: set[str] = set()
        for place, facts in found.items():
            if self._are_doomed((file.commit, file.path) for file in facts.files()):
                new |= self._note(state, place, facts)
        rows = lookup_many(state.output_tree.root, sorted(new), source=self._backend.pages)
        yield from rows.column("digest").to_pylist()

    def _note(self, state: _DescribedState, place: str, facts: DatumFacts) -> set[str]:
        rows = self.found.datums.setdefault(state.datums, set())
        rows |= {place, BASIS_PLACE, *map(output_place, facts.outputs)}
        self.found.keys.setdefault(state.output_tree.repo, set()).add(facts.key)
        if facts.outputs:
            self.found.outputs.setdefault(state.output, set()).update(facts.outputs)
        if facts.fingerprint != INVALID:
            self.found.fingerprints.add(facts.fingerprint)
        return set(facts.outputs)

    def _add_copies(self) -> None:
        """Note the doomed outputs in commits that no pipeline made, such as merges."""
        with self._backend.catalog.ask() as connection:
            beside = commits_beside(connection, list(self.found.outputs))
        others = sorted(beside - {state.output for state in self._states})
        self._know(others)
        paths = sorted(set().union(*self.found.outputs.values()))
        for commit in others:
            for row in file_rows(lookup_many(self._trees[commit].root, paths, source=self._backend.pages)):
                if row.path in self.found.outputs.get(CommitId(row.commit.hex()), ()):
                    self.found.outputs.setdefault(commit, set()).add(row.path)

    def _are_doomed(self, files: "Iterator[tuple[CommitId, str]]") -> bool:
        read = list(files)
        self._know({commit for commit, _ in read})
        return any(self._is_doomed(commit, path) for commit, path in read)

    def _is_doomed(self, commit: CommitId, path: str) -> bool:
        """Return whether a file that was read is doomed, or a table in a directory that holds a doomed file."""
        outputs = self.found.outputs.get(commit, ())
        if path in outputs or any(one.startswith(f"{path}/") for one in outputs):
            return True
        if commit not in self._trees or self._trees[commit].repo != self._repo:
            return False
        own = self._doomed.path
        if own.startswith(f"{path}/"):  # a table, unless a file was there
            return lookup(self._trees[commit].root, path, source=self._backend.pages) is None
        return path == own or path.startswith(f"{own}/") or not path

    def _add_results(self) -> None:
        with self._backend.catalog.read() as connection:
            commits = list(commits_of_results(connection))
            own = find_system_repo(connection, self._repo, RepoKind.RESULTS)
        self._know([one.id for one in commits])
        for one in commits:
            root = parse_root(one.root)
            if self._trees[one.id].repo == own:
                self.found.fingerprints |= DoomedResults(self._doomed).fingerprints(root, self._backend.pages)
            for prefix in (MANIFESTS, FAILURES):
                for fingerprint, sources in read_sources(self._backend, root, prefix):
                    if self._are_doomed(iter(sources)):
                        self.found.fingerprints.add(fingerprint)
        for one in commits:
            self._add_rows(one.id, parse_root(one.root))

    def _add_rows(self, commit: CommitId, root: PageRef | None) -> None:
        names = [one.hex() for one in sorted(self.found.fingerprints)]
        singles = [prefix + name for prefix in (MANIFESTS, FAILURES, LOGS, INPUTS, INVALIDATED) for name in names]
        found: list[str] = lookup_many(root, singles, source=self._backend.pages).column("path").to_pylist()
        self.found.failures += sum(path.startswith(FAILURES) for path in found)
        evaluated = {fingerprint_in(path).hex() for path in found if path.startswith(MANIFESTS)}
        for name in evaluated:
            for rows in scan(root, f"{OUTPUTS}{name}/", source=self._backend.pages):
                found += rows.column("path").to_pylist()
        if found:
            self.found.results[commit] = set(found)


def sorted_keys(found: Mapping[str, Collection[str]]) -> dict[str, Sequence[str]]:
    """Return the same, with sorted tuples."""
    return {name: tuple(sorted(keys)) for name, keys in sorted(found.items())}
