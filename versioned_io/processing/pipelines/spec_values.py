"""Values of a spec file with the lines where they stand, of YAML and of JSON, so that each refusal names its line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from json.decoder import JSONDecoder
from pathlib import Path
from typing import Any, Final, NoReturn

from versioned_io.errors import InvalidInputError
from versioned_io.errors.root import quoted

_MOST_VALUES: Final = 100_000
_MOST_LEVELS: Final = 100
_SPACE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class SpecValue:
    """A value of a spec.

    Attributes:
        value: Text, a number, a flag, None, a list of `SpecValue`, or a dict of them.
        line: From 1.
        file: The name of the file.
    """

    value: Any
    line: int
    file: str

    def refuse(self, why: str) -> NoReturn:
        """Raise an error that names the file and the line."""
        msg = f"{self.file}, line {self.line}: {why}"
        raise InvalidInputError(msg)

    def located(self, error: InvalidInputError) -> InvalidInputError:
        """Return an error with the file and the line, unless it has them."""
        text = str(error)
        has_place = text.startswith(f"{self.file}, line ")
        return error if has_place else InvalidInputError(f"{self.file}, line {self.line}: {text}")

    def text(self, name: str) -> str:
        """Return a text. Numbers and flags are refused, since YAML may have changed how they were written."""
        if not isinstance(self.value, str):
            self.refuse(f"{name} must be text: write it in quotes")
        return self.value

    def flag(self, name: str) -> bool:
        """Return True or False."""
        if not isinstance(self.value, bool):
            self.refuse(f"{name} must be true or false")
        return self.value

    def count(self, name: str) -> int:
        """Return a whole number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.refuse(f"{name} must be a whole number")
        return self.value

    def number(self, name: str) -> float:
        """Return a number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.refuse(f"{name} must be a number")
        return self.value

    def items(self, name: str) -> list["SpecValue"]:
        """Return the values of a list."""
        if not isinstance(self.value, list):
            self.refuse(f"{name} must be a list")
        return self.value

    def texts(self, name: str) -> list[str]:
        """Return the texts of a list."""
        return [one.text(f"each of {name}") for one in self.items(name)]

    def fields(self, name: str) -> dict[str, "SpecValue"]:
        """Return the fields of a mapping."""
        if not isinstance(self.value, dict):
            self.refuse(f"{name} must be a mapping of fields")
        return self.value

    def pairs(self, name: str) -> dict[str, str]:
        """Return a mapping from text to text."""
        return {key: one.text(f"{name}.{key}") for key, one in self.fields(name).items()}

    def plain(self) -> Any:  # noqa: ANN401 (any value of JSON)
        """Return the value without lines."""
        if isinstance(self.value, dict):
            return {name: one.plain() for name, one in self.value.items()}
        return [one.plain() for one in self.value] if isinstance(self.value, list) else self.value


def read_documents(path: Path) -> list[SpecValue]:
    """Return the documents of a file: of YAML, or of JSON, one after the other or in one list.

    Raises:
        InvalidInputError: The file can't be read or parsed, or PyYAML is not installed and the file is YAML.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        msg = f"the spec {str(path)!r} can't be read ({why}): name a YAML or JSON file"
        raise InvalidInputError(msg) from error
    is_json = path.suffix == ".json" or text.lstrip()[:1] in {"{", "["}
    found = list(_JsonReader(text, path.name).documents() if is_json else _yaml_documents(text, path.name))
    documents = [one for whole in found for one in (whole.value if isinstance(whole.value, list) else [whole])]
    if not documents:
        msg = f"the spec {str(path)!r} is empty: declare a pipeline in it"
        raise InvalidInputError(msg)
    return documents


class _JsonReader:
    """Reads JSON, and keeps the line of each value."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._lines, self._counted = 1, 0
        self._decoder = JSONDecoder()

    def documents(self) -> Iterator[SpecValue]:
        self._skip()
        while self._at < len(self._text):
            yield self._value(0)
            self._skip()

    def _value(self, level: int) -> SpecValue:
        self._skip()
        here = SpecValue(None, self._line(), self._file)
        if level > _MOST_LEVELS:
            here.refuse("the values are nested too deeply")
        mark = self._text[self._at : self._at + 1]
        if mark == "{":
            return SpecValue(self._fields(level), here.line, self._file)
        if mark == "[":
            return SpecValue(self._items(level), here.line, self._file)
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except ValueError:  # also of a number with very many digits
            here.refuse("this is not valid JSON: a value is expected")
        return SpecValue(value, here.line, self._file)

    def _fields(self, level: int) -> dict[str, SpecValue]:
        found: dict[str, SpecValue] = {}
        while self._goes_on("}", is_first=not found):
            name = self._value(level + 1)
            if not isinstance(name.value, str):
                name.refuse("this is not valid JSON: the name of a field is expected, in quotes")
            self._take(":")
            if name.value in found:
                name.refuse(f"the field {name.value!r} is there twice")
            found[name.value] = self._value(level + 1)
        return found

    def _items(self, level: int) -> list[SpecValue]:
        found: list[SpecValue] = []
        while self._goes_on("]", is_first=not found):
            found.append(self._value(level + 1))
        return found

    def _goes_on(self, end: str, *, is_first: bool) -> bool:
        """Return whether another member follows; take the mark before it, or the end."""
        if is_first:
            self._at += 1
        self._skip()
        if self._text[self._at : self._at + 1] == end:
            self._at += 1
            return False
        if not is_first:
            self._take(",")
        return True

    def _take(self, mark: str) -> None:
        self._skip()
        if self._text[self._at : self._at + 1] != mark:
            SpecValue(None, self._line(), self._file).refuse(f"this is not valid JSON: {mark!r} is expected")
        self._at += 1

    def _line(self) -> int:
        """Return the line of this place. Each line is counted once, since the place only moves on."""
        self._lines += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._lines

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at


def _yaml_documents(text: str, file: str) -> Iterator[SpecValue]:
    try:
        import yaml
    except ImportError as error:
        msg = f"{file!r} is YAML, and PyYAML is not installed: install versioned-io[yaml], or write the spec as JSON"
        raise InvalidInputError(msg) from error
    count = 0

    def build(loader: Any, node: Any, level: int) -> SpecValue:  # noqa: ANN401 (a loader and a node of PyYAML)
        nonlocal count
        count += 1
        here = SpecValue(None, node.start_mark.line + 1, file)
        if level > _MOST_LEVELS or count > _MOST_VALUES:
            here.refuse("the values are too many, or nested too deeply")
        if isinstance(node, yaml.SequenceNode):
            return SpecValue([build(loader, one, level + 1) for one in node.value], here.line, file)
        if not isinstance(node, yaml.MappingNode):
            return SpecValue(_scalar(loader, node, here), here.line, file)
        fields: dict[str, SpecValue] = {}
        for name, value in node.value:
            named = SpecValue(name.value, name.start_mark.line + 1, file)
            if not isinstance(name.value, str):
                named.refuse("the name of a field must be text")
            if name.value in fields:
                named.refuse(f"the field {name.value!r} is there twice")
            fields[name.value] = build(loader, value, level + 1)
        return SpecValue(fields, here.line, file)

    for loader, node in _yaml_nodes(text, file):
        if not (isinstance(node, yaml.ScalarNode) and node.value == ""):
            yield build(loader, node, 0)


def _yaml_nodes(text: str, file: str) -> Iterator[tuple[Any, Any]]:
    """Yield a loader of PyYAML, and the node of each document."""
    import yaml

    loader, line = None, 1
    try:
        loader = yaml.SafeLoader(text)
        nodes = []
        while loader.check_node():
            nodes.append(loader.get_node())
    except yaml.reader.ReaderError as error:
        line, why = text.count("\n", 0, error.position) + 1, f"this is not valid YAML: {error.reason}"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, why = 1 if mark is None else mark.line + 1, f"this is not valid YAML: {error.problem}"
    except RecursionError:
        line, why = 1 if loader is None else loader.line + 1, "the values are nested too deeply"
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # of an escape with too large a number
        line, why = 1 if loader is None else loader.line + 1, f"this is not valid YAML: {str(error).splitlines()[0]}"
    else:
        yield from ((loader, node) for node in nodes)
        return
    SpecValue(None, line, file).refuse(why)


def _scalar(loader: Any, node: Any, here: SpecValue) -> Any:  # noqa: ANN401 (of PyYAML, and any value of JSON)
    """Return the value of a node; of a time its text."""
    import yaml

    if node.tag == "tag:yaml.org,2002:timestamp":
        return node.value
    try:
        return loader.construct_object(node)
    except yaml.MarkedYAMLError as error:
        here.refuse(f"this is not valid YAML: {error.problem}")
    except (ValueError, KeyError):
        here.refuse(
            f"{quoted(node.value)} is not valid for its tag {node.tag.rpartition(':')[2]!r}: write it in quotes"
        )
