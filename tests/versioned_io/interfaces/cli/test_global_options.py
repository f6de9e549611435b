"""Options that every command takes: before the command or after it, and how much is said."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.interfaces.cli.app import app


@pytest.fixture
def place(tmp_path):
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        with store.transaction("r@main", message="-q") as tx:
            tx.write("a", b"1")
    return str(tmp_path / "store")


def run(*arguments, code=0, **environment):
    done = CliRunner().invoke(app, list(arguments), env={"VERSIONED_STORE": None, **environment})
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ["--store", "STORE", "--json", "repo", "list"],
        ["--json", "repo", "--store=STORE", "list"],
        ["repo", "-s", "STORE", "list", "--json"],
        ["-s", "STORE", "repo", "list", "--json"],
        ["-q", "--store=STORE", "-v", "repo", "list", "--json"],
    ],
)
def test_global_options_stand_before_the_command_or_after_it(place, arguments):
    done = run(*(word.replace("STORE", place) for word in arguments))
    assert [repo["name"] for repo in json.loads(done.stdout)["repos"]] == ["r"]


def test_an_option_before_the_command_wins_over_the_environment(place):
    assert "no commit yet" not in run("--store", place, "log", "r", VERSIONED_STORE="/nowhere").stdout
    assert "/nowhere" in run("log", "r", code=3, VERSIONED_STORE="/nowhere").stderr


def test_options_without_a_command_show_the_help(place):
    assert "Usage: versioned" in run("--store", place, "--help").stdout
    assert re.search("No such option:? '?--nothing", run("--nothing", "ls", code=2).stderr)


def test_quiet_leaves_answers_and_errors(place, tmp_path):
    (tmp_path / "b").write_bytes(b"2")
    assert run("put", "r@main", str(tmp_path / "b"), "-q", "-s", place).stdout == ""
    assert "b" in run("-q", "ls", "r@main", "-s", place).stdout
    assert run("diff", "r@main~1", "r@main", "--partitions", "{name}", "-q", "-s", place).stdout == "b\n"
    assert "no repo 'x'" in run("--quiet", "log", "x", "-s", place, code=3).stderr
    assert "added" in run("put", "r@main:c", str(tmp_path / "b"), "-s", place).stdout  # the next one is not quiet


def test_verbose_says_which_store_it_is(place):
    assert f"versioned: the store is {place}" in run("log", "r@main", "-v", "-s", place).stderr
    assert run("log", "r@main", "-s", place).stderr == ""


@pytest.mark.parametrize(("arguments", "message"), [(["-m", "-q"], "-q"), (["--message=-v"], "-v"), (["-q"], "")])
def test_a_value_that_looks_like_such_an_option_is_a_value(place, tmp_path, arguments, message):
    (tmp_path / "b").write_bytes(b"2")
    run("put", "r@main", str(tmp_path / "b"), *arguments, "-s", place)
    with vio.open_store(place) as store:
        assert store.commit("r@main").message == message


def test_a_file_of_that_name_can_be_given_after_two_dashes(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-q").write_bytes(b"2")
    assert "1 added" in run("put", "-s", place, "--", "r@main", "-q").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("versioned lo", ["log"]),
        ("versioned log ", ["r", "second"]),
        ("versioned log r@", ["r@main", "r@v1"]),
        ("versioned cat r@main:", ["r@main:a", "r@main:d/", "r@main:names/"]),
        ("versioned cat r@v1:d/", ["r@v1:d/b"]),
        ("versioned cat r@main:names/", ["r@main:names/year=2012/", "r@main:names/\u00fc,1+1%.csv"]),
        ("versioned log nothing@", []),
        ("versioned merge r@v", ["r@v1"]),
        ("versioned log --store /nowhere ", []),
    ],
)
def test_a_shell_completes_commands_repos_refs_and_paths(place, words, expected):
    with vio.open_store(place) as store:
        store.create_repo("second")
        with store.transaction("r@main") as tx:
            tx.write("d/b", b"1")
            # What a shell would run, or take for something else, is not put into its line.
            for name in ("$(id)", "\\$(id)", "`id`", "a;id", "a b", "a|id", "*", "'", '"', "a&", "a>b", "!1", "#"):
                tx.write(f"names/{name}", b"1")
            tx.write("names/year=2012/a", b"1")
            tx.write("names/\u00fc,1+1%.csv", b"1")
        store.create_tag("r@v1", at="r@main")
    done = subprocess.run(
        [Path(sys.executable).with_name("versioned")],
        env={
            **os.environ,
            "VERSIONED_STORE": place,
            "_VERSIONED_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.parametrize(("where", "expected"), [("clone", []), ("home", ["mine"])])
def test_the_tab_key_does_not_open_the_store_that_a_file_in_the_working_directory_names(tmp_path, where, expected):
    """The directory may be a stranger's clone, and the store that its file names any address."""
    for name in ("clone", "home"):
        (tmp_path / name).mkdir()
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("mine")
    (tmp_path / where / "versioned.toml").write_text(f'store = "{tmp_path / "store"}"\n')
    done = subprocess.run(
        [Path(sys.executable).with_name("versioned")],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("VERSIONED_")},
            "HOME": str(tmp_path / "home"),
            "_VERSIONED_COMPLETE": "complete_bash",
            "COMP_WORDS": "versioned ls mi",
            "COMP_CWORD": "2",
        },
        cwd=tmp_path / "clone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (expected, "")
