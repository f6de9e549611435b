"""The code of a function: itself and everything of the project that it can reach, and other packages by version."""

import ast
import builtins
import dis
import functools
import importlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, Final, Literal

import numpy as np

from versioned_io.errors import InvalidInputError, UncertainCodeError
from versioned_io.model.arguments import check_callable, parse_name
from versioned_io.processing.fingerprints.canonical_values import canonical_text
from versioned_io.processing.fingerprints.code_manifest import CodeManifest, CodePart
from versioned_io.processing.fingerprints.project_modules import (
    Home,
    file_part,
    home_of,
    home_of_import,
    package_version,
    project_files,
)
from versioned_io.processing.fingerprints.source_trees import (
    Definition,
    class_node,
    function_node,
    plain_text,
    refuse_stale,
)

_MISSING: Final = object()
_LOOK_UPS: Final = {"eval", "exec", "__import__", "globals", "vars"}


def code_of_function(
    function: Callable[..., Any],
    *,
    code: Literal["closure", "project"] = "closure",
    code_version: str | None = None,
    code_paths: Iterable[str | Path] = (),
    project: str | Path | None = None,
) -> CodeManifest:
    """Return everything that *function* is made of.

    Of the project that is its source, without comments, docstrings and positions, and that of every function, class,
    constant and closure that it reaches. Other packages count by name and version, and Python by its minor version.

    Args:
        code: ``project`` takes all Python files of *project* instead of following the function.
        code_version: A text that replaces all of it but the function's name: the code is equal while both are.
        code_paths: Files that belong to the code, too.
        project: The directory of the project; by default that of the function's file.

    Raises:
        UncertainCodeError: Something that the function reaches can't be written canonically. Pass it as a parameter,
            or give *code_version*.

    Cost: some milliseconds; reads the source of each module once.
    """
    check_callable(function, "function")
    extra = [file_part(Path(path)) for path in code_paths]
    if code_version is not None:
        named = CodePart("function", _stable_name(function))
        return CodeManifest((CodePart("code_version", parse_name(code_version, "code_version")), named, *extra))
    if code == "project":
        return CodeManifest((*project_files(_directory_of(function, project)), _python(), *extra))
    if code != "closure":
        msg = f"code must be 'closure' or 'project', not {code!r}"
        raise InvalidInputError(msg)
    walk = _CodeWalk(home_of(_module_name(function)))
    walk.refer(function, "the function")
    return CodeManifest((*walk.parts, _python(), *extra), tuple(walk.warnings))


class _CodeWalk:
    """Follows code from one function, in an order that depends on the code alone."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._found: list[CodePart | None] = []
        self._numbers: dict[object, int] = {}
        self._kept: list[object] = []
        self.warnings: list[str] = []

    @property
    def parts(self) -> list[CodePart]:
        return [part for part in self._found if part is not None]

    def refer(self, value: object, name: str) -> int:
        """Return the number of the part for a value, which is added the first time."""
        if isinstance(value, FunctionType) and self._home.has_file(value.__code__.co_filename):
            return self._add(id(value), value, lambda: self._function(value))
        if isinstance(value, type) and self._home.has(value.__module__):
            return self._add(id(value), value, lambda: self._class(value))
        if isinstance(value, ModuleType):
            return self._module(value)
        if _wrapped_by(value) is not None:
            return self._add(id(value), value, lambda: self._wrapper(value, name))
        if _is_foreign(value):
            return self._package(value)
        return self._add(name, value, lambda: CodePart(name, canonical_text(value, name, self._text_of_code)))

    def _text_of_code(self, value: object) -> str | None:
        """Return the text of a value that stands for code: the number of its part."""
        if isinstance(value, MethodType):
            owner = canonical_text(value.__self__, _name_of(value.__func__), self._text_of_code)
            return f"method({self._text_of_code(value.__func__)},{owner})"
        if isinstance(value, functools.partial):
            inside = canonical_text((value.args, value.keywords), "a partial", self._text_of_code)
            return f"partial({self._text_of_code(value.func)},{inside})"
        if isinstance(value, logging.Logger):
            return f"logger({value.name})"
        if _is_code(value):
            return f"#{self.refer(value, _name_of(value))}:{_short(value)}"
        if _is_foreign(value):
            return f"#{self._package(value)}:{_short(value)}"
        return None

    def _add(self, key: object, value: object, build: Callable[[], CodePart]) -> int:
        if key in self._numbers:
            return self._numbers[key]
        number = self._numbers[key] = len(self._found)
        self._kept.append(value)  # so that no other value gets its id
        self._found.append(None)
        part = build()
        same = sum(one is not None and one.name.partition("#")[0] == part.name for one in self._found)
        self._found[number] = part._replace(name=f"{part.name}#{same + 1}") if same else part
        return number

    def _function(self, function: FunctionType) -> CodePart:
        name = _name_of(function)
        node = function_node(function.__code__, name)
        if type(function.__globals__.get("__loader__")) is SourceFileLoader:  # others may compile something else
            refuse_stale(function.__code__, name)
        is_kept = functools.partial(self._is_part_of_code, function.__globals__)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = [one for one in node.decorator_list if is_kept(one)]
        inside = _free_values(function)
        read = _read_globals(function.__code__) | _names_around(node)
        known = {one: function.__globals__[one] for one in read if one in function.__globals__}
        for one in sorted(read - known.keys() - inside.keys() - vars(builtins).keys()):
            self._warn(f"{name} reads {one}, which does not exist yet")
        uses = self._uses(node, known, name, _module_of(function))
        uses += [
            (one, self._add((id(function), one), value, self._closed(value, f"{name}({one})")))
            for one, value in sorted(inside.items())
            if not _is_code(value)
        ]
        uses += [(one, self.refer(value, one)) for one, value in sorted(inside.items()) if _is_code(value)]
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            uses.append(("__wrapped__", self.refer(wrapped, f"{name}.__wrapped__")))
        text = plain_text(node) + self._defaults(function, node, name)
        return CodePart(name, text, tuple(uses))

    def _closed(self, value: object, name: str) -> Callable[[], CodePart]:
        return lambda: CodePart(name, canonical_text(value, name, self._text_of_code))

    def _defaults(self, function: FunctionType, node: Definition, name: str) -> str:
        """Return the values of the defaults that are not written as literals."""
        arguments = node.args if not isinstance(node, ast.ClassDef) else None
        given = [] if arguments is None else [one for one in (*arguments.defaults, *arguments.kw_defaults) if one]
        if all(isinstance(one, ast.Constant) for one in given):
            return ""
        values = (function.__defaults__, function.__kwdefaults__)
        return f"\n# defaults: {canonical_text(values, f'{name} (its defaults)', self._text_of_code)}"

    def _class(self, kind: type) -> CodePart:
        name = _name_of(kind)
        module = sys.modules.get(kind.__module__)
        filename = getattr(module, "__file__", None)
        if module is None or filename is None:
            raise UncertainCodeError(name, "a class whose module has no file")
        node = class_node(kind, filename, name)
        rest = [one for one in node.body if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
        node.body = rest or [ast.Pass()]
        uses = self._uses(node, vars(module), name, kind.__module__)
        uses += [(base.__name__, self.refer(base, _name_of(base))) for base in (*kind.__bases__, type(kind))]
        for attribute, value in sorted(vars(kind).items()):
            for method in _functions_in(value):
                if self._home.has_file(method.__code__.co_filename) and not _is_generated(method):
                    uses.append((attribute, self.refer(method, f"{name}.{attribute}")))
        return CodePart(name, plain_text(node), tuple(uses))

    def _wrapper(self, value: Any, name: str) -> CodePart:  # noqa: ANN401 (anything that wraps)
        kind, wrapped = type(value), _wrapped_by(value)
        uses = [("__wrapped__", self.refer(wrapped, f"{name}.__wrapped__"))]
        registry = getattr(value, "registry", None)
        if isinstance(registry, Mapping):  # of functools.singledispatch
            uses += [(_name_of(one), self.refer(inner, f"{name}[{_name_of(one)}]")) for one, inner in registry.items()]
        return CodePart(f"{_name_of(wrapped)} ({kind.__name__})", f"{kind.__module__}.{kind.__qualname__}", tuple(uses))

    def _module(self, module: ModuleType) -> int:
        if not self._home.has(module.__name__):
            return self._package(module)
        self._warn(f"the module {module.__name__} is used as a value, so its whole file counts")
        filename = module.__file__ or ""
        return self._add(f"module {module.__name__}", module, lambda: file_part(Path(filename)))

    def _package(self, value: object) -> int:
        """Return the number of the part for the package that a value comes from."""
        name = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in sys.builtin_module_names:
            top = "python"
        version = "its minor version" if top == "python" else package_version(top)
        return self._add(f"package {top}", value, lambda: CodePart(f"package {top}", version))

    def _uses(self, node: ast.AST, values: Mapping[str, Any], name: str, module: str) -> list[tuple[str, int]]:
        """Return the parts that the names in *node* stand for."""
        inside = self._local_imports(node, name, getattr(sys.modules.get(module), "__package__", None) or "")
        known = {**values, **{bound: value for bound, (value, _) in inside.items()}}
        found: dict[str, int] = {}
        for chain in sorted(set(_chains(node))):
            if chain[0] in known:
                origin = inside[chain[0]][1] if chain[0] in inside else home_of_import(module, chain[0])
                text, number = self._follow(chain, known[chain[0]], origin)
                found[text] = number
        self._note_look_ups(node, name, known)
        return list(found.items())

    def _follow(self, chain: tuple[str, ...], value: object, origin: str) -> tuple[str, int]:
        """Return the longest part of *chain* that names one thing, and the number of its part."""
        used = 1
        while isinstance(value, ModuleType) and self._home.has(value.__name__) and used < len(chain):
            inner = getattr(value, chain[used], _MISSING)
            if inner is _MISSING:
                break
            origin, value, used = home_of_import(value.__name__, chain[used]), inner, used + 1
        return ".".join(chain[:used]), self.refer(value, origin)

    def _local_imports(self, node: ast.AST, name: str, package: str) -> dict[str, tuple[Any, str]]:
        """Return the names that imports inside of *node* bind, with what they stand for and where that is from."""
        found: dict[str, tuple[Any, str]] = {}
        for one in ast.walk(node):
            if isinstance(one, ast.Import):
                for alias in one.names:
                    module = self._imported(alias.name, name)
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = module if alias.asname else sys.modules.get(top), alias.name
            elif isinstance(one, ast.ImportFrom):
                for alias in one.names:
                    source = "." * one.level + (one.module or "")
                    found[alias.asname or alias.name] = self._imported_from(source, alias.name, name, package)
        return {bound: pair for bound, pair in found.items() if pair[0] is not None}

    def _imported_from(self, source: str, wanted: str, name: str, package: str) -> tuple[Any, str]:
        """Return what ``from source import wanted`` binds in a module of *package*, and where that is from."""
        module = self._imported(source, name, package)
        origin = f"{source if module is None else module.__name__}:{wanted}"
        value = getattr(module, wanted, _MISSING)
        if module is not None and value is _MISSING:
            value = self._imported(f"{module.__name__}.{wanted}", name)
        return (None if value is _MISSING else value), origin

    def _imported(self, module: str, name: str, package: str = "") -> ModuleType | None:
        try:
            return importlib.import_module(module, package or None)
        except (ImportError, TypeError):  # the latter where no package is known to which the name is relative
            self._warn(f"{name} imports {module}, which is not installed here")
            return None

    def _note_look_ups(self, node: ast.AST, name: str, known: Mapping[str, Any]) -> None:
        for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
            called = ast.unparse(call.func)
            of_module = called == "getattr" and call.args and isinstance(call.args[0], ast.Name)
            if called in _LOOK_UPS or called.endswith("import_module"):
                self._warn(f"{name} calls {called}(), which may run code that is not followed")
            elif of_module and isinstance(known.get(ast.unparse(call.args[0])), ModuleType):
                self._warn(f"{name} calls getattr() on a module, which may run code that is not followed")

    def _is_part_of_code(self, values: Mapping[str, Any], decorator: ast.expr) -> bool:
        """Return whether a decorator counts: those of this library say how to run the function, not what it does."""
        chain = next(_chains(decorator), ("",))
        top = _module_of(values.get(chain[0])).partition(".")[0]
        return top not in {"versioned_io", "dagster_versioned", "airflow_versioned"}

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _python() -> CodePart:
    return CodePart("python", f"{sys.version_info.major}.{sys.version_info.minor}")


def _directory_of(function: Callable[..., Any], project: str | Path | None) -> Path:
    if project is not None:
        return Path(project)
    code = getattr(function, "__code__", None)
    if code is None:
        msg = "code='project' needs the directory of the project for this function: pass project="
        raise InvalidInputError(msg)
    return Path(code.co_filename).parent


def _free_values(function: FunctionType) -> dict[str, Any]:
    """Return the values that a function closes over; a name without a value yet is left out."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _functions_in(value: Any) -> Iterator[FunctionType]:  # noqa: ANN401 (an attribute of a class)
    parts = (value, getattr(value, "__func__", None), *(getattr(value, one, None) for one in ("fget", "fset", "fdel")))
    yield from (part for part in parts if isinstance(part, FunctionType))
    if isinstance(value, functools.cached_property):
        yield from _functions_in(value.func)


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield every name that is read, with the attributes after it."""
    if isinstance(node, ast.Attribute):
        names: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield (inner.id, *names)
            return
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield (node.id,)
    for one in ast.iter_child_nodes(node):
        yield from _chains(one)


def _read_globals(code: CodeType) -> set[str]:
    """Return the globals that code reads, also in functions inside of it."""
    found = {one.argval for one in dis.get_instructions(code) if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"}}
    return found.union(*(_read_globals(one) for one in code.co_consts if isinstance(one, CodeType)))


def _names_around(node: Definition) -> set[str]:
    """Return the names that are read when a function is defined: in its decorators and defaults."""
    if isinstance(node, ast.ClassDef):
        return set()
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    around = [*decorators, *node.args.defaults, *(one for one in node.args.kw_defaults if one)]
    return {chain[0] for one in around for chain in _chains(one)}


def _is_code(value: object) -> bool:
    return isinstance(value, FunctionType | type | ModuleType) or _wrapped_by(value) is not None


def _wrapped_by(value: object) -> object:
    """Return the function that an object calls, such as one of `functools.cache`; None if it is none of these."""
    if isinstance(value, type):
        return None
    wrapped = value.pyfunc if isinstance(value, np.vectorize) else getattr(value, "__wrapped__", None)
    return wrapped if callable(wrapped) else None


def _is_generated(method: FunctionType) -> bool:
    """Return whether a decorator made a method of the class: what it is made of is in the source of the class."""
    return method.__code__.co_filename.startswith("<") and method.__name__.startswith(("__", "<lambda>"))


def _is_foreign(value: object) -> bool:
    """Return whether a value is code of another package."""
    is_code = isinstance(value, FunctionType | BuiltinFunctionType | type) or (
        callable(value) and hasattr(value, "__name__") and not isinstance(value, MethodType)
    )
    return is_code or (type(value).__module__ in {"typing", "types"} and not isinstance(value, SimpleNamespace))


def _module_of(value: object) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, FunctionType):
        return str(value.__globals__.get("__name__", ""))
    return getattr(value, "__module__", None) or type(value).__module__


def _module_name(function: Callable[..., Any]) -> str:
    """Return the module that defines a function, also one that is wrapped or bound in part."""
    return str(getattr(_inmost(function), "__module__", None) or "")


def _stable_name(function: Callable[..., Any]) -> str:
    """Return ``module:name`` without the packages: equal in every process, also where the module is a script."""
    module, inner = _module_name(function), _inmost(function)
    if module in {"__main__", "__mp_main__"}:  # the latter in processes that multiprocessing starts
        module = Path(getattr(sys.modules.get(module), "__file__", None) or "").stem
    return f"{module.rpartition('.')[2]}:{getattr(inner, '__qualname__', type(inner).__qualname__)}"


def _inmost(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(value: object) -> str:
    return f"{_module_of(value)}:{_short(value)}".replace(".<locals>", "")


def _short(value: object) -> str:
    if isinstance(value, FunctionType):
        return value.__code__.co_qualname  # functools.wraps changes the other one
    return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or repr(value))
