"""Declaring a pipeline whose computation is a command, in any language."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import parse_flag, parse_items, parse_iterable, parse_local_path, parse_name
from versioned_io.processing.fingerprints.of_command import CodeFile, CommandText, files_of_command, parse_command
from versioned_io.processing.inputs.specs import INPUT_KINDS, InputSpec, names_of
from versioned_io.processing.pipelines.declaring import Caching, PipelineFunction, declare
from versioned_io.processing.running.as_command import RESERVED, CommandProgram, ErrorProgram, views_of
from versioned_io.processing.running.definition import OnFailure

_EXIT_CODES: Final = range(256)
_OTHER: Final = re.compile(r"[^A-Za-z0-9_]")


def command(
    name: str,
    argv: Sequence[str],
    *,
    inputs: InputSpec,
    output: str,
    stdin: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    directory: str | Path = ".",
    code_paths: Iterable[str | Path] = (),
    keep_alive: bool = False,
    accepted: Iterable[int] = (0,),
    error_command: Sequence[str] | None = None,
    error_stdin: Sequence[str] = (),
    pfs: bool = False,
    image: str | None = None,
    on_failure: OnFailure = "refuse",
    timeout_s: float | None = None,
    tries: int = 1,
    code_version: str | None = None,
    same_code_as: str | None = None,
    share: bool = True,
    cache: Caching = "reuse",
    replaces: str | None = None,
    workers: int | None = None,
) -> PipelineFunction:
    """Return a pipeline that runs a command for each datum; `Store.pipeline` runs it.

    The command finds the files of its datum in ``$PFS_ROOT/<name of the input>``, and leaves its outputs in
    ``$PFS_ROOT/out``. It has the environment that it declares, and its working directory has the files that it
    declares. These and its arguments decide whether it runs again.

    >>> shout = vio.command("shout", ["sh", "-c", 'tr a-z A-Z < "$weather" > "$PFS_ROOT/out/${weather##*/}"'],
    ...     inputs=vio.glob("weather@main", "/2012/*"), output="upper@main")
    >>> _ = store.create_repo("upper")
    >>> store.pipeline(shout).run().counts["run"]
    2

    Args:
        argv: The program and its arguments. An argument that is a file counts with its content.
        stdin: Lines for the standard input.
        env: Variables, beside those that every command has.
        directory: Paths in *argv* and *code_paths* are relative to it.
        code_paths: More files that the command needs, or directories of such files.
        keep_alive: The program evaluates many datums. For each it reads a line of JSON with ``id``, ``dir`` and
            ``env``. It answers with a line that has the same ``id``, and ``error`` if the datum failed.
        accepted: The exit codes that count as success.
        error_command: Run on the datum after the last failed try. If it ends with 0, the datum is *recovered*.
        error_stdin: Lines for its standard input.
        pfs: Whether the command finds the datum at ``/pfs``, too, as in Pachyderm.
        image: A text that is part of the code. No image is started.
        workers: How many datums are evaluated at once if the run does not say.
        same_code_as: With a *code_version*, a function as ``module:name``. The command shares the results of the
            function with the same code version. By default it shares those of commands for pipelines with its name.

    The other arguments are those of `pipeline`.

    Raises:
        InvalidInputError: An argument is not valid. Fix it.
    """
    codes = _parse_codes(accepted)
    is_kept, is_mounted = parse_flag(keep_alive, "keep_alive"), parse_flag(pfs, "pfs")
    if is_kept and stdin:
        msg = "stdin= and keep_alive=True exclude each other: a program that stays alive reads its datums from there"
        raise InvalidInputError(msg)
    facts = [*(["keep_alive"] if is_kept else []), *(["pfs"] if is_mounted else [])]
    facts += [f"accepted {code}" for code in codes if codes != (0,)]
    text = parse_command(argv, stdin=stdin, env=env, image=image, facts=facts)
    place = parse_local_path(directory, "directory")
    views = views_of(inputs) if isinstance(inputs, INPUT_KINDS) else ()
    more = [parse_local_path(one, "code_paths") for one in parse_iterable(code_paths, "code_paths")]
    files = files_of_command(text.argv, place, more)
    called = f"command {name}" if same_code_as is None else parse_name(same_code_as, "same_code_as")
    program = CommandProgram(text, files, views, codes, is_kept, is_mounted, called)
    handler = None
    if error_command is not None:
        failing = parse_command(error_command, stdin=error_stdin, env=env)
        handler = ErrorProgram(_handling(program, failing, files_of_command(failing.argv, place)), timeout_s)
    made = declare(
        name,
        program,
        inputs=inputs,
        output=output,
        on_failure=on_failure,
        timeout_s=timeout_s,
        tries=tries,
        code_version=code_version,
        share=share,
        cache=cache,
        replaces=replaces,
        error_handler=handler,
        workers=workers,
    )
    _refuse_hidden_names(made.inputs, {*RESERVED, *dict(text.env)})
    return made


def _handling(program: CommandProgram, text: CommandText, files: tuple[CodeFile, ...]) -> CommandProgram:
    """Return the command that handles the failures of *program*; it has the files of both."""
    names = {file.name for file in files}
    rest = tuple(file for file in program.files if file.name not in names)
    return CommandProgram(text, (*files, *rest), program.views, is_mounted=program.is_mounted)


def _parse_codes(accepted: Iterable[int]) -> tuple[int, ...]:
    codes = tuple(sorted(set(parse_items(accepted, int, "accepted"))))
    if not codes or any(isinstance(code, bool) or code not in _EXIT_CODES for code in codes):
        msg = f"accepted={codes!r} is not valid: name exit codes from 0 to 255"
        raise InvalidInputError(msg)
    return codes


def _refuse_hidden_names(inputs: InputSpec, taken: set[str]) -> None:
    """Raise if the variable of an input would hide another one."""
    found: dict[str, str] = dict.fromkeys(taken, "a variable of the command")
    for name in names_of(inputs):
        variable = _OTHER.sub("_", name)
        if variable in found:
            msg = f"the variable {variable!r} of the input {name!r} is that of {found[variable]}: pass another name="
            raise InvalidInputError(msg)
        found[variable] = f"the input {name!r}"
