"""The digest of a command."""

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.processing.fingerprints.code_manifest import code_difference
from versioned_io.processing.fingerprints.of_command import code_of_command


def test_a_command_is_its_arguments_its_input_its_environment_and_its_files(tmp_path):
    (tmp_path / "edges.pl").write_text("print 1")
    (tmp_path / "other.pl").write_text("print 2")

    def code(**changes):
        options = {"argv": ["perl", "edges.pl", "-v"], "stdin": ["a"], "env": {"MODE": "1"}, "directory": tmp_path}
        return code_of_command(**{**options, **changes})

    base = code()
    assert list(base.texts) == ["argv", "stdin", "env MODE", "file edges.pl"]
    assert [one.name for one in code_difference(base, code(argv=["perl", "edges.pl"]))] == ["argv"]
    assert [one.name for one in code_difference(base, code(stdin=["b"]))] == ["stdin"]
    assert [one.name for one in code_difference(base, code(env={"MODE": "2"}))] == ["env MODE"]
    assert code(directory=None).digest != base.digest
    (tmp_path / "other.pl").write_text("print 3")
    assert code().digest == base.digest
    (tmp_path / "edges.pl").write_text("print 4")
    (change,) = code_difference(base, code())
    assert (change.name, change.diff.splitlines()[-2:]) == ("file edges.pl", ["-print 1", "+print 4"])
    assert code(code_version="1").digest == code(code_version="1", stdin=[]).digest


def test_a_command_without_arguments_or_with_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="at least one argument"):
        code_of_command([])
    with pytest.raises(InvalidInputError, match="can't be read"):
        code_of_command(["true"], directory=tmp_path, code_paths=["nope"])
