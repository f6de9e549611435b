"""A command that is evaluated for a datum: its variables, its process, and the outputs that it leaves."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from versioned_io.processing.fingerprints.code_manifest import CodeManifest
from versioned_io.processing.fingerprints.of_command import CodeFile, CommandText, code_of_command
from versioned_io.processing.inputs.datum_set import DatumFile
from versioned_io.processing.inputs.specs import GlobInput, InputSpec, TableInput, leaves_of, rule_value
from versioned_io.processing.running.datum_access import Datum, DatumOutput, files_of_datum
from versioned_io.processing.running.datum_directory import MOUNTED, DatumDirectory
from versioned_io.processing.running.kept_programs import KeptCommand, kept_program
from versioned_io.processing.running.mounting import mounted
from versioned_io.processing.running.process_groups import CommandFailedError, check_exit, run_to_end

RESERVED: Final = frozenset({"PATH", "HOME", "TMPDIR", "LANG", "PFS_ROOT", "PACH_DATUM_ID"})
"""Variables that every command has. An input can't have their names."""
_PATH: Final = ":".join(
    [*([str(Path(sys.executable).parent)] if sys.executable else []), "/usr/local/bin:/usr/bin:/bin"]
)
"""Programs are looked up beside this Python first, so that ``python3`` has the same packages."""
_CONTEXT: Final = "versioned-io 2026 id of a datum v1"
_OTHER: Final = re.compile(r"[^A-Za-z0-9_]")


class InputView(NamedTuple):
    """The parts of an input that variables tell.

    Attributes:
        depth: How many parts a matched path has; None if the pattern does not say.
        join_on, group_by: The rules of the input.
    """

    name: str
    depth: int | None
    join_on: str | None
    group_by: str | None


def views_of(spec: InputSpec) -> tuple[InputView, ...]:
    """Return the views of the inputs in *spec*; arms of one name that differ in something do not tell it."""
    found: dict[str, InputView] = {}
    for leaf in leaves_of(spec):
        pattern = leaf.pattern if isinstance(leaf, GlobInput) else leaf.path if isinstance(leaf, TableInput) else "/*"
        rules = (leaf.join_on, leaf.group_by) if isinstance(leaf, GlobInput | TableInput) else (None, None)
        parts = pattern.strip("/")
        depth = None if re.search(r"\*\*|,|\|", parts) else parts.count("/") + 1 if parts else 0
        view = InputView(leaf.name, depth, *rules)
        before = found.setdefault(leaf.name, view)
        if before != view:
            pairs = zip(before[1:], view[1:], strict=True)
            found[leaf.name] = InputView(leaf.name, *(left if left == right else None for left, right in pairs))  # type: ignore[arg-type]
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class CommandProgram:
    """A command as a function of a datum. It pickles with its files, so other machines can evaluate it.

    Attributes:
        files: The files that the command names, as they were when it was declared.
        accepted: The exit codes that count as success.
        is_kept: Whether it stays alive for many datums, by the worker protocol.
        is_mounted: Whether it finds its datum at ``/pfs``.
        called: Tells it apart from other commands with the same code version.
    """

    text: CommandText
    files: tuple[CodeFile, ...]
    views: tuple[InputView, ...]
    accepted: tuple[int, ...] = (0,)
    is_kept: bool = False
    is_mounted: bool = False
    called: str = ""

    def __call__(self, datum: Datum, out: DatumOutput) -> None:
        """Evaluate a datum without a time limit."""
        self.run(datum, out, None)

    def code(self, code_version: str | None) -> CodeManifest:
        """Return everything that the command is made of."""
        return code_of_command(self.text, self.files, code_version, self.called)

    def run(self, datum: Datum, out: DatumOutput, timeout_s: float | None) -> None:
        """Evaluate a datum: run the command, print its log, and write the files below ``out`` to *out*.

        Raises:
            CommandFailedError: It failed.
            DatumTimeoutError: It took longer than *timeout_s*, and was killed with all processes of its group.
            InvalidInputError: It left something that can't be an output.
        """
        files = files_of_datum(datum)
        names_only = frozenset(name for name, some in files.items() if any(one.is_names_only for one in some))
        if self.is_kept:
            with kept_program(self._kept()) as program:
                error = program.evaluate(files, self._variables_at, timeout_s)
                if error is None:
                    program.directory.collect(out, names_only)
                program.directory.clear()
            if error is not None:
                msg = f"{self.text.argv[0]} answered with an error: {error}"
                raise CommandFailedError(msg)
            return
        directory = DatumDirectory(is_mounted=self.is_mounted)
        try:
            self._run_once(directory, files, timeout_s)
            directory.collect(out, names_only)
        finally:
            directory.close()

    def _run_once(
        self, directory: DatumDirectory, files: Mapping[str, Sequence[DatumFile]], timeout_s: float | None
    ) -> None:
        directory.add_code(self.files)
        directory.add_inputs(files)
        directory.stdin.write_text("".join(f"{line}\n" for line in self.text.stdin))
        env = {**self._environment(directory), **self._variables_at(directory, files)}
        argv = self._argv(directory)
        try:
            code = run_to_end(
                argv,
                directory=directory.work,
                env=env,
                stdin=directory.stdin,
                log=directory.log,
                timeout_s=timeout_s,
            )
        finally:
            log = directory.read_log()
            print(log, end="")  # noqa: T201 (it becomes the log of the datum)
        check_exit(code, self.text.argv[0], self.accepted, log)

    def _kept(self) -> KeptCommand:
        return KeptCommand(self.text, self.files, self._argv, self._environment, self.is_mounted)

    def _argv(self, directory: DatumDirectory) -> Sequence[str]:
        if not self.is_mounted:
            return self.text.argv
        return mounted(self.text.argv, root=directory.mount, datum=directory.inputs, directory=directory.work)

    def _environment(self, directory: DatumDirectory) -> dict[str, str]:
        """Return the variables that are equal for all datums."""
        scratch = str(directory.scratch)
        fixed = {"PATH": _PATH, "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8"}
        return {**fixed, **dict(self.text.env), "PFS_ROOT": self._root(directory)}

    def _root(self, directory: DatumDirectory) -> str:
        return MOUNTED if self.is_mounted else str(directory.inputs)

    def _variables_at(self, directory: DatumDirectory, files: Mapping[str, Sequence[DatumFile]]) -> dict[str, str]:
        """Return the variables that tell a datum: its ID, and for each input the path and the values of its rules."""
        found = {"PACH_DATUM_ID": _datum_id(files)}
        for view in self.views:
            some = files.get(view.name, ())
            if not some:
                continue
            name = _OTHER.sub("_", view.name)
            path = _matched_path(some, view.depth)
            found[name] = "/".join(part for part in (self._root(directory), view.name, path) if part)
            for label, rule in (("JOIN_ON", view.join_on), ("GROUP_BY", view.group_by)):
                if rule is not None:
                    found[f"PACH_DATUM_{name}_{label}"] = rule_value(rule, some[0].captures, some[0].fields)
        return found


@dataclass(frozen=True, slots=True)
class ErrorProgram:
    """A command that handles a failed datum. If it ends with exit code 0, the datum is recovered."""

    program: CommandProgram
    timeout_s: float | None

    def __call__(self, datum: Datum, error: BaseException) -> None:  # noqa: ARG002 (the protocol of error handlers)
        """Run the command on the datum; what it writes is not kept."""
        self.program.run(datum, DatumOutput(), self.timeout_s)


def _matched_path(files: Sequence[DatumFile], depth: int | None) -> str:
    """Return the path that the pattern matched; of several, the empty path of the input's directory."""
    matched = {one.path if depth is None else "/".join(one.path.split("/")[:depth]) for one in files}
    return matched.pop() if len(matched) == 1 else ""


def _datum_id(files: Mapping[str, Sequence[DatumFile]]) -> str:
    """Return an ID that depends on what the command sees of the datum, and on nothing else."""
    seen = [
        [name, [[one.path, "" if one.is_names_only else one.digest, *one.captures] for one in some]]
        for name, some in files.items()
    ]
    return blake3(json.dumps(seen).encode(), derive_key_context=_CONTEXT).hexdigest()
