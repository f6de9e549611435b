"""The demo's six steps, with the real daemons of both orchestrators, and exactly what ran after each."""

import io
import json
import re
from collections import Counter
from itertools import pairwise

import pytest
from rich.console import Console

from example_projects.seattle_weather.demo import CORRECTED_DAY, Demo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

MONTHS = [f"{year}-{month:02}" for year in range(2012, 2016) for month in range(1, 13)]
CORRECTED = CORRECTED_DAY[:7]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = Demo(tmp_path_factory.mktemp("demo"), Console(file=io.StringIO(), width=120))
    with demo.orchestrators:
        yield demo


@pytest.fixture(scope="module")
def ingested(demo):
    return demo.ingest()


@pytest.fixture(scope="module")
def corrected(demo, ingested):
    return demo.correct()


@pytest.fixture(scope="module")
def repeated(demo, corrected):
    return demo.repeat()


def test_the_first_commit_runs_every_month_once_in_both_and_trains_one_model(ingested):
    commit, ran = ingested
    assert commit.stats.added == 48
    assert ran.dagster == dict.fromkeys(MONTHS, 1)
    assert ran.airflow == dict.fromkeys(MONTHS, 1)
    assert (ran.models, ran.bulletins) == (1, 1)


def test_a_correction_of_one_day_runs_that_month_alone_in_both_and_trains_one_model(corrected):
    commit, ran = corrected
    assert (commit.stats.added, commit.stats.modified, commit.stats.deleted) == (0, 1, 0)
    assert ran.dagster == {CORRECTED: 1}
    assert ran.airflow == {CORRECTED: 1}
    assert (ran.models, ran.bulletins) == (1, 1)


def test_the_rain_of_the_corrected_day_changes_a_number_in_both(demo, corrected):
    numbers = {name: (maker, before, after) for maker, name, before, after in demo.changed_numbers()}
    for name, maker in ((f"rain_mm of {CORRECTED}", "Dagster"), (f"rain_mm in the report on {CORRECTED}", "Airflow")):
        assert numbers[name][0] == maker
        assert float(numbers[name][2]) - float(numbers[name][1]) == pytest.approx(12)
    assert all(before != after for _, before, after in numbers.values())


def test_somebody_who_waits_is_told_how_far_it_is_and_no_address_that_will_be_gone(demo, corrected):
    shown = demo._console.file.getvalue()
    assert re.search(r"\d s  Dagster is (up|starting), Airflow is starting", shown)
    assert re.search(r"\d s  Dagster: \d+ of 48 summaries, \d of 1 models; Airflow: \d+ of 48 reports", shown)
    times = [int(one) for one in re.findall(r"(\d+) s  (?:Dagster|Airflow)", shown)]
    assert max(later - earlier for earlier, later in pairwise(times)) < 30
    assert "http://" not in shown


def test_the_same_bytes_again_run_nothing(repeated):
    commit, ran = repeated
    assert (commit.stats.added, commit.stats.modified, commit.stats.deleted) == (0, 0, 0)
    assert (ran.dagster, ran.models, ran.airflow, ran.bulletins) == ({}, 0, {}, 0)


def test_one_lineage_id_leads_to_what_both_orchestrators_made_of_the_correction(demo, corrected, repeated):
    commit, _ = corrected
    led_to = {made.repo: made for made in demo.store.lineage(commit.lineage_id)}
    assert set(led_to) == {"weather", "monthly_summary", "climate_model", "quality", "bulletin"}
    assert {repo: made.run and made.run.orchestrator for repo, made in led_to.items()} == {
        "weather": None,
        "monthly_summary": "dagster",
        "climate_model": "dagster",
        "quality": "airflow",
        "bulletin": "airflow",
    }
    assert all(made.run.run_id and made.run.url for made in led_to.values() if made.run)
    assert led_to["quality"].run.partition_key == CORRECTED


def test_the_model_leads_back_to_the_exact_monthly_files_it_was_made_from(demo, ingested, corrected, repeated):
    graph = demo.store.upstream("climate_model@main")
    files = [use.file for use in graph.files if use.file.repo == "weather"]
    paths = Counter(file.path for file in files)
    month_file = f"{CORRECTED.replace('-', '/')}.csv"
    assert set(paths) == {f"{month.replace('-', '/')}.csv" for month in MONTHS}
    # That month was summarised twice, from two versions of its file; only the second is in the model.
    assert paths == Counter(dict.fromkeys(paths, 1))
    assert {file.written_by for file in files if file.path == month_file} == {corrected[0].id}
    assert {file.written_by for file in files if file.path != month_file} == {ingested[0].id}


def test_every_materialisation_carries_the_lineage_id_of_the_commit_that_asked_for_it(
    demo, ingested, corrected, repeated
):
    api = demo.orchestrators.dagster.api
    by_partition = {}
    for event in api.materializations("monthly_summary"):
        by_partition.setdefault(event.partition, []).append(event.metadata["versioned/lineage_id"])
    assert by_partition.pop(CORRECTED) == [ingested[0].lineage_id, corrected[0].lineage_id]
    assert set(map(tuple, by_partition.values())) == {(ingested[0].lineage_id,)}
    models = [event.metadata["versioned/lineage_id"] for event in api.materializations("climate_model")]
    assert models == [ingested[0].lineage_id, corrected[0].lineage_id]


def test_every_announced_partition_carries_the_commit_and_the_lineage_id(demo, ingested, corrected, repeated):
    events = demo.orchestrators.airflow.api.asset_events("versioned://weather/main/{year}/{month}.csv")
    told = {(event.partition_key, event.extra["commit"], event.extra["lineage_id"]) for event in events}
    first, second = ingested[0], corrected[0]
    assert told == {(month, first.id, first.lineage_id) for month in MONTHS} | {
        (CORRECTED, second.id, second.lineage_id)
    }


def test_the_command_line_shows_the_same(demo, corrected, repeated):
    commit, _ = corrected
    shown = demo.command("lineage", "show", commit.lineage_id)
    assert all(repo in shown for repo in ("weather", "monthly_summary", "climate_model", "quality"))
    assert "dagster" in shown
    assert "airflow" in shown
    upstream = demo.command("lineage", "upstream", "bulletin@main")
    assert all(text in upstream for text in ("climate_model", "monthly_summary", "2013/05.csv"))
    assert json.loads(demo.command("lineage", "show", commit.lineage_id, "--json"))


def test_the_store_is_sound_after_all_that(demo, repeated):
    assert demo.store.fsck().problems == ()
