"""Every repo of a lineage ID in one local directory."""

import pytest

from versioned_io.errors import CommitForgottenError, InvalidInputError, LineageNotFoundError, RepoNotFoundError


@pytest.fixture
def made(store, write):
    """A model from two repos, which all changed since."""
    for name in ("data", "data-b", "models", "unrelated"):
        store.create_repo(name)
    write(store, "data@main", {"d/x": b"old", "gone": b"1"})
    write(store, "data-b@main", {"l": b"old"})
    write(store, "unrelated@main", {"u": b"1"})
    with store.run("train"), store.transaction("models@main") as tx:
        store.snapshot("data@main").read("d/x")
        store.snapshot("data-b@main").read("l")
        tx.write("m", b"old")
    write(store, "data@main", {"d/x": b"new", "later": b"1"})
    write(store, "data-b@main", {"l": b"new"})
    write(store, "models@main", {"m": b"new"})
    return tx.commit


def files_below(place):
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


THEN = {"data/d/x": b"old", "data/gone": b"1", "data-b/l": b"old", "models/m": b"old"}


def test_each_repo_is_below_its_name_as_the_lineage_id_reads_it(store, made, tmp_path):
    done = store.checkout_lineage(made.lineage_id, tmp_path / "then")
    assert files_below(tmp_path / "then") == THEN
    assert done.files == 4
    assert [commit.repo for commit in done.commits] == ["data", "data-b", "models"]
    for commit in done.commits:
        assert commit == store.commit(f"{commit.repo}@{made.lineage_id}")


def test_what_is_there_already_is_refused_before_anything_is_written(store, made, tmp_path):
    then = tmp_path / "then"
    (then / "models").mkdir(parents=True)
    (then / "models" / "m").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="exists already"):
        store.checkout_lineage(made.lineage_id, then)
    assert files_below(then) == {"models/m": b"mine"}
    store.checkout_lineage(made.lineage_id, then, overwrite=True)
    assert files_below(then) == THEN


def test_a_link_in_the_place_of_a_repo_is_not_followed(store, made, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "then").mkdir()
    (tmp_path / "then" / "data").symlink_to(outside)
    for overwrite in (False, True):
        with pytest.raises(InvalidInputError):
            store.checkout_lineage(made.lineage_id, tmp_path / "then", overwrite=overwrite)
    assert files_below(outside) == {}
    assert files_below(tmp_path / "then") == {}


def test_incrementally_only_what_differs_is_written_and_what_others_put_there_stays(store, made, tmp_path, write):
    then = tmp_path / "then"
    store.checkout_lineage(made.lineage_id, then, mode="incremental")
    (then / "mine").write_bytes(b"1")
    assert store.checkout_lineage(made.lineage_id, then, mode="incremental").files == 0
    with store.run("train"), store.transaction("models@main") as tx:
        store.snapshot("data@main").read("d/x")
        tx.write("m", b"newer")
    done = store.checkout_lineage(tx.commit.lineage_id, then, mode="incremental")
    found = files_below(then)
    assert found.pop("mine") == b"1"
    assert {path for path in found if not path.startswith(".versioned")} == {
        "data/d/x",
        "data/gone",
        "data/later",
        "models/m",
    }
    assert done.files == 3


def test_nothing_is_written_of_an_unknown_id_or_of_repos_that_are_not_whole(store, made, tmp_path):
    with pytest.raises(LineageNotFoundError):
        store.checkout_lineage("0" * 32, tmp_path / "then")
    store.delete_repo("data-b", force=True)
    with pytest.raises(RepoNotFoundError, match="data-b"):
        store.checkout_lineage(made.lineage_id, tmp_path / "then")
    assert not (tmp_path / "then").exists()
    store.restore_repo("data-b")
    store.purge("data", "gone", reason="test")
    try:
        store.checkout_lineage(made.lineage_id, tmp_path / "then")
    except CommitForgottenError:
        assert not (tmp_path / "then").exists()
    else:
        assert "data/gone" not in files_below(tmp_path / "then")


def test_the_files_count_as_read_in_a_run(store, made, tmp_path):
    with store.run("look") as run:
        store.checkout_lineage(made.lineage_id, tmp_path / "then")
    assert {(file.repo, file.path) for file in run.inputs} == {tuple(path.split("/", 1)) for path in THEN}
