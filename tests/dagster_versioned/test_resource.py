"""The resource in the body of assets, in threads, and outside of runs."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import PartitionedOutput, VersionedIOManager, VersionedStoreResource


@pytest.fixture
def resources(store_url) -> dict[str, object]:
    return {
        "io_manager": VersionedIOManager(store=store_url),
        "versioned_store": VersionedStoreResource(
            store=store_url, webserver_url="http://dagster:3000/", git_commit="abc"
        ),
    }


@pytest.fixture
def weather(opened) -> vio.Commit:
    opened.create_repo("weather")
    with opened.transaction("weather@main") as transaction:
        transaction.write("2012/01.csv", b"rain")
        transaction.write("2012/02.csv", b"sun")
    return transaction.commit


def test_what_the_body_of_an_asset_reads_is_what_its_output_is_made_from(instance, resources, opened, weather):
    @dg.asset
    def january(versioned_store: VersionedStoreResource) -> str:
        return versioned_store.snapshot("weather@main").read("2012/01.csv").decode()

    result = dg.materialize([january], resources=resources, instance=instance)
    commit = opened.commit("january@main")
    assert (commit.lineage_id, commit.provenance) == (weather.lineage_id, (weather.id,))
    (event,) = result.asset_materializations_for_node("january")
    assert event.metadata["versioned/inputs"].value == {"files": [f"weather@{weather.id}:2012/01.csv"]}


def test_the_reads_of_one_step_are_not_those_of_another(instance, resources, opened, weather):
    @dg.asset
    def january(versioned_store: VersionedStoreResource) -> str:
        return versioned_store.snapshot("weather@main").read("2012/01.csv").decode()

    @dg.asset
    def february(versioned_store: VersionedStoreResource) -> str:
        return versioned_store.snapshot("weather@main").read("2012/02.csv").decode()

    dg.materialize([january, february], resources=resources, instance=instance)
    files = {name: [use.file.path for use in opened.upstream(f"{name}@main").files] for name in ("january", "february")}
    assert files == {"january": ["2012/01.csv"], "february": ["2012/02.csv"]}


def test_in_a_thread_of_its_own_the_step_is_told(instance, resources, opened, weather):
    @dg.asset
    def both(context: dg.AssetExecutionContext, versioned_store: VersionedStoreResource) -> int:
        def read(path: str) -> bytes:
            return versioned_store.snapshot("weather@main", context=context).read(path)

        with ThreadPoolExecutor() as threads:
            return sum(map(len, threads.map(read, ["2012/01.csv", "2012/02.csv"])))

    dg.materialize([both], resources=resources, instance=instance)
    assert [use.file.path for use in opened.upstream("both@main").files] == ["2012/01.csv", "2012/02.csv"]


def test_a_transaction_in_the_body_carries_the_run_its_inputs_and_its_lineage_id(instance, resources, opened, weather):
    @dg.op
    def correct(versioned_store: VersionedStoreResource) -> None:
        text = versioned_store.snapshot("weather@main").read("2012/01.csv")
        with versioned_store.transaction("weather@main", message="corrected") as transaction:
            transaction.write("2012/01.csv", text.upper())

    @dg.job(resource_defs=resources)
    def correction():
        correct()

    result = correction.execute_in_process(instance=instance)
    commit = opened.commit("weather@main")
    assert (commit.message, commit.lineage_id, commit.provenance) == ("corrected", weather.lineage_id, (weather.id,))
    assert commit.run is not None
    assert (commit.run.job, commit.run.run_id, commit.run.git_commit) == ("correction", result.run_id, "abc")
    assert commit.run.url == f"http://dagster:3000/runs/{result.run_id}"
    assert instance.get_run_by_id(result.run_id).tags["versioned/lineage_id"] == weather.lineage_id


def test_a_block_of_the_step_notes_what_is_read_by_the_store_itself(instance, resources, opened, weather):
    @dg.asset
    def january(versioned_store: VersionedStoreResource) -> str:
        with versioned_store.step() as run:
            assert run is not None
            return versioned_store.get_store().snapshot("weather@main").read("2012/01.csv").decode()

    dg.materialize([january], resources=resources, instance=instance)
    assert opened.commit("january@main").provenance == (weather.id,)


def test_outside_of_a_run_it_is_the_plain_store(store_url):
    resource = VersionedStoreResource(store=store_url)
    resource.get_store().create_repo("weather")
    with resource.transaction("weather@main") as transaction:
        transaction.write("a", b"1")
    assert transaction.commit.run is None
    assert resource.snapshot("weather@main").read("a") == b"1"
    with resource.step() as run:
        assert run is None
    resource.close()


def test_a_missing_store_is_made_unless_that_is_switched_off(tmp_path):
    with pytest.raises(vio.VersionedError, match="no store at"):
        VersionedStoreResource(store=str(tmp_path / "nowhere"), create=False).get_store()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`")
def test_what_is_read_for_one_partition_of_a_run_is_what_that_partition_is_made_from(
    instance, resources, opened, weather
):
    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["2012-01", "2012-02"]),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def summary(context: dg.AssetExecutionContext, versioned_store: VersionedStoreResource) -> PartitionedOutput:
        months = versioned_store.snapshot("weather@main")
        values = PartitionedOutput()
        for month in context.partition_keys:
            with versioned_store.partition(month):
                values[month] = months.read(f"{month.replace('-', '/')}.csv")
        return values

    def run(start, end):
        tags = {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}
        assert dg.materialize([summary], tags=tags, resources=resources, instance=instance).success

    run("2012-01", "2012-02")
    with opened.transaction("weather@main") as correction:
        correction.write("2012/02.csv", b"corrected")
    run("2012-02", "2012-02")
    made_from = [(use.file.path, use.file.written_by) for use in opened.upstream("summary@main").files]
    assert sorted(made_from) == [("2012/01.csv", weather.id), ("2012/02.csv", correction.commit.id)]
