"""Marks the examples of docstrings as sessions of Python: as Markdown, their output would be taken for links."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class FencedExamples(griffe.Extension):
    """Put each paragraph that begins with ``>>>`` into a fence."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401 - of the reader, and not looked at
        """Rewrite the docstring of *obj*, before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(fence, obj.docstring.value)


def fence(example: re.Match[str]) -> str:
    """Return the example as a fenced block."""
    return f"{example['indent']}```pycon\n{example[0]}\n{example['indent']}```"
