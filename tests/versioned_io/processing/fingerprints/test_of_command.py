"""The digest of a command, and the files that belong to it."""

import os

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.processing.fingerprints.code_manifest import code_difference
from versioned_io.processing.fingerprints.of_command import code_of_command, files_of_command, parse_command


def test_a_command_is_its_arguments_its_input_its_environment_and_its_files(tmp_path):
    (tmp_path / "edges.pl").write_text("print 1")
    (tmp_path / "other.pl").write_text("print 2")

    def code(code_version=None, directory=tmp_path, **changes):
        options = {"argv": ["perl", "edges.pl", "-v"], "stdin": ["a"], "env": {"MODE": "1"}, **changes}
        return code_of_command(
            parse_command(**options), files_of_command(options["argv"], directory), code_version=code_version
        )

    base = code()
    assert list(base.texts) == ["argv", "stdin", "env MODE", "file edges.pl"]
    assert [one.name for one in code_difference(base, code(argv=["perl", "edges.pl"]))] == ["argv"]
    assert [one.name for one in code_difference(base, code(stdin=["b"]))] == ["stdin"]
    assert [one.name for one in code_difference(base, code(env={"MODE": "2"}))] == ["env MODE"]
    assert [one.name for one in code_difference(base, code(image="a:1"))] == ["image"]
    assert code(directory=tmp_path / "nowhere").digest != base.digest
    (tmp_path / "other.pl").write_text("print 3")
    assert code().digest == base.digest
    (tmp_path / "edges.pl").write_text("print 4")
    (change,) = code_difference(base, code())
    assert (change.name, change.diff.splitlines()[-2:]) == ("file edges.pl", ["-print 1", "+print 4"])
    assert code(code_version="1").digest == code(code_version="1", stdin=[]).digest


def test_files_elsewhere_count_but_not_those_of_the_machine(tmp_path):
    project, other = tmp_path / "project", tmp_path / "other.conf"
    project.mkdir()
    other.write_text("a = 1")
    files = files_of_command(["/usr/bin/env", "/usr/bin/perl", str(other), "../other.conf"], project)
    assert [(one.name, one.data) for one in files] == [(str(other), None), ("../other.conf", None)]
    other.write_bytes(b"a" * 2_000_000)
    assert files_of_command(["perl", str(other)], project)[0].part.text.startswith("blake3 ")


def test_a_directory_of_code_paths_brings_its_files_and_code_of_another_python_counts_as_text(tmp_path):
    (tmp_path / "lib" / "__pycache__").mkdir(parents=True)
    (tmp_path / "lib" / "old.py").write_text("print 1")
    (tmp_path / "lib" / "new.py").write_text("x = 1  # one")
    (tmp_path / "lib" / "__pycache__" / "new.pyc").write_bytes(b"")
    found = {one.name: one.part.text for one in files_of_command(["true"], tmp_path, ["lib"])}
    assert found == {"lib/old.py": "print 1", "lib/new.py": "x = 1"}


@pytest.mark.parametrize("place", ["..", "../a", "/etc/passwd"])
def test_code_paths_are_in_the_directory(tmp_path, place):
    (tmp_path / "a").touch()
    (tmp_path / "b").mkdir()
    with pytest.raises(InvalidInputError, match="not in the directory"):
        files_of_command(["true"], tmp_path / "b", [place])


def digest(argv=("true",), directory=".", code_paths=(), code_version=None, **changes):
    files = files_of_command(argv, directory, code_paths)
    return code_of_command(parse_command(argv, **changes), files, code_version).digest


def test_the_names_of_variables_and_files_count_and_not_only_their_contents(tmp_path):
    assert digest(env={"A": "x"}) != digest(env={"B": "x"})
    assert len({digest(env={"A": "x"}), digest(stdin=["x"]), digest(image="x"), digest(facts=["x"])}) == 4
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.json").write_text("1")
    before = [digest(directory=tmp_path, code_paths=["conf"], code_version=version) for version in (None, "1")]
    (tmp_path / "conf" / "a.json").rename(tmp_path / "conf" / "b.json")
    after = [digest(directory=tmp_path, code_paths=["conf"], code_version=version) for version in (None, "1")]
    assert not set(before) & set(after)


@pytest.mark.parametrize(
    ("old", "new", "is_code"),
    [
        ("#!/usr/bin/env python3\nx = 1", "#!/usr/bin/env -S python3 -O\nx = 1", True),
        ('"""Usage: p [--n=1]"""\nprint(__doc__)', '"""Usage: p [--n=2]"""\nprint(__doc__)', True),
        ('"""One."""\nx = 1', '"""Two."""\nx = 1  # three', False),
    ],
)
def test_the_interpreter_of_a_program_and_a_docstring_that_it_reads_are_code(tmp_path, old, new, is_code):
    found = []
    for text in (old, new):
        (tmp_path / "p.py").write_text(text)
        found.append(digest(["./p.py"], tmp_path))
    assert (found[0] != found[1]) == is_code


def test_a_program_of_the_directory_counts_also_by_its_whole_path(tmp_path):
    program = tmp_path / "p.sh"
    program.write_text("echo 1")
    before = digest([str(program)], tmp_path)
    program.write_text("echo 2")
    assert digest([str(program)], tmp_path) != before
    (tmp_path / "python").symlink_to("/usr/bin/env")  # as a virtual environment has it
    assert files_of_command([str(tmp_path / "python")], tmp_path) == ()


def test_no_text_of_files_elsewhere_and_of_secret_variables_is_kept(tmp_path):
    project, secret = tmp_path / "project", tmp_path / "credentials"
    project.mkdir()
    secret.write_text("hunter2")
    (project / "link").symlink_to(secret)
    text = parse_command(["curl", str(secret), "link"], env={"API_TOKEN": "hunter2", "MODE": "fast"})
    code = code_of_command(text, files_of_command(text.argv, project))
    assert "hunter2" not in code.to_json()
    assert code.texts["env MODE"] == "fast"
    secret.write_text("hunter3")
    assert code_of_command(text, files_of_command(text.argv, project)).digest != code.digest
    other = parse_command(text.argv, env={"API_TOKEN": "hunter3", "MODE": "fast"})
    assert code_of_command(other).digest != code_of_command(text).digest
    secret.write_text("")
    assert files_of_command(["curl", str(secret)], project)[0].part.text.startswith("blake3 ")


def test_a_link_out_of_the_directory_is_no_code_path(tmp_path):
    (tmp_path / "project" / "lib").mkdir(parents=True)
    (tmp_path / "other").write_text("x")
    (tmp_path / "project" / "lib" / "link").symlink_to(tmp_path / "other")
    for place in ("lib", "lib/link"):
        with pytest.raises(InvalidInputError, match="leads out of the directory"):
            files_of_command(["true"], tmp_path / "project", [place])


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"], ["echo", "\ud800"]])
def test_a_command_has_a_program(argv):
    with pytest.raises(InvalidInputError):
        parse_command(argv)


def test_arguments_may_name_files_that_are_not_text_and_input_lines_are_text():
    assert parse_command(["cat", os.fsdecode(b"a\xff")]).argv[1] == "a\udcff"
    with pytest.raises(InvalidInputError, match="lone surrogates"):
        parse_command(["cat"], stdin=["\udcff"])


def test_a_missing_file_of_code_paths_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="can't be read"):
        files_of_command(["true"], tmp_path, ["nope"])
