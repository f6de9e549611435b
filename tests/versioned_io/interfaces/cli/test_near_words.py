"""What the command line says about a command that it does not have."""

import re

import pytest
from typer.testing import CliRunner

from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.cli.near_words import WORDS

ID = "01a22c514e79758cae01f940c21e47f0"


def refusal(*words):
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (2, "")
    return done.stderr


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("commit", "`versioned put repo@branch FILES` commits files"),
        ("comit", "`versioned put repo@branch FILES` commits files"),
        ("add", "`versioned put"),
        ("push", "nothing to push; `versioned put"),
        ("pull", "nothing to pull; `versioned checkout"),
        ("clone", "`versioned checkout"),
        ("chekout", "Did you mean 'checkout'"),
    ],
)
def test_a_word_of_git_leads_to_the_command_that_does_it(word, advice):
    assert advice in refusal(word)


def test_a_word_that_is_like_nothing_gets_no_advice():
    assert "No such command 'zzzzzz'.\n" in refusal("zzzzzz")
    assert "No such command 'a//b'.\n" in refusal("lineage", "a//b")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("lineage weather", "lineage upstream weather"),
        ("lineage weather@main:a.csv", "lineage upstream weather@main:a.csv"),
        (f"lineage {ID}", f"lineage show {ID}"),
        ("repo weather", "repo show weather"),
        ("branch weather", "branch list weather"),
        ("branch weather@dev", "branch create weather@dev --at weather@main"),
        ("tag weather", "tag list weather"),
    ],
)
def test_a_group_without_its_command_names_the_usual_one(words, meant):
    assert f"did you mean `versioned {meant}`?" in refusal(*words.split())


def test_a_misspelt_command_of_a_group_is_not_taken_for_a_ref():
    assert "Did you mean 'upstream'" in refusal("lineage", "upstrem")


@pytest.mark.parametrize("word", WORDS)
def test_the_advice_names_commands_that_exist_and_the_word_is_none(word):
    named = {command.name for command in app.registered_commands} | {one.name for one in app.registered_groups}
    assert word not in named
    assert set(re.findall(r"versioned ([a-z-]+)", WORDS[word])) <= named
