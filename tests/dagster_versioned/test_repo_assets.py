"""A repo in Dagster's graph: each partition that a commit outside of Dagster touched is materialised there, once."""

import dagster as dg
import pytest

from dagster_versioned import VersionedIOManager, build_repo_assets
from dagster_versioned.naming import asset_of_repo, repo_of_asset
from versioned_io.errors import RefSyntaxError

ORDERS = dg.AssetKey("orders")
TEMPLATE = "{date}.csv"
DAYS = dg.DynamicPartitionsDefinition(name="orders")


@pytest.fixture
def commit(opened):
    def commit(files, *, deletes=(), repo="orders"):
        opened.create_repo(repo, exist_ok=True)
        with opened.transaction(f"{repo}@main") as tx:
            for path, content in files.items():
                tx.write(path, content)
            for path in deletes:
                tx.delete(path)
        return tx.commit

    return commit


class Daemon:
    """Evaluates the sensor of a repo and does with the result what the daemon does, in its order."""

    def __init__(self, instance, definitions):
        self.instance = instance
        self.definitions = definitions
        self.cursor = None

    def tick(self, *, dies=False):
        repository = self.definitions.get_repository_def()
        sensor = next(one for one in repository.sensor_defs if one.name.endswith("_asset"))
        with dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository) as context:
            found = sensor.evaluate_tick(context)
        for event in found.asset_events:
            self.instance.report_runless_asset_event(event)
        if dies:
            return found
        for request in found.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        self.cursor = found.cursor
        return found


@pytest.fixture
def daemon(sqlite_instance, store_url):
    def daemon(*assets, repo="orders", **options):
        made = build_repo_assets(repo, store=store_url, **options)
        return Daemon(sqlite_instance, dg.Definitions.merge(made, dg.Definitions(assets=assets)))

    return daemon


def events_of(instance, key=ORDERS):
    found = instance.fetch_materializations(key, limit=1000).records
    return [(one.asset_materialization.partition, one.asset_materialization.tags) for one in reversed(found)]


def test_each_touched_partition_is_materialised_once(daemon, commit, sqlite_instance):
    first = commit({"2026-01-01.csv": b"1", "2026-01-02.csv": b"2"})
    watching = daemon(partitions=TEMPLATE)
    watching.tick()
    second = commit({"2026-01-02.csv": b"3"})
    watching.tick()
    assert watching.tick().skip_message == "nothing new on orders@main"
    assert [(key, found["versioned/commit"]) for key, found in events_of(sqlite_instance)] == [
        ("2026-01-01", first.id),
        ("2026-01-02", first.id),
        ("2026-01-02", second.id),
    ]
    assert sqlite_instance.get_dynamic_partitions("orders") == ["2026-01-01", "2026-01-02"]


def test_two_sensors_and_a_daemon_that_dies_report_a_commit_once(daemon, commit, sqlite_instance):
    commit({"2026-01-01.csv": b"1"})
    first, second = daemon(partitions=TEMPLATE), daemon(partitions=TEMPLATE)
    first.tick(dies=True)
    first.tick()
    second.tick()
    assert [key for key, _ in events_of(sqlite_instance)] == ["2026-01-01"]


def test_the_data_version_is_that_of_the_content(daemon, commit, sqlite_instance):
    watching = daemon(partitions=TEMPLATE)
    for content in (b"a", b"b", b"a"):
        commit({"2026-01-01.csv": content})
        watching.tick()
    first, second, third = (found["dagster/data_version"] for _, found in events_of(sqlite_instance))
    assert first == third != second


def test_a_repo_without_partitions_is_one_asset(daemon, commit, sqlite_instance):
    watching = daemon(repo="raw.orders")
    assert "does not exist yet" in watching.tick().skip_message
    made = commit({"x.csv": b"1"}, repo="raw.orders")
    watching.tick()
    watching.tick()
    ((partition, found),) = events_of(sqlite_instance, dg.AssetKey(["raw", "orders"]))
    assert (partition, found["dagster/data_version"]) == (None, made.tree_digest)


def test_a_key_without_a_partition_waits(daemon, commit, sqlite_instance):
    months = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2012-03", fmt="%Y-%m")
    commit({"2012-01.csv": b"1", "2014-01.csv": b"1"})
    daemon(partitions=TEMPLATE, partitions_def=months).tick()
    assert [key for key, _ in events_of(sqlite_instance)] == ["2012-01"]


def test_many_partitions_are_reported_in_pages(daemon, commit, sqlite_instance, monkeypatch):
    monkeypatch.setattr("dagster_versioned.repo_assets.MAX_EVENTS", 40)
    commit({f"{number:03}.csv": b"1" for number in range(100)})
    watching = daemon(partitions=TEMPLATE)
    assert [len(watching.tick().asset_events) for _ in range(4)] == [40, 40, 20, 0]
    assert len(events_of(sqlite_instance)) == 100


def test_a_deleted_partition_is_not_reported(daemon, commit, sqlite_instance):
    commit({"1.csv": b"1", "2.csv": b"1"})
    watching = daemon(partitions=TEMPLATE)
    watching.tick()
    commit({}, deletes=["1.csv"])
    assert watching.tick().asset_events == []


# Dagster passes a parameter of its own that it calls beta.
@pytest.mark.filterwarnings("ignore:Parameter `include_sources`")
def test_an_automation_condition_requests_exactly_what_a_commit_touched(daemon, commit, sqlite_instance, store_url):
    @dg.asset(partitions_def=DAYS, automation_condition=dg.AutomationCondition.eager())
    def rows(orders: str) -> int:
        return len(orders.splitlines())

    watching = daemon(rows, partitions="{date}/data.txt")
    before = dg.evaluate_automation_conditions(watching.definitions, sqlite_instance)
    commit({"1/data.txt": b"a", "2/data.txt": b"a"})
    watching.tick()
    evaluated = dg.evaluate_automation_conditions(watching.definitions, sqlite_instance, cursor=before.cursor)
    assert evaluated.get_requested_partitions(rows.key) == {"1", "2"}
    resources = {"io_manager": VersionedIOManager(store=store_url)}
    for key in "12":
        specs = [*watching.definitions.resolve_all_asset_specs()]
        spec = next(one for one in specs if one.key == ORDERS)
        done = dg.materialize(
            [spec, rows], selection=[rows], partition_key=key, instance=sqlite_instance, resources=resources
        )
        assert done.output_for_node("rows") == 1
    made = dg.evaluate_automation_conditions(watching.definitions, sqlite_instance, cursor=evaluated.cursor)
    assert made.total_requested == 0
    commit({"2/data.txt": b"b"})
    watching.tick()
    again = dg.evaluate_automation_conditions(watching.definitions, instance=sqlite_instance, cursor=made.cursor)
    assert again.get_requested_partitions(rows.key) == {"2"}


@pytest.mark.parametrize("key", [["orders"], ["raw", "orders"], ["a b"], ["\u00e9", "x.y"], ["-x"]])
def test_the_name_of_a_repo_leads_back_to_its_asset(key):
    assert asset_of_repo(repo_of_asset(dg.AssetKey(key))) == dg.AssetKey(key)


def test_mistakes_are_refused_when_the_definitions_are_made():
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="at least one repo"):
        build_repo_assets()
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="partitions_def needs partitions="):
        build_repo_assets("orders", partitions_def=DAYS)
    with pytest.raises(RefSyntaxError):
        build_repo_assets("orders@")


def test_the_store_comes_from_a_resource_by_default(commit, sqlite_instance, store_url):
    from dagster_versioned import VersionedStoreResource

    commit({"x.csv": b"1"})
    made = build_repo_assets("orders", "more@dev")
    merged = dg.Definitions.merge(
        made, dg.Definitions(resources={"versioned_store": VersionedStoreResource(store=store_url)})
    )
    assert {sensor.name for sensor in merged.sensors} == {"orders_main_asset", "more_dev_asset"}
    sensor = next(one for one in merged.sensors if one.name == "orders_main_asset")
    resources = {"versioned_store": VersionedStoreResource(store=store_url)}
    with dg.build_sensor_context(sqlite_instance, definitions=merged, resources=resources) as context:
        assert len(sensor.evaluate_tick(context).asset_events) == 1
