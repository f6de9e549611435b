"""Files whose keys are not the partitions: daily files of a weekly asset, a mapper, and keys that never can be one."""

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import pytest

import versioned_io as vio
from dagster_versioned import build_commit_sensor
from dagster_versioned.partition_mapping import PartitionMapping, touched_partitions
from dagster_versioned.sensor_cursor import parse_sensor_cursor
from versioned_io.errors import InvalidInputError
from versioned_io.model.identifiers import CommitId

pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.keys`:DeprecationWarning")

WEEKS = dg.WeeklyPartitionsDefinition(start_date="2024-01-07", end_date="2024-03-03")
COLOURS = dg.StaticPartitionsDefinition(["red", "green"])
CITIES = dg.DynamicPartitionsDefinition(name="cities")


@dg.asset(partitions_def=WEEKS)
def weekly() -> None: ...


@dg.asset(partitions_def=COLOURS)
def by_colour() -> None: ...


@dg.asset(partitions_def=CITIES)
def by_city() -> None: ...


@dg.asset(partitions_def=dg.MultiPartitionsDefinition({"colour": COLOURS, "week": WEEKS}))
def by_both() -> None: ...


@pytest.fixture
def commit(opened) -> Callable[..., vio.Commit]:
    opened.create_repo("sales")

    def make(*written: str, deleted: tuple[str, ...] = ()) -> vio.Commit:
        with opened.transaction("sales@main") as transaction:
            for path in written:
                transaction.write(path, path.encode() + bytes(str(len(list(opened.log("sales@main")))), "ascii"))
            for path in deleted:
                transaction.delete(path)
        return transaction.commit

    return make


@pytest.fixture
def evaluate(instance, store_url):
    def once(asset, *, cursor: str | None = None, partitions: str = "{date}.csv", **options) -> dg.SensorResult:
        sensor = build_commit_sensor(
            "sales@main", target=[asset], partitions=partitions, store=store_url, name="sensor", **options
        )
        repository = dg.Definitions(assets=[asset], sensors=[sensor]).get_repository_def()
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=repository, sensor_name="sensor"
        ) as context:
            return sensor(context)

    return once


def keys_of(result: dg.SensorResult) -> list[str]:
    return [request.partition_key for request in result.run_requests or ()]


def test_daily_files_run_the_week_that_has_their_date(evaluate, commit):
    commit("2024-01-07.csv", "2024-01-13.csv")
    newest = commit("2024-01-14.csv", "2024-01-10.csv")
    result = evaluate(weekly, date_format="%Y-%m-%d")
    assert keys_of(result) == ["2024-01-07", "2024-01-14"]
    assert {request.tags["versioned/commit"] for request in result.run_requests} == {newest.id}
    assert result.cursor == newest.id


def test_a_week_of_which_one_file_is_deleted_runs_and_one_without_files_does_not(evaluate, commit):
    seen = commit("2024-01-08.csv", "2024-01-09.csv", "2024-01-15.csv")
    commit(deleted=("2024-01-09.csv", "2024-01-15.csv"))
    result = evaluate(weekly, date_format="%Y-%m-%d", cursor=seen.id)
    assert keys_of(result) == ["2024-01-07"]
    asked = evaluate(weekly, date_format="%Y-%m-%d", cursor=seen.id, on_delete="request")
    assert keys_of(asked) == ["2024-01-07", "2024-01-14"]


def test_the_file_of_a_week_to_come_waits_and_runs_when_the_week_is_there(evaluate, commit):
    early = commit("2024-03-12.csv")
    result = evaluate(weekly, date_format="%Y-%m-%d")
    assert (keys_of(result), list(parse_sensor_cursor(result.cursor).waiting)) == ([], ["2024-03-10"])
    assert "wait until they are: '2024-03-10'" in str(result.skip_reason)

    @dg.asset(partitions_def=dg.WeeklyPartitionsDefinition(start_date="2024-01-07", end_date="2024-03-31"))
    def longer() -> None: ...

    later = evaluate(longer, date_format="%Y-%m-%d", cursor=result.cursor)
    assert (keys_of(later), later.cursor) == (["2024-03-10"], early.id)


def test_a_mapper_decides_for_anything_else(evaluate, commit):
    head = commit("oslo-1.csv", "oslo-2.csv", "rome-1.csv", "notes.csv")

    def city_of(key: str) -> list[str] | str | None:
        return {"rome-1": ["rome", "italy"], "notes": None}.get(key, key.partition("-")[0])

    result = evaluate(by_city, partitions="{name}.csv", mapper=city_of)
    assert keys_of(result) == ["italy", "oslo", "rome"]
    assert result.cursor == head.id
    with pytest.raises(InvalidInputError, match="the mapper returned "):
        evaluate(by_city, partitions="{name}.csv", mapper=lambda _key: [3])


def test_keys_that_never_can_be_partitions_fail_the_tick_with_key_template_and_partitions(evaluate, commit):
    commit("blue.csv")
    with pytest.raises(InvalidInputError) as caught:
        evaluate(by_colour)
    for named in ("'blue'", "'{date}.csv'", "by_colour", "StaticPartitionsDefinition", "mapper="):
        assert named in str(caught.value)
    passed = evaluate(by_colour, on_impossible_key="skip")
    assert (keys_of(passed), parse_sensor_cursor(passed.cursor).waiting) == ([], {})
    assert "'blue'" in str(passed.skip_reason)


@pytest.mark.parametrize(
    ("asset", "path", "template"),
    [
        (weekly, "monday.csv", "{date}.csv"),  # not a date
        (weekly, "2024-01-10.csv", "{date}.csv"),  # not the start of a week
        (weekly, "2023-12-31.csv", "{date}.csv"),  # before the first week
        (by_city, "oslo...rome.csv", "{date}.csv"),  # Dagster refuses such a name
        (by_both, "red.csv", "{date}.csv"),  # one dimension of two
        (by_both, "blue/2024-01-07.csv", "{colour}/{week}.csv"),
    ],
)
def test_what_makes_a_key_impossible(evaluate, commit, asset, path, template):
    commit(path)
    with pytest.raises(InvalidInputError, match="can never be partitions of"):
        evaluate(asset, partitions=template, key="{colour}|{week}" if "colour" in template else None)


def test_impossible_keys_beside_others_stop_nothing_and_stay_named(evaluate, commit):
    commit("blue.csv", "red.csv")
    result = evaluate(by_colour)
    assert keys_of(result) == ["red"]
    again = evaluate(by_colour, cursor=result.cursor)
    assert "can never be partitions of by_colour" in str(again.skip_reason)
    assert list(parse_sensor_cursor(again.cursor).waiting) == ["blue"]


def test_impossible_keys_do_not_stop_the_pages_of_the_commits_before(evaluate, commit):
    commit("red.csv", "green.csv")
    first = evaluate(by_colour, max_partitions=1)
    commit("blue.csv")
    second = evaluate(by_colour, max_partitions=1, cursor=first.cursor)
    assert (keys_of(first), keys_of(second)) == (["green"], ["red"])
    assert list(parse_sensor_cursor(second.cursor).waiting) == ["blue"]


def test_partitions_that_wait_for_their_page_come_before_new_ones(evaluate, commit):
    """An earlier version sorted by name, so partitions that every tick touched kept the others waiting permanently."""
    commit("berlin.csv", "oslo.csv", "rome.csv")
    found, cursor = [], None
    for _ in range(4):
        result = evaluate(by_city, max_partitions=1, cursor=cursor)
        found += keys_of(result)
        cursor = result.cursor
        commit("athens.csv", "berlin.csv")
    assert found[:3] == ["berlin", "oslo", "rome"]
    assert found[3] in {"athens", "berlin"}


def test_the_cause_of_a_partition_is_the_newest_commit_by_its_place_on_the_branch(commit):
    """An ID is chosen before its writer's turn comes, so that of a later commit may be the smaller one."""
    old = commit("rome-1.csv", "rome-2.csv")
    earlier = replace(old, id=CommitId("f" * 32), number=2)
    later = replace(old, id=CommitId("1" * 32), number=3)
    changes = vio.Changes(later, (earlier, later), {"rome-1": earlier}, {"rome-2": later})
    mapping = PartitionMapping(mapper=lambda key: key.partition("-")[0])
    touched = touched_partitions(mapping, changes, CITIES, lambda: ["rome-1"])
    assert touched.changed["rome"].commit == later.id
    other = vio.Changes(later, (earlier, later), {"rome-1": later}, {"rome-2": earlier})
    assert touched_partitions(mapping, other, CITIES, lambda: ["rome-1"]).changed["rome"].commit == later.id


@pytest.mark.skipif(not hasattr(WEEKS, "exclusions"), reason="this Dagster has no windows that are excluded")
def test_a_date_in_a_window_that_is_excluded_does_not_run_the_window_before(evaluate, commit):
    workdays = dg.TimeWindowPartitionsDefinition(
        start="2024-01-01", end="2024-03-01", fmt="%Y-%m-%d", cron_schedule="0 0 * * *", exclusions=["0 0 * * 6,0"]
    )

    @dg.asset(partitions_def=workdays)
    def daily() -> None: ...

    commit("2024-01-06.csv", "2024-01-08.csv")  # a Saturday and a Monday
    result = evaluate(daily, date_format="%Y-%m-%d")
    assert keys_of(result) == ["2024-01-08"]
    assert list(parse_sensor_cursor(result.cursor).waiting) == ["2024-01-06"]


AT_TWO = {"hour_offset": 2, "end_date": "2024-03-01"}
NEW_YORK = {"timezone": "America/New_York", "end_date": "2024-12-01-00:00"}


@pytest.mark.parametrize(
    ("definition", "date_format", "key", "expected"),
    [
        (dg.DailyPartitionsDefinition("2024-01-01", **AT_TWO), "%d.%m.%Y", "05.01.2024", "2024-01-05"),
        (dg.DailyPartitionsDefinition("2024-01-01", **AT_TWO), "%Y-%m-%dT%H", "2024-01-05T01", "2024-01-04"),
        (dg.WeeklyPartitionsDefinition("2024-01-01", **AT_TWO), "%Y-%m-%d", "2024-01-14", "2024-01-14"),
        (dg.WeeklyPartitionsDefinition("2024-01-01", **AT_TWO), "%Y-%m-%d", "2024-01-13", "2024-01-07"),
        (dg.HourlyPartitionsDefinition("2024-01-01-00:00", **NEW_YORK), "%Y%m%d", "20240105", "2024-01-05-00:00"),
        # Daylight saving time leaves this hour out.
        (dg.HourlyPartitionsDefinition("2024-01-01-00:00", **NEW_YORK), "%Y%m%d%H", "2024031002", "2024-03-10-03:00"),
    ],
)
def test_a_day_belongs_to_the_window_that_begins_on_it_and_an_hour_to_the_one_that_has_it(
    definition, date_format, key, expected
):
    """A day before a window that begins at 2 o'clock ran the window of the day, week or month before."""
    assert PartitionMapping(date_format).partitions_of(key, definition) == [expected]


def test_settings_that_contradict_each_other_are_refused(evaluate, commit):
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="one of date_format= and mapper="):
        evaluate(weekly, date_format="%Y", mapper=str)
    commit("red.csv")
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="partitioned by time"):
        evaluate(by_colour, date_format="%Y-%m-%d")
    with pytest.raises(InvalidInputError, match=r"can never be partitions of weekly.*: 'red'"):
        evaluate(weekly, date_format="%Y-%m-%d")
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="on_delete='remove' needs assets with dynamic"):
        evaluate(by_colour, on_delete="remove")
