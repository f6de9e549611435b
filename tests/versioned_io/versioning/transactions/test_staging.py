"""What a transaction has staged, one by one and in columns, beside a dictionary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import versioned_io as vio
from tests.versioned_io.storage.chunks.data import new_objects
from tests.versioned_io.storage.chunks.no_index import NoIndex
from versioned_io.errors import PathNotFoundError, SourceChangedError
from versioned_io.model.identifiers import new_commit_id
from versioned_io.storage.chunks.chunk_columns import TakenFile
from versioned_io.storage.chunks.cutting import digest_of
from versioned_io.storage.chunks.data_writer import DataWriter
from versioned_io.storage.chunks.local_intake import FileColumns
from versioned_io.versioning.transactions.staged_runs import StagedRun
from versioned_io.versioning.transactions.staging import StagedFile, Staging

PATHS = st.builds("/".join, st.lists(st.sampled_from(["a", "b", "a-", "é"]), min_size=1, max_size=3))
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.integers(0, 9)),
    st.tuples(st.just("run"), st.lists(PATHS, min_size=1, unique=True), st.integers(0, 9)),
    st.tuples(st.just("delete"), PATHS, st.just(0)),
    st.tuples(st.just("delete_directory"), PATHS | st.just(""), st.just(0)),
)


def columns_of(contents):
    columns = FileColumns()
    for row, data in enumerate(contents):
        columns.sizes.append(len(data))
        columns.digests += digest_of(data)
        if not data:
            columns.several[row] = b""
    return columns


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=12))
def test_what_is_staged_in_columns_is_what_a_dictionary_would_hold(steps):
    writer = DataWriter(new_objects(), NoIndex())
    staging, model = Staging(few_files=0, most_runs=2), {}
    for action, target, number in steps:
        data = b"x" * number
        if action == "write":
            staging.write(target, StagedFile(writer.intake.write(data), None))
            model[target] = data
        elif action == "run":
            for _ in target:
                writer.intake.write(data)
            staging.write_run(StagedRun.of(target, columns_of([data] * len(target))))
            model |= dict.fromkeys(target, data)
        elif action == "delete":
            staging.delete_file(target)
            model.pop(target, None)
        else:
            staging.delete_directory(target)
            prefix = f"{target}/" if target else ""
            model = {path: data for path, data in model.items() if not path.startswith(prefix)}
        for path in {target} if isinstance(target, str) else set(target):
            found = staging.find(path)
            assert (None if found is None else found.digest) == (digest_of(model[path]) if path in model else None)
    for directory in ("", "a", "a/b", "é", "b/a-"):
        prefix = f"{directory}/" if directory else ""
        below = {path: digest_of(data) for path, data in model.items() if path.startswith(prefix)}
        assert [(path, file.digest) for path, file in staging.below(directory)] == sorted(below.items())
        assert staging.has_below(directory) == bool(below)
    rows = staging.rows(writer.placer, new_commit_id())
    assert rows.column("path").to_pylist() == sorted(model)
    assert rows.column("size").to_pylist() == [len(model[path]) for path in sorted(model)]
    for path, digest, chunks in zip(
        *(rows.column(name).to_pylist() for name in ("path", "digest", "chunks")), strict=True
    ):
        assert digest == digest_of(model[path])
        assert [chunk["digest"] for chunk in chunks] == ([digest] if model[path] else [])


def make_tree(directory, count):
    for number in range(count):
        path = directory / f"{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    return directory


@pytest.fixture
def imported(store, tmp_path):
    store.create_repo("r")
    make_tree(tmp_path / "in", 600)
    return tmp_path / "in"


def test_an_imported_directory_is_read_changed_and_deleted_before_it_is_committed(store, imported):
    with store.transaction("r@main") as tx:
        assert tx.write_tree(imported, to="t") == 600
        assert tx.read("t/0/7") == b"7"
        assert len(list(tx.list("t/1"))) == 86
        tx.write("t/0/7", b"+", append=True)
        tx.delete("t/0/14")
        tx.delete("t/2/")
        tx.move("t/3", "moved")
        assert not tx.exists("t/3")
        with pytest.raises(PathNotFoundError):
            tx.read("t/0/14")
    snapshot = store.snapshot("r@main")
    assert snapshot.read("t/0/7") == b"7+"
    assert snapshot.read("moved/3") == b"3"
    assert snapshot.stat("").files == 600 - 1 - 86
    assert not snapshot.exists("t/0/14")
    assert not snapshot.exists("t/2")


def test_an_import_over_another_says_what_it_changed(store, imported):
    with store.transaction("r@main") as tx:
        tx.write_tree(imported)
    (imported / "0/7").write_bytes(b"new")
    (imported / "new").write_bytes(b"new")
    with store.transaction("r@main") as tx:
        tx.write_tree(imported)
    stats = tx.commit.stats
    assert (stats.added, stats.modified, stats.deleted, stats.files) == (1, 1, 0, 601)
    with store.transaction("r@main") as tx:
        tx.write_tree(imported)
    assert not tx.changed


def test_two_imports_of_the_same_files_are_no_conflict_and_different_ones_are(store, imported):
    with store.transaction("r@main") as first:
        first.write_tree(imported)
        with store.transaction("r@main") as second:
            second.write_tree(imported)
    assert store.snapshot("r@main").stat("").files == 600
    (imported / "0/7").write_bytes(b"one")
    third = store.transaction("r@main")
    third.write_tree(imported)
    (imported / "0/7").write_bytes(b"two")
    with store.transaction("r@main") as fourth:
        fourth.write_tree(imported)
    with pytest.raises(vio.VersionedError, match="0/7") as caught:
        third.finish()
    assert caught.value.paths == ("0/7",)


@pytest.mark.parametrize("how", ["grows", "vanishes"])
def test_a_source_that_changes_during_an_import_leaves_nothing_staged(store, imported, how):
    (imported / "zz").write_bytes(b"last")

    def disturb(progress):
        if progress.files == 0 and how == "grows":
            (imported / "zz").write_bytes(b"longer than it was")
        elif progress.files == 0:
            (imported / "zz").unlink()

    with store.transaction("r@main") as tx:
        with pytest.raises(SourceChangedError, match="nothing of this import is staged"):
            tx.write_tree(imported, progress=disturb)
        assert list(tx.list("")) == []
    assert not tx.changed


def test_a_file_of_another_kind_in_columns_is_found():
    run = StagedRun.of(["b", "a"], columns_of([b"", b"x"]))
    assert run.find("b") == TakenFile(0, digest_of(b""), b"")
    assert run.find("a") == TakenFile(1, digest_of(b"x"), digest_of(b"x"))
    assert run.find("c") is None
