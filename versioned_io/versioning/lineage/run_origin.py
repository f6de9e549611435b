"""Everything that the record of a commit says about the run that made it: what another run of it would need."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from versioned_io.catalog import lineage as catalog
from versioned_io.catalog.commits import get_commits
from versioned_io.catalog.repo_rows import deleted_among
from versioned_io.errors.root import counted
from versioned_io.model.commits import Commit, CommitState, InputFile, JSONValue, RunInfo
from versioned_io.model.identifiers import CommitId
from versioned_io.model.withholding import WITHHELD
from versioned_io.versioning.backend.backend import Backend
from versioned_io.versioning.lineage.tracing import ExternalUse, external_inputs_of
from versioned_io.versioning.snapshots.commit_tree import CommitTree


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """The run that made a commit, with its exact inputs.

    Attributes:
        commit: The commit. Its parent is the head that the run's changes were made on.
        info: The job, its parameters and its code version; None if no run made the commit.
        inputs: Every version of a file that it read, sorted by repo, path, commit and output.
        whole_inputs: The commits that it was made from without a record of single files, sorted by ID.
        external: Its inputs outside of the store.
        lacks: The facts that another run would need and that are not recorded, or are gone. Each is one sentence.
    """

    commit: Commit
    info: RunInfo | None
    inputs: tuple[InputFile, ...]
    whole_inputs: tuple[Commit, ...]
    external: tuple[ExternalUse, ...]
    lacks: tuple[str, ...]

    @property
    def refs(self) -> tuple[str, ...]:
        """The inputs as refs that always name the same bytes: ``repo@commit:path``, or ``repo@commit`` for all of it.

        >>> _ = store.create_repo("reports")
        >>> with store.run("report"), store.transaction("reports@main") as tx:
        ...     _ = tx.write("february.txt", store.snapshot("weather@main").read("2012/02.csv")[-5:])
        >>> store.run_of("reports@main").refs == (f"{store.commit('weather@main')}:2012/02.csv",)
        True
        """
        files = {f"{file.repo}@{file.commit}:{file.path}" for file in self.inputs}
        return tuple(sorted(files | {str(commit) for commit in self.whole_inputs}))


def find_run(backend: Backend, commit: Commit) -> RunOrigin:
    """Return the run that made *commit*, with its inputs.

    Cost: 3 SELECTs, and 1 for each 500 commits that it read. If such a commit was rewritten, the pages of its inputs.
    """
    with backend.catalog.read() as connection:
        inputs = tuple(use.file for use in catalog.inputs_of(connection, [commit.id]))
        bare = [source for _, source in catalog.bare_sources(connection, [commit.id])]
        read = get_commits(connection, sorted({*bare, *(file.commit for file in inputs)}))
        deleted = deleted_among(connection, {one.repo for one in read.values()})
    external = external_inputs_of(commit)
    lacks = (*_lacks(commit, external), *_gone(backend, read, inputs, deleted))
    ordered = sorted(inputs, key=lambda file: (file.repo, file.path, file.commit, file.output))
    whole = tuple(read[source] for source in sorted(bare))
    return RunOrigin(commit, commit.run, tuple(ordered), whole, external, lacks)


def _lacks(commit: Commit, external: tuple[ExternalUse, ...]) -> Iterator[str]:
    run = commit.run
    if run is None:
        yield "no run made this commit, so neither a job nor parameters are recorded"
    elif run.code_version is None and run.git_commit is None:
        yield "neither a code version nor a Git commit is recorded"
    for name in sorted(_withheld({} if run is None else run.params)):
        yield f"the parameter {name!r} looked like a secret, and its value was withheld"
    if not commit.inputs_are_complete:
        yield "worker processes may have read more files than are recorded"
    if external:
        yield f"{counted(len(external), 'input')} outside of the store may have changed"


def _gone(
    backend: Backend, read: Mapping[CommitId, Commit], inputs: Iterable[InputFile], deleted: Iterable[str]
) -> Iterator[str]:
    """Yield the inputs in the store that can't be read any more."""
    for repo in deleted:
        yield f"the repo {repo!r} of an input was deleted: `versioned repo restore {repo}` restores it until gc has run"
    for one in sorted(read.values(), key=str):
        if one.state is CommitState.FORGOTTEN:
            yield f"the data of the input {one} was expired, dropped or purged"
        elif one.generation:  # a purge rewrites the tree without the file
            paths = sorted({file.path for file in inputs if file.commit == one.id})
            tree = CommitTree(backend, one.repo, one.id, one)
            there = set(tree.settled(partial(tree.look_up, paths)).column("path").to_pylist())
            yield from (f"the input {one}:{path} was purged" for path in paths if path not in there)


def _withheld(params: Mapping[str, JSONValue], above: str = "") -> Iterator[str]:
    """Yield the names of parameters whose values hold a withheld secret, with the names above them."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _withheld(value, f"{above}{name}.")
        elif WITHHELD in (value if isinstance(value, str) else str(value)):
            yield f"{above}{name}"
