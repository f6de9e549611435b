"""Arguments that are right as they are typed: taken without typer's conversion, which loads pydantic."""

from collections.abc import Callable
from typing import Any

import typer.main


def command_of(app: typer.Typer) -> Any:  # noqa: ANN401 (click's class in older typers, typer's own in newer ones)
    """Return the command that *app* describes; it takes a text, and a missing value, as they are.

    From 0.29 on, typer converts every value by pydantic, whose import takes longer than typer's own. Older typers
    convert by click, and are left alone.
    """
    command = typer.main.get_command(app)
    _spare(command)
    return command


def _spare(command: Any) -> None:  # noqa: ANN401 (as above)
    for one in getattr(command, "commands", {}).values():
        _spare(one)
    ask = command.get_params
    command.get_params = lambda context: [_spared(parameter) for parameter in ask(context)]


def _spared(parameter: Any) -> Any:  # noqa: ANN401 (as above)
    build = getattr(parameter, "get_runtime_param", None)
    if build is not None and not isinstance(build, _Sparing):
        parameter.get_runtime_param = _Sparing(parameter.type_descriptor, build)
    return parameter


class _Sparing:
    """Stands for what converts the values of one parameter, and for the call that makes that."""

    def __init__(self, descriptor: Any, build: Callable[[], Any]) -> None:  # noqa: ANN401 (as above)
        self._kind = None if descriptor.parameter_info.parser else descriptor.annotation
        self._build = build

    def __call__(self) -> "_Sparing":
        return self

    def coerce(self, value: object, param: object, ctx: object) -> object:
        """Return *value* as the command wants it."""
        if self._kind is str and (value is None or isinstance(value, str)):
            return value
        if self._kind == list[str] and isinstance(value, tuple | list) and all(isinstance(one, str) for one in value):
            return list(value)
        if self._kind in (bool, int) and value is None:
            return value
        return self._build().coerce(value, param=param, ctx=ctx)
