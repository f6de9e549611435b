"""Projects that exist already: what an older IO manager stored is read where it is, and counts as an input."""

import hashlib
import pickle

import dagster as dg
import pytest
from dagster_aws.s3 import S3PickleIOManager, S3Resource

import versioned_io as vio
from dagster_versioned import VersionedIOManager
from versioned_io.errors import InvalidInputError

# Dagster reads its own deprecated property for each resource in a resource.
pytestmark = pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning")

MONTHS = dg.StaticPartitionsDefinition(["2012-01", "2012-02", "2012-03"])
GRID = dg.MultiPartitionsDefinition(
    {"city": dg.StaticPartitionsDefinition(["oslo", "rome"]), "day": dg.StaticPartitionsDefinition(["1", "2"])}
)


@dg.asset(key_prefix="raw")
def orders():
    return [1, 2, 3]


@dg.asset(ins={"orders": dg.AssetIn(key_prefix="raw")})
def total(orders):
    return sum(orders)


@dg.asset(partitions_def=MONTHS)
def monthly(context: dg.AssetExecutionContext):
    return f"rows of {context.partition_key}"


@dg.asset
def report(monthly):
    return monthly


@dg.asset(partitions_def=MONTHS)
def checked(monthly):
    return monthly.upper()


@dg.asset(partitions_def=MONTHS)
def shortened(monthly):
    return {key: rows[:4] for key, rows in monthly.items()}


@dg.asset(partitions_def=GRID)
def weather(context: dg.AssetExecutionContext):
    return str(context.partition_key)


@dg.asset(partitions_def=GRID)
def cleaned(weather):
    return weather


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def old(tmp_path):
    return str(tmp_path / "old")


@pytest.fixture
def manager(tmp_path, old):
    return VersionedIOManager(store=str(tmp_path / "store"), fallback=old)


def run(instance, manager, *assets, only=None, partition=None, **options):
    return dg.materialize(
        assets, resources={"io_manager": manager}, instance=instance, selection=only, partition_key=partition, **options
    )


def stored_before(instance, old, asset, *partitions):
    for key in partitions or [None]:
        assert run(instance, dg.FilesystemIOManager(base_dir=old), asset, partition=key).success


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def head(tmp_path, repo):
    with vio.open_store(tmp_path / "store") as store:
        return next(iter(store.log(f"{repo}@main")))


def test_an_old_value_is_read_and_is_an_input_of_known_digest(instance, tmp_path, old, manager):
    stored_before(instance, old, orders)
    done = run(instance, manager, orders, total, only=[total])
    assert done.output_for_node("total") == 6
    read = {
        "uri": (tmp_path / "old" / "raw" / "orders").as_uri(),
        "digest": sha256(tmp_path / "old" / "raw" / "orders"),
    }
    assert head(tmp_path, "total").metadata["external_inputs"] == [read]
    (materialized,) = done.asset_materializations_for_node("total")
    assert materialized.metadata["versioned/inputs"].value == {"files": [f"{read['uri']} {read['digest']}"]}


def test_the_log_says_where_a_value_came_from(instance, tmp_path, old, manager, capfd):
    stored_before(instance, old, orders)
    capfd.readouterr()
    run(instance, manager, orders, total, only=[total])
    uri = (tmp_path / "old" / "raw" / "orders").as_uri()
    assert f"read {uri} through fallback, since raw.orders has no data" in capfd.readouterr().err


def test_a_value_of_the_store_is_read_instead_of_an_old_one(instance, tmp_path, old, manager):
    stored_before(instance, old, orders)
    run(instance, manager, orders)
    (tmp_path / "old" / "raw" / "orders").write_bytes(pickle.dumps([100]))
    assert run(instance, manager, orders, total, only=[total]).output_for_node("total") == 6
    assert "external_inputs" not in head(tmp_path, "total").metadata


def test_of_several_partitions_only_those_that_the_store_lacks_are_read_there(instance, tmp_path, old, manager):
    stored_before(instance, old, monthly, "2012-01", "2012-03")
    run(instance, manager, monthly, partition="2012-02")
    found = run(instance, manager, monthly, report, only=[report]).output_for_node("report")
    assert found == {key: f"rows of {key}" for key in ("2012-01", "2012-02", "2012-03")}
    assert list(found) == ["2012-01", "2012-02", "2012-03"]
    read = [one["uri"].rpartition("/")[2] for one in head(tmp_path, "report").metadata["external_inputs"]]
    assert read == ["2012-01", "2012-03"]


@pytest.mark.filterwarnings("ignore:Function `AssetSelection.keys`:DeprecationWarning")
def test_lineage_leads_to_the_old_file_that_one_partition_was_made_from(instance, tmp_path, old, manager):
    stored_before(instance, old, monthly, "2012-01", "2012-02")
    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    resources = {"io_manager": manager}
    done = dg.materialize(
        [monthly, shortened],
        instance=instance,
        resources=resources,
        selection=[shortened],
        tags=dict(zip(ends, ("2012-01", "2012-02"), strict=True)),
    )
    assert done.success
    with vio.open_store(str(tmp_path / "store")) as store:
        graphs = [store.upstream(f"shortened@main:2012-0{month}") for month in (1, 2)]
    assert [[use.uri.rpartition("/")[2] for use in graph.external] for graph in graphs] == [["2012-01"], ["2012-02"]]


def test_one_partition_is_read_there(instance, tmp_path, old, manager):
    stored_before(instance, old, monthly, "2012-01")
    done = run(instance, manager, monthly, checked, only=[checked], partition="2012-01")
    assert done.output_for_node("checked") == "ROWS OF 2012-01"


def test_a_partition_of_several_dimensions_is_read_there(instance, old, manager):
    key = dg.MultiPartitionKey({"city": "oslo", "day": "2"})
    stored_before(instance, old, weather, key)
    assert run(instance, manager, weather, cleaned, only=[cleaned], partition=key).output_for_node("cleaned") == str(
        key
    )


def test_the_place_of_very_old_versions_for_several_dimensions_is_read(instance, tmp_path, old, manager):
    key = dg.MultiPartitionKey({"city": "oslo", "day": "2"})
    (tmp_path / "old" / "weather").mkdir(parents=True)
    (tmp_path / "old" / "weather" / str(key)).write_bytes(pickle.dumps("of long ago"))
    done = run(instance, manager, weather, cleaned, only=[cleaned], partition=key)
    assert done.output_for_node("cleaned") == "of long ago"


def failure_of(done):
    (event,) = done.filter_events(lambda event: event.is_step_failure)
    return str(event.step_failure_data.error)


@pytest.mark.parametrize("makes_repo", [False, True])
def test_a_value_that_nobody_has_is_said_to_be_missing_in_both_places(instance, tmp_path, old, manager, makes_repo):
    (tmp_path / "old").mkdir()
    if makes_repo:
        run(instance, manager, monthly, partition="2012-02")
    done = run(instance, manager, monthly, checked, only=[checked], partition="2012-01", raise_on_error=False)
    assert f"{old} does not have it either" in failure_of(done)


@pytest.mark.parametrize("makes_repo", [False, True])
def test_without_a_fallback_the_error_says_that_an_older_io_manager_may_hold_it(instance, tmp_path, makes_repo):
    manager = VersionedIOManager(store=str(tmp_path / "store"))
    if makes_repo:
        run(instance, manager, monthly, partition="2012-02")
    done = run(instance, manager, monthly, checked, only=[checked], partition="2012-01", raise_on_error=False)
    assert "if an older IO manager holds it, name that by fallback=" in failure_of(done)


def test_a_partition_may_be_missing_in_both(instance, tmp_path, old, manager):
    @dg.asset(ins={"monthly": dg.AssetIn(metadata={"allow_missing_partitions": True})})
    def some(monthly):
        return monthly

    stored_before(instance, old, monthly, "2012-03")
    assert run(instance, manager, monthly, some, only=[some]).output_for_node("some") == {"2012-03": "rows of 2012-03"}


def test_a_pinned_input_is_not_taken_from_a_place_without_versions(instance, tmp_path, old, manager):
    @dg.asset(ins={"orders": dg.AssetIn(["raw", "orders"], metadata={"versioned/ref": "main~1"})})
    def pinned(orders):
        return orders

    stored_before(instance, old, orders)
    done = run(instance, manager, orders, pinned, only=[pinned], raise_on_error=False)
    assert "is not asked for a version as of main~1" in failure_of(done)


def test_a_directory_that_is_not_there_is_a_mistake(instance, old, manager):
    done = run(instance, manager, orders, total, only=[total], raise_on_error=False)
    assert f"fallback={old!r} is not a directory" in failure_of(done)


def test_a_fallback_is_a_location_or_an_io_manager(tmp_path):
    with pytest.raises(InvalidInputError, match="fallback is a int: pass a directory, a URL, or an IO manager"):
        VersionedIOManager(store=str(tmp_path), fallback=5).get_fallback().manager  # noqa: B018 (made when it is first used)


def test_an_old_pickle_is_refused_where_pickles_are(instance, tmp_path, old):
    stored_before(instance, old, orders)
    manager = VersionedIOManager(store=str(tmp_path / "store"), fallback=old, allow_pickle=False)
    done = run(instance, manager, orders, total, only=[total], raise_on_error=False)
    assert "is a pickle, but allow_pickle is False" in failure_of(done)


class TextIOManager(dg.UPathIOManager):
    extension = ".txt"

    def dump_to_path(self, context, obj, path):
        path.write_text(str(obj))

    def load_from_path(self, context, path):
        return path.read_text()


class TextIOManagerFactory(dg.ConfigurableIOManagerFactory):
    directory: str

    def create_io_manager(self, context):
        from upath import UPath

        return TextIOManager(base_path=UPath(self.directory))


class Memory(dg.ConfigurableIOManager):
    value: str

    def handle_output(self, context, obj): ...

    def load_input(self, context):
        keys = context.asset_partition_keys if context.has_asset_partitions else [None]
        found = {key: f"{self.value} {key}" for key in keys}
        return found if len(keys) > 1 else next(iter(found.values()))


def test_an_io_manager_of_ones_own_with_files_is_asked(instance, tmp_path):
    (tmp_path / "texts" / "monthly").mkdir(parents=True)
    (tmp_path / "texts" / "monthly" / "2012-01.txt").write_text("hello")
    older = TextIOManagerFactory(directory=str(tmp_path / "texts"))
    manager = VersionedIOManager(store=str(tmp_path / "store"), fallback=older)
    done = run(instance, manager, monthly, checked, only=[checked], partition="2012-01")
    assert done.output_for_node("checked") == "HELLO"
    file = tmp_path / "texts" / "monthly" / "2012-01.txt"
    assert head(tmp_path, "checked").metadata["external_inputs"] == [{"uri": file.as_uri(), "digest": sha256(file)}]


def test_an_io_manager_without_files_is_asked_for_one_partition_at_a_time(instance, tmp_path):
    manager = VersionedIOManager(store=str(tmp_path / "store"), fallback=Memory(value="old"))
    run(instance, manager, monthly, partition="2012-02")
    found = run(instance, manager, monthly, report, only=[report]).output_for_node("report")
    assert found == {"2012-01": "old 2012-01", "2012-02": "rows of 2012-02", "2012-03": "old 2012-03"}
    read = head(tmp_path, "report").metadata["external_inputs"]
    assert [one["uri"] for one in read] == ["Memory:monthly[2012-01]", "Memory:monthly[2012-03]"]
    assert all(one["digest"].startswith("pickle-sha256:") for one in read)


def test_what_the_s3_pickle_io_manager_wrote_is_read_over_http(instance, tmp_path, s3_place):
    url, options = s3_place
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    s3 = S3Resource(
        endpoint_url=options["endpoint"],
        region_name=options["region"],
        aws_access_key_id=options["access_key_id"],
        aws_secret_access_key=options["secret_access_key"],
    )
    before = S3PickleIOManager(s3_resource=s3, s3_bucket=bucket, s3_prefix=f"{prefix}/old")
    run(instance, before, orders)
    run(instance, before, monthly, partition="2012-01")
    manager = VersionedIOManager(
        store=f"{url}/store", catalog=f"sqlite:///{tmp_path}/catalog.db", s3=s3, fallback=f"{url}/old"
    )
    assert run(instance, manager, orders, total, only=[total]).output_for_node("total") == 6
    done = run(instance, manager, monthly, checked, only=[checked], partition="2012-01")
    assert done.output_for_node("checked") == "ROWS OF 2012-01"
    with manager.settings().open() as store:
        (read,) = next(iter(store.log("total@main"))).metadata["external_inputs"]
    assert read["uri"] == f"{url}/old/raw/orders"
    assert read["digest"] == f"sha256:{hashlib.sha256(pickle.dumps([1, 2, 3], 4)).hexdigest()}"
    failed = run(instance, manager, monthly, checked, only=[checked], partition="2012-03", raise_on_error=False)
    assert f"{url}/old does not have it either" in failure_of(failed)


def test_an_exported_copy_is_what_the_older_io_manager_would_have_written(instance, tmp_path, old):
    (tmp_path / "old").mkdir()
    manager = VersionedIOManager(store=str(tmp_path / "store"), fallback=old, export=True)
    run(instance, manager, orders)
    run(instance, manager, monthly, partition="2012-02")
    run(instance, manager, weather, partition=dg.MultiPartitionKey({"city": "oslo", "day": "2"}))
    stock = str(tmp_path / "stock")
    stored_before(instance, stock, orders)
    stored_before(instance, stock, monthly, "2012-02")
    stored_before(instance, stock, weather, dg.MultiPartitionKey({"city": "oslo", "day": "2"}))

    def files(name):
        return {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }

    assert files("old") == files("stock") != {}


def test_an_export_needs_a_place(instance, tmp_path):
    manager = VersionedIOManager(store=str(tmp_path / "store"), export=True)
    done = run(instance, manager, orders, raise_on_error=False)
    assert "export=True needs fallback=" in failure_of(done)


def test_the_default_io_manager_takes_its_fallback_from_the_environment(instance, tmp_path, old, monkeypatch):
    from dagster_versioned import default_io_manager

    stored_before(instance, old, orders)
    monkeypatch.setenv("VERSIONED_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("VERSIONED_FALLBACK", old)
    assert run(instance, default_io_manager, orders, total, only=[total]).output_for_node("total") == 6
