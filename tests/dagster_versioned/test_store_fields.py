"""Every setting of a store, in the IO manager, the resource, the sensor and the schedule."""

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

import versioned_io as vio
from dagster_versioned import (
    VersionedIOManager,
    VersionedStoreResource,
    build_commit_sensor,
    build_maintenance_schedule,
)
from versioned_io.errors import InvalidInputError


@pytest.fixture
def bucket(s3_place, tmp_path):
    """A place in S3 without a store, reached over plain HTTP, and what the IO manager has to be told of it."""
    url, options = s3_place
    return {"store": url, "catalog": f"sqlite:///{tmp_path}/catalog.db", "storage_options": options}


def s3_resource(options):
    return S3Resource(
        endpoint_url=options["endpoint"],
        region_name=options["region"],
        aws_access_key_id=dg.EnvVar("KEY_OF_THE_TEST"),
        aws_secret_access_key=options["secret_access_key"],
    )


@dg.asset
def orders():
    return [1, 2, 3]


@dg.asset
def total(orders):
    return sum(orders)


def materialized(resource):
    done = dg.materialize([orders, total], resources={"io_manager": resource})
    assert done.success
    return done


def test_storage_options_reach_a_server_over_http(bucket):
    materialized(VersionedIOManager(**bucket))
    with vio.StoreSettings(**bucket).open() as store:
        assert {repo.name for repo in store.repos()} == {"orders", "total"}


# Dagster reads its own deprecated property for each resource in a resource.
@pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning")
def test_dagsters_s3_resource_says_how_to_reach_the_bucket(bucket, monkeypatch):
    options = bucket.pop("storage_options")
    monkeypatch.setenv("KEY_OF_THE_TEST", options["access_key_id"])
    materialized(VersionedIOManager(**bucket, s3=s3_resource(options)))
    with vio.StoreSettings(**bucket, storage_options=options).open() as store:
        assert {repo.name for repo in store.repos()} == {"orders", "total"}


def test_a_sensor_and_a_schedule_take_the_resource_or_settings(bucket):
    materialized(VersionedIOManager(**bucket))
    for given in (vio.StoreSettings(**bucket), VersionedStoreResource(**bucket)):
        sensor = build_commit_sensor("orders@main", target=[total], store=given)
        definitions = dg.Definitions(assets=[orders, total], sensors=[sensor])
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance, definitions=definitions) as context,
        ):
            assert len(sensor.evaluate_tick(context).run_requests) == 1
        job = build_maintenance_schedule(given).job
        assert job.execute_in_process().success


def test_an_io_manager_without_a_store_takes_that_of_the_environment(bucket, monkeypatch):
    monkeypatch.setenv("VERSIONED_STORE", bucket["store"])
    monkeypatch.setenv("VERSIONED_CATALOG", bucket["catalog"])
    options = bucket["storage_options"]
    monkeypatch.setenv("VERSIONED_STORAGE_OPTIONS", " ".join(f"{name}={value}" for name, value in options.items()))
    assert VersionedIOManager().settings() == vio.StoreSettings(**bucket)
    materialized(VersionedIOManager())
    with vio.StoreSettings(**bucket).open() as store:
        assert {repo.name for repo in store.repos()} == {"orders", "total"}


def test_the_environment_says_nothing_of_a_store_that_is_named(monkeypatch):
    monkeypatch.setenv("VERSIONED_STORE", "s3://bucket/x")
    monkeypatch.setenv("VERSIONED_CATALOG", "postgresql://h/db")
    assert VersionedIOManager(store="/data").settings() == vio.StoreSettings("/data")


def test_fields_complete_the_environment(monkeypatch):
    monkeypatch.setenv("VERSIONED_STORE", "s3://bucket/x")
    monkeypatch.setenv("VERSIONED_CACHE", "/cache")
    found = VersionedIOManager(catalog="sqlite:///c.db", cache_bytes=7).settings()
    assert found == vio.StoreSettings("s3://bucket/x", "sqlite:///c.db", cache="/cache", cache_bytes=7)


def test_without_any_the_store_is_below_the_working_directory(monkeypatch):
    monkeypatch.delenv("VERSIONED_STORE", raising=False)
    assert VersionedIOManager().settings() == VersionedStoreResource().settings() == vio.StoreSettings("./data")


@pytest.mark.parametrize(
    ("store", "s3", "words"),
    [
        ("/data", S3Resource(), "the store is '/data'"),
        ("s3://bucket/x", S3Resource(verify=False), "verify=False"),
        ("s3://bucket/x", VersionedStoreResource(store="x"), "pass a dagster_aws.s3.S3Resource"),
    ],
)
def test_an_s3_resource_that_can_not_be_followed_is_refused(store, s3, words):
    with pytest.raises(InvalidInputError, match=words):
        VersionedIOManager(store=store, s3=s3).settings()


def test_what_the_resource_says_is_translated_and_storage_options_win():
    s3 = S3Resource(region_name="eu", profile_name="team", use_unsigned_session=True, max_attempts=3)
    found = VersionedIOManager(store="s3://bucket/x", s3=s3, storage_options={"region": "us"}).settings()
    assert found.storage_options == {"region": "us", "profile": "team", "skip_signature": "true", "max_retries": "2"}


DEFINITIONS = """
import dagster as dg

@dg.asset
def orders():
    return [1, 2, 3]

@dg.asset
def total(orders):
    return sum(orders)

defs = dg.Definitions(assets=[orders, total])
"""


def test_two_environment_variables_move_a_project_without_a_change_of_code(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_DEFAULT_IO_MANAGER_MODULE", "dagster_versioned")
    monkeypatch.setenv("DAGSTER_DEFAULT_IO_MANAGER_ATTRIBUTE", "default_io_manager")
    monkeypatch.setenv("VERSIONED_STORE", str(tmp_path / "store"))
    namespace = {}
    exec(compile(DEFINITIONS, "definitions.py", "exec"), namespace)
    done = namespace["defs"].resolve_implicit_global_asset_job_def().execute_in_process()
    assert done.success
    with vio.open_store(tmp_path / "store") as store:
        assert {repo.name for repo in store.repos()} == {"orders", "total"}
