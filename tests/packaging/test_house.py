"""The house style of the source, as far as a script can see it: one name is one idea, and nothing is left over."""

import ast
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("versioned_io", "dagster_versioned", "airflow_versioned")

# A basename that stands in several rooms of the core stands for one idea there; this says for which.
SHARED_BASENAMES = {
    "triggering": "branches that follow others: the calls and the commands",
    "announcing": "due keys to consumers: the rows and the calls",
    "backups": "of a store: the calls and the commands",
    "beacons": "notes about acknowledged commits: the values and the objects",
    "collection": "of garbage: the rows and the walk",
    "commits": "the value and its rows",
    "damages": "unreadable contents: the value, the rows, and the port of a reader",
    "due_keys": "the value and its rows",
    "files": "of a branch: the calls and the commands",
    "history": "of a branch: the calls, the commands and the work",
    "idempotency": "keys of retried transactions: the values and the rows",
    "in_place": "references to files elsewhere: staging them, and the command",
    "journal": "the entries and their rows",
    "lineage": "the questions: the rows, the answers, the calls and the commands",
    "local": "an adapter for a local disk: for objects, and for files elsewhere",
    "maintenance": "the room, the calls and the commands",
    "merging": "the work, the calls and the commands",
    "moving": "contents that get other places: their bytes and their rows",
    "objects": "stores of objects: the room, and the contract that they pass",
    "port": "a protocol of adapters: for objects, and for objects elsewhere",
    "reader": "verified reads: of chunks, and of the frames that hold them",
    "remote": "an adapter for buckets: for objects, and for objects elsewhere",
    "stats": "the sizes of a store: counting, and the command",
    "subscriptions": "the rows and the calls",
    "upkeep": "runs of maintenance: the rows and the steps",
}

# Modules with one importer and fewer than 50 lines that are no part of the importer, and why.
SMALL_MODULES = {
    "airflow_versioned.plugin": "Airflow loads it by name, as a plugin",
    "versioned_io.catalog.migrations.env": "Alembic loads it",
    "versioned_io.catalog.texts": "its importer must not load SQLAlchemy",
    "versioned_io.catalog.translating": "its importer must not load SQLAlchemy",
    "versioned_io.formats.builtin": "its importer must not load pyarrow; CONTRIBUTING sends authors of formats here",
    "versioned_io.formats.polars_tables": "its importer must not load polars",
    "versioned_io.interfaces.cli.__main__": "python -m runs it",
    "versioned_io.interfaces.filesystem.universal_path": "an entry point of pyproject.toml",
}

# Names that no other line of the packages uses, and who does.
USED_FROM_OUTSIDE = {
    "CountedObjects": "benchmarks count with it",
    "OURS": "a value of a strategy",
    "VersionedPlugin": "an entry point of pyproject.toml",
    "import_definitions": "an entry point of pyproject.toml",
    "VersionedPath": "an entry point of pyproject.toml",
    "format_commands": "typer calls it",
    "iterate_frames": "tests read whole packs with it",
    "on_task_instance_failed": "Airflow calls it",
    "on_task_instance_running": "Airflow calls it",
    "on_task_instance_skipped": "Airflow calls it",
    "on_task_instance_success": "Airflow calls it",
    "modified_ns": "part of a tuple that is compared as a whole",
}

# Bare tuples of three and more that do not travel, or whose shape others define.
BARE_TUPLES = {
    "versioned_io/catalog/ordering.py:_key": "a sort key",
    "versioned_io/errors/invalid_input.py:__reduce__": "pickle's protocol",
    "versioned_io/errors/not_found.py:__reduce__": "pickle's protocol",
    "versioned_io/interfaces/cli/stats.py:stats": "the rows of a table that is printed at once",
    "versioned_io/maintenance/evidence/followed_lines.py:of": "a sort key",
    "versioned_io/storage/objects/cached.py:_sweep": "sorted at once",
}


@cache
def trees():
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = (path, ast.parse(path.read_text()))
    assert len(found) > 300
    return found


def core():
    return {name: found for name, found in trees().items() if name.startswith("versioned_io.")}


def test_a_basename_stands_for_one_idea_in_the_core():
    rooms = defaultdict(set)
    for name in core():
        if "migrations" not in name:
            parts = name.split(".")
            # A room and the module in it that has its name are one place.
            rooms[parts[-1]].add(".".join(parts[:-1] if parts[-2] == parts[-1] else parts))
    assert {base for base, places in rooms.items() if len(places) > 1} == SHARED_BASENAMES.keys()


def test_a_class_name_stands_once_in_the_core():
    homes = Counter(
        node.name for _, tree in core().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert homes
    assert {name: count for name, count in homes.items() if count > 1} == {}


def importers():
    found = defaultdict(set)
    for name, (_, tree) in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    found[one.name].add(name)
            elif isinstance(node, ast.ImportFrom):
                for one in node.names:
                    full = f"{node.module}.{one.name}"
                    found[full if full in trees() else node.module].add(name)
    return found


def test_a_small_module_with_one_importer_is_a_part_of_it():
    by = importers()
    small = {
        name
        for name, (path, _) in trees().items()
        if path.name != "__init__.py" and ".versions." not in name and len(path.read_text().splitlines()) < 50
    }
    assert {name for name in small if len(by[name]) <= 1} == SMALL_MODULES.keys()


def test_every_name_has_a_user():
    words = Counter(word for path, _ in trees().values() for word in re.findall(r"\w+", path.read_text()))
    lonely = set()
    for name, (_, tree) in trees().items():
        if name.startswith("versioned_io.testing."):
            continue  # contracts: pytest finds their tests
        for node in tree.body:
            lonely.update(one for one in defined_by(node) if words[one] == 1 and not one.startswith("__"))
            if isinstance(node, ast.ClassDef) and not has_foreign_base(node):
                for part in node.body:
                    lonely.update(one for one in defined_by(part) if words[one] == 1 and not one.startswith("__"))
    assert lonely == USED_FROM_OUTSIDE.keys()


def defined_by(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        is_registered = any(re.search(r"\.(command|callback)\(", ast.unparse(one)) for one in node.decorator_list)
        return [] if is_registered else [node.name]
    if isinstance(node, ast.Assign):
        return [one.id for one in node.targets if isinstance(one, ast.Name)]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


@cache
def own_classes():
    return {part.name for _, tree in trees().values() for part in ast.walk(tree) if isinstance(part, ast.ClassDef)}


def has_foreign_base(node):
    """Return whether a class extends one of another library, which calls its methods."""
    plain = {"Protocol", "NamedTuple", "StrEnum", "Enum", "Generic"}
    return any(ast.unparse(base).partition("[")[0] not in own_classes() | plain for base in node.bases)


def test_a_triple_that_travels_has_names():
    found = {f"{path.relative_to(ROOT)}:{where}" for path, tree in trees().values() for where in bare_tuples(tree, "")}
    assert found == BARE_TUPLES.keys()


def bare_tuples(node, where):
    """Yield the name of the innermost function or class around each bare tuple of three or more."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        where = node.name
    if is_bare_tuple(node):
        yield where
    for part in ast.iter_child_nodes(node):
        yield from bare_tuples(part, where)


def is_bare_tuple(node):
    if not (
        isinstance(node, ast.Subscript) and ast.unparse(node.value) == "tuple" and isinstance(node.slice, ast.Tuple)
    ):
        return False
    parts = node.slice.elts
    return len(parts) >= 3 and not any(isinstance(part, ast.Constant) and part.value is ... for part in parts)


@pytest.mark.parametrize("reasons", [SHARED_BASENAMES, SMALL_MODULES, USED_FROM_OUTSIDE, BARE_TUPLES])
def test_every_exception_has_a_reason(reasons):
    assert all(len(reason) > 5 for reason in reasons.values())
