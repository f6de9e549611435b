"""The definitions that the tests of the daemon load: monthly summaries of a repo, and a model made of them."""

import dagster as dg

from dagster_versioned import VersionedIOManager, VersionedStoreResource, build_commit_sensor

# Read from the environment by each run and tick: this module is loaded once, and each test has a store of its own.
STORE = dg.EnvVar("DAGSTER_VERSIONED_TEST_STORE")
MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2014-01", fmt="%Y-%m")


@dg.asset(partitions_def=MONTHS)
def monthly_summary(context: dg.AssetExecutionContext, versioned_store: VersionedStoreResource) -> int:
    """The sum of a month's numbers."""
    path = context.partition_key.replace("-", "/") + ".csv"
    return sum(map(int, versioned_store.snapshot("weather@main").read(path).split()))


@dg.asset(ins={"monthly_summary": dg.AssetIn(metadata={"allow_missing_partitions": True})})
def climate_model(monthly_summary: dict) -> int:
    """The sum of all months."""
    return sum(monthly_summary.values())


@dg.asset_check(asset=climate_model)
def is_positive(climate_model: int) -> dg.AssetCheckResult:
    """Read the model again, in a step of its own kind."""
    return dg.AssetCheckResult(passed=climate_model > 0)


weather_commits = build_commit_sensor(
    "weather@main",
    target=[monthly_summary],
    partitions="{year}/{month}.csv",
    name="weather_commits",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
summary_commits = build_commit_sensor(
    "monthly_summary@main",
    target=[climate_model],
    name="summary_commits",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
)

definitions = dg.Definitions(
    assets=[monthly_summary, climate_model],
    asset_checks=[is_positive],
    sensors=[weather_commits, summary_commits],
    executor=dg.in_process_executor,
    resources={
        "io_manager": VersionedIOManager(store=STORE),
        "versioned_store": VersionedStoreResource(store=STORE),
    },
)
