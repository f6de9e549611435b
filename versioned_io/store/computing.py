"""Pipelines of a store."""

from typing import TYPE_CHECKING, cast

from versioned_io.store.resolving import Resolver
from versioned_io.versioning.backend.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from versioned_io.maintenance.erasure.forgetting import ForgetReport
    from versioned_io.model.commits import Commit
    from versioned_io.processing.inputs.specs import InputSpec
    from versioned_io.processing.pipelines.declaring import Caching, PipelineFunction
    from versioned_io.processing.pipelines.pipeline import Pipeline
    from versioned_io.processing.pipelines.pipeline_history import PipelineInfo
    from versioned_io.processing.pipelines.rerunning import Rerun
    from versioned_io.processing.running.definition import OnFailure


class Computing:
    """The computations of a store."""

    def __init__(self, backend: Backend, resolver: Resolver) -> None:
        self._backend = backend
        self._resolver = resolver

    def rerun(
        self,
        commit: "Commit | str",
        path: str | None = None,
        *,
        pipeline: "PipelineFunction | None" = None,
        any_code: bool = False,
    ) -> "Rerun":
        """Evaluate the datums of a pipeline's commit again, with exactly its inputs, and compare the bytes.

        Nothing is published, and no stored result is used. Evaluations are in this process, one after the other.

        >>> run = store.pipeline(upper).run()
        >>> again = store.rerun(run.commit, pipeline=upper)
        >>> again.is_equal, again.datums
        (True, ('2012/01.csv', '2012/02.csv'))

        Args:
            commit: A commit, or its ID or ref as in `Store.commit`.
            path: One output: only its datum is evaluated. By default all are.
            pipeline: The pipeline. By default it is found by the module and the name that the commit records.
            any_code: Whether to accept other code or parameters than the commit's. `Rerun.code_is_same` tells them.

        Raises:
            InvalidInputError: No pipeline made the commit; name another one. Or the pipeline can't be found; pass it.
                Or its code or parameters differ; check out the code, or pass *any_code*.
            NotFoundError: The commit does not exist, or no datum wrote *path*.
            CommitForgottenError: The data of an input has expired.

        Cost: as `commit`, 6 SELECTs, the pages of the datums and the inputs, and that of the evaluations.
        """
        from versioned_io.errors import InvalidInputError
        from versioned_io.model.arguments import parse_flag, parse_text
        from versioned_io.model.commits import Commit
        from versioned_io.processing.pipelines.declaring import find_declared
        from versioned_io.processing.pipelines.rerunning import function_place_of

        chosen = commit if isinstance(commit, Commit) else self._resolver.commit(commit)
        output = None if path is None else parse_text(path, "path")
        place = function_place_of(chosen)
        if pipeline is None and place is None:
            advice = "pass the pipeline (pipeline=, --pipeline SPEC.yaml or FILE.py:NAME)"
            msg = f"a command made the commit {chosen.id}: {advice}"
            raise InvalidInputError(msg)
        declared = find_declared(place or "") if pipeline is None else pipeline
        return self.pipeline(declared).rerun(chosen, output, any_code=parse_flag(any_code, "any_code"))

    def forget(
        self,
        path: str,
        *,
        recompute: bool = False,
        pipelines: "Iterable[PipelineFunction | Pipeline]" = (),
        reason: str = "",
        author: str = "",
        dry_run: bool = False,
        progress: "Callable[[str, int], None] | None" = None,
    ) -> "ForgetReport":
        """Remove files from every commit of a repo, with everything that pipelines derived from them, permanently.

        Results, logs, datums and outputs go on all branches, also those of failed evaluations and of pipelines that
        read the outputs. A scan of all packs proves it. Runs that are not of pipelines keep their files, and the report
        names them.

        >>> _ = store.pipeline(upper).run()
        >>> report = store.forget("weather:2012/01.csv", recompute=True, pipelines=[upper])
        >>> report.outputs, report.gone
        ({'upper': ('2012/01.csv',)}, True)

        Args:
            path: ``repo:path``, a file or a directory.
            recompute: Run the pipelines again whose outputs depended on the files, so that the outputs are as if the
                files had never been there. By default their next run does that.
            pipelines: The pipelines to recompute. Others are found by the module and name that their commits record.
            dry_run: Change nothing, and report what would be forgotten.

        Raises:
            RepoNotFoundError, PathNotFoundError: The repo does not exist, or no kept commit has such a file.
            InvalidInputError: A pipeline to recompute can't be found, and nothing was changed; pass it.
            IntegrityError, StorageError: As for `purge`.

        Cost: as `purge`. It also reads the pages of the datums found in each commit of an output, and all manifests of
            results.
        """
        from versioned_io.maintenance.erasure.doomed import parse_doomed_path
        from versioned_io.maintenance.erasure.forgetting import forget_files, with_recomputed
        from versioned_io.model.arguments import check_callable, parse_flag, parse_items, parse_text
        from versioned_io.model.refs import parse_repo_name
        from versioned_io.processing.pipelines.pipeline import Pipeline

        repo, _, below = parse_text(path, "path").partition(":")
        name, doomed, again = parse_repo_name(repo), parse_doomed_path(below), parse_flag(recompute, "recompute")
        parse_flag(dry_run, "dry_run")
        listed = parse_items(pipelines, object, "pipelines")
        given = [one if isinstance(one, Pipeline) else self.pipeline(cast("PipelineFunction", one)) for one in listed]
        said, by = parse_text(reason, "reason"), parse_text(author, "author")
        check_callable(progress, "progress")
        affected: list[Pipeline] = []
        if again and not dry_run:
            affected = self._owners_of(forget_files(self._backend, name, doomed, dry_run=True).datums, given)
        report = forget_files(self._backend, name, doomed, reason=said, author=by, dry_run=dry_run, progress=progress)
        return with_recomputed(report, _run_until_done(affected))

    def _owners_of(self, repos: "Iterable[str]", given: "Sequence[Pipeline]") -> "list[Pipeline]":
        """Return the pipelines whose outputs are in these repos: those that are given, or as their commits record."""
        from versioned_io.catalog.commits import get_commits
        from versioned_io.catalog.repo_rows import branch_heads

        found = [one for one in given if one.output.partition("@")[0] in set(repos)]
        outputs = {one.output for one in found}
        for repo in repos:
            with self._backend.catalog.ask() as connection:
                heads = {name: head for name, head in branch_heads(connection, repo).items() if head is not None}
                commits = get_commits(connection, sorted(set(heads.values())))
            # Another branch may have been made from the pipeline's own.
            own = [commits[head] for name, head in heads.items() if commits[head].branch == name]
            found += [self.pipeline(_owner_of(commit)) for commit in own if f"{repo}@{commit.branch}" not in outputs]
        return found

    def pipeline(
        self,
        function: "PipelineFunction | None" = None,
        *,
        name: str | None = None,
        command: "Sequence[str] | None" = None,
        inputs: "InputSpec | None" = None,
        output: str | None = None,
        stdin: "Sequence[str]" = (),
        env: "Mapping[str, str] | None" = None,
        directory: "str | Path" = ".",
        code_paths: "Iterable[str | Path]" = (),
        keep_alive: bool = False,
        accepted: "Iterable[int]" = (0,),
        error_command: "Sequence[str] | None" = None,
        error_stdin: "Sequence[str]" = (),
        pfs: bool = False,
        image: str | None = None,
        on_failure: "OnFailure" = "refuse",
        timeout_s: float | None = None,
        tries: int = 1,
        code_version: str | None = None,
        same_code_as: str | None = None,
        share: bool = True,
        cache: "Caching" = "reuse",
        replaces: str | None = None,
        workers: int | None = None,
    ) -> "Pipeline":
        """Return the pipeline of this store that a decorated function, or a command, declares.

        >>> store.pipeline(upper).plan().runs
        ['2012/01.csv', '2012/02.csv']

        Args:
            function: Made by the decorator ``@vio.pipeline``, or by `command`. Nothing else is passed then.
            command: A program and its arguments, in place of a function. `command` explains it, and the arguments
                below, which are those of a command.

        This reads the code of the function, and nothing of the store.

        Raises:
            InvalidInputError: *function* is a plain function. Decorate it. Or a fact of a command is not valid.
        """
        from versioned_io.errors import InvalidInputError
        from versioned_io.processing.pipelines.declaring import PipelineFunction

        if command is not None and function is None:
            from versioned_io.processing.pipelines.commanding import command as declare

            if name is None or inputs is None or output is None:
                msg = "a command needs name=, inputs= and output=, such as output='edges@main'"
                raise InvalidInputError(msg)
            function = declare(
                name,
                command,
                inputs=inputs,
                output=output,
                stdin=stdin,
                env=env,
                directory=directory,
                code_paths=code_paths,
                keep_alive=keep_alive,
                accepted=accepted,
                error_command=error_command,
                error_stdin=error_stdin,
                pfs=pfs,
                image=image,
                on_failure=on_failure,
                timeout_s=timeout_s,
                tries=tries,
                code_version=code_version,
                same_code_as=same_code_as,
                share=share,
                cache=cache,
                replaces=replaces,
                workers=workers,
            )
        elif any(one is not None for one in (name, command, inputs, output)):
            msg = "a decorated function has its name, inputs and output: pass it alone, or a command in its place"
            raise InvalidInputError(msg)
        if not isinstance(function, PipelineFunction):
            msg = f"{function!r} is not a pipeline: decorate a function with @vio.pipeline(...)"
            raise InvalidInputError(msg)
        return self._of_store(function)

    def load_pipeline(
        self,
        path: "str | Path",
        name: str | None = None,
        *,
        branch: str | None = None,
        code_version: str | None = None,
        same_code_as: str | None = None,
    ) -> "Pipeline":
        """Return the pipeline of this store that a YAML or JSON file declares, also one of Pachyderm.

        >>> from pathlib import Path
        >>> _ = Path("shout.json").write_text('''{"name": "shout", "output": "upper@main", "command": ["./shout.sh"],
        ...     "inputs": {"glob": {"ref": "weather@main", "pattern": "/2012/*"}}}''')
        >>> store.load_pipeline("shout.json").name
        'shout'

        Args:
            path: Paths in the file are relative to its directory.
            name: The name of the pipeline, if the file declares several.
            branch: The branch that a spec of Pachyderm means where it names none, or ``master``. By default that is
                ``master`` in repos that have such a branch, and else ``main``.
            code_version: As in `pipeline`.
            same_code_as: As in `command`.

        Raises:
            InvalidInputError: The file can't be read, or a field is unknown, missing, not valid or not offered. The
                message names the line.

        This reads the file and the files that it names, and of the store only whether a branch ``master`` exists.
        """
        from versioned_io.processing.pipelines.spec_files import read_pipeline

        found = read_pipeline(
            path,
            name,
            branch=self._branch_of if branch is None else branch,
            code_version=code_version,
            same_code_as=same_code_as,
        )
        return self._of_store(found)

    def pipelines(self) -> "list[PipelineInfo]":
        """Return the pipelines that made the heads of branches, sorted by output.

        >>> _ = store.pipeline(upper).run()
        >>> [(one.name, one.output, one.is_complete) for one in store.pipelines()]
        [('upper', 'upper@main', True)]

        Cost: 2 SELECTs, and 1 more for each 500 branches.
        """
        from versioned_io.processing.pipelines.pipeline_history import list_pipelines

        return list_pipelines(self._backend)

    def _branch_of(self, repo: str) -> str:
        """Return the branch that a spec of Pachyderm means by none."""
        from versioned_io.errors import NotFoundError

        try:
            self._resolver.resolve(self._resolver.parse_commit(f"{repo}@master"))
        except NotFoundError:
            return "main"
        return "master"

    def _of_store(self, function: "PipelineFunction") -> "Pipeline":
        from versioned_io.processing.pipelines.pipeline import Pipeline
        from versioned_io.processing.running.definition import PipelineStore

        resolver = self._resolver
        places = PipelineStore(self._backend, lambda ref: resolver.snapshot(resolver.parse_commit(ref), is_noted=False))
        return Pipeline(places, function)


def _owner_of(commit: "Commit") -> "PipelineFunction":
    """Return the pipeline that made a commit, by the module and the name that the commit records."""
    from versioned_io.errors import InvalidInputError
    from versioned_io.processing.pipelines.declaring import find_declared
    from versioned_io.processing.pipelines.rerunning import function_place_of

    place = function_place_of(commit)
    if place is None:
        msg = f"a command made {commit.repo}@{commit.branch}: pass its pipeline (pipelines=, --pipeline FILE.py:NAME)"
        raise InvalidInputError(msg)
    return find_declared(place)


def _run_until_done(pipelines: "Sequence[Pipeline]") -> dict[str, str]:
    """Run pipelines until none of them has work; return the last state of each that ran."""
    states: dict[str, str] = {}
    for _ in pipelines:
        for one in pipelines:
            if not one.plan().is_empty:
                states[one.name] = one.run().state
    return states
