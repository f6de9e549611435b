"""Finding the files below a local directory."""

import os

import pytest

from versioned_io.errors import IllegalPathError, InvalidInputError
from versioned_io.versioning.transactions.local_tree import scan_local_tree


def test_every_file_is_found_with_its_path_and_size(tmp_path):
    contents = {"a": b"1", "b/c/d": b"22", "b/e": b"", "é": b"4"}
    for path, data in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "empty").mkdir()
    tree = scan_local_tree(tmp_path, "to/here")
    assert sorted(tree.paths()) == [f"to/here/{path}" for path in sorted(contents)]
    assert dict(tree.sources()) == {str(tmp_path / path): len(data) for path, data in contents.items()}
    assert (tree.files, tree.size_bytes) == (4, 4)
    for path, (local, _) in zip(tree.paths(), tree.sources(), strict=True):
        assert local == str(tmp_path / path.removeprefix("to/here/"))


@pytest.mark.parametrize("name", ["a\nb", "a\x7f", "e\u0301", "x" * 250, os.fsdecode(b"\xff")])
def test_a_name_that_breaks_the_path_rules_is_refused(tmp_path, name):
    deep = tmp_path
    for _ in range(4):
        deep /= "d" * 200
    deep.mkdir(parents=True)
    (deep / "a").write_bytes(b"")
    assert scan_local_tree(tmp_path, "").files == 1
    (deep / name).write_bytes(b"")
    with pytest.raises(IllegalPathError):
        scan_local_tree(tmp_path, "")


def test_a_directory_whose_name_breaks_the_path_rules_is_refused(tmp_path):
    (tmp_path / "a\nb").mkdir()
    (tmp_path / "a\nb" / "c").write_bytes(b"")
    with pytest.raises(IllegalPathError):
        scan_local_tree(tmp_path, "")


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="link' is a symbolic link or a special file"):
        scan_local_tree(tmp_path, "")
    (tmp_path / "link").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="special file"):
        scan_local_tree(tmp_path, "")
    with pytest.raises(InvalidInputError, match="is not a directory"):
        scan_local_tree(tmp_path / "pipe", "")
