"""The parts of a computation's code by name, with their text, so that a change can be shown."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blake3 import blake3

CODE_CONTEXT: Final = "versioned-io 2026 code of a computation v1"


class CodePart(NamedTuple):
    """A symbol, a value, a package or a file.

    Attributes:
        text: The canonical text: source without comments and docstrings, a value, a version.
        uses: The names in *text* that stand for other parts, each with the number of that part.
    """

    name: str
    text: str
    uses: tuple[tuple[str, int], ...] = ()


class CodeChange(NamedTuple):
    """A part that differs between two manifests.

    Attributes:
        change: ``added``, ``changed`` or ``removed``.
        diff: A unified diff of the texts.
    """

    name: str
    change: str
    diff: str


@dataclass(frozen=True, slots=True)
class CodeManifest:
    """Everything that code is made of, in an order that depends on nothing but the code.

    Attributes:
        parts: The first is the function or the command.
        warnings: Places where the code looks up other code at run time, which is not followed.
    """

    parts: tuple[CodePart, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def digest(self) -> bytes:
        """The digest of the code, 32 bytes. The names of modules are not in it; the uses are."""
        texts: list[str] = []
        for part in self.parts:
            texts += [part.text, str(len(part.uses)), *(f"{name}={number}" for name, number in part.uses)]
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        data = b"".join(len(one).to_bytes(8, "little") + one for one in encoded)
        return blake3(data, derive_key_context=CODE_CONTEXT).digest()

    @property
    def texts(self) -> Mapping[str, str]:
        """The text of each part by its name."""
        return {part.name: part.text for part in self.parts}

    def to_json(self) -> str:
        """Return the manifest as text, to be stored once for each digest."""
        return json.dumps({"parts": self.parts, "warnings": self.warnings})

    @classmethod
    def from_json(cls, text: str) -> "CodeManifest":
        """Return the manifest that `to_json` wrote."""
        found = json.loads(text)
        parts = (
            CodePart(name, text, tuple((use, number) for use, number in uses)) for name, text, uses in found["parts"]
        )
        return cls(tuple(parts), tuple(found["warnings"]))


def code_difference(old: CodeManifest, new: CodeManifest) -> list[CodeChange]:
    """Return the parts whose text differs, sorted by name; a part that only refers to a changed one has not changed."""
    before, after = old.texts, new.texts
    found = []
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name), after.get(name)
        if left == right:
            continue
        change = "added" if left is None else "removed" if right is None else "changed"
        lines = difflib.unified_diff(
            (left or "").splitlines(), (right or "").splitlines(), f"{name} (old)", f"{name} (new)", lineterm=""
        )
        found.append(CodeChange(name, change, "\n".join(lines)))
    return [one for one in found if not _is_of_inner(one, found)]


def _is_of_inner(outer: CodeChange, changes: Sequence[CodeChange]) -> bool:
    """Return whether another change tells it: that of a definition inside, or of the same one in another closure."""
    first = outer.name.partition("#")[0]
    if any(one.name == first != outer.name and _changed_lines(one) == _changed_lines(outer) for one in changes):
        return True
    inner = [one for one in changes if one.name.startswith(f"{outer.name}.")]
    return bool(inner) and _changed_lines(outer) <= set().union(*map(_changed_lines, inner))


def _changed_lines(change: CodeChange) -> set[str]:
    lines = change.diff.splitlines()[2:]
    return {line[0] + line[1:].strip() for line in lines if line[:1] in {"+", "-"}}
