"""Options that every command takes, written before the command or after it: where the store is, and how much is said.

Only the attributes and calls that click and typer share are used here, since typer has click inside from 0.29 on.
"""

from collections.abc import Sequence
from typing import Any, Final

from versioned_io.interfaces.cli.output import set_output

WITH_VALUE: Final = frozenset({"--store", "-s", "--catalog"})
"""Options of every command that take a value."""

LEVELS: Final = {"-q": -1, "--quiet": -1, "-v": 1, "--verbose": 1}
"""How much is said with each of these options, beside 0 without one."""

OF_OUTPUT: Final = frozenset({"--no-pager", "--full-ids", *LEVELS})
"""Options about the output, which every command takes and none knows of."""

FLAGS: Final = frozenset({"--json", *OF_OUTPUT})
"""Options of every command without a value."""


def hoisted(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the global options that *args* begins with, and the rest."""
    at = 0
    while at < len(args):
        word = args[at]
        if word in WITH_VALUE and at + 1 < len(args):
            at += 2
        elif word in FLAGS or (word.partition("=")[0] in WITH_VALUE and "=" in word):
            at += 1
        else:
            break
    return list(args[:at]), list(args[at:])


def behind_the_command(args: Sequence[str]) -> list[str]:
    """Return *args* of a group with the global options that they begin with moved behind the name of the command."""
    options, rest = hoisted(args)
    if not rest or rest[0].startswith("-"):
        return rest  # nothing to run, or --help
    return [rest[0], *options, *rest[1:]]


def take_output_options(command: Any) -> None:  # noqa: ANN401 (click's class, or typer's own)
    """Extend *command* to accept `OF_OUTPUT` anywhere among its arguments, and to set them."""
    parse = command.parse_args
    if getattr(parse, "takes_output_options", False):
        return

    def parse_args(context: Any, args: list[str]) -> Any:  # noqa: ANN401 (as above)
        chosen, rest = _split(command, args)
        set_output(
            sum(LEVELS.get(one, 0) for one in chosen),
            may_page="--no-pager" not in chosen,
            full_ids="--full-ids" in chosen,
        )
        return parse(context, rest)

    parse_args.takes_output_options = True  # type: ignore[attr-defined]
    command.parse_args = parse_args


def _split(command: Any, args: Sequence[str]) -> tuple[list[str], list[str]]:  # noqa: ANN401 (as above)
    """Return the output options among *args*, and the other arguments in their order."""
    with_value = {name for one in command.params if not getattr(one, "is_flag", True) for name in one.opts}
    own = {name for one in command.params for name in one.opts}
    chosen: list[str] = []
    rest: list[str] = []
    is_value = False
    for number, word in enumerate(args):
        if word == "--" and not is_value:
            rest += args[number:]
            break
        if not is_value and word in OF_OUTPUT - own:
            chosen.append(word)
        else:
            rest.append(word)
        is_value = not is_value and word in with_value
    return chosen, rest
