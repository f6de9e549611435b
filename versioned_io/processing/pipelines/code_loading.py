"""Objects that a text names by their file or module: ``file.py:name`` or ``module:name``."""

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from versioned_io.errors import InvalidInputError


def load_object(target: str, directory: Path) -> object:
    """Return the object that ``file.py:name`` or ``module:name`` names.

    The directory of the module is in `sys.path` afterwards, so that it finds its neighbours, now and later.

    Args:
        directory: Files are relative to it, and modules are looked up there first.

    Raises:
        InvalidInputError: The file, the module or the name does not exist.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name or (place.startswith(".") and not place.endswith(".py")):
        msg = f"{target!r} names no pipeline: write file.py:name, module:name, or a spec's file such as edges.yaml"
        raise InvalidInputError(msg)
    found = getattr(_load_module(place, directory), name, None)
    if found is None:
        msg = f"{place!r} has no {name!r}: name a pipeline or a function that it defines"
        raise InvalidInputError(msg)
    return found


def _load_module(place: str, directory: Path) -> object:
    if not place.endswith(".py"):
        _find_in(directory)
        try:
            return import_module(place)
        except ModuleNotFoundError as error:
            msg = f"the module {place!r} can't be imported: {error}"
            raise InvalidInputError(msg) from error
    path = (directory / place).absolute()
    _find_in(path.parent)
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        msg = f"the file {place!r} does not exist: name a Python file that declares a pipeline"
        raise InvalidInputError(msg)
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _find_in(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
