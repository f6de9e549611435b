"""What is forgotten leaves nothing: the store is as if the file had never been there."""

import io
import itertools
import uuid
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from tests.versioned_io.maintenance.erasure.test_purge import everything_stored
from versioned_io.catalog.datum_uses import find_trees, list_states
from versioned_io.catalog.tables import datum_uses, failures, results
from versioned_io.errors import InvalidInputError, PathNotFoundError
from versioned_io.maintenance.erasure import forgetting, purge
from versioned_io.maintenance.erasure.purge import purge_target
from versioned_io.processing.datums.basis import read_unsettled
from versioned_io.processing.datums.datum_tree import list_facts

SECRET = b"a secret of Carol"


def declare(name, inputs, output, compute, **options):
    def function(datum, out):
        for path, data in compute(datum).items():
            out.write(path, data)

    return vio.pipeline(name, inputs=inputs, output=output, code_version="1", **options)(function)


def edges(**options):
    def compute(datum):
        image = datum["images"]
        print("looking at", image.read())
        if image.read().startswith(b"fail"):
            raise ValueError(image.read())
        return {f"{image.path}.edge": b"edge of " + image.read()}

    return declare("edges", vio.glob("images@main", "/(*)"), "edges@main", compute, **options)


def montage():
    inputs = vio.group(vio.glob("edges@main", "/(?)*.edge", group_by="$1"))

    def compute(datum):
        return {datum["edges"][0].captures[0]: b"|".join(one.read() for one in datum["edges"])}

    return declare("montage", inputs, "montage@main", compute)


@pytest.fixture
def new_stores():
    made = []

    def make():
        made.append(vio.create_store(f"memory://{uuid.uuid4().hex}"))
        for name in ("images", "edges", "montage", "means"):
            made[-1].create_repo(name)
        return made[-1]

    yield make
    for one in made:
        one.close()


def run_all(store, *pipes):
    for pipe in pipes or (edges(), montage()):
        store.pipeline(pipe).run()


def contents(store, repo):
    snapshot = store.snapshot(f"{repo}@main")
    return {} if snapshot.is_empty else {file.path: snapshot.read(file.path) for file in snapshot.walk()}


def play(store, write, *, with_secret):
    write(store, "images@main", {"cat": b"cat", "dog": b"dog"})
    run_all(store)
    if with_secret:
        write(store, "images@main", {"carol": SECRET})
        run_all(store)
    write(store, "images@main", {"cow": b"cow"})
    run_all(store)


def test_the_store_is_as_one_that_never_had_the_file(new_stores, write):
    store, twin = new_stores(), new_stores()
    play(store, write, with_secret=True)
    play(twin, write, with_secret=False)
    assert SECRET in contents(store, "montage")["c"]
    before = [commit.id for repo in ("images", "edges", "montage") for commit in store.log(f"{repo}@main")]
    assert SECRET in everything_stored(store)
    plan = store.forget("images:carol", dry_run=True)
    assert (plan.outputs, plan.datums) == (
        {"edges": ("carol.edge",), "montage": ("c",)},
        {"edges": ("carol",), "montage": ("c",)},
    )
    assert SECRET in contents(store, "montage")["c"]
    report = store.forget("images:carol", recompute=True, pipelines=[edges(), montage()])
    assert (report.gone, report.shared, report.recomputed) == (True, {}, {"montage": "succeeded"})
    for repo in ("images", "edges", "montage"):
        assert contents(store, repo) == contents(twin, repo)
        assert store.snapshot(f"{repo}@main").commit.tree_digest == twin.snapshot(f"{repo}@main").commit.tree_digest
    assert {commit.id for repo in ("images", "edges", "montage") for commit in store.log(f"{repo}@main")} >= set(before)
    assert SECRET not in everything_stored(store)
    assert store.fsck().is_clean
    for pipe in (edges(), montage()):
        assert store.pipeline(pipe).plan().is_empty


def test_a_failed_evaluation_leaves_nothing_either(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"cat": b"cat", "carol": b"fail " + SECRET})
    assert store.pipeline(edges()).run().state == "failed"
    report = store.forget("images:carol")
    assert (report.failures, report.gone) == (1, True)
    assert SECRET not in everything_stored(store)
    with store._backend.catalog.read() as connection:
        assert connection.execute(failures.select()).all() == []
        assert len(connection.execute(results.select()).all()) == 1  # that of the cat, which is reused
    assert store.pipeline(edges()).run().counts["reused"] == 1


def test_results_that_were_never_committed_are_found(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET, "dog": b"fail"})
    assert store.pipeline(edges()).run().state == "failed"
    report = store.forget("images:carol")
    assert (report.results, report.failures, report.datums, report.gone) == (1, 0, {}, True)
    assert SECRET not in everything_stored(store)
    with store._backend.catalog.read() as connection:
        assert connection.execute(results.select()).all() == []


def test_a_key_of_a_table_is_forgotten_with_the_file_and_comes_back_with_another_one(new_stores, write):
    store = new_stores()
    file = io.BytesIO()
    pq.write_table(pa.table({"who": ["carol", "dave"], "v": [1, 2]}), file)
    write(store, "images@main", {"t/a.parquet": file.getvalue()})
    means = declare(
        "means",
        vio.table("images@main", "/t/*", by="who"),
        "means@main",
        lambda d: {d["images"].value: str(d["images"].table().column("v").to_pylist()).encode()},
    )
    run_all(store, means)
    report = store.forget("images:t/a.parquet")
    assert report.outputs == {"means": ("carol", "dave")}
    assert contents(store, "means") == {}
    with store._backend.catalog.read() as connection:
        assert connection.execute(datum_uses.select()).all() == []


def test_files_that_other_runs_made_are_named_and_stay(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET})
    store.create_repo("reports")
    with store.run("report"), store.transaction("reports@main") as tx:
        tx.write("report", store.snapshot("images@main").read("carol")[:5])
    report = store.forget("images:carol")
    assert report.others == (f"reports@{tx.commit.id}:",)


def test_nothing_happens_if_the_path_or_a_pipeline_is_unknown(new_stores, write):
    store = new_stores()
    play(store, write, with_secret=True)
    with pytest.raises(PathNotFoundError):
        store.forget("images:nobody")
    with pytest.raises(InvalidInputError, match="is not a pipeline here"):
        store.forget("images:carol", recompute=True)
    assert SECRET in contents(store, "montage")["c"]


def test_trees_that_a_compaction_moves_meanwhile_lose_the_file_too(new_stores, write, monkeypatch):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET, "dog": b"dog"})
    run_all(store)

    def purge_later(*args, **options):
        store.compact()
        return purge_target(*args, **options)

    monkeypatch.setattr(forgetting, "purge_target", purge_later)
    assert store.forget("images:carol").gone
    assert (contents(store, "images"), contents(store, "edges")) == ({"dog": b"dog"}, {"dog.edge": b"edge of dog"})
    assert SECRET not in everything_stored(store)


def test_a_run_that_has_read_the_file_does_not_publish_what_it_made_of_it(new_stores, write):
    store, forgotten = new_stores(), []
    write(store, "images@main", {"carol": SECRET, "dog": b"dog"})

    def compute(datum):
        image = datum["images"]
        data = image.read()
        if image.path == "carol":
            forgotten.append(store.forget("images:carol"))
        return {image.path: data}

    pipe = store.pipeline(declare("edges", vio.glob("images@main", "/(*)"), "edges@main", compute))
    assert (pipe.run().state, contents(store, "edges"), pipe.plan().is_empty) == ("succeeded", {"dog": b"dog"}, True)
    again = store.forget("images:carol")  # the result was stored after the first call
    assert (again.results, again.gone) == (1, True)
    assert SECRET not in everything_stored(store)


@pytest.mark.parametrize("runs", [1, 99])
def test_a_run_that_commits_between_the_search_and_the_purge_is_searched_too(new_stores, write, monkeypatch, runs):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET})
    names = map(str, range(runs))

    def purge_later(*args, **options):
        for name in itertools.islice(names, 1):
            write(store, "images@main", {name: b"new"})
            run_all(store, edges())
        return purge_target(*args, **options)

    monkeypatch.setattr(forgetting, "purge_target", purge_later)
    monkeypatch.setattr(forgetting, "_MOST_ROUNDS", 3)
    assert store.forget("images:carol").gone is (runs == 1)
    assert (SECRET in everything_stored(store)) is (runs != 1)


def test_what_an_interrupted_call_has_left_is_freed_by_gc(new_stores, write, monkeypatch):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET})
    run_all(store)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(purge, "remove_packs", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.forget("images:carol")
    assert SECRET in everything_stored(store)
    with pytest.raises(PathNotFoundError, match="`versioned gc` frees what an interrupted forget has left"):
        store.forget("images:carol")
    store.gc(grace=timedelta(0), expire=timedelta(0))
    assert SECRET not in everything_stored(store)


def test_an_output_in_a_deleted_repo_lacks_the_file_when_it_is_restored(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET, "dog": b"dog"})
    run_all(store, edges())
    store.delete_repo("edges")
    assert store.forget("images:carol").gone
    store.restore_repo("edges")
    assert contents(store, "edges") == {"dog.edge": b"edge of dog"}


def test_a_datum_that_never_had_a_result_leaves_no_row(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"carol": b"fail", "dog": b"dog"})
    pipe = edges(on_failure="keep")
    assert store.pipeline(pipe).run().state == "partial"
    report = store.forget("images:carol")
    assert (report.outputs, report.datums) == ({}, {"edges": ("carol",)})
    with store._backend.catalog.ask() as connection:
        ((_, datums),) = list_states(connection)
        root = find_trees(connection, [datums])[datums].root
    assert read_unsettled(store._backend, root) == {}
    store.pipeline(pipe).run()
    assert [one.is_complete for one in store.pipelines()] == [True]


def test_an_output_that_was_merged_is_forgotten_with_what_was_made_of_it(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET, "dog": b"dog"})

    def compute(datum):
        return {f"{datum['images'].path}.edge": datum["images"].read()}

    on_dev = declare("edges", vio.glob("images@main", "/(*)"), "edges@dev", compute)
    run_all(store, on_dev)
    write(store, "edges@main", {"notes": b"of others"})
    store.merge("edges@dev", "edges@main")
    run_all(store, montage())
    assert store.forget("images:carol").gone
    assert contents(store, "edges") == {"dog.edge": b"dog", "notes": b"of others"}
    assert contents(store, "montage") == {"d": b"dog"}
    assert SECRET not in everything_stored(store)
    assert store.fsck().is_clean


def test_an_output_is_forgotten_with_its_result(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"cat": b"cat", "dog": b"dog"})
    run_all(store)
    report = store.forget("edges:cat.edge")
    assert (report.results, report.outputs, report.gone) == (2, {"montage": ("c",)}, True)
    assert b"edge of cat" not in everything_stored(store)
    assert contents(store, "images") == {"cat": b"cat", "dog": b"dog"}


def test_datums_of_outputs_that_have_expired_are_forgotten_too(new_stores, write):
    store = new_stores()
    write(store, "images@main", {"carol": SECRET, "dog": b"dog"})
    run_all(store, edges())
    write(store, "images@main", {"carol": None})
    run_all(store, edges())
    store.set_retention("edges@main", keep_last=1)
    store.gc(grace=timedelta(0), expire=timedelta(0))
    assert store.forget("images:carol").datums == {"edges": ("carol",)}
    with store._backend.catalog.ask() as connection:
        trees = find_trees(connection, [one.datums for one in list_states(connection)])
    for tree in trees.values():
        assert [facts.key for facts in list_facts(store._backend, tree.root)] == ["dog"]


def test_a_file_that_became_a_directory_is_another_one(new_stores, write):
    store = new_stores()
    first = write(store, "images@main", {"carol": b"a file"})
    run_all(store, edges())
    write(store, "images@main", {"carol": None})
    write(store, "images@main", {"carol/a": SECRET})
    run_all(store, edges())
    store.forget("images:carol/a")
    assert store.snapshot("edges@main~1").read("carol.edge") == b"edge of a file"
    assert store.snapshot(f"images@{first.id}").read("carol") == b"a file"
