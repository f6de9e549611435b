"""The names of pipelines on the command line."""

import json

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.cli.pipelining import open_pipeline

SPEC = {
    "name": "copies",
    "inputs": {"glob": {"ref": "r@main", "pattern": "/*"}},
    "output": "out@main",
    "command": ["true"],
}


@pytest.mark.parametrize("target", ["copies", ":", "made.py:", ".made:copies", "..:copies", "json", ".json:a"])
def test_a_text_that_names_no_pipeline_is_refused(store, target):
    with pytest.raises(InvalidInputError, match=r"write file\.py:name, module:name, or a spec's file"):
        open_pipeline(store, target)


def test_a_spec_is_named_by_its_file_and_one_of_several_by_its_name(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(SPEC))
    (tmp_path / "two.json").write_text(json.dumps([SPEC, {**SPEC, "name": "other"}]))
    assert open_pipeline(store, "one.json").name == "copies"
    assert open_pipeline(store, f"{tmp_path}/two.json:other").name == "other"
    with pytest.raises(InvalidInputError, match="name one of them"):
        open_pipeline(store, "two.json")
    (tmp_path / "code.py").write_text("import versioned_io as vio\nmade = vio.read_pipeline('one.json')\nother = 1\n")
    assert open_pipeline(store, "code.py:made").output == "out@main"
    with pytest.raises(InvalidInputError, match="is not a pipeline"):
        open_pipeline(store, "code.py:other")
    assert vio.read_pipeline("one.json").input_refs == ("r@main",)


@pytest.fixture
def failing(store, write, tmp_path, monkeypatch):
    """The arguments that name a pipeline whose only datum fails."""
    store.create_repo("r")
    write(store, "r@main", {"a": b"a"})
    spec = {**SPEC, "command": ["sh", "-c", "echo first; echo second; exit 3"], "tries": 1}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(spec))
    return ["one.json", "--store", str(tmp_path / "store")]


@pytest.mark.parametrize("store_url", ["directory"], indirect=True)
def test_a_log_has_its_lines_and_a_quiet_command_its_answers(failing):
    runner = CliRunner()
    done = runner.invoke(app, ["pipeline", "run", *failing])
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == "nothing was committed; `versioned datums log` prints what a datum printed"
    log = runner.invoke(app, ["datums", "log", failing[0], "a", *failing[1:], "-q"]).output
    assert log.splitlines()[:2] == ["first", "second"]
    for command in ("datums plan", "pipeline show"):
        assert "1 to run" in runner.invoke(app, [*command.split(), *failing, "-q"]).output
