"""Assets of pipelines: one run evaluates the changed datums, a retry those without a result, and the sensor asks."""

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedStoreResource, build_datum_sensor, build_repo_assets, datum_asset

EDGES = dg.AssetKey("edges")


class Images:
    """A store with images, the asset of their edges, and a Dagster instance that materialises it."""

    def __init__(self, store, url, instance):
        self.store, self.url, self.instance = store, url, instance
        self.ran, self.bad, self.dies_at = [], set(), None

    def commit(self, *, deletes=(), **files):
        self.store.create_repo("images", exist_ok=True)
        with self.store.transaction("images@main") as tx:
            for name, text in files.items():
                tx.write(f"{name}.txt", text.encode())
            for name in deletes:
                tx.delete(f"{name}.txt")
        return tx.commit

    def edges(self, datum, out):
        name = datum["images"].captures[0]
        self.ran.append(name)
        if name == self.dies_at:
            raise KeyboardInterrupt
        if name in self.bad:
            raise ValueError(name)
        out.write(name, datum["images"].read()[:1])

    def asset(self, *, on_failure="refuse", **options):
        made = vio.pipeline(
            "edges",
            inputs=vio.glob("images@main", "/(*).txt"),
            output="edges@main",
            code_version="1",
            on_failure=on_failure,
        )
        return datum_asset(made(self.edges), **options)

    def materialize(self, asset=None, **options):
        resources = {"versioned_store": VersionedStoreResource(store=self.url)}
        assets = [asset or self.asset()]
        return dg.materialize(assets, resources=resources, instance=self.instance, raise_on_error=False, **options)

    def last(self):
        return self.instance.get_latest_materialization_event(EDGES).asset_materialization


@pytest.fixture
def images(opened, store_url, instance):
    return Images(opened, store_url, instance)


def counts_of(materialization):
    counts = {name: one.value for name, one in materialization.metadata.items() if name.startswith("versioned/datums_")}
    return {name.removeprefix("versioned/datums_"): count for name, count in counts.items() if count}


def test_two_pipelines_write_to_branches_of_one_repo(images):
    images.commit(a="apple")
    assert images.materialize().success
    inputs = vio.glob("images@main", "/(*).txt")
    other = vio.pipeline("initials", inputs=inputs, output="edges@initials", code_version="1")(images.edges)
    assert images.materialize(datum_asset(other)).success
    assert images.store.snapshot("edges@initials").read("a") == b"a"


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_run_evaluates_the_changed_datum_alone(images, batch_size):
    images.commit(a="apple", b="bean", c="corn")
    asset = images.asset(batch_size=batch_size)
    assert images.materialize(asset).success
    assert counts_of(images.last()) == {"run": 3}
    caused = images.commit(b="pea", deletes=["c"])
    result = images.materialize(asset)
    assert result.success
    assert counts_of(images.last()) == {"run": 1, "skipped": 1, "deleted": 1}
    assert sorted(images.ran) == ["a", "b", "b", "c"]
    head = images.store.commit("edges@main")
    assert images.last().tags["dagster/data_version"] == head.tree_digest
    assert images.last().metadata["versioned/commit"].value == head.id
    assert (head.run.orchestrator, head.run.run_id) == ("dagster", result.run_id)
    assert head.provenance == (caused.id,)
    assert head.lineage_id == caused.lineage_id
    tags = images.instance.get_run_by_id(result.run_id).tags
    assert (tags["versioned/lineage_id"], tags["versioned/pipeline"]) == (caused.lineage_id, "edges")


def test_equal_outputs_of_other_inputs_are_the_same_data_version(images):
    images.commit(a="apple")
    images.materialize()
    version = images.last().tags["dagster/data_version"]
    images.commit(a="almond")
    images.materialize()
    assert images.ran == ["a", "a"]
    assert images.last().tags["dagster/data_version"] == version


@pytest.mark.parametrize("batch_size", [None, pytest.param(2, marks=pytest.mark.soak)])
def test_a_failed_datum_fails_the_run_and_the_next_run_evaluates_it_alone(images, batch_size):
    images.commit(a="apple", b="bean", c="corn")
    asset = images.asset(batch_size=batch_size)
    images.bad = {"b"}
    result = images.materialize(asset)
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "1 datums of the pipeline 'edges' failed: 'b.txt': ValueError: b" in str(
        failure.user_failure_data.description
    )
    assert list(images.store.log("edges@main")) == []
    images.bad = set()
    assert images.materialize(asset).success
    assert counts_of(images.last()) == {"run": 1, "reused": 2}


@pytest.mark.parametrize("batch_size", [pytest.param(None, marks=pytest.mark.soak), 2])
def test_a_retry_within_the_run_evaluates_only_what_has_no_result(images, batch_size):
    images.commit(a="apple", b="bean", c="corn")
    images.bad = {"b"}
    seen = []

    def mend(datum, out):
        seen.append(datum["images"].captures[0])
        if len(seen) > 3:
            images.bad = set()
        Images.edges(images, datum, out)

    images.edges = mend
    asset = images.asset(retry_policy=dg.RetryPolicy(max_retries=1), batch_size=batch_size)
    assert images.materialize(asset).success
    assert sorted(seen) == ["a", "b", "b", "c"]


def test_the_asset_of_a_pipeline_that_keeps_old_outputs_is_materialised_and_says_so(images):
    images.commit(a="apple", b="bean")
    asset = images.asset(on_failure="keep")
    images.materialize(asset)
    images.bad = {"b"}
    images.commit(b="pea")
    assert images.materialize(asset).success
    assert images.last().metadata["versioned/state"].value == "partial"
    assert images.last().metadata["versioned/failed_datums"].value == {"b.txt": "ValueError: b"}
    assert images.store.snapshot("edges@main").read("b") == b"b"


def test_an_interrupted_step_keeps_what_it_stored(images, monkeypatch):
    monkeypatch.setattr("versioned_io.processing.running.evaluation_loop.MOST_DATUMS", 1)
    images.commit(a="apple", b="bean", c="corn")
    images.dies_at = "c"
    assert not images.materialize().success
    images.dies_at = None
    images.materialize()
    assert images.ran == ["a", "b", "c", "c"]


def test_an_asset_without_inputs_yet_is_empty(images):
    images.store.create_repo("images")
    assert images.materialize().success
    assert counts_of(images.last()) == {}
    assert list(images.store.snapshot("edges@main").walk()) == []


def test_the_asset_hangs_on_the_repos_of_its_inputs_and_its_condition_sees_their_commits(images):
    asset = images.asset(automation_condition=dg.AutomationCondition.eager(), group_name="pictures")
    definitions = dg.Definitions.merge(
        build_repo_assets("images", store=images.url),
        dg.Definitions(assets=[asset], resources={"versioned_store": VersionedStoreResource(store=images.url)}),
    )
    assert definitions.get_repository_def().asset_graph.get(EDGES).parent_keys == {dg.AssetKey("images")}
    chosen = dg.AssetSelection.assets(EDGES)
    first = dg.evaluate_automation_conditions(definitions, images.instance, asset_selection=chosen)
    images.instance.report_runless_asset_event(dg.AssetMaterialization("images"))
    found = dg.evaluate_automation_conditions(definitions, images.instance, asset_selection=chosen, cursor=first.cursor)
    assert (first.get_num_requested(EDGES), found.get_num_requested(EDGES)) == (0, 1)


class TestSensor:
    """The sensor asks for a run exactly when a plan has work."""

    @pytest.fixture
    def tick(self, images):
        asset = images.asset()
        sensor = build_datum_sensor(asset, store=images.url)
        definitions = dg.Definitions(
            assets=[asset], sensors=[sensor], resources={"versioned_store": VersionedStoreResource(store=images.url)}
        )

        def tick(cursor=None):
            with dg.build_sensor_context(
                images.instance, cursor=cursor, repository_def=definitions.get_repository_def()
            ) as context:
                return sensor(context)

        return tick

    def test_it_requests_a_run_for_each_state_until_the_output_is_up_to_date(self, images, tick):
        caused = images.commit(a="apple")
        first = tick()
        (request,) = first.run_requests
        assert request.asset_selection == [EDGES]
        assert request.tags["versioned/lineage_id"] == caused.lineage_id
        assert tick().run_requests[0].run_key == request.run_key
        images.bad = {"a"}
        images.materialize()
        assert tick().run_requests[0].run_key == request.run_key  # which Dagster requests once
        assert "was requested before" in tick(first.cursor).skip_reason.skip_message
        images.commit(a="almond")
        images.bad = set()
        assert tick().run_requests[0].run_key != request.run_key
        images.materialize()
        found = tick()
        assert (found.run_requests, found.skip_reason.skip_message) == ([], "edges: no datum has changed")

    def test_it_waits_for_a_run_that_is_under_way(self, images, tick):
        images.commit(a="apple")
        run = images.instance.create_run_for_job(dg.job(name="j")(lambda: None), tags={"versioned/pipeline": "edges"})
        assert f"waits for run {run.run_id}" in tick().skip_reason.skip_message

    def test_it_waits_for_repos_that_do_not_exist_yet(self, images, tick):
        assert "edges waits" in tick().skip_reason.skip_message


def test_an_asset_needs_either_a_pipeline_or_its_parts(images):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="needs a pipeline, or inputs= and output="):
        datum_asset(inputs=vio.glob("images@main", "/*"))
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="'edges' has inputs, an output and options already"):
        images.asset(output="edges@main")
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="'other' was not made by datum_asset"):
        build_datum_sensor(dg.asset(name="other")(lambda: None))
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="at least one asset"):
        build_datum_sensor()


class TestPartitions:
    """An asset with a partition for each datum."""

    @pytest.fixture
    def asset(self, images):
        return images.asset(partitions="datums")

    def run(self, images, asset, *keys):
        images.instance.add_dynamic_partitions("edges_datums", list(keys))
        return [images.materialize(asset, partition_key=key).success for key in keys]

    def test_a_run_evaluates_its_datum_and_the_last_one_commits(self, images, asset):
        images.commit(a="apple", b="bean")
        assert self.run(images, asset, "a.txt") == [True]
        assert (images.ran, list(images.store.log("edges@main"))) == (["a"], [])
        assert images.last().metadata["versioned/pending_datums"].value == 1
        assert self.run(images, asset, "b.txt") == [True]
        assert images.ran == ["a", "b"]
        assert [file.path for file in images.store.snapshot("edges@main").walk()] == ["a", "b"]

    def test_the_sensor_adds_partitions_and_requests_the_pending_ones_as_a_backfill(self, images, asset):
        images.commit(a="apple", b="bean", c="corn")
        resources = {"versioned_store": VersionedStoreResource(store=images.url)}
        sensor = build_datum_sensor(asset, store=images.url)
        repository = dg.Definitions([asset], sensors=[sensor], resources=resources).get_repository_def()

        def tick():
            with dg.build_sensor_context(images.instance, repository_def=repository) as context:
                result = sensor(context)
            for one in result.dynamic_partitions_requests:
                if isinstance(one, dg.AddDynamicPartitionsRequest):
                    images.instance.add_dynamic_partitions(one.partitions_def_name, one.partition_keys)
                else:
                    for key in one.partition_keys:
                        images.instance.delete_dynamic_partition(one.partitions_def_name, key)
            return result

        def requested():
            (request,) = tick().run_requests
            return sorted(request.asset_graph_subset.get_partitions_subset(EDGES).get_partition_keys())

        keys = requested()
        assert keys == ["a.txt", "b.txt", "c.txt"]
        assert self.run(images, asset, *keys) == [True] * 3
        images.commit(b="pea")
        assert requested() == ["b.txt"]
        assert self.run(images, asset, "b.txt") == [True]
        images.commit(deletes=["c"])
        assert requested() == ["c.txt"]
        assert self.run(images, asset, "c.txt") == [True]
        assert images.ran == ["a", "b", "c", "b"]
        assert [file.path for file in images.store.snapshot("edges@main").walk()] == ["a", "b"]
        assert tick().run_requests == []
        assert images.instance.get_dynamic_partitions("edges_datums") == ["a.txt", "b.txt"]
        assert tick().dynamic_partitions_requests == []

    def test_what_the_commit_can_not_wait_for_is_refused(self, images):
        images.commit(a="apple")
        assert self.run(images, images.asset(partitions="datums", on_failure="drop"), "a.txt") == [False]
        with pytest.raises(dg.DagsterInvalidDefinitionError, match="nothing to divide by batch_size"):
            images.asset(partitions="datums", batch_size=2)
