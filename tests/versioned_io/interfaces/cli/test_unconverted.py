"""A value that is taken as it is typed is what typer would have made of it."""

import pytest
import typer.core
import typer.main

from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.cli.unconverted import command_of


def commands(group, path=()):
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, (*path, name))
    yield " ".join(path), group


PLAIN = dict(commands(typer.main.get_command(app)))
SPARED = dict(commands(command_of(app)))


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_is_what_typer_makes_of_it(name):
    if not hasattr(typer.core, "_TyperParameter"):
        pytest.skip("typer before 0.29 converts by click, and is left alone")
    contexts = [one.context_class(one, info_name=name) for one in (PLAIN[name], SPARED[name])]
    both = list(zip(*(context.command.get_params(context) for context in contexts), strict=True))
    assert {parameter.name for parameter, _ in both} >= {"help"}
    for plain, spared in both:
        given = [None, ("a", "b")] if plain.multiple or plain.nargs == -1 else [None, "", "a b", "\udcff", "7"]
        assert [converted(spared, value, contexts[1]) for value in given] == [
            converted(plain, value, contexts[0]) for value in given
        ]


def converted(parameter, value, context):
    """Return what becomes of a value, or what is said against it."""
    try:
        return parameter.get_runtime_param().coerce(value, parameter, context)
    except typer.BadParameter as error:
        return error.message
