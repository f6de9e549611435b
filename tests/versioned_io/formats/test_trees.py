from pathlib import Path

import pytest

from versioned_io.errors import InvalidInputError
from versioned_io.formats import load_object, save_object


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    (directory / "weights").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "weights" / "0.bin").write_bytes(b"\0" * 1000)
    return directory


def files_below(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_path_of_a_directory_is_stored_as_its_files(objects, model, tmp_path):
    stored = objects.save(model)
    assert (stored.format, stored.path) == ("tree", "2012-01/data.tree.json")
    assert objects.paths() == ["2012-01/data.tree.json", "2012-01/data/config.json", "2012-01/data/weights/0.bin"]
    assert stored.size > 1002
    found = objects.load(Path, directory=tmp_path / "out")
    assert found == tmp_path / "out" / "2012-01" / "data"
    assert files_below(found) == files_below(model)


def test_a_path_of_a_file_keeps_its_name(objects, model, tmp_path):
    objects.save(model / "weights" / "0.bin")
    assert objects.paths() == ["2012-01/data.tree.json", "2012-01/data/0.bin"]
    found = objects.load(directory=tmp_path / "out")
    assert found.name == "0.bin"
    assert found.read_bytes() == b"\0" * 1000


def test_an_empty_directory_comes_back_empty(objects, tmp_path):
    (tmp_path / "empty").mkdir()
    objects.save(tmp_path / "empty")
    found = objects.load(directory=tmp_path / "out")
    assert found.is_dir()
    assert list(found.iterdir()) == []


def test_the_digest_is_that_of_the_content(objects, model):
    first = objects.save(model)
    assert objects.save(model).digest == first.digest
    (model / "weights" / "0.bin").write_bytes(b"\1" * 1000)
    assert objects.save(model).digest != first.digest
    (model / "weights" / "0.bin").write_bytes(b"\0" * 1000)
    assert objects.save(model).digest == first.digest
    (model / "weights" / "0.bin").rename(model / "weights" / "1.bin")
    assert objects.save(model).digest != first.digest


def test_a_directory_that_takes_the_place_of_another_leaves_none_of_its_files(objects, model):
    objects.save(model)
    (model / "config.json").unlink()
    objects.save(model)
    assert objects.paths() == ["2012-01/data.tree.json", "2012-01/data/weights/0.bin"]
    stored = objects.save("text now")
    assert objects.paths() == [stored.path]


def test_files_that_belong_to_no_object_are_not_taken_over(objects, model):
    with objects.store.transaction(objects.branch) as tx:
        tx.write("taken/data/own.csv", b"1")
    with (
        pytest.raises(InvalidInputError, match="files below 'taken/data' that belong to no object"),
        objects.store.transaction(objects.branch) as tx,
    ):
        save_object(tx, "taken/data", model)
    assert objects.paths() == ["taken/data/own.csv"]


def test_where_to_put_it_must_be_said(objects, model):
    objects.save(model)
    with pytest.raises(InvalidInputError, match="pass directory= to say where"):
        objects.load()


def test_a_path_of_nothing_is_refused(objects, tmp_path):
    with pytest.raises(InvalidInputError, match=r"nothing at the path '.*gone'.*return str\(path\)"):
        objects.save(tmp_path / "gone")


def test_the_place_is_not_overwritten(objects, model, tmp_path):
    objects.save(model)
    objects.load(directory=tmp_path)
    with pytest.raises(InvalidInputError, match="exists already"):
        load_object(objects.snapshot(), objects.stem, directory=tmp_path)
