"""The small example, on a real Dagster: code server, webserver and daemon."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import versioned_io as vio
from devservers.dagster_server import DagsterServer
from devservers.process import wait_until

EXAMPLE = Path(__file__).parents[2] / "example_projects" / "dagster_only"
MONTHS = [f"{year}-{month:02}" for year in range(2012, 2016) for month in range(1, 13)]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def ingest(store: Path, *correct_day: str) -> None:
    command = [sys.executable, str(EXAMPLE / "ingest.py"), *correct_day]
    subprocess.run(command, env={**os.environ, "VERSIONED_STORE": str(store)}, check=True, timeout=120)


class Watch:
    """What a Dagster server has materialised, from one look to the next."""

    def __init__(self, server: DagsterServer, store: Path) -> None:
        self._server = server
        self._store = store
        self._seen: Counter[tuple[str, str | None]] = Counter()

    def newly_made(self, *, heads: dict[str, str | None], quiet_s: float = 8.0) -> Counter[tuple[str, str | None]]:
        """Wait until these heads have moved and nothing has run for a while; return what was materialised meanwhile."""
        quiet_since: list[float] = []

        def at_rest() -> bool:
            unfinished = [
                run for run in self._server.api.runs() if run.status not in {"SUCCESS", "FAILURE", "CANCELED"}
            ]
            behind = any(self._head(ref) == old for ref, old in heads.items())
            if unfinished or behind or self._server.api.unfinished_backfills():
                quiet_since.clear()
                return False
            quiet_since.append(time.monotonic())
            return quiet_since[-1] - quiet_since[0] > quiet_s

        wait_until(at_rest, timeout_s=300, what="Dagster at rest")
        made = Counter(
            (asset, event.partition)
            for asset in ("monthly_summary", "climate_model")
            for event in self._server.api.materializations(asset)
        )
        new, self._seen = made - self._seen, made
        return new

    def _head(self, ref: str) -> str | None:
        with vio.open_store(str(self._store)) as store:
            try:
                return store.commit(ref).id
            except vio.VersionedError:
                return None


def test_each_commit_makes_exactly_what_it_affects(tmp_path):
    store = tmp_path / "store"
    ingest(store)
    definitions = EXAMPLE / "definitions.py"
    with DagsterServer(tmp_path / "home", definitions, env={"VERSIONED_STORE": str(store)}) as server:
        watch = Watch(server, store)
        # What comes later than these looks is seen by the next, which expects nothing of it.
        first = watch.newly_made(heads={"climate_model@main": None}, quiet_s=3)
        assert first == Counter({**{("monthly_summary", month): 1 for month in MONTHS}, ("climate_model", None): 1})

        with vio.open_store(str(store)) as opened:
            model = opened.commit("climate_model@main")
            ingested = opened.commit("weather@main")
        ingest(store, "2012-03-05")
        second = watch.newly_made(heads={"climate_model@main": model.id}, quiet_s=3)
        assert second == Counter({("monthly_summary", "2012-03"): 1, ("climate_model", None): 1})

        ingest(store, "2012-03-05")
        assert watch.newly_made(heads={}) == Counter()

    with vio.open_store(str(store)) as opened:
        corrected, newest = opened.commit("weather@main"), opened.commit("climate_model@main")
        assert (model.lineage_id, newest.lineage_id) == (ingested.lineage_id, corrected.lineage_id)
        files = [use.file for use in opened.upstream("climate_model@main").files if use.file.repo == "weather"]
    assert sorted(file.path for file in files) == [f"{month.replace('-', '/')}.csv" for month in MONTHS]
    assert [file.path for file in files if file.written_by == corrected.id] == ["2012/03.csv"]
