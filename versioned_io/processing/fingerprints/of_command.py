"""The code of a command: its arguments, its input, its declared environment, and the files that it names."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import check_mapping, parse_items, parse_name
from versioned_io.processing.fingerprints.code_manifest import CodeManifest, CodePart
from versioned_io.processing.fingerprints.project_modules import file_part, is_project_file


def code_of_command(
    argv: Sequence[str],
    *,
    stdin: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    directory: str | Path | None = None,
    code_version: str | None = None,
    code_paths: Iterable[str | Path] = (),
) -> CodeManifest:
    """Return everything that a command is made of.

    That is its arguments, the lines of its standard input, and the environment that it declares. An argument that is
    the path of a file of the project counts with the content of the file.

    Args:
        env: Only these variables; what else the process has is not part of it.
        directory: The working directory, against which paths are read; without one no argument is a file.
        code_version: A text that replaces all of it but *code_paths*.
        code_paths: Files that belong to the code, too, relative to *directory*.

    Raises:
        InvalidInputError: There is no argument, or a file of *code_paths* can't be read.
    """
    arguments = parse_items(argv, str, "argv")
    if not arguments:
        msg = "a command needs at least one argument: the program, such as ['python3', 'edges.py']"
        raise InvalidInputError(msg)
    check_mapping(env, "env")
    base = None if directory is None else Path(directory)
    extra = [file_part((base or Path()) / path, str(path)) for path in code_paths]
    if code_version is not None:
        return CodeManifest((CodePart("code_version", parse_name(code_version, "code_version")), *extra))
    parts = [CodePart("argv", "\n".join(map(repr, arguments)))]
    if stdin:
        parts.append(CodePart("stdin", "\n".join(parse_items(stdin, str, "stdin"))))
    parts += [CodePart(f"env {name}", value) for name, value in sorted((env or {}).items())]
    files = [] if base is None else [one for one in dict.fromkeys(arguments) if _is_own_file(base, one)]
    parts += [file_part(base / one, one) for one in files if base is not None]
    return CodeManifest((*parts, *extra))


def _is_own_file(directory: Path, argument: str) -> bool:
    """Return whether an argument is a file in the working directory or below it."""
    path = directory / argument
    is_below = path.absolute().is_relative_to(directory.absolute())
    return "\0" not in argument and is_below and is_project_file(str(path)) and path.is_file()
