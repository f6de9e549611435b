"""The digest of a command, and the files that belong to it."""

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


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"]])
def test_a_command_has_a_program(argv):
    with pytest.raises(InvalidInputError):
        parse_command(argv)


def test_a_missing_file_of_code_paths_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="can't be read"):
        files_of_command(["true"], tmp_path, ["nope"])
