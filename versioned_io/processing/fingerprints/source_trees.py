"""The syntax trees of functions and classes: found by position, and written without comments and docstrings."""

import ast
import copy
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

from versioned_io.errors import UncertainCodeError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef


def function_node(code: CodeType, name: str) -> Definition:
    """Return the definition that *code* was compiled from.

    Raises:
        UncertainCodeError: The source can't be read, or has changed since it was loaded.
    """
    tree = _module_tree(code.co_filename, name)
    candidates = [node for node in ast.walk(tree) if _is_of(node, code)]
    if len(candidates) > 1:
        candidates = [node for node in candidates if _holds(node, code)]
    if len(candidates) != 1:
        raise UncertainCodeError(name, f"code that was not found in {code.co_filename!r}")
    found = copy.deepcopy(candidates[0])
    assert isinstance(found, Definition)  # noqa: S101 - for the type checker: `_is_of` takes no other
    return found


def refuse_stale(code: CodeType, name: str) -> None:
    """Raise if the file of *code* compiles to something else now: the digest would be that of code that does not run.

    Raises:
        UncertainCodeError: The file has changed since it was loaded. Start the process again.
    """
    text = "".join(linecache.getlines(code.co_filename))
    if code not in _compiled(text, code.co_filename).get(code.co_qualname, ()):
        raise UncertainCodeError(name, f"code of {code.co_filename!r}, which has changed since the process loaded it")


def class_node(kind: type, filename: str, name: str) -> ast.ClassDef:
    """Return the definition of a class, by its qualified name.

    Raises:
        UncertainCodeError: The source can't be read, or defines no class, or several, of this name.
    """
    found = [node for path, node in _classes(_module_tree(filename, name), "") if path == kind.__qualname__]
    if len(found) != 1:
        raise UncertainCodeError(name, f"a class that {filename!r} defines {len(found)} times")
    return copy.deepcopy(found[0])


def plain_text(node: ast.AST) -> str:
    """Return a definition as source, without comments, docstrings and positions."""
    copied = copy.deepcopy(node)
    for one in ast.walk(copied):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            one.body = _without_docstring(one.body) or [ast.Pass()]
    return ast.unparse(copied)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body


def _module_tree(filename: str, name: str) -> ast.Module:
    linecache.checkcache(filename)
    lines = linecache.getlines(filename)
    if not lines:
        raise UncertainCodeError(name, f"code without source ({filename!r} can't be read)")
    return _parsed("".join(lines))


@lru_cache(maxsize=64)
def _compiled(text: str, filename: str) -> dict[str, list[CodeType]]:
    """Return all code of a module by qualified name."""
    found: dict[str, list[CodeType]] = {}
    left = [compile(text, filename, "exec", dont_inherit=True)]
    while left:
        one = left.pop()
        found.setdefault(one.co_qualname, []).append(one)
        left += [inner for inner in one.co_consts if isinstance(inner, CodeType)]
    return found


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _is_of(node: ast.AST, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        return node.name == code.co_name and first == code.co_firstlineno
    return False


def _holds(node: ast.AST, code: CodeType) -> bool:
    """Return whether the instructions of *code* lie within a node, and not in one inside of it."""
    body = node.body if isinstance(node, ast.Lambda) else node
    assert isinstance(body, ast.expr | ast.stmt)  # noqa: S101 - for the type checker
    spans = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
    last = max(spans, default=(0, 0))
    return (body.lineno, body.col_offset) <= min(spans, default=(0, 0)) and last <= (
        body.end_lineno or 0,
        body.end_col_offset or 0,
    )


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.ClassDef):
            yield prefix + one.name, one
            yield from _classes(one, f"{prefix}{one.name}.")
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(one, f"{prefix}{one.name}.<locals>.")
        else:
            yield from _classes(one, prefix)
