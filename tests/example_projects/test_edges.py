"""The example of edges: as functions, as Dagster assets and as a command; one photograph added is one datum."""

import sys
from pathlib import Path

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedStoreResource
from versioned_io.processing.running.mounting import can_mount

EXAMPLE = Path(__file__).parents[2] / "example_projects" / "edges"
MODULES = ("edges", "sobel", "ingest", "edges_by_command", "dagster_definitions")


@pytest.fixture
def example(monkeypatch):
    """The example's modules, as its scripts import them."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def counts(run):
    return {name: count for name, count in run.counts.items() if count}


def contents(store, ref):
    return {file.path: file.digest for file in store.snapshot(ref).walk()}


@pytest.mark.usefixtures("example")
@pytest.mark.skipif(not can_mount(), reason="this machine allows no namespaces")
def test_a_command_and_a_spec_of_pachyderm_draw_the_same_edges_as_a_function_and_share_results(tmp_path):
    from edges import edges
    from edges_by_command import edges_by_command
    from ingest import ingest

    with vio.create_store(tmp_path / "store") as store:
        ingest(store, ("camera.png",))
        assert counts(store.pipeline(edges).run()) == {"run": 1}
        assert counts(store.pipeline(edges_by_command).run()) == {"run": 1}  # other code, other results
        assert counts(store.load_pipeline(EXAMPLE / "edges.json").run()) == {"reused": 1}  # the same program
        for repo in ("edges_by_command", "edges_by_spec"):
            assert contents(store, f"{repo}@main") == contents(store, "edges@main")


@pytest.mark.usefixtures("example")
def test_functions_and_assets_share_results_and_evaluate_one_added_photograph(tmp_path):
    from dagster_definitions import assets
    from edges import edges, montage
    from ingest import ingest

    with vio.create_store(tmp_path / "store") as store:
        for repo in ("edges", "montage"):
            store.create_repo(repo)
        ingest(store, ("camera.png",))
        assert [counts(store.pipeline(one).run()) for one in (edges, montage)] == [{"run": 1}, {"run": 1}]

        ingest(store, ("rocket.jpg",))
        resources = {"versioned_store": VersionedStoreResource(store=str(tmp_path / "store"))}
        result = dg.materialize(assets, resources=resources)
        drawn, shown = (result.asset_materializations_for_node(name)[0].metadata for name in ("edges", "montage"))
        assert [drawn[f"versioned/datums_{name}"].value for name in ("run", "skipped")] == [1, 1]
        assert shown["versioned/datums_run"].value == 1
        assert all(store.pipeline(one).plan().is_empty for one in (edges, montage))  # Dagster has done it

        store.reset("edges@main", "edges@main~1")
        run = store.pipeline(edges).run()
        assert counts(run) == {"reused": 1, "skipped": 1}  # the result that Dagster's run has stored
