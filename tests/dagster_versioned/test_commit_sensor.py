"""What a commit sensor requests, evaluated as Dagster's code server does."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import VersionedStoreResource, build_commit_sensor, compat
from dagster_versioned.causes import carries, cause_of
from dagster_versioned.sensor_cursor import parse_sensor_cursor
from tests.versioned_io.store.counting import count_all

# Dagster calls a deprecated function of its own when a sensor requests a backfill.
pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.keys`:DeprecationWarning")

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2016-01", fmt="%Y-%m")
TEMPLATE = "{year}/{month}.csv"


@dg.asset(partitions_def=MONTHS)
def monthly() -> None: ...


@dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="stations"))
def by_station() -> None: ...


@dg.asset
def model() -> None: ...


Evaluate = Callable[..., dg.SensorResult]


@pytest.fixture
def evaluate(instance, store_url) -> Evaluate:
    """Evaluate a commit sensor of ``weather@main`` once."""

    def once(target, *, cursor: str | None = None, resources: dict | None = None, **options):
        if "store" not in options and resources is None:
            options["store"] = store_url
        sensor = build_commit_sensor("weather@main", target=target, **options)
        definitions = dg.Definitions(assets=[monthly, by_station, model], sensors=[sensor], resources=resources or {})
        repository = definitions.get_repository_def()
        with (
            dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                repository_def=repository,
                sensor_name=sensor.name,
                resources=resources or {},
            ) as context,
            compat.partitions_loaded_from(instance),
        ):
            return repository.get_sensor_def(sensor.name).evaluate_tick(context)

    return once


@pytest.fixture
def commit(opened) -> Callable[..., vio.Commit]:
    """Commit files (``None`` deletes one) to a branch, ``weather@main`` unless another is named."""

    def make(files: dict[str, bytes | None], ref: str = "weather@main", **options) -> vio.Commit:
        opened.create_repo(ref.partition("@")[0], exist_ok=True)
        with opened.transaction(ref, **options) as transaction:
            for path, content in files.items():
                if content is None:
                    transaction.delete(path)
                else:
                    transaction.write(path, content)
        return transaction.commit

    return make


def keys_of(data) -> list[str]:
    return [request.partition_key for request in data.run_requests]


def test_exactly_the_affected_partitions_are_requested_under_the_lineage_id_of_the_commit(evaluate, commit):
    first = commit({"2012/01.csv": b"1", "2012/02.csv": b"2", "README": b"about"})
    data = evaluate([monthly], partitions=TEMPLATE)
    assert keys_of(data) == ["2012-01", "2012-02"]
    assert data.cursor == first.id
    for request in data.run_requests:
        assert request.run_key == f"weather@main:{first.id}:{request.partition_key}"
        assert request.tags["versioned/lineage_id"] == first.lineage_id
        assert request.tags["versioned/commit"] == first.id
        assert request.tags["versioned/ref"] == "weather@main"
    second = commit({"2012/02.csv": b"corrected"})
    again = evaluate([monthly], partitions=TEMPLATE, cursor=data.cursor)
    assert keys_of(again) == ["2012-02"]
    assert again.cursor == second.id


def test_an_idle_tick_costs_what_the_docstring_says(evaluate, commit):
    cursor = commit({"2012/01.csv": b"1"}).id
    with count_all() as counts:
        data = evaluate([monthly], partitions=TEMPLATE, cursor=cursor)
    assert (data.run_requests, data.cursor) == ([], cursor)
    assert +counts == {"GET": 1, "beacon": 1, "SELECT": 8}  # it is the beacons that are listed
    assert "1 GET, 1 LIST and 8 SELECTs" in " ".join(build_commit_sensor.__doc__.split())


def test_each_partition_is_requested_once_for_the_latest_commit_that_touched_it(evaluate, commit):
    commit({"2012/01.csv": b"1", "2012/02.csv": b"2"})
    latest = commit({"2012/01.csv": b"one"})
    data = evaluate([monthly], partitions=TEMPLATE)
    lineage_of = {request.partition_key: request.tags["versioned/lineage_id"] for request in data.run_requests}
    assert lineage_of["2012-01"] == latest.lineage_id
    assert lineage_of["2012-02"] != latest.lineage_id


def test_the_same_bytes_again_request_nothing_and_are_behind_the_cursor(evaluate, commit, opened):
    first = commit({"2012/01.csv": b"1"})
    again = commit({"2012/01.csv": b"1"}, empty="allow")
    assert again.id != first.id
    data = evaluate([monthly], partitions=TEMPLATE, cursor=first.id)
    assert (data.run_requests, data.cursor) == ([], again.id)
    assert "1 new commit(s) on weather@main changed no partition" in data.skip_message


@pytest.mark.parametrize("asset", [monthly, model], ids=["partitioned", "whole"])
def test_a_template_that_no_changed_path_matches_is_named_with_one_of_the_paths(evaluate, commit, asset):
    first = commit({"2012/01.csv": b"1"})
    second = commit({"2012-02.csv": b"1", "2012-03.csv": b"1"})
    for cursor, news, path in (
        (None, "2 new commit(s) on weather@main changed 3 path(s)", "2012-02.csv"),
        (first.id, "1 new commit(s) on weather@main changed 2 path(s)", "2012-02.csv"),
    ):
        data = evaluate([asset], partitions="y{year}/{month}.csv", cursor=cursor)
        assert (data.run_requests, data.cursor) == ([], second.id)
        assert data.skip_message == f"{news}, and none matches the template 'y{{year}}/{{month}}.csv': one is {path!r}"


def test_without_a_new_commit_the_tick_says_so_and_keeps_the_cursor(evaluate, commit):
    head = commit({"2012/01.csv": b"1"})
    data = evaluate([monthly], partitions=TEMPLATE, cursor=head.id)
    assert (data.run_requests, data.cursor) == ([], head.id)
    assert data.skip_message == "no new commit on weather@main"


def test_a_crashed_evaluation_is_repeated_with_the_same_run_keys(evaluate, commit):
    commit({"2012/01.csv": b"1", "2012/02.csv": b"2"})
    first, second = (evaluate([monthly], partitions=TEMPLATE) for _ in range(2))
    assert [request.run_key for request in first.run_requests] == [request.run_key for request in second.run_requests]
    assert first.cursor == second.cursor


def test_many_partitions_are_one_backfill_for_each_lineage_id(evaluate, commit):
    first = commit({f"2012/{month:02}.csv": b"1" for month in range(1, 13)})
    second = commit({f"2013/{month:02}.csv": b"1" for month in range(1, 13)})
    third = commit({"2014/01.csv": b"1"})
    data = evaluate([monthly], partitions=TEMPLATE)
    backfills = {
        request.tags["versioned/lineage_id"]: request.asset_graph_subset.partitions_subsets_by_asset_key[monthly.key]
        for request in data.run_requests
        if request.asset_graph_subset is not None
    }
    assert {lineage_id: len(subset) for lineage_id, subset in backfills.items()} == {
        first.lineage_id: 12,
        second.lineage_id: 12,
    }
    assert [request.partition_key for request in data.run_requests if request.asset_graph_subset is None] == ["2014-01"]
    assert data.cursor == third.id


def test_commits_of_more_lineage_ids_than_runs_are_one_backfill_that_knows_each_cause(evaluate, commit, instance):
    """300 commits of a file each were 300 runs."""
    made = {f"2012-{month:02}": commit({f"2012/{month:02}.csv": b"1"}) for month in range(1, 13)}
    data = evaluate([monthly], partitions=TEMPLATE)
    (request,) = data.run_requests
    subset = request.asset_graph_subset.partitions_subsets_by_asset_key[monthly.key]
    assert sorted(subset.get_partition_keys()) == sorted(made)
    assert "versioned/lineage_id" not in request.tags
    assert request.tags["versioned/commit"] == made["2012-12"].id
    for key, one in made.items():
        cause = cause_of(instance, request.tags, [key])
        assert (cause.commit, cause.lineage_id) == (one.id, one.lineage_id)
    assert cause_of(instance, request.tags, ["2012-02", "2012-05"]).commit == made["2012-05"].id
    again = evaluate([monthly], partitions=TEMPLATE)
    assert again.run_requests[0].tags == request.tags


def test_the_model_waits_for_a_backfill_of_many_lineage_ids(evaluate, commit, instance):
    made = [commit({f"2012/{month:02}.csv": b"1"}) for month in range(1, 13)]
    (request,) = evaluate([monthly], partitions=TEMPLATE).run_requests
    assert carries(instance, request.tags, [made[3].lineage_id, "another"])
    assert not carries(instance, request.tags, ["another"])
    assert not carries(instance, {}, [made[3].lineage_id])


def test_one_tick_requests_a_page_and_the_next_ones_the_rest(evaluate, commit):
    commit({f"2012/{month:02}.csv": b"1" for month in range(1, 13)})
    first = evaluate([monthly], partitions=TEMPLATE, max_partitions=5)
    assert keys_of(first) == [f"2012-{month:02}" for month in range(1, 6)]
    newer = commit({"2012/07.csv": b"2", "2014/01.csv": b"1"})
    second = evaluate([monthly], partitions=TEMPLATE, max_partitions=5, cursor=first.cursor)
    assert keys_of(second) == [f"2012-{month:02}" for month in range(6, 11)]
    third = evaluate([monthly], partitions=TEMPLATE, max_partitions=5, cursor=second.cursor)
    assert keys_of(third) == ["2012-11", "2012-12", "2014-01"]
    assert third.cursor == newer.id


def test_new_dynamic_partitions_are_added_in_bulk(instance, commit, store_url):
    """The daemon ran one query for each of 5,000: 73 s."""
    commit({f"s{number:03}/a.csv": b"1" for number in range(300)})
    sensor = build_commit_sensor("weather@main", target=[by_station], partitions="{station}/*.csv", store=store_url)
    repository = dg.Definitions(assets=[by_station], sensors=[sensor]).get_repository_def()
    with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
        result = sensor(context)
    assert len(instance.get_dynamic_partitions("stations")) == 300
    assert not result.dynamic_partitions_requests
    (request,) = result.run_requests
    assert len(request.asset_graph_subset.partitions_subsets_by_asset_key[by_station.key]) == 300


@pytest.mark.soak
def test_five_thousand_new_dynamic_partitions_take_at_most_ten_seconds(sqlite_instance, commit, store_url):
    """42 s with a query of the daemon for each, of which 1 s was the evaluation."""
    commit({f"s{number:04}/a.csv": b"1" for number in range(5_000)})
    sensor = build_commit_sensor("weather@main", target=[by_station], partitions="{station}/*.csv", store=store_url)
    repository = dg.Definitions(assets=[by_station], sensors=[sensor]).get_repository_def()
    begun = time.monotonic()
    with dg.build_sensor_context(instance=sqlite_instance, repository_def=repository) as context:
        result = sensor(context)
    assert time.monotonic() - begun < 10
    assert len(sqlite_instance.get_dynamic_partitions("stations")) == 5_000
    assert (len(result.run_requests), result.dynamic_partitions_requests) == (1, [])


def test_partitions_of_deleted_paths_are_removed_on_request(instance, commit, store_url):
    instance.add_dynamic_partitions("stations", ["oslo", "rome"])
    seen = commit({"oslo/a.csv": b"1", "rome/a.csv": b"1", "lima/a.csv": b"1"})
    commit({"oslo/a.csv": None, "lima/a.csv": None, "rome/b.csv": b"1"})
    for on_delete, removed in (("skip", []), ("remove", [["oslo"]])):
        sensor = build_commit_sensor(
            "weather@main", target=[by_station], partitions="{station}/*.csv", store=store_url, on_delete=on_delete
        )
        repository = dg.Definitions(assets=[by_station], sensors=[sensor]).get_repository_def()
        with dg.build_sensor_context(instance=instance, repository_def=repository, cursor=seen.id) as context:
            result = sensor(context)
        assert keys_of(result) == ["rome"]
        assert [list(one.partition_keys) for one in result.dynamic_partitions_requests or ()] == removed


def test_many_partitions_are_removed_in_pages(instance, commit, store_url):
    names = [f"s{number:04}" for number in range(1_500)]
    instance.add_dynamic_partitions("stations", names)
    cursor = commit({f"{name}/a.csv": b"1" for name in names}).id
    commit({f"{name}/": None for name in names})
    back = commit({"s1400/b.csv": b"1"})
    sensor = build_commit_sensor(
        "weather@main", target=[by_station], partitions="{station}/*.csv", store=store_url, on_delete="remove"
    )
    repository = dg.Definitions(assets=[by_station], sensors=[sensor]).get_repository_def()
    removed = []
    for _ in range(3):
        with dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context:
            result = sensor(context)
        cursor = result.cursor
        removed.append([len(one.partition_keys) for one in result.dynamic_partitions_requests or ()])
    assert removed == [[1_000], [499], []]
    assert cursor == back.id


def test_a_replay_requests_the_same_partitions_under_other_run_keys(evaluate, commit):
    first = commit({"2012/01.csv": b"1"})
    head = commit({f"2012/{month:02}.csv": b"2" for month in range(1, 9)})
    once = evaluate([monthly], partitions=TEMPLATE, cursor=first.id, max_partitions=5)
    replay = evaluate([monthly], partitions=TEMPLATE, cursor=f"replay:{first.id}", max_partitions=5)
    assert keys_of(replay) == keys_of(once)
    assert all(f":{request.partition_key}#" in request.run_key for request in replay.run_requests)
    rest = evaluate([monthly], partitions=TEMPLATE, cursor=replay.cursor, max_partitions=5)
    (epoch,) = {request.run_key.partition("#")[2] for request in (*replay.run_requests, *rest.run_requests)}
    assert epoch
    assert rest.cursor == head.id
    (request,) = evaluate([model], cursor="replay:beginning").run_requests
    assert request.run_key.startswith(f"weather@main:{head.id}#")


def test_keys_that_are_no_partitions_wait_in_the_cursor_and_fail_nothing(evaluate, commit):
    unknown = commit({"2016/01.csv": b"early", "2012/01.csv": b"1"})
    data = evaluate([monthly], partitions=TEMPLATE)
    assert keys_of(data) == ["2012-01"]
    assert list(parse_sensor_cursor(data.cursor).waiting) == ["2016-01"]
    again = evaluate([monthly], partitions=TEMPLATE, cursor=data.cursor)
    assert again.run_requests == []
    assert again.skip_message == (
        "no new commit on weather@main. 1 key(s) are not partitions of monthly and wait until they are: '2016-01'. "
        "The partitions end at 2016-01-01: a later key waits until end_date is moved"
    )
    assert parse_sensor_cursor(again.cursor).waiting["2016-01"].commit == unknown.id


def test_no_key_is_dropped_however_many_wait(evaluate, commit):
    """2,000 of 3,000 keys were dropped without a word."""
    commit({f"{year}/{month:02}.csv": b"early" for year in range(2016, 2266) for month in range(1, 13)})
    data = evaluate([monthly], partitions=TEMPLATE)
    assert len(parse_sensor_cursor(data.cursor).waiting) == 3_000
    assert "3000 key(s) are not partitions" in data.skip_message


def test_a_key_that_waited_is_requested_when_it_has_become_a_partition(evaluate, commit, store_url, instance):
    early = commit({"2016/01.csv": b"early"})
    cursor = evaluate([monthly], partitions=TEMPLATE).cursor
    longer = dg.MonthlyPartitionsDefinition(start_date="2012-01", end_date="2017-01", fmt="%Y-%m")

    @dg.asset(partitions_def=longer)
    def extended() -> None: ...

    sensor = build_commit_sensor("weather@main", target=[extended], partitions=TEMPLATE, store=store_url)
    repository = dg.Definitions(assets=[extended], sensors=[sensor]).get_repository_def()
    with dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context:
        data = repository.get_sensor_def(sensor.name).evaluate_tick(context)
    assert keys_of(data) == ["2016-01"]
    assert data.run_requests[0].tags["versioned/commit"] == early.id
    assert data.cursor == early.id


def test_deleted_partitions_are_left_alone_unless_asked_for(evaluate, commit):
    first = commit({"2012/01.csv": b"1", "2012/02.csv": b"2"})
    commit({"2012/01.csv": None})
    skipped = evaluate([monthly], partitions=TEMPLATE, cursor=first.id)
    assert skipped.run_requests == []
    assert "deleted partitions are left alone: '2012-01'" in skipped.skip_message
    requested = evaluate([monthly], partitions=TEMPLATE, cursor=first.id, on_delete="request")
    assert keys_of(requested) == ["2012-01"]


def test_missing_dynamic_partitions_are_added(instance, commit, store_url):
    instance.add_dynamic_partitions("stations", ["seattle"])
    commit({"seattle/a.csv": b"1", "portland/a.csv": b"1", "portland/b.csv": b"2"})
    sensor = build_commit_sensor("weather@main", target=[by_station], partitions="{station}/*.csv", store=store_url)
    repository = dg.Definitions(assets=[by_station], sensors=[sensor]).get_repository_def()
    # Called directly, for evaluate_tick() of a test's context looks for the new partitions before they are added.
    with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
        result = sensor(context)
    assert keys_of(result) == ["portland", "seattle"]
    (request,) = result.dynamic_partitions_requests
    assert (request.partitions_def_name, list(request.partition_keys)) == ("stations", ["portland"])


def test_a_dimension_that_is_dynamic_gets_its_missing_values_and_the_others_are_checked(instance, commit, store_url):
    cities = dg.DynamicPartitionsDefinition(name="cities")

    @dg.asset(partitions_def=dg.MultiPartitionsDefinition({"month": MONTHS, "city": cities}))
    def by_city_and_month() -> None: ...

    commit({"oslo/2012-01.csv": b"1", "oslo/1999-01.csv": b"1", "rome/2012-02.csv": b"1"})
    sensor = build_commit_sensor(
        "weather@main",
        target=[by_city_and_month],
        partitions="{city}/{month}.csv",
        key="{city}|{month}",
        store=store_url,
    )
    repository = dg.Definitions(assets=[by_city_and_month], sensors=[sensor]).get_repository_def()
    with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
        result = sensor(context)
    assert keys_of(result) == ["oslo|2012-01", "rome|2012-02"]
    assert [list(request.partition_keys) for request in result.dynamic_partitions_requests] == [["oslo", "rome"]]
    assert list(parse_sensor_cursor(result.cursor).waiting) == ["oslo|1999-01"]


def test_the_first_evaluation_can_leave_alone_what_is_there(evaluate, commit):
    head = commit({"2012/01.csv": b"1"})
    data = evaluate([monthly], partitions=TEMPLATE, start="now")
    assert (data.run_requests, data.cursor) == ([], head.id)
    commit({"2012/02.csv": b"2"})
    assert keys_of(evaluate([monthly], partitions=TEMPLATE, start="now", cursor=data.cursor)) == ["2012-02"]


def test_an_empty_branch_is_left_alone_and_its_first_commit_is_not(evaluate, opened, commit):
    opened.create_repo("weather")
    data = evaluate([monthly], partitions=TEMPLATE, start="now")
    assert data.cursor == "beginning"
    commit({"2012/01.csv": b"1"})
    assert keys_of(evaluate([monthly], partitions=TEMPLATE, start="now", cursor=data.cursor)) == ["2012-01"]


def test_a_store_a_repo_and_a_branch_that_do_not_exist_yet_are_waited_for(evaluate, tmp_path, opened):
    for location in (str(tmp_path / "nowhere"), opened.url):
        data = evaluate([monthly], partitions=TEMPLATE, store=location)
        assert (data.run_requests, data.cursor) == ([], None)
        assert data.skip_message.startswith("weather@main does not exist yet: ")
    assert not (tmp_path / "nowhere").exists()


def test_a_cursor_of_another_store_is_an_error_that_says_what_to_do(evaluate, commit):
    commit({"2012/01.csv": b"1"})
    with pytest.raises(Exception, match="set the cursor to one that it has") as caught:
        evaluate([monthly], partitions=TEMPLATE, cursor="0" * 32)
    assert caught.value is not None


def forget(store) -> None:
    """Expire the data of all commits but the head's."""
    store.set_retention("weather@main", keep_last=1)
    store.gc(grace=timedelta(0), expire=timedelta(0))


@pytest.mark.parametrize("asset", [monthly, model], ids=["partitioned", "whole"])
def test_the_sensor_goes_on_when_the_commit_of_its_cursor_is_dropped(evaluate, commit, opened, asset):
    commit({f"2012/{month:02}.csv": b"1" for month in range(1, 10)})
    dropped = commit({"2012/03.csv": b"wrong"})
    opened.drop("weather@main")
    data = evaluate([asset], partitions=TEMPLATE, cursor=dropped.id)
    assert keys_of(data) == (["2012-03"] if asset is monthly else [None])
    assert all(request.run_key.endswith(f"#{dropped.id}") for request in data.run_requests)  # the head ran once before
    after = commit({"2012/04.csv": b"2"})
    data = evaluate([asset], partitions=TEMPLATE, cursor=dropped.id)
    assert keys_of(data) == (["2012-03", "2012-04"] if asset is monthly else [None])
    assert data.cursor == after.id


def test_the_sensor_goes_on_when_the_commit_of_its_cursor_has_expired(evaluate, commit, opened):
    seen = commit({f"2012/{month:02}.csv": b"1" for month in range(1, 10)})
    commit({"2012/03.csv": b"2", "notes": b"1"})
    head = commit({"2012/05.csv": b"2"})
    forget(opened)
    data = evaluate([monthly], partitions=TEMPLATE, cursor=seen.id)
    assert (keys_of(data), data.cursor) == (["2012-03", "2012-05"], head.id)


def test_commits_beside_the_template_after_an_expired_one_request_nothing(evaluate, commit, opened):
    seen = commit({"2012/01.csv": b"1"})
    other = commit({"notes": b"2"})
    forget(opened)
    data = evaluate([monthly], partitions=TEMPLATE, cursor=seen.id)
    assert (data.run_requests, data.cursor) == ([], other.id)
    assert "changed no partition of" in data.skip_message


def test_the_sensor_goes_on_after_a_squash(evaluate, commit, opened):
    commit({f"2012/{month:02}.csv": b"1" for month in range(1, 10)})
    seen = commit({"2012/03.csv": b"2"})
    commit({"2012/05.csv": b"2"})
    squashed = opened.squash("weather@main")
    forget(opened)
    data = evaluate([monthly], partitions=TEMPLATE, cursor=seen.id)
    assert (keys_of(data), data.cursor) == (["2012-05"], squashed.id)


def test_the_store_can_be_a_resource(evaluate, commit, store_url):
    commit({"2012/01.csv": b"1"})
    resource = VersionedStoreResource(store=store_url)
    assert keys_of(evaluate([monthly], partitions=TEMPLATE, store=resource)) == ["2012-01"]
    assert keys_of(evaluate([monthly], partitions=TEMPLATE, resources={"versioned_store": resource})) == ["2012-01"]


def test_an_unpartitioned_asset_runs_once_for_the_newest_commit(evaluate, commit):
    commit({"a": b"1"})
    newest = commit({"b": b"1"})
    data = evaluate([model])
    (request,) = data.run_requests
    assert request.run_key == f"weather@main:{newest.id}"
    assert request.tags["versioned/lineage_id"] == newest.lineage_id
    assert data.cursor == newest.id
    assert evaluate([model], cursor=data.cursor).skip_message == "no new commit on weather@main"


def test_an_unpartitioned_asset_does_not_run_when_the_content_is_as_it_was(evaluate, commit):
    first = commit({"a": b"1"})
    commit({"a": b"2"})
    last = commit({"a": b"1"})
    data = evaluate([model], cursor=first.id)
    assert (data.run_requests, data.cursor) == ([], last.id)
    assert data.skip_message == "2 new commit(s) on weather@main left its files as they were"


def test_an_unpartitioned_asset_can_follow_some_paths_only(evaluate, commit):
    first = commit({"README": b"1"})
    data = evaluate([model], partitions=TEMPLATE)
    assert (data.run_requests, data.cursor) == ([], first.id)
    commit({"2012/01.csv": b"1"})
    assert len(evaluate([model], partitions=TEMPLATE, cursor=data.cursor).run_requests) == 1


def run_with(instance, lineage_id: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name="summaries", status=status, tags={"versioned/lineage_id": lineage_id, **tags})
    return instance.add_run(run)


def test_an_unpartitioned_asset_waits_for_the_unfinished_runs_of_the_same_lineage(evaluate, commit, instance):
    head = commit({"a": b"1"})
    run = run_with(instance, head.lineage_id, dg.DagsterRunStatus.STARTED)
    run_with(instance, "another", dg.DagsterRunStatus.STARTED)
    waiting = evaluate([model])
    assert (waiting.run_requests, waiting.cursor) == ([], None)
    assert waiting.skip_message.startswith(f"1 new commit(s) on weather@main wait for run {run.run_id} of summaries")
    instance.report_run_canceled(run)
    assert len(evaluate([model]).run_requests) == 1


def test_a_cursor_that_was_set_back_by_hand_is_remembered_while_the_target_waits(
    evaluate, commit, instance, monkeypatch
):
    """Dagster notes the cursor with the tick that waits, and would launch nothing under the run key of before."""
    first = commit({"a": b"1"})
    head = commit({"a": b"2"})
    run = run_with(instance, head.lineage_id, dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(compat, "tick_before_edit", lambda *_: 7)
    waiting = evaluate([model], cursor=first.id)
    assert waiting.run_requests == []
    monkeypatch.setattr(compat, "tick_before_edit", lambda *_: None)
    instance.report_run_canceled(run)
    (request,) = evaluate([model], cursor=waiting.cursor).run_requests
    assert request.run_key.startswith(f"weather@main:{head.id}#")


def test_it_waits_for_a_failed_run_that_will_be_retried(evaluate, commit, instance):
    head = commit({"a": b"1"})
    run = run_with(instance, head.lineage_id, dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
    assert f"wait for the retry of run {run.run_id}" in evaluate([model]).skip_message
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": "the retry"})
    assert len(evaluate([model]).run_requests) == 1


def test_it_does_not_wait_for_ever(evaluate, commit, instance):
    head = commit({"a": b"1"})
    run_with(instance, head.lineage_id, dg.DagsterRunStatus.STARTED)
    assert head.created_at > datetime.now(UTC) - timedelta(minutes=5)
    assert evaluate([model], max_wait_s=600).run_requests == []
    assert len(evaluate([model], max_wait_s=0).run_requests) == 1


def test_a_job_can_be_the_target(instance, store_url, commit):
    commit({f"2012/{month:02}.csv": b"1" for month in range(1, 13)})
    job = dg.define_asset_job("summaries", [monthly], tags={"team": "weather"})
    sensor = build_commit_sensor("weather@main", job=job, partitions=TEMPLATE, store=store_url)
    repository = dg.Definitions(assets=[monthly], jobs=[job], sensors=[sensor]).get_repository_def()
    with dg.build_sensor_context(instance=instance, repository_def=repository, sensor_name=sensor.name) as context:
        data = repository.get_sensor_def(sensor.name).evaluate_tick(context)
    assert len(data.run_requests) == 12
    assert all(request.asset_graph_subset is None for request in data.run_requests)


def test_what_can_not_work_is_refused_when_the_sensor_is_built_or_evaluated(evaluate, commit, store_url):
    with pytest.raises(vio.VersionedError, match="only a branch"):
        build_commit_sensor("weather@main~1", target=[model], store=store_url)
    with pytest.raises(vio.VersionedError, match="names no field"):
        build_commit_sensor("weather@main", target=[model], store=store_url, partitions="all.csv")
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="give one of target= and job="):
        build_commit_sensor("weather@main", store=store_url)
    commit({"2012/01.csv": b"1"})
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="build the commit sensor with partitions="):
        evaluate([monthly])
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="make one sensor for each"):
        evaluate([monthly, model], partitions=TEMPLATE)


def test_its_name_is_made_of_the_branch(store_url):
    assert build_commit_sensor("raw.weather@main", target=[model], store=store_url).name == "raw_weather_main_commits"
    assert build_commit_sensor("weather@main", target=[model], store=store_url, name="mine").name == "mine"


def test_the_cursor_holds_its_commit_against_expiry(evaluate, commit, opened):
    seen = commit({"2012/01.csv": b"1", "2012/02.csv": b"1"})
    evaluate([monthly], partitions=TEMPLATE)
    commit({"2012/01.csv": b"2"})
    commit({"2012/03.csv": b"1"})
    forget(opened)
    assert opened.snapshot(f"weather@{seen.id}").read("2012/01.csv") == b"1"
    data = evaluate([monthly], partitions=TEMPLATE, cursor=seen.id)
    assert keys_of(data) == ["2012-01", "2012-03"]
    # The daemon died before it stored that cursor, and a newer commit and a collection came in between.
    commit({"2012/04.csv": b"1"})
    forget(opened)
    again = evaluate([monthly], partitions=TEMPLATE, cursor=seen.id)
    assert keys_of(again) == ["2012-01", "2012-03", "2012-04"]
    commit({"2012/05.csv": b"1"})
    evaluate([monthly], partitions=TEMPLATE, cursor=again.cursor)
    commit({"2012/06.csv": b"1"})
    forget(opened)
    with pytest.raises(vio.VersionedError, match="has expired"):
        opened.snapshot(f"weather@{seen.id}").read("2012/01.csv")
