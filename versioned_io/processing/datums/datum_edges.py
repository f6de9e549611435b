"""Lineage to the file for commits of pipelines: each output was made from exactly the input files of its datum.

Source: docs/design/0019-datums-and-results.md, "Lineage".
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

import pyarrow.compute as pc

from versioned_io.catalog.commit_edges import Edge
from versioned_io.catalog.confirming import with_confirmations
from versioned_io.catalog.datum_uses import (
    TreeRow,
    confirmed_by,
    find_datums_with,
    find_states,
    find_trees,
    first_kept_trees,
    has_states,
)
from versioned_io.catalog.lineage import Places, Use
from versioned_io.model.columns import text_scalar
from versioned_io.model.commits import InputFile
from versioned_io.model.identifiers import CommitId, Digest
from versioned_io.model.paths import parent_directories
from versioned_io.model.places import PageRef
from versioned_io.processing.datums.datum_tree import (
    DatumFacts,
    FileOfDatum,
    place_of_name,
    read_changed,
    read_datums,
    read_makers,
)
from versioned_io.storage.pages.diff import diff
from versioned_io.storage.pages.read import FileRow, file_rows, lookup_many, scan
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.lineage.tracing import DatumOrigin, DatumStep

_Asked: TypeAlias = Callable[[InputFile], bool]


class _Described(NamedTuple):
    """A commit of an output, the tree of its datums, and that of the commit before it."""

    output: CommitId
    root: PageRef | None
    before: PageRef | None


class _Made(NamedTuple):
    """Some outputs of a datum; all of them if nothing else was asked."""

    output: CommitId
    facts: DatumFacts
    paths: Sequence[str]


@dataclass(frozen=True)
class DatumEdges:
    """The edges of lineage that datum trees tell, for `find_upstream` and `find_downstream`.

    It is made for one question.
    """

    backend: Backend
    _known: dict[CommitId, list[CommitId]] = field(default_factory=dict)

    def replaced(self, edges: Collection[Edge]) -> set[Edge]:
        """Return those edges between whole commits that are known datum by datum.

        If the data of the source has expired, its files can't be told apart any more, and the edge stays.

        Cost: 2 SELECTs for each 500 commits.
        """
        if not edges:
            return set()
        described = self._find_states({consumer for consumer, _ in edges})
        sources = {source for consumer, source in edges if consumer in described}
        with self.backend.catalog.ask() as connection:
            trees = find_trees(connection, sources)
        return {one for one in edges if one[0] in described and trees[one[1]].is_live}

    def inputs_of(self, outputs: Places) -> DatumStep:
        """Return the exact files that some outputs were made from.

        Cost: 4 SELECTs for each 500 commits, 1 more for whole commits. It reads the pages of the paths in the datum
            trees and in the inputs' trees.
        """
        if not outputs:
            return DatumStep()
        made = [one for state in self._states(outputs) for one in self._made(state, outputs[state.output])]
        versions = _Versions.of(self.backend, (file for one in made for file in one.facts.files()))
        return _step(made, versions, lambda _: True)

    def uses_of(self, made: Places) -> DatumStep:
        """Return the outputs that were made from some files, in the versions that commits made or confirmed.

        Cost: 7 SELECTs for each 500 commits or files; reads the pages of the files, and of the datums found.
        """
        if not made or not self._are_any:
            return DatumStep()

        def is_asked(file: InputFile) -> bool:
            paths = made.get(file.made_by, ())
            return paths is None or not {file.path, *parent_directories(file.path)}.isdisjoint(paths)

        return self._found(self._digests(made), is_asked)

    def uses_of_content(self, digest: Digest) -> DatumStep:
        """Return the outputs that were made from a content: of a file, or the rows of a table datum.

        Cost: 6 SELECTs; reads the pages of the datums found.
        """
        if not self._are_any:
            return DatumStep()
        return self._found([bytes.fromhex(digest)], lambda file: file.digest == digest)

    @cached_property
    def _are_any(self) -> bool:
        with self.backend.catalog.ask() as connection:
            return has_states(connection)

    def _found(self, digests: Collection[bytes], is_asked: _Asked) -> DatumStep:
        """Return the edges of datums that were made from contents, and still describe their output."""
        with self.backend.catalog.ask() as connection:
            places = find_datums_with(connection, digests)
        names: dict[CommitId, list[str]] = {}
        for place in sorted(places):
            names.setdefault(place.output, []).append(place.datum)
        made = []
        for state in self._states(names):
            wanted = [place_of_name(name) for name in names[state.output]]
            found = read_datums(self.backend, state.root, wanted)
            made += [_Made(state.output, facts, facts.outputs) for facts in found.values()]
        versions = _Versions.of(self.backend, (file for one in made for file in one.facts.files()))
        return _step(made, versions, is_asked)

    def _find_states(self, outputs: Collection[CommitId]) -> dict[CommitId, list[CommitId]]:
        """Return the commits that describe those of *outputs* that are described; each is looked up once."""
        asked = [one for one in outputs if one not in self._known]
        with self.backend.catalog.ask() as connection:
            self._known.update({one: [] for one in asked})
            self._known.update(find_states(connection, asked))
        return {one: self._known[one] for one in outputs if self._known[one]}

    def _states(self, outputs: Places) -> list[_Described]:
        states = self._find_states(outputs)
        with self.backend.catalog.ask() as connection:
            datums = find_trees(connection, sorted({one for some in states.values() for one in some}))
            wholes = [some for output, some in states.items() if outputs[output] is None]
            firsts = (datums[some[0]].parent for some in wholes)
            before = find_trees(connection, sorted({one for one in firsts if one is not None}))
        # On another branch the same output may have come from other inputs.
        newest = {output: {datums[one].branch: one for one in some} for output, some in states.items()}
        return [
            _Described(output, datums[one].root, _root_of(before, datums[states[output][0]].parent))
            for output, of_branches in sorted(newest.items())
            for one in of_branches.values()
        ]

    def _made(self, state: _Described, paths: Collection[str] | None) -> Iterator[_Made]:
        root = state.root
        if paths is None:
            changed = read_changed(self.backend, state.before, root)
            yield from (_Made(state.output, facts, facts.outputs) for facts in changed)
            return
        makers = read_makers(self.backend, root, paths)
        found = read_datums(self.backend, root, sorted({place_of_name(one) for one in makers.values()}))
        for path in sorted(makers):
            facts = found.get(place_of_name(makers[path]))
            if facts is not None:
                yield _Made(state.output, facts, (path,))

    def _digests(self, made: Places) -> set[bytes]:
        """Return the digests of files that commits made or confirmed."""
        with self.backend.catalog.ask() as connection:
            commits = find_trees(connection, sorted(made))
            wholes = [commit for commit, paths in made.items() if paths is None]
            confirmed = {commit: confirmed_by(connection, commit) for commit in wholes}
            parents = find_trees(connection, sorted({one for c in wholes if (one := commits[c].parent) is not None}))
        found: set[bytes] = set()
        for commit_id, paths in made.items():
            tree = commits[commit_id]
            before = _root_of(parents, tree.parent)
            if not tree.is_live:
                found |= self._digests_after(commit_id, paths, confirmed.get(commit_id, ()))
                continue
            wanted = [*confirmed[commit_id], *self._changed(before, tree.root)] if paths is None else paths
            found |= self._contents(tree.root, wanted)
        return found

    def _digests_after(
        self, commit_id: CommitId, paths: Collection[str] | None, confirmed: Collection[str]
    ) -> set[bytes]:
        """Return the digests of files of a commit whose data has expired, as the next kept commits have them."""
        with self.backend.catalog.ask() as connection:
            roots = first_kept_trees(connection, commit_id)
        found = {one for root in roots for one in self._contents(root, confirmed if paths is None else paths)}
        for rows in (rows for root in roots if paths is None for rows in scan(root, source=self.backend.pages)):
            digests = zip(rows.column("digest").to_pylist(), rows.column("commit").to_pylist(), strict=True)
            found.update(digest for digest, author in digests if author.hex() == commit_id)
        return found

    def _contents(self, root: PageRef | None, paths: Collection[str]) -> set[bytes]:
        """Return the digests of files, and of the files in directories."""
        rows = lookup_many(root, list(paths), source=self.backend.pages)
        there = set(rows.column("path").to_pylist())
        below = [row.digest for path in paths if path not in there for row in _rows_below(self.backend, root, path)]
        return {*rows.column("digest").to_pylist(), *below}

    def _changed(self, before: PageRef | None, root: PageRef | None) -> list[str]:
        rows = diff(before, root, source=self.backend.pages)
        paths: list[str] = rows.filter(pc.not_equal(rows["change"], text_scalar("deleted")))["path"].to_pylist()
        return paths


@dataclass(frozen=True, slots=True)
class _Versions:
    """The versions of files that datums read, as lineage knows them."""

    files: Mapping[tuple[CommitId, str], Sequence[InputFile]]

    @classmethod
    def of(cls, backend: Backend, files: Iterable[FileOfDatum]) -> "_Versions":
        wanted: dict[CommitId, dict[str, str]] = {}
        for file in files:
            wanted.setdefault(file.commit, {})[file.path] = file.digest
        with backend.catalog.ask() as connection:
            commits = find_trees(connection, sorted(wanted))
        known = {commit: paths for commit, paths in wanted.items() if commit in commits}
        found = [one for commit, paths in known.items() for one in _versions(backend, commit, commits[commit], paths)]
        with backend.catalog.read() as connection:
            confirmed = with_confirmations(connection, [version for _, version in found])
        versions: dict[tuple[CommitId, str], list[InputFile]] = {}
        for (path, _), version in zip(found, confirmed, strict=True):
            versions.setdefault((version.commit, path), []).append(version)
        return cls(versions)

    def find(self, file: FileOfDatum) -> Sequence[InputFile]:
        """Return the versions that a datum read: one, but of a table in several files all of them.

        A commit that was lost with its pack has none.
        """
        return self.files.get((file.commit, file.path), ())


def _versions(
    backend: Backend, commit: CommitId, tree: TreeRow, paths: Mapping[str, str]
) -> Iterator[tuple[str, InputFile]]:
    """Yield the versions of files at a commit, each with the path that was read: a file or the directory of a table.

    One that is not there any more counts as written by the commit.
    """
    there = {row.path: row for row in file_rows(lookup_many(tree.root, list(paths), source=backend.pages))}
    for path, digest in paths.items():
        rows = [there[path]] if path in there else _rows_below(backend, tree.root, path)
        for row in rows:
            author = CommitId(row.commit.hex())
            yield path, InputFile(tree.repo, commit, row.path, Digest(row.digest.hex()), author)
        if not rows:
            yield path, InputFile(tree.repo, commit, path, Digest(digest), commit)


def _rows_below(backend: Backend, root: PageRef | None, path: str) -> list[FileRow]:
    prefix = f"{path}/" if path else ""
    return [row for batch in scan(root, prefix, source=backend.pages) for row in file_rows(batch)]


def _step(made: Iterable[_Made], versions: _Versions, is_asked: _Asked) -> DatumStep:
    uses: dict[Use, None] = {}
    origins: dict[DatumOrigin, None] = {}
    for one in made:
        for file in one.facts.files():
            own = Digest(file.digest)
            for version in versions.find(file):
                if is_asked(version) or (version.digest != own and is_asked(replace(version, digest=own))):
                    uses |= {Use(one.output, replace(version, output=path)): None for path in one.paths}
                    origins |= {_origin(one, path): None for path in one.paths}
    return DatumStep(tuple(uses), tuple(origins))


def _origin(one: _Made, path: str) -> DatumOrigin:
    identity = one.facts.identity
    return DatumOrigin(one.output, path, one.facts.key, identity.code, identity.parameters, one.facts.run_id)


def _root_of(trees: Mapping[CommitId, TreeRow], commit: CommitId | None) -> PageRef | None:
    return None if commit is None or commit not in trees else trees[commit].root
