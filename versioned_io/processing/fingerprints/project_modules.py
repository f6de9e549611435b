"""Files and modules: those of the project, whose source counts, and those of packages, whose version counts."""

import ast
import linecache
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from blake3 import blake3

from versioned_io.errors import InvalidInputError, UncertainCodeError
from versioned_io.processing.fingerprints.code_manifest import CodePart
from versioned_io.processing.fingerprints.source_trees import plain_text

_THIS: Final = frozenset({"versioned_io", "dagster_versioned", "airflow_versioned"})
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def is_own(module: str) -> bool:
    """Return whether a module is of the project, and not installed, built in, or this library."""
    found = sys.modules.get(module)
    filename = getattr(found, "__file__", None)
    return module.partition(".")[0] not in _THIS and filename is not None and is_project_file(filename)


@dataclass(frozen=True, slots=True)
class Home:
    """The package of a function: its source counts as the project's, also where it is installed.

    Attributes:
        top: The name of the package; empty if it is none that can be followed.
        places: Its directories, or its file.
    """

    top: str
    places: tuple[Path, ...]

    def has(self, module: str) -> bool:
        """Return whether the source of a module counts."""
        return is_own(module) or (bool(self.top) and module.partition(".")[0] == self.top)

    def has_file(self, filename: str) -> bool:
        """Return whether the source in a file counts."""
        return is_project_file(filename) or any(Path(filename).is_relative_to(place) for place in self.places)


def home_of(module: str) -> Home:
    """Return the package of a module. Python and this library are followed from nowhere."""
    top = module.partition(".")[0]
    found = sys.modules.get(top)
    if found is None or top in _THIS or top in sys.stdlib_module_names:
        return Home("", ())
    places = getattr(found, "__path__", None) or [getattr(found, "__file__", None) or ""]
    return Home(top, tuple(Path(place).absolute() for place in places if place))


@cache
def is_project_file(filename: str) -> bool:
    """Return whether a source file is of the project: not installed, not of Python, and not of this library."""
    path = Path(filename).absolute()
    if filename.startswith("<frozen") or _INSTALLED & set(path.parts):
        return False
    places = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    places += [Path(__file__).parents[2].parent / name for name in _THIS]
    return not any(path.is_relative_to(place) for place in places)


@cache
def package_version(top: str) -> str:
    """Return the version of the package that offers a module, or that the module says."""
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(top)
    return metadata.version(names[0]) if names else str(getattr(sys.modules.get(top), "__version__", "unknown"))


def home_of_import(module: str, name: str) -> str:
    """Return ``module:name`` of a value, where the module that imported it by ``from`` got it from."""
    filename = getattr(sys.modules.get(module), "__file__", None)
    if filename is None or not is_project_file(filename):
        return f"{module}:{name}"
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError as error:
        raise UncertainCodeError(f"{module}:{name}", f"code in a file that can't be parsed ({error})") from error
    for one in tree.body:
        if isinstance(one, ast.ImportFrom) and one.module and not one.level:
            for alias in one.names:
                if (alias.asname or alias.name) == name and one.module != module:
                    return home_of_import(one.module, alias.name)
    return f"{module}:{name}"


def file_part(path: Path, name: str | None = None) -> CodePart:
    """Return a file as a part of code, as `content_part` does.

    Raises:
        InvalidInputError: The file can't be read.
    """
    return content_part(read_code(path), name or path.name)


def read_code(path: Path) -> bytes:
    """Return the bytes of a file that is part of the code.

    Raises:
        InvalidInputError: The file can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"the file {str(path)!r} is part of the code, but can't be read ({error.strerror}): name another one"
        raise InvalidInputError(msg) from error


def content_part(data: bytes, name: str) -> CodePart:
    """Return the content of a file as a part of code.

    Python source counts without comments and docstrings, if this Python can parse it. Anything else counts by its
    bytes.
    """
    called = f"file {name}"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return CodePart(called, f"blake3 {blake3(data).hexdigest()}")
    if name.endswith(".py"):
        with suppress(SyntaxError, ValueError):  # it may be for another Python
            return CodePart(called, plain_text(ast.parse(text)))
    return CodePart(called, text)


def project_files(directory: Path) -> Iterator[CodePart]:
    """Yield every Python file below *directory* that is of the project, sorted by path."""
    for path in sorted(directory.rglob("*.py")):
        if is_project_file(str(path)) and not any(part.startswith(".") for part in path.relative_to(directory).parts):
            yield file_part(path, path.relative_to(directory).as_posix())
