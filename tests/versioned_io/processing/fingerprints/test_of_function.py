"""The digest of a function's code: what counts, what doesn't, and which symbol changed."""

import json
import re
import subprocess
import sys

import pytest

from versioned_io.errors import UncertainCodeError
from versioned_io.processing.fingerprints.code_manifest import CodeManifest, code_difference
from versioned_io.processing.fingerprints.of_function import code_of_function

PROJECT = {
    "edges.py": '''
"""A docstring."""
import functools
import json
import math

import shapes
from limits import LIMIT, TABLE
from shapes import Circle, area as area_of
from decorating import logged

FACTOR = 3
UNUSED = 1
NAMES = {"b", "a", "c"}


def helper(value, step=2):
    """Doc."""
    return value * FACTOR + step


def unused():
    return 1


def make(power):
    def inner(value):
        return value ** power
    return inner


square = make(2)
cube = make(3)


@functools.lru_cache
def cached(value):
    return value + 1


@logged
def edges(datum, out):
    # a comment
    total = helper(datum) + LIMIT + TABLE["x"]
    total += area_of(Circle(total)) + square(total) + cached(total) + cube(total)
    total += shapes.perimeter(total) + math.pi + len(NAMES)
    from late import later
    return later(total) + sum(key(x) for x in [total])


key = lambda x: -x
''',
    "shapes.py": """
class Shape:
    def describe(self):
        return "shape"

    def scale(self, by):
        return by


class Circle(Shape):
    sides = 0

    def __init__(self, radius):
        self.radius = radius

    @property
    def size(self):
        return self.radius

    def grow(self):
        return self.radius + 1


def area(circle):
    return circle.size


def perimeter(value):
    return value


def volume(value):
    return value
""",
    "limits.py": "LIMIT = 10\nTABLE = {'x': 1, 'y': 2}\nOTHER = 5\n",
    "decorating.py": """
import functools


def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper
""",
    "late.py": "def later(value):\n    return value\n",
}

SCRIPT = """
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from versioned_io.processing.fingerprints.of_function import code_of_function

for directory in sys.argv[1:]:
    sys.path.insert(0, directory)
    invalidate_caches()
    print(code_of_function(import_module("edges").edges).to_json())
    sys.path.remove(directory)
    for path in Path(directory).glob("*.py"):
        sys.modules.pop(path.stem, None)
"""
AS_MAIN = """
import sys
from versioned_io.processing.fingerprints.of_function import code_of_function
sys.path.insert(0, sys.argv[1])
source = sys.argv[1] + "/edges.py"
exec(compile(open(source).read(), source, "exec"))
print(code_of_function(edges).to_json())
"""

# file, old text, new text → the parts that have changed; an empty set means that nothing must rerun.
EDITS = {
    "a comment": ("edges.py", "# a comment", "# another one", set()),
    "a docstring of the module": ("edges.py", "A docstring.", "Another one.", set()),
    "a docstring of a helper": ("edges.py", '"""Doc."""', '"""Other."""', set()),
    "blank lines and positions": ("edges.py", "FACTOR = 3", "\n\n\nFACTOR = 3", set()),
    "the layout of an expression": ("edges.py", "value * FACTOR + step", "(value  *  FACTOR\n        + step)", set()),
    "a constant that is not reached": ("edges.py", "UNUSED = 1", "UNUSED = 2", set()),
    "a function that is not reached": ("edges.py", "return 1", "return 2", set()),
    "a function of another module that is not reached": (
        "shapes.py",
        "def volume(value):\n    return value",
        "",
        set(),
    ),
    "a constant of another module that is not reached": ("limits.py", "OTHER = 5", "OTHER = 6", set()),
    "a new function": ("late.py", "def later", "def earlier():\n    pass\n\n\ndef later", set()),
    "the order of a set": ("edges.py", '{"b", "a", "c"}', '{"c", "b", "a"}', set()),
    "the function itself": ("edges.py", "total = helper", "total = 1 + helper", {"edges:edges"}),
    "a helper": ("edges.py", "FACTOR + step", "FACTOR - step", {"edges:helper"}),
    "a default": ("edges.py", "step=2", "step=4", {"edges:helper"}),
    "a constant": ("edges.py", "FACTOR = 3", "FACTOR = 4", {"edges:FACTOR"}),
    "an imported constant": ("limits.py", "LIMIT = 10", "LIMIT = 11", {"limits:LIMIT"}),
    "a value in an imported dict": ("limits.py", "'y': 2", "'y': 3", {"limits:TABLE"}),
    "a function imported by another name": ("shapes.py", "return circle.size", "return -circle.size", {"shapes:area"}),
    "a function of an imported module": (
        "shapes.py",
        "def perimeter(value):\n    return value",
        "def perimeter(value):\n    return -value",
        {"shapes:perimeter"},
    ),
    "a method": ("shapes.py", "self.radius + 1", "self.radius + 2", {"shapes:Circle.grow"}),
    "a property": ("shapes.py", "return self.radius\n", "return -self.radius\n", {"shapes:Circle.size"}),
    "an attribute of a class": ("shapes.py", "sides = 0", "sides = 1", {"shapes:Circle"}),
    "a method of a base class": ("shapes.py", "return by", "return -by", {"shapes:Shape.scale"}),
    "a decorator": (
        "decorating.py",
        "return function(*args)",
        "return function(*args) + 1",
        {"decorating:logged.wrapper"},
    ),
    "a function below a decorator of Python": ("edges.py", "value + 1", "value + 2", {"edges:cached"}),
    "the body of a closure": ("edges.py", "value ** power", "value ** -power", {"edges:make.inner"}),
    "a value that a closure holds": ("edges.py", "make(2)", "make(5)", {"edges:make.inner(power)#2"}),
    "a value that another closure of the function holds": (
        "edges.py",
        "make(3)",
        "make(4)",
        {"edges:make.inner(power)"},
    ),
    "a lambda": ("edges.py", "lambda x: -x", "lambda x: +x", {"edges:<lambda>"}),
    "a function imported inside": ("late.py", "return value", "return -value", {"late:later"}),
}


def write(directory, files):
    directory.mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def manifests_of(*directories, seed="0", script=SCRIPT):
    environment = {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, directories)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    return [CodeManifest.from_json(line) for line in ran.stdout.splitlines()]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """The manifests of the project before and after each edit."""
    place = tmp_path_factory.mktemp("projects")
    directories = [write(place / "base", PROJECT)]
    for number, (file, old, new, _) in enumerate(EDITS.values()):
        assert old in PROJECT[file]
        directories.append(write(place / str(number), {**PROJECT, file: PROJECT[file].replace(old, new, 1)}))
    return dict(zip(["base", *EDITS], manifests_of(*directories), strict=True))


@pytest.fixture(scope="module")
def base(manifests):
    return manifests["base"]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_what_it_reaches_and_is_named(edit, manifests):
    base, changed, expected = manifests["base"], manifests[edit], EDITS[edit][-1]
    assert (changed.digest != base.digest) is bool(expected)
    assert {change.name for change in code_difference(base, changed)} == expected


def test_two_processes_with_different_hash_seeds_agree(base, tmp_path):
    directory = write(tmp_path / "elsewhere", PROJECT)
    assert {manifests_of(directory, seed=seed)[0].digest for seed in ("1", "2")} == {base.digest}


def test_a_script_and_a_module_have_one_digest(base, tmp_path):
    """As ``__main__`` the function's module has another name, which is not in the digest."""
    directory = write(tmp_path / "p", PROJECT)
    assert manifests_of(directory, script=AS_MAIN)[0].digest == base.digest


def test_the_diff_shows_the_lines(manifests):
    (change,) = code_difference(manifests["base"], manifests["an imported constant"])
    assert (change.name, change.change) == ("limits:LIMIT", "changed")
    assert change.diff.splitlines()[-2:] == ["-10", "+11"]


def test_packages_count_by_version_and_python_by_its_minor_version(base):
    assert base.texts["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def by_numpy(value):
    import numpy as np

    return np.abs(value)


def by_eval(value):
    return eval(value)


def by_getattr(value):
    return getattr(re, value)


STREAM = iter([1])
amount = 1


def by_stream():
    return next(STREAM)


def hiding(amount):
    return amount


def recursive(value):
    return recursive(value - 1) if value else mutual(value)


def mutual(value):
    return recursive(value)


def test_a_package_is_its_version():
    import numpy as np

    assert code_of_function(by_numpy).texts["package numpy"] == np.__version__


@pytest.mark.parametrize(("function", "says"), [(by_eval, "calls eval()"), (by_getattr, "calls getattr() on a module")])
def test_a_look_up_at_run_time_is_a_warning(function, says):
    assert says in " ".join(code_of_function(function).warnings)


def test_a_value_without_a_certain_digest_is_an_error_that_says_what_to_do():
    with pytest.raises(
        UncertainCodeError, match=r"STREAM is a value of type builtins\.list_iterator.*code_version"
    ) as caught:
        code_of_function(by_stream)
    assert caught.value.code == "uncertain_code"
    texts = {"code_version": "3", "function": "test_of_function:by_stream"}
    assert code_of_function(by_stream, code_version="3").texts == texts
    assert code_of_function(by_stream, code_version="3").digest != code_of_function(by_stream, code_version="4").digest


def test_an_argument_hides_a_constant_of_the_same_name():
    assert not [name for name in code_of_function(hiding).texts if "amount" in name]


def test_functions_that_call_each_other_end():
    names = code_of_function(recursive).texts
    assert [name.rpartition(":")[2] for name in names] == ["recursive", "mutual", "python"]


def test_files_and_whole_projects_are_code_on_request(tmp_path):
    directory = write(tmp_path / "p", PROJECT)
    (directory / "model.bin").write_bytes(b"\xff\x00")
    (directory / "query.sql").write_text("select 1")
    paths = [directory / "model.bin", directory / "query.sql"]
    extra = code_of_function(hiding, code_paths=paths)
    assert extra.texts["file query.sql"] == "select 1"
    assert extra.texts["file model.bin"].startswith("blake3 ")
    whole = code_of_function(hiding, code="project", project=directory)
    assert set(whole.texts) == {*(f"file {name}" for name in PROJECT), "python"}
    (directory / "late.py").write_text("def later(value):\n    # comment\n    return value\n")
    assert code_of_function(hiding, code="project", project=directory).digest == whole.digest
    (directory / "late.py").write_text("def later(value):\n    return -value\n")
    (change,) = code_difference(whole, code_of_function(hiding, code="project", project=directory))
    assert change.name == "file late.py"


def test_a_manifest_comes_back_from_text(base):
    assert CodeManifest.from_json(base.to_json()) == base
    assert json.loads(base.to_json())
