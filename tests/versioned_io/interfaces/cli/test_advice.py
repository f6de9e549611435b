"""The library's errors, as a command prints them."""

import ast
import re
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.errors import VersionedError
from versioned_io.interfaces.cli.advice import in_commands, sentence_of

ROOT = Path(vio.__file__).parent
CALL = re.compile(r"\b[a-z_]+\([^)]{0,40}\)|\b(pass|give|with) [a-z_]+=\S*")
PYTHON_ALONE = {
    "a pathlib.Path is stored as its file",  # values, which no command stores or loads
    "holds a local file or directory: pass directory=",
    "is a file or directory to be put somewhere: pass directory=",
    "is a pickle, and loading one runs code",
    "register_format()",
    "has no recorded format, so it is not a stored object",
    "ask store.subscription() for a new one",
    "begin another with store.transaction()",
    "pass empty='skip' to make no commit",
    "of which fork() made this one",
    "can't be pickled: it was not opened by open_store()",
    "its consumer has not called collect() since",
    "pass unicodedata.normalize('NFC', path)",
    "has no branch with ticks yet: pass ref=",  # inputs of datums, which no command makes
    "can't be listed yet: list its files with glob()",
    "needs at least one input",
    "must be an input, such as glob(",
    "must be an input, such as versioned_io.glob(",
    "what versioned_io.metric() returns",  # the command has --metric and --change
    "is not a pipeline: decorate a function with",  # the code of pipelines and of their functions
    "code='project' needs the directory of the project",
    "calls getattr() on a module",
    ", so it can't be read whole: call table()",
    " needs a name: pass name=",
    "open the store with sources={",  # one of several parts of a sentence; see below
    "handle(s) of this run were sent",
    "directories=True '/' is the root",
    ".to_json() returned",  # batches of a run that an orchestrator divides
    "take one of plan().batches()",
    "pass the one of `with store.transaction(...) as tx`",
    "so its processes can't share results: call run()",
    "pass any_code=True (--any-code)",
}


def messages():
    """Yield every text of the core that is no docstring and no SQL, and has a call of Python in it."""
    for path in ROOT.rglob("*.py"):
        if {"testing", "filesystem", "migrations", "cli"} & set(path.parts):
            continue
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                is_sql = re.search(
                    r"\b(SELECT|VALUES|PRAGMA|jsonb?_\w+|starts_with|coalesce|WITH RECURSIVE)\b", node.value
                )
                if " " in node.value.strip() and CALL.search(node.value) and not is_sql:
                    yield path.relative_to(ROOT).as_posix(), node.value


@pytest.mark.parametrize(("where", "text"), list(messages()))
def test_a_message_that_names_a_call_is_said_in_commands_or_only_python_shows_it(where, text):
    if not any(part in text for part in PYTHON_ALONE):
        assert not CALL.search(in_commands(text)), where


def test_a_place_outside_of_the_store_is_permitted_by_the_environment():
    said = in_commands(
        "'s3://b/a' may not be read without permission: open the store with sources={'s3://b/': {}} and its storage "
        "options, or name it in VERSIONED_SOURCES on the command line"
    )
    expected = "name it in VERSIONED_SOURCES, with its storage options"
    assert said == f"'s3://b/a' may not be read without permission: {expected}"


def test_what_a_command_refuses_names_its_flags(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        for branch in ("r@dev", "r@kept"):
            with store.transaction("r@main", empty="allow"):
                pass
            store.create_branch(branch, at="r@main")
        store.subscription("s", "r@dev")
        store.protect_branch("r@kept")
        for refused, advice in (
            (lambda: store.delete_branch("r@dev"), "pass --force to delete them with it"),
            (lambda: store.delete_branch("r@kept"), "lift that first with `versioned branch protect --off`"),
            (lambda: store.commit("0" * 32), "`versioned log` lists the commits of a branch"),
            (lambda: store.delete_repo("r"), "pass --force to delete it"),
            (lambda: vio.open_store(tmp_path / "none"), "make one with `versioned init`, or check the location"),
        ):
            with pytest.raises(VersionedError) as caught:
                refused()
            said = sentence_of(caught.value, {})
            assert advice in said
            assert not CALL.search(said)
