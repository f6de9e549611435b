"""The code of a command: its arguments, its input, its declared environment, and the files that it names."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import check_mapping, parse_items, parse_name
from versioned_io.processing.fingerprints.code_manifest import CodeManifest, CodePart
from versioned_io.processing.fingerprints.project_modules import content_part, is_project_file, read_code

_SYSTEM: Final = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64")))
"""Files below these are of the machine, and not of the project."""
_SHOWN_BYTES: Final = 1 << 20


class CodeFile(NamedTuple):
    """A file of a command, as it was when the command was declared.

    Attributes:
        name: The path relative to the working directory; of a file elsewhere, the absolute path.
        data: The content; None of a file elsewhere, which is read where it is.
        part: The content as a part of code.
        is_argument: Whether an argument names it. A code version stands for such files, too.
    """

    name: str
    data: bytes | None
    is_executable: bool
    part: CodePart
    is_argument: bool


@dataclass(frozen=True, slots=True)
class CommandText:
    """The parts of a command that are text.

    Attributes:
        argv: The program and its arguments.
        stdin: The lines of its standard input.
        env: The declared environment.
        image: The image that it was written for; None for none.
        facts: Other facts that decide about the result, such as exit codes that count as success.
    """

    argv: tuple[str, ...]
    stdin: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    image: str | None = None
    facts: tuple[str, ...] = ()


def parse_command(
    argv: Sequence[str],
    *,
    stdin: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    image: str | None = None,
    facts: Sequence[str] = (),
) -> CommandText:
    """Return a checked command.

    Raises:
        InvalidInputError: *argv* is empty, or something is not text or has a null character.
    """
    arguments = parse_items(argv, str, "argv")
    if not arguments or not arguments[0]:
        msg = "a command needs at least one argument: the program, such as ['python3', 'edges.py']"
        raise InvalidInputError(msg)
    check_mapping(env, "env")
    lines, pairs = parse_items(stdin, str, "stdin"), tuple(sorted((env or {}).items()))
    for text in (*arguments, *(part for pair in pairs for part in pair)):
        if not isinstance(text, str) or "\0" in text:
            msg = f"{text!r} can't be an argument or a variable of a command: use text without null characters"
            raise InvalidInputError(msg)
    for name, _ in pairs:
        if not name or "=" in name:
            msg = f"{name!r} is not a valid name of a variable: use letters, digits and '_'"
            raise InvalidInputError(msg)
    return CommandText(arguments, lines, pairs, image, tuple(facts))


def files_of_command(
    argv: Sequence[str], directory: str | Path, code_paths: Iterable[str | Path] = ()
) -> tuple[CodeFile, ...]:
    """Return the files that a command names, with their content.

    These are arguments that are files in *directory* or below it, later arguments that are files elsewhere and not of
    the machine, and *code_paths*.

    Args:
        directory: The directory against which paths are read.
        code_paths: Files, or directories with all files below, that belong to the code too. They are in *directory*.

    Raises:
        InvalidInputError: A file can't be read, or one of *code_paths* is not in *directory*.
    """
    base = Path(os.path.abspath(directory))  # noqa: PTH100 (Path.absolute keeps "..")
    found: dict[str, CodeFile] = {}
    for number, argument in enumerate(dict.fromkeys(argv)):
        path = base / argument
        if "\0" in argument or not argument or not _is_file(path) or not is_project_file(str(path)):
            continue
        if not Path(argument).is_absolute() and _is_below(path, base):
            name = Path(os.path.normpath(argument)).as_posix()
            found[name] = _captured(path, name, is_argument=True)
        elif number and not any(path.is_relative_to(place) for place in _SYSTEM):
            found[argument] = CodeFile(argument, None, False, _elsewhere(path, argument), True)  # noqa: FBT003
    for place in code_paths:
        for path, name in _listed(base, place):
            found[name] = _captured(path, name, is_argument=False)
    return tuple(found.values())


def code_of_command(
    text: CommandText, files: Sequence[CodeFile] = (), code_version: str | None = None, called: str = ""
) -> CodeManifest:
    """Return everything that a command is made of.

    Args:
        files: As `files_of_command` returned them.
        code_version: A text that replaces all of it but the files of ``code_paths`` and *called*.
        called: Tells apart the commands that have one code version; without a code version it does not count.
    """
    extra = [one.part for one in files if not one.is_argument]
    if code_version is not None:
        named = CodePart("function", called)
        return CodeManifest((CodePart("code_version", parse_name(code_version, "code_version")), named, *extra))
    parts = [CodePart("argv", "\n".join(map(repr, text.argv)))]
    if text.stdin:
        parts.append(CodePart("stdin", "\n".join(text.stdin)))
    parts += [CodePart(f"env {name}", value) for name, value in text.env]
    parts += [CodePart("image", text.image)] if text.image is not None else []
    parts += [CodePart("facts", "\n".join(text.facts))] if text.facts else []
    parts += [one.part for one in files if one.is_argument]
    return CodeManifest((*parts, *extra))


def _listed(base: Path, place: str | Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of one of *code_paths*, with their names relative to *base*."""
    top = Path(os.path.abspath(base / place))  # noqa: PTH100
    if not _is_below(top, base):
        where = f"is not in the directory {str(base)!r}"
        msg = f"{str(place)!r} of code_paths {where}: copy it there, or name another directory"
        raise InvalidInputError(msg)
    for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        name = path.relative_to(base)
        if path.is_file() and "__pycache__" not in name.parts:
            yield path, name.as_posix()
    if not top.exists():
        read_code(top)


def _captured(path: Path, name: str, *, is_argument: bool) -> CodeFile:
    data = read_code(path)
    return CodeFile(name, data, os.access(path, os.X_OK), content_part(data, name), is_argument)


def _elsewhere(path: Path, name: str) -> CodePart:
    if path.stat().st_size <= _SHOWN_BYTES:
        return content_part(read_code(path), name)
    return CodePart(f"file {name}", f"blake3 {blake3().update_mmap(path).hexdigest()}")


def _is_below(path: Path, base: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(base)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that can't be a path, such as a whole script
        return False
