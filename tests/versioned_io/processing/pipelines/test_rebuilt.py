"""A catalog that is rebuilt from the packs knows every result: nothing runs again, and each reason is the same."""

import pytest

import versioned_io as vio
from versioned_io.processing.running.planning import make_plan


@vio.pipeline("edges", inputs=vio.glob("images@main", "/(*)"), output="edges@main", code_version="1", on_failure="keep")
def edges(datum, out):
    if datum["images"].read() == b"fail":
        raise ValueError(datum["images"].path)
    print("seen")
    out.write(datum["images"].path, datum["images"].read() * 2)


def write(store, files):
    with store.transaction("images@main") as tx:
        for path, data in files.items():
            tx.write(path, data) if data is not None else tx.delete(path)


@pytest.mark.parametrize("is_pending", [False, True])
def test_after_a_lost_catalog_no_datum_runs_again_and_every_explanation_is_the_same(tmp_path, is_pending):
    place = tmp_path / "s"
    with vio.create_store(place) as store:
        for repo in ("images", "edges"):
            store.create_repo(repo)
        write(store, {f"{number}": b"%d" % number for number in range(8)})
        store.pipeline(edges).run()
        write(store, {"0": None, "1": b"new", "2": b"fail", "new": b"new"})
        if not is_pending:
            store.pipeline(edges).run()
        keys = ["1", "2", "3", "new", *(["0"] if is_pending else [])]
        told = [store.pipeline(edges).explain(key) for key in keys]
        plan = store.pipeline(edges).plan()
    for one in place.glob("catalog.db*"):
        one.unlink()
    vio.rebuild_store(place)
    with vio.open_store(place) as store:
        pipe = store.pipeline(edges)
        assert [pipe.explain(key) for key in keys] == told
        assert make_plan(pipe._store, pipe._definition).is_partial
        again = pipe.plan()
        assert (again.runs, again.reuses, again.skips, again.deletes) == (
            plan.runs,
            plan.reuses,
            plan.skips,
            plan.deletes,
        )
        assert set(pipe.run().runs) == (set(plan.runs) if is_pending else {"2"})
        assert store.fsck().is_clean
