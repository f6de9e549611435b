"""Code that a function reaches in ways that are easily overlooked is in its digest; code that does not run is not."""

import importlib
import re
import sys

import pytest

from versioned_io.errors import UncertainCodeError
from versioned_io.processing.fingerprints.of_function import code_of_function

RELATIVE = """
def by_name():
    from .helpers import helper
    return helper()
def by_module():
    from . import helpers
    return helpers.helper()
def by_package():
    from followed import helpers
    return helpers.helper()
def by_path():
    import followed.helpers
    return followed.helpers.helper()
"""
HELPERS = "def helper():\n    return {0}\n"

KINDS = """
import collections
import dataclasses
import functools
import types
import typing

import numpy as np


def helper(value):
    return value + {0}


@dataclasses.dataclass(order=True)
class Point:
    x: int = {0}


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int = {0}


class Pair(typing.NamedTuple):
    x: int = {0}


@functools.singledispatch
def by_type(value):
    return 0


@by_type.register
def _of_int(value: int):
    return helper(value)


vector = np.vectorize(helper)
SETTINGS = types.SimpleNamespace(rate={0})
TABLE = collections.defaultdict(lambda: {0})


def a_dataclass():
    return Point().x


def a_frozen_dataclass():
    return Frozen().x


def a_named_tuple():
    return Pair().x


def a_function_by_type():
    return by_type(1)


def a_vectorized_function():
    return vector(1)


def a_namespace():
    return SETTINGS.rate


def a_dict_with_defaults():
    return TABLE["x"]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that writes modules below a directory, and imports the first one again."""

    def load(files, directory="project"):
        for name, text in files.items():
            path = tmp_path / directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.syspath_prepend(tmp_path / directory)
        modules = [name.removesuffix(".py").replace("/", ".") for name in files]
        for name in [*modules, *(one.removesuffix(".__init__") for one in modules)]:
            sys.modules.pop(name, None)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        importlib.invalidate_caches()
        return importlib.import_module(modules[0])

    return load


def digests(load, name, files, **options):
    """Return the digests of the function *name* before and after an edit."""
    edits = ({path: text.replace("{0}", edit) for path, text in files.items()} for edit in ("1", "2 * 3"))
    return [code_of_function(getattr(load(edited, **options), name)).digest for edited in edits]


@pytest.mark.parametrize("name", ["by_name", "by_module", "by_package", "by_path"])
def test_imports_inside_of_a_function_are_followed(load, name):
    files = {"followed/pipe.py": RELATIVE, "followed/helpers.py": HELPERS, "followed/__init__.py": ""}
    before, after = digests(load, name, files)
    assert before != after


def test_constants_of_one_name_from_two_modules_both_count(load):
    pipe = (
        "def one():\n    from left import L\n    return L + two()\ndef two():\n    from right import L\n    return L\n"
    )
    before, after = digests(load, "one", {"pipe_of_two.py": pipe, "left.py": "L = 5\n", "right.py": "L = {0}\n"})
    assert before != after


@pytest.mark.parametrize("name", re.findall(r"^def (a_\w+)", KINDS, re.MULTILINE))
def test_classes_with_generated_methods_wrapped_functions_and_containers_count(load, name):
    before, after = digests(load, name, {"kinds_of_code.py": KINDS})
    assert before != after


def test_an_installed_package_counts_with_its_source_if_the_function_is_in_it(load):
    """Its version is the same after every edit, or unknown."""
    files = {
        "shipped/pipe.py": "from shipped.helpers import helper\ndef step():\n    return helper()\n",
        "shipped/helpers.py": HELPERS,
        "shipped/__init__.py": "",
    }
    before, after = digests(load, "step", files, directory="site-packages")
    assert before != after


def test_code_that_was_edited_after_it_was_loaded_has_no_digest(load, tmp_path):
    """The process runs the old code, so results must not get the fingerprint of the new one."""
    module = load({"edited_later.py": "def step():\n    return 1\n"})
    first = code_of_function(module.step).digest
    (tmp_path / "project" / "edited_later.py").write_text("def step():\n    return 1  # a comment\n")
    assert code_of_function(module.step).digest == first
    (tmp_path / "project" / "edited_later.py").write_text("def step():\n    return 12\n")
    with pytest.raises(UncertainCodeError, match="has changed since the process loaded it"):
        code_of_function(module.step)


def test_functions_with_one_code_version_differ_by_name(load):
    module = load({"versions.py": "def one():\n    return 1\ndef two():\n    return 2\n"})
    one, again, two = (code_of_function(each, code_version="1").digest for each in (module.one, module.one, module.two))
    assert one == again != two
