"""The IO manager on the real store, with real runs of Dagster."""

import re
import traceback
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dagster._core.errors import DagsterExecutionLoadInputError
from pydantic import PrivateAttr

import dagster_versioned.io_manager as io_manager_module
import versioned_io as vio
from dagster_versioned import PartitionedOutput, VersionedIOManager
from dagster_versioned.naming import OP_OUTPUTS_REPO
from versioned_io.errors import OutcomeUnknownError, VersionedError
from versioned_io.formats import save_object

# Dagster calls what a run over several partitions needs "beta".
pytestmark = pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")
MONTH_KEYS = [f"{year}-{month:02}" for year in range(2012, 2016) for month in range(1, 13)]


def materializations(result: dg.ExecuteInProcessResult, key: str) -> list[dg.AssetMaterialization]:
    return result.asset_materializations_for_node(key)


def test_an_asset_is_stored_in_a_repo_of_its_own_and_loaded_by_the_next(instance, io_manager, store_url):
    @dg.asset(key_prefix="raw")
    def weather() -> pd.DataFrame:
        return pd.DataFrame({"rain": [1.0, 2.0]})

    @dg.asset(ins={"weather": dg.AssetIn(key_prefix="raw")})
    def total(weather: pd.DataFrame) -> float:
        return float(weather.rain.sum())

    result = dg.materialize([weather, total], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("total") == 3.0
    with vio.open_store(store_url) as store:
        assert [repo.name for repo in store.repos()] == ["raw.weather", "total"]
        assert [file.path for file in store.snapshot("raw.weather@main").walk()] == ["data.parquet"]
        commit = store.commit("total@main")
    assert (commit.message, commit.author) == ("total", "dagster")


def test_a_materialization_tells_its_commit_its_lineage_and_its_exact_inputs(instance, io_manager, store_url):
    @dg.asset(code_version="7")
    def weather() -> pd.DataFrame:
        return pd.DataFrame({"rain": [1.0, 2.0]})

    @dg.asset
    def total(weather: pd.DataFrame) -> float:
        return float(weather.rain.sum())

    result = dg.materialize([weather, total], resources={"io_manager": io_manager}, instance=instance)
    with vio.open_store(store_url) as store:
        raw, made = store.commit("weather@main"), store.commit("total@main")
        stat = store.snapshot("weather@main").stat("data.parquet")
        graph = store.upstream("total@main")
    (first,) = materializations(result, "weather")
    assert {name: value.value for name, value in first.metadata.items()} == {
        "versioned/lineage_id": raw.lineage_id,
        "versioned/commit": raw.id,
        "versioned/repo": "weather",
        "versioned/branch": "main",
        "path": f"weather@{raw.id}:data.parquet",
        "dagster/uri": f"versioned://weather@{raw.id}/data.parquet",
        "dagster/size_bytes": stat.size,
        "dagster/row_count": 2,
    }
    (second,) = materializations(result, "total")
    assert second.metadata["versioned/inputs"].value == {"files": [f"weather@{raw.id}:data.parquet"]}
    assert made.provenance == (raw.id,)
    (use,) = graph.files
    assert (use.file.repo, use.file.commit, use.file.path) == ("weather", raw.id, "data.parquet")
    assert raw.run is not None
    assert (raw.run.orchestrator, raw.run.run_id, raw.run.code_version) == ("dagster", result.run_id, "7")


def test_a_run_without_a_lineage_id_gets_one_for_all_that_it_commits(instance, io_manager, store_url):
    @dg.asset
    def first() -> int:
        return 1

    @dg.asset
    def second() -> int:
        return 2

    result = dg.materialize([first, second], resources={"io_manager": io_manager}, instance=instance)
    with vio.open_store(store_url) as store:
        lineage_ids = {store.commit(f"{name}@main").lineage_id for name in ("first", "second")}
    assert lineage_ids == {instance.get_run_by_id(result.run_id).tags["versioned/lineage_id"]}


def test_work_on_what_somebody_else_committed_goes_on_under_its_lineage_id(instance, io_manager, opened):
    opened.create_repo("weather")
    with opened.transaction("weather@main") as transaction:
        save_object(transaction, "data", 20)

    weather = dg.AssetSpec("weather").with_io_manager_key("io_manager")

    @dg.asset
    def doubled(weather: int) -> int:
        return 2 * weather

    result = dg.materialize([weather, doubled], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("doubled") == 40
    assert opened.commit("doubled@main").lineage_id == transaction.commit.lineage_id
    assert instance.get_run_by_id(result.run_id).tags["versioned/lineage_id"] == transaction.commit.lineage_id


def test_the_lineage_id_in_the_run_tag_comes_first(instance, io_manager, opened):
    lineage_id = "0" * 12 + "7" + "0" * 3 + "8" + "0" * 15

    @dg.asset
    def weather() -> int:
        return 1

    dg.materialize(
        [weather], resources={"io_manager": io_manager}, instance=instance, tags={"versioned/lineage_id": lineage_id}
    )
    assert opened.commit("weather@main").lineage_id == lineage_id


def test_making_the_same_again_is_recorded_and_makes_nothing_downstream_stale(instance, io_manager, opened):
    @dg.asset
    def weather() -> list[int]:
        return [1, 2]

    runs = [dg.materialize([weather], resources={"io_manager": io_manager}, instance=instance) for _ in range(2)]
    first, second = (materializations(run, "weather")[0] for run in runs)
    assert first.tags["dagster/data_version"] == second.tags["dagster/data_version"]
    assert first.tags["dagster/data_version"] == opened.snapshot("weather@main").stat("data.json").digest
    newer, older = opened.log("weather@main")
    assert newer.tree_digest == older.tree_digest
    assert (older.id, newer.id) == tuple(event.metadata["versioned/commit"].value for event in (first, second))
    assert opened.lineage(second.metadata["versioned/lineage_id"].value) == [newer]
    assert opened.changes("weather@main", since=older.id, partitions="{name}.json").keys == {}


def test_a_data_version_that_the_asset_gives_is_kept(instance, io_manager):
    @dg.asset
    def by_output() -> dg.Output[int]:
        return dg.Output(1, data_version=dg.DataVersion("mine"))

    @dg.asset
    def by_context(context: dg.AssetExecutionContext) -> int:
        context.set_data_version(context.asset_key, dg.DataVersion("mine too"))
        return 1

    result = dg.materialize([by_output, by_context], resources={"io_manager": io_manager}, instance=instance)
    versions = [materializations(result, name)[0].tags["dagster/data_version"] for name in ("by_output", "by_context")]
    assert versions == ["mine", "mine too"]


def test_ops_are_stored_in_one_repo_by_their_identifiers(instance, io_manager, opened):
    @dg.op
    def one() -> int:
        return 1

    @dg.op
    def add_one(number: int) -> int:
        return number + 1

    @dg.job(resource_defs={"io_manager": io_manager})
    def count():
        add_one(one())

    result = count.execute_in_process(instance=instance)
    assert result.output_for_node("add_one") == 2
    paths = [file.path for file in opened.snapshot(f"{OP_OUTPUTS_REPO}@main").walk()]
    assert paths == [f"{result.run_id}/{op}/result/data.json" for op in ("add_one", "one")]


def test_dynamic_outputs_are_kept_apart_and_collected(instance, io_manager):
    @dg.op(out=dg.DynamicOut())
    def fan():
        for number in range(3):
            yield dg.DynamicOutput(number, mapping_key=f"n{number}")

    @dg.op
    def double(number: int) -> int:
        return 2 * number

    @dg.op
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @dg.job(resource_defs={"io_manager": io_manager})
    def sum_of_doubles():
        total(fan().map(double).collect())

    assert sum_of_doubles.execute_in_process(instance=instance).output_for_node("total") == 6


def reexecuted_job() -> dg.JobDefinition:
    """A job that fails while the file named by its ``broken`` tag is there; made anew in whichever process runs it."""

    @dg.op
    def one() -> int:
        return 1

    @dg.op
    def fragile(context: dg.OpExecutionContext, number: int) -> int:
        if Path(context.run.tags["broken"]).exists():
            msg = "broken"
            raise RuntimeError(msg)
        return number + 1

    @dg.job(resource_defs={"io_manager": VersionedIOManager(store=dg.EnvVar("TEST_STORE"))})
    def count():
        fragile(one())

    return count


def test_a_reexecution_from_failure_loads_what_the_failed_run_stored(sqlite_instance, store_url, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_STORE", store_url)
    broken = tmp_path / "broken"
    broken.touch()
    job = dg.reconstructable(reexecuted_job)
    tags = {"broken": str(broken)}
    with dg.execute_job(job, sqlite_instance, tags=tags, raise_on_error=False) as failed:
        assert not failed.success
    broken.unlink()
    options = dg.ReexecutionOptions.from_failure(failed.run_id, sqlite_instance)
    with dg.execute_job(job, sqlite_instance, tags=tags, reexecution_options=options) as again:
        assert again.success
        assert again.output_for_node("fragile") == 2
        assert not [event for event in again.all_node_events if event.step_key == "one"]


def test_a_retried_step_stores_its_output_again(instance, store_url, opened):
    attempts = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def flaky(context: dg.AssetExecutionContext) -> int:
        attempts.append(context.retry_number)
        if len(attempts) < 3:
            msg = "not yet"
            raise RuntimeError(msg)
        return 1

    dg.materialize([flaky], resources={"io_manager": VersionedIOManager(store=store_url)}, instance=instance)
    assert attempts == [0, 1, 2]
    assert len(list(opened.log("flaky@main"))) == 1


def test_the_outputs_of_a_multi_asset_are_stored_each_in_its_repo(instance, io_manager, opened):
    @dg.multi_asset(outs={"warm": dg.AssetOut(), "cold": dg.AssetOut(is_required=False)})
    def sorted_days():
        yield dg.Output([20], "warm")

    @dg.asset
    def number_of_warm_days(warm: list[int]) -> int:
        return len(warm)

    result = dg.materialize([sorted_days, number_of_warm_days], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("number_of_warm_days") == 1
    assert [repo.name for repo in opened.repos()] == ["number_of_warm_days", "warm"]


def test_a_graph_backed_asset_has_its_inner_outputs_among_those_of_ops(instance, io_manager, opened):
    @dg.asset
    def one() -> int:
        return 1

    @dg.op
    def add_one(number: int) -> int:
        return number + 1

    @dg.graph_asset
    def three(one: int) -> int:
        return add_one(add_one(one))

    result = dg.materialize([one, three], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("three") == 3
    upstream = opened.upstream("three@main")
    assert [commit.repo for commit in upstream.commits] == ["one", OP_OUTPUTS_REPO, "three"]


@pytest.mark.parametrize(
    ("definition", "key", "path"),
    [
        (dg.StaticPartitionsDefinition(["a", "b"]), "a", "a/data.txt"),
        (dg.DailyPartitionsDefinition(start_date="2020-02-01"), "2020-02-03", "2020-02-03/data.txt"),
        (dg.HourlyPartitionsDefinition("2020-02-01-00:00"), "2020-02-01-13:00", "2020-02-01-13:00/data.txt"),
        (dg.DynamicPartitionsDefinition(name="files"), "../x//y%", "%2E%2E/x/%/y%25/data.txt"),
        (
            dg.MultiPartitionsDefinition(
                {
                    "date": dg.DailyPartitionsDefinition(start_date="2020-01-01"),
                    "abc": dg.StaticPartitionsDefinition(["b/c", "d"]),
                }
            ),
            dg.MultiPartitionKey({"date": "2020-04-22", "abc": "b/c"}),
            "b%2Fc/2020-04-22/data.txt",
        ),
    ],
    ids=["static", "daily", "hourly", "dynamic", "multi"],
)
def test_a_partition_of_any_kind_is_stored_below_its_key(*, instance, io_manager, opened, definition, key, path):
    if isinstance(definition, dg.DynamicPartitionsDefinition):
        instance.add_dynamic_partitions("files", [key])

    @dg.asset(partitions_def=definition)
    def weather(context: dg.AssetExecutionContext) -> str:
        return str(context.partition_key)

    @dg.asset(partitions_def=definition)
    def copied(weather: str) -> str:
        return weather

    result = dg.materialize(
        [weather, copied], resources={"io_manager": io_manager}, instance=instance, partition_key=key
    )
    assert result.output_for_node("copied") == str(key)
    assert [file.path for file in opened.snapshot("weather@main").walk()] == [path]
    commit = opened.commit("weather@main")
    assert commit.message == f"weather [{key}]"
    assert commit.run is not None
    assert commit.run.partition_key == str(key)


def test_an_asset_may_depend_on_its_own_earlier_partition(instance, io_manager):
    before = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)

    @dg.asset(partitions_def=MONTHS, ins={"count": dg.AssetIn(partition_mapping=before)})
    def count(count: int | None) -> int:
        return 1 if count is None else count + 1

    outputs = [
        dg.materialize(
            [count], resources={"io_manager": io_manager}, instance=instance, partition_key=key
        ).output_for_node("count")
        for key in MONTH_KEYS[:3]
    ]
    assert outputs == [1, 2, 3]


@pytest.fixture
def monthly() -> dg.AssetsDefinition:
    """An asset that makes several months in one run."""

    @dg.asset(name="monthly", partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def frames(context: dg.AssetExecutionContext) -> dict[str, pd.DataFrame]:
        return {key: pd.DataFrame({"month": [key] * 3}) for key in reversed(context.partition_keys)}

    return frames


def backfill_in_one_run(assets, first: str, last: str, **options) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize(assets, tags=tags, **options)


def test_a_run_over_48_partitions_makes_one_commit_and_describes_each_of_them(instance, io_manager, opened, monthly):
    result = backfill_in_one_run(
        [monthly], MONTH_KEYS[0], MONTH_KEYS[-1], resources={"io_manager": io_manager}, instance=instance
    )
    (commit,) = opened.log("monthly@main")
    assert commit.stats.added == 48
    events = materializations(result, "monthly")
    assert [event.partition for event in events] == MONTH_KEYS
    for event in events:
        assert event.metadata["path"].value == f"monthly@{commit.id}:{event.partition}/data.parquet"
        assert event.metadata["dagster/row_count"].value == 3
        assert event.metadata["versioned/commit"].value == commit.id
    assert commit.message == "monthly [48 partitions]"
    assert commit.run is not None
    assert commit.run.partition_key == "2012-01...2015-12"


def test_each_partition_of_such_a_run_is_made_from_what_its_partition_mapping_says(
    instance, io_manager, opened, monthly
):
    @dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def rows(monthly: dict[str, pd.DataFrame]) -> dict[str, int]:
        return {key: len(frame) for key, frame in monthly.items()}

    options = {"resources": {"io_manager": io_manager}, "instance": instance}
    result = backfill_in_one_run([monthly, rows], "2012-01", "2012-03", **options)
    commit = opened.commit("monthly@main")
    for event in materializations(result, "rows"):
        files = event.metadata["versioned/inputs"].value["files"]
        assert files == [f"monthly@{commit.id}:{event.partition}/data.parquet"]
    uses = opened.upstream("rows@main:2012-02/data.json").files
    assert [use.file.path for use in uses] == ["2012-02/data.parquet"]


def test_a_run_over_one_partition_of_such_an_asset_stores_a_dict_as_the_stock_manager_does(
    instance, io_manager, tmp_path
):
    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["NO", "SE"]), backfill_policy=dg.BackfillPolicy.single_run()
    )
    def countries(context: dg.AssetExecutionContext) -> dict[str, dict]:
        return {key: {"capital": key} for key in context.partition_keys}

    loaded = []
    for manager in (io_manager, dg.FilesystemIOManager(base_dir=str(tmp_path / "stock"))):
        options = {"resources": {"io_manager": manager}, "instance": instance}
        dg.materialize([countries], partition_key="NO", **options)
        loader = dg.Definitions([countries], resources={"io_manager": manager}).get_asset_value_loader(instance)
        loaded.append(loader.load_asset_value("countries", partition_key="NO"))
    assert loaded == [{"NO": {"capital": "NO"}}] * 2


def test_a_partitioned_output_of_a_run_over_one_partition_is_taken_apart(instance, io_manager):
    @dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def monthly(context: dg.AssetExecutionContext) -> PartitionedOutput:
        return PartitionedOutput({key: pd.DataFrame({"month": [key] * 3}) for key in context.partition_keys})

    @dg.asset(partitions_def=MONTHS)
    def rows(monthly: pd.DataFrame) -> int:
        return len(monthly)

    options = {"resources": {"io_manager": io_manager}, "instance": instance, "partition_key": "2012-01"}
    dg.materialize([monthly], **options)
    assert dg.materialize([monthly.to_source_asset(), rows], **options).output_for_node("rows") == 3


def test_several_partitions_are_loaded_as_a_dict_in_their_order(instance, io_manager):
    keys = [f"k{number}" for number in (5, 3, 9, 1, 7)]
    definition = dg.StaticPartitionsDefinition(keys)

    @dg.asset(partitions_def=definition, backfill_policy=dg.BackfillPolicy.single_run())
    def parts(context: dg.AssetExecutionContext) -> dict:
        return PartitionedOutput({key: key.upper() for key in context.partition_keys})

    @dg.asset
    def joined(parts: dict[str, str]) -> str:
        assert list(parts) == keys
        return "".join(parts.values())

    options = {"resources": {"io_manager": io_manager}, "instance": instance}
    backfill_in_one_run([parts], keys[0], keys[-1], **options)
    result = dg.materialize([parts.to_source_asset(), joined], **options)
    assert result.output_for_node("joined") == "K5K3K9K1K7"


def test_one_value_for_a_run_over_several_partitions_is_refused_and_nothing_is_stored(instance, io_manager, opened):
    @dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def monthly_total() -> int:
        return 1

    options = {"resources": {"io_manager": io_manager}, "instance": instance}
    with pytest.raises(dg.DagsterInvariantViolationError, match="the run has 2 partitions, but the output is one int"):
        backfill_in_one_run([monthly_total], "2012-01", "2012-02", **options)
    assert list(opened.repos()) == []


@pytest.fixture
def january_and_march(instance, io_manager):
    """The asset ``temperature`` with values for January and March, and ``None`` for April 2012."""
    values = {"2012-01": 1, "2012-03": 3, "2012-04": None}

    @dg.asset(partitions_def=MONTHS)
    def temperature(context: dg.AssetExecutionContext):
        return values[context.partition_key]

    for key in values:
        dg.materialize([temperature], resources={"io_manager": io_manager}, instance=instance, partition_key=key)
    return temperature


def load_months(upstream, instance, io_manager, keys: list[str], *, allow_missing: bool) -> object:
    mapping = dg.SpecificPartitionsPartitionMapping(keys)
    metadata = {"allow_missing_partitions": allow_missing}

    @dg.asset(ins={"temperature": dg.AssetIn(partition_mapping=mapping, metadata=metadata)})
    def loaded(temperature):
        return {"value": temperature}

    result = dg.materialize(
        [upstream.to_source_asset(), loaded], resources={"io_manager": io_manager}, instance=instance
    )
    return result.output_for_node("loaded")["value"]


def test_missing_partitions_are_left_out_when_they_may_be(january_and_march, instance, io_manager):
    keys = ["2012-01", "2012-02", "2012-03"]
    loaded = load_months(january_and_march, instance, io_manager, keys, allow_missing=True)
    assert loaded == {"2012-01": 1, "2012-03": 3}
    assert load_months(january_and_march, instance, io_manager, ["2012-02"], allow_missing=True) is None
    assert load_months(january_and_march, instance, io_manager, ["2012-01"], allow_missing=True) == 1


def test_a_missing_partition_is_a_file_that_is_not_found(january_and_march, instance, io_manager):
    for keys in (["2012-02"], ["2012-01", "2012-02"]):
        with pytest.raises(FileNotFoundError, match="2012-02"):
            load_months(january_and_march, instance, io_manager, keys, allow_missing=False)


def test_a_stored_none_is_left_out_of_a_dict_of_partitions_as_in_dagsters_own_managers(
    january_and_march, instance, io_manager
):
    loaded = load_months(january_and_march, instance, io_manager, ["2012-01", "2012-04"], allow_missing=False)
    assert loaded == {"2012-01": 1}


def test_what_was_never_stored_is_a_file_that_is_not_found(instance, io_manager):
    @dg.asset
    def never(): ...

    @dg.asset
    def downstream(never): ...

    with pytest.raises(FileNotFoundError, match="materialize the asset first") as caught:
        dg.materialize([never.to_source_asset(), downstream], resources={"io_manager": io_manager}, instance=instance)
    assert "versioned repo create" not in "".join(traceback.format_exception(caught.value))


def test_none_is_stored_without_saying_where_and_loaded(instance, io_manager):
    @dg.asset
    def nothing():
        return None

    @dg.asset
    def seen(nothing) -> bool:
        return nothing is None

    result = dg.materialize([nothing, seen], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("seen") is True
    (event,) = materializations(result, "nothing")
    assert "path" not in event.metadata
    assert "dagster/uri" not in event.metadata
    assert "versioned/commit" in event.metadata


def test_outputs_typed_none_are_not_stored(instance, io_manager, store_url):
    @dg.asset
    def side_effect() -> None: ...

    dg.materialize([side_effect], resources={"io_manager": io_manager}, instance=instance)
    assert not Path(store_url).exists()


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


def test_any_object_is_stored_by_pickle_unless_that_is_switched_off(instance, io_manager, store_url):
    @dg.asset
    def point():
        return Point(1)

    @dg.asset
    def x(point) -> int:
        return point.x

    result = dg.materialize([point, x], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("x") == 1
    strict = VersionedIOManager(store=store_url, allow_pickle=False)
    with pytest.raises(dg.DagsterInvariantViolationError, match="a Point can only be stored as a pickle"):
        dg.materialize([point], resources={"io_manager": strict}, instance=instance)
    with pytest.raises(vio.VersionedError, match="pickle"):
        dg.materialize([point.to_source_asset(), x], resources={"io_manager": strict}, instance=instance)


def test_a_table_of_one_library_is_loaded_as_that_of_another(instance, io_manager):
    @dg.asset
    def frame() -> pd.DataFrame:
        return pd.DataFrame({"rain": [1, 2]})

    @dg.asset
    def as_polars(frame: pl.DataFrame) -> int:
        return frame["rain"].sum()

    @dg.asset
    def as_arrow(frame: pa.Table | None) -> int:
        return frame.num_rows

    result = dg.materialize([frame, as_polars, as_arrow], resources={"io_manager": io_manager}, instance=instance)
    assert (result.output_for_node("as_polars"), result.output_for_node("as_arrow")) == (3, 2)


def test_a_file_comes_back_as_a_file_for_as_long_as_the_step_needs_it(instance, io_manager, tmp_path):
    paths = []

    @dg.asset
    def report() -> Path:
        (tmp_path / "report.txt").write_text("rain")
        return tmp_path / "report.txt"

    @dg.asset
    def words(report: Path) -> str:
        paths.append(report)
        return report.read_text()

    result = dg.materialize([report, words], resources={"io_manager": io_manager}, instance=instance)
    assert result.output_for_node("words") == "rain"
    assert paths[0] != tmp_path / "report.txt"
    assert not paths[0].exists()
    definitions = dg.Definitions(assets=[report], resources={"io_manager": io_manager})
    assert definitions.load_asset_value("report", instance=instance).read_text() == "rain"


def test_what_can_not_be_pickled_is_refused_in_the_words_of_dagsters_own_manager(instance, io_manager, opened):
    @dg.op
    def local_function():
        return lambda: 1

    @dg.op
    def too_deep():
        nested: list = []
        for _ in range(100_000):
            nested = [nested]
        return nested

    for op, message in (
        (local_function, r"Object .* is not picklable\. .*"),
        (too_deep, r"Object .* exceeds recursion limit and is not picklable\. .*"),
    ):
        job = dg.GraphDefinition(name="job", node_defs=[op]).to_job(resource_defs={"io_manager": io_manager})
        with pytest.raises(dg.DagsterInvariantViolationError, match=message):
            job.execute_in_process(instance=instance)


def test_inputs_can_be_read_as_of_a_commit_a_tag_or_a_lineage_id(instance, io_manager, store_url, opened):
    @dg.asset(config_schema={"value": int})
    def number(context: dg.AssetExecutionContext) -> int:
        return context.op_execution_context.op_config["value"]

    for value in (1, 2):
        config = {"ops": {"number": {"config": {"value": value}}}}
        dg.materialize([number], resources={"io_manager": io_manager}, instance=instance, run_config=config)
    newest, oldest = opened.log("number@main")
    opened.create_tag("number@v1", at=f"number@{oldest.id}")
    assert newest.run is not None
    assert newest.run.params == {"value": 2}
    definitions = dg.Definitions(assets=[number], resources={"io_manager": io_manager})
    with definitions.get_asset_value_loader(instance=instance) as loader:
        loaded = {
            ref: loader.load_asset_value("number", input_definition_metadata={"versioned/ref": ref})
            for ref in (oldest.id, "v1", oldest.lineage_id, "main")
        }
    assert loaded == {oldest.id: 1, "v1": 1, oldest.lineage_id: 1, "main": 2}

    @dg.asset
    def copied(number: int) -> int:
        return number

    pinned = VersionedIOManager(store=store_url, ref="v1")
    result = dg.materialize([number.to_source_asset(), copied], resources={"io_manager": pinned}, instance=instance)
    assert result.output_for_node("copied") == 1
    assert opened.commit("copied@main").provenance == (oldest.id,)


def test_another_branch_reads_the_base_branch_until_it_has_its_own_version(instance, io_manager, store_url, opened):
    values = [1]

    @dg.asset
    def number() -> int:
        return values[-1]

    @dg.asset
    def copied(number: int) -> int:
        return number

    development = VersionedIOManager(store=store_url, branch="dev")
    options = {"instance": instance, "resources": {"io_manager": development}}
    dg.materialize([number], resources={"io_manager": io_manager}, instance=instance)
    assert dg.materialize([number.to_source_asset(), copied], **options).output_for_node("copied") == 1
    values.append(2)
    assert dg.materialize([number, copied], **options).output_for_node("copied") == 2
    assert [branch.name for branch in opened.branches("number")] == ["dev", "main"]
    assert opened.snapshot("number@main").read("data.json") != opened.snapshot("number@dev").read("data.json")
    assert opened.commit("number@dev").parent == opened.commit("number@main").id


def test_one_repo_can_hold_all_assets(instance, store_url, opened):
    @dg.asset(key_prefix="raw", partitions_def=MONTHS)
    def weather() -> int:
        return 1

    shared = VersionedIOManager(store=store_url, repo="everything")
    dg.materialize([weather], resources={"io_manager": shared}, instance=instance, partition_key="2012-01")
    assert [file.path for file in opened.snapshot("everything@main").walk()] == ["raw.weather/2012-01/data.json"]


def test_it_works_in_unit_tests_without_a_run(io_manager):
    output = dg.build_output_context(asset_key="number", run_id="r", step_key="s", name="result")
    io_manager.handle_output(output, 1)
    assert output.get_logged_metadata()["versioned/repo"].value == "number"
    with dg.build_input_context(asset_key="number", upstream_output=output) as context:
        assert io_manager.load_input(context) == 1
    io_manager.teardown_after_execution(dg.build_init_resource_context())


def processes_job() -> dg.JobDefinition:
    @dg.op
    def first() -> int:
        return 1

    @dg.op
    def second() -> int:
        return 2

    @dg.op
    def add(one: int, other: int) -> int:
        return one + other

    @dg.job(resource_defs={"io_manager": VersionedIOManager(store=dg.EnvVar("TEST_STORE"))})
    def addition():
        add(first(), second())

    return addition


@pytest.mark.slow
def test_steps_in_processes_of_their_own_share_the_store_that_they_made_and_the_lineage_id(
    sqlite_instance, store_url, monkeypatch
):
    monkeypatch.setenv("TEST_STORE", store_url)
    with dg.execute_job(dg.reconstructable(processes_job), sqlite_instance) as result:
        assert result.success
        assert result.output_for_node("add") == 3
    with vio.open_store(store_url) as store:
        commits = list(store.log(f"{OP_OUTPUTS_REPO}@main"))
        inputs = {use.file.written_by for use in store.upstream(f"{OP_OUTPUTS_REPO}@{commits[0].id}").files}
    assert len(commits) == 3
    assert {commit.lineage_id for commit in commits} == {
        sqlite_instance.get_run_by_id(result.run_id).tags["versioned/lineage_id"]
    }
    assert inputs == {commits[1].id, commits[2].id}


class LosesOneReply(VersionedIOManager):
    """Is told nothing of the success of its first commit."""

    _lost: list = PrivateAttr(default_factory=list)

    def handle_output(self, context, obj):
        super().handle_output(context, obj)
        if not self._lost:
            self._lost.append(True)
            raise OutcomeUnknownError("the catalog", "it can't be asked now")


@pytest.mark.parametrize(("values", "commits"), [([1, 1], 1), ([1, 2], 2)])
def test_a_retried_step_whose_commit_was_made_makes_no_second_unless_its_result_is_another(
    instance, store_url, opened, values, commits
):
    results = iter(values)

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def flaky() -> int:
        return next(results)

    manager = LosesOneReply(store=store_url)
    assert dg.materialize([flaky], resources={"io_manager": manager}, instance=instance).success
    assert len(list(opened.log("flaky@main"))) == commits
    assert opened.snapshot("flaky@main").read("data.json") == str(values[1]).encode()


def test_a_second_run_of_the_same_is_another_commit(instance, io_manager, opened):
    @dg.asset
    def same() -> int:
        return 1

    for _ in range(2):
        dg.materialize([same], resources={"io_manager": io_manager}, instance=instance)
    assert len(list(opened.log("same@main"))) == 2


def test_a_partition_that_comes_out_the_same_comes_from_what_was_read_last(instance, io_manager, opened):
    """The other partitions of the asset come from what they were made from."""
    value = ["old"]

    @dg.asset(partitions_def=MONTHS)
    def raw(context: dg.AssetExecutionContext) -> str:
        return f"{value[0]} {context.partition_key}"

    @dg.asset(partitions_def=MONTHS)
    def report(context: dg.AssetExecutionContext, raw: str) -> str:
        return f"read for {context.partition_key}" if raw else ""

    def run(key):
        dg.materialize([raw, report], resources={"io_manager": io_manager}, instance=instance, partition_key=key)
        return opened.commit("raw@main"), opened.commit("report@main")

    first, _ = run("2012-01")
    other, _ = run("2012-02")
    value[0] = "corrected"
    corrected, again = run("2012-01")

    def made_from(ref):
        return {use.file.made_by for use in opened.upstream(ref).files}

    assert made_from("report@main:2012-01") == made_from(f"report@{again.id}") == {corrected.id}
    assert made_from("report@main:2012-02") == {other.id}
    assert first.id not in made_from("report@main")
    assert again.id in {commit.id for commit in opened.downstream(f"raw@{corrected.id}").commits}


def test_an_asset_whose_repo_was_renamed_fails_with_the_new_name(instance, io_manager, store_url):
    @dg.asset
    def weather() -> pd.DataFrame:
        return pd.DataFrame({"rain": [1.0, 2.0]})

    @dg.asset
    def total(weather: pd.DataFrame) -> float:
        return float(weather.rain.sum())

    resources = {"io_manager": io_manager}
    dg.materialize([weather], resources=resources, instance=instance)
    with vio.open_store(store_url) as store:
        store.rename_repo("weather", "climate")
    for selection in ([weather], [total]):
        with pytest.raises((VersionedError, DagsterExecutionLoadInputError)) as caught:
            dg.materialize([weather, total], selection=selection, resources=resources, instance=instance)
        assert "'climate'" in f"{caught.value} {caught.value.__cause__}"
    with vio.open_store(store_url) as store:
        assert [repo.name for repo in store.repos()] == ["climate"]


def test_the_metadata_shows_which_rows_and_columns_changed_and_a_table_of_the_inputs(instance, io_manager):
    pd = pytest.importorskip("pandas")
    tables = [{"price": [1, 2, 3]}, {"price": [1, 5, 3, 6]}, {"price": ["1", "5"], "city": ["oslo", "rome"]}]
    tables.append(tables[-1])

    @dg.asset
    def prices():
        return pd.DataFrame(tables.pop(0))

    @dg.asset
    def count(prices) -> int:
        return len(prices)

    names = ("row_count_before", "row_count_change", "rows_added", "rows_removed", "columns_changed")
    shown = []
    while tables:
        assert dg.materialize([prices, count], instance=instance, resources={"io_manager": io_manager}).success
        event = instance.get_latest_materialization_event(dg.AssetKey("prices"))
        found = event.asset_materialization.metadata
        values = [found[f"versioned/{name}"].value if f"versioned/{name}" in found else None for name in names]
        shown.append([found["dagster/row_count"].value, *values])
        assert "versioned/inputs" not in found, "the comparison is not an input"
    assert shown[:2] == [[3, None, None, None, None, None], [4, 3, 1, 2, 1, None]]
    assert shown[2][:5] == [2, 4, -2, 0, 2]
    assert re.fullmatch(r"price from int64 to (large_)?string; city \((large_)?string\) added", shown[2][5])
    assert shown[3] == [2, 2, 0, 0, 0, None]
    made = instance.get_latest_materialization_event(dg.AssetKey("count")).asset_materialization.metadata
    (commit,) = {file.partition("@")[2].partition(":")[0] for file in made["versioned/inputs"].value["files"]}
    assert made["versioned/made_from"].value.splitlines()[2:] == [f"| prices | {commit} | 1 | data.parquet |"]


def test_an_output_whose_former_commit_has_expired_is_stored_without_the_number_of_rows_before(
    instance, io_manager, opened, monkeypatch
):
    """Housekeeping may expire the former commit right after the new one; the output is stored, and must not fail."""

    @dg.asset
    def prices():
        return pd.DataFrame({"price": [1]})

    def expire_and_look(*arguments):
        opened.set_retention("prices@main", keep_last=1)
        opened.gc(grace=timedelta(0), expire=timedelta(0))
        return original(*arguments)

    original = io_manager_module.find_table_changes
    for number in range(2):
        if number:
            monkeypatch.setattr(io_manager_module, "find_table_changes", expire_and_look)
        assert dg.materialize([prices], instance=instance, resources={"io_manager": io_manager}).success
    event = instance.get_latest_materialization_event(dg.AssetKey("prices"))
    assert "versioned/row_count_before" not in event.asset_materialization.metadata
    assert event.asset_materialization.metadata["dagster/row_count"].value == 1
