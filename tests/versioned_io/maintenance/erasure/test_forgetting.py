"""What is forgotten leaves nothing: the store is as if the file had never been there."""

import io
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import versioned_io as vio
from tests.versioned_io.maintenance.erasure.test_purge import everything_stored
from versioned_io.catalog.tables import datum_uses, failures, results
from versioned_io.errors import InvalidInputError, PathNotFoundError

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
