"""The code of a command: its arguments, its input, its declared environment, and the files that it names."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from versioned_io.errors import InvalidInputError
from versioned_io.model.arguments import check_mapping, parse_items, parse_name
from versioned_io.model.withholding import is_secret_name, withhold_in_text
from versioned_io.processing.fingerprints.code_manifest import CodeManifest, CodePart
from versioned_io.processing.fingerprints.project_modules import content_part, is_project_file, read_code

_SYSTEM: Final = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64")))
"""Files below these are of the machine, and not of the project."""
_HIDDEN_CONTEXT: Final = "versioned-io 2026 secret variable of a command v1"


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
        # A name of a file that is not UTF-8 has surrogates that stand for its bytes.
        if not isinstance(text, str) or "\0" in text or not _is_encodable(text, "surrogateescape"):
            msg = f"{text!r} can't be an argument or a variable of a command: use text without NUL and lone surrogates"
            raise InvalidInputError(msg)
    for line in lines:
        if not _is_encodable(line, "strict"):
            msg = f"{line!r} can't be a line of a command's input: use text without lone surrogates"
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
    the machine, and *code_paths*. The text of files elsewhere is not kept, since it may be a password.

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
            found[name] = _captured(path, base, name, is_argument=True)
        elif (number or _leads_into(path, base)) and not any(path.is_relative_to(place) for place in _SYSTEM):
            found[argument] = CodeFile(argument, None, False, _hidden_part(path, argument), True)  # noqa: FBT003
    for place in code_paths:
        for path, name in _listed(base, place):
            found[name] = _captured(path, base, name, is_argument=False)
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
        version = CodePart("code_version", parse_name(code_version, "code_version"), _uses(extra))
        return CodeManifest((version, CodePart("function", called), *extra))
    parts = [CodePart("stdin", "\n".join(text.stdin))] if text.stdin else []
    parts += [CodePart(f"env {name}", _told(name, value)) for name, value in text.env]
    parts += [CodePart("image", text.image)] if text.image is not None else []
    parts += [CodePart("facts", "\n".join(text.facts))] if text.facts else []
    parts += [one.part for one in files if one.is_argument]
    others = (*parts, *extra)
    return CodeManifest((CodePart("argv", "\n".join(map(repr, text.argv)), _uses(others)), *others))


def _uses(parts: Sequence[CodePart]) -> tuple[tuple[str, int], ...]:
    """Return the names of parts: a digest has those that a part uses, and the texts of all."""
    return tuple((one.name, number) for number, one in enumerate(parts, 1))


def _told(name: str, value: str) -> str:
    """Return the value of a variable as it is kept; of one that looks like a secret, a digest."""
    if not is_secret_name(name) and withhold_in_text(value) == value:
        return value
    digest = blake3(f"{name}={value}".encode("utf-8", "surrogateescape"), derive_key_context=_HIDDEN_CONTEXT)
    return f"blake3 {digest.hexdigest()}"


def _is_encodable(text: str, errors: str) -> bool:
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return True


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
            if not _leads_into(path, base):
                msg = f"{name.as_posix()!r} of code_paths leads out of the directory {str(base)!r}: copy the file there"
                raise InvalidInputError(msg)
            yield path, name.as_posix()
    if not top.exists():
        read_code(top)


def _captured(path: Path, base: Path, name: str, *, is_argument: bool) -> CodeFile:
    data = read_code(path)
    part = _part_of_program(data, name) if _leads_into(path, base) else _hidden_part(path, name)
    return CodeFile(name, data, os.access(path, os.X_OK), part, is_argument)


def _part_of_program(data: bytes, name: str) -> CodePart:
    """Return a file as a part of code. Of Python source the line that names the interpreter counts, too."""
    part = content_part(data, name)
    first = data.partition(b"\n")[0].decode("utf-8", "backslashreplace")
    if b"__doc__" in data:  # a docstring that is read at run time, such as a description of the arguments
        return part._replace(text=data.decode("utf-8", "backslashreplace"))
    if first.startswith("#!") and not part.text.startswith("#!"):
        return part._replace(text=f"{first}\n{part.text}")
    return part


def _hidden_part(path: Path, name: str) -> CodePart:
    """Return a file elsewhere as a part of code, without its text."""
    try:
        digest = blake3().update_mmap(path).hexdigest()
    except OSError:  # an empty file, or one that can't be mapped
        digest = blake3(read_code(path)).hexdigest()
    return CodePart(f"file {name}", f"blake3 {digest}")


def _leads_into(path: Path, base: Path) -> bool:
    """Return whether a path is in a directory after all links are followed."""
    return path.resolve().is_relative_to(base.resolve())


def _is_below(path: Path, base: Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(base)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that can't be a path, such as a whole script
        return False
