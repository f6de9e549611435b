"""The store beside a plain dict: any order of the whole API's calls, on each catalog and object store."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import create_engine, text

from tests.versioned_io.store_machine import StoreMachine
from versioned_io.catalog.tables import metadata

pytestmark = pytest.mark.slow

# A quarter of a minute each on a quiet machine; the servers' requests and new connections take their time.
EXAMPLES = {"sqlite": 20, "postgresql": 6, "postgresql and S3": 3}
SOAKED = 20
"""How many times as many `make soak` runs."""


class Directory:
    """A store in a directory of its own, with its SQLite inside."""

    def __init__(self):
        self._directory = Path(tempfile.mkdtemp(prefix="versioned-machine-"))
        self.url, self.options = self._directory / "s", {}

    def lose_catalog(self):
        for file in self.url.glob("catalog.db*"):
            file.unlink()

    def remove(self):
        shutil.rmtree(self._directory)


class Served:
    """A store in a directory or a bucket, with its catalog in a PostgreSQL database that stories use in turn."""

    def __init__(self, catalog, s3_server=None):
        self._catalog = catalog
        self._directory = None if s3_server else Path(tempfile.mkdtemp(prefix="versioned-machine-"))
        self.options = {"catalog": catalog}
        if s3_server:
            self.url = f"s3://{s3_server.create_bucket()}/some/prefix"
            self.options["storage_options"] = s3_server.options
        else:
            self.url = self._directory / "s"
        self.lose_catalog()

    def lose_catalog(self):
        """Empty its tables: some milliseconds, where a new database takes some hundred."""
        engine = create_engine(self._catalog)
        with engine.begin() as connection:
            if engine.dialect.has_table(connection, "repos"):
                names = ", ".join(table.name for table in metadata.sorted_tables)
                connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        engine.dispose()

    def remove(self):
        if self._directory is not None:
            shutil.rmtree(self._directory)


@pytest.fixture(params=EXAMPLES)
def backend(request):
    """Its name, and a function that begins a place for a store there."""
    if request.param == "sqlite":
        return request.param, Directory
    catalog = request.getfixturevalue("postgres_url")
    server = request.getfixturevalue("s3_server") if "S3" in request.param else None
    return request.param, partial(Served, catalog, server)


def run(backend, times):
    name, begin_place = backend
    machine = type("StoreMachine", (StoreMachine,), {"begin_place": staticmethod(begin_place)})
    options = settings(
        max_examples=EXAMPLES[name] * times,
        stateful_step_count=40,
        deadline=None,
        # The few stories of `make test` are the same ones each time; `make soak` looks for new ones.
        derandomize=times == 1,
        suppress_health_check=[HealthCheck.too_slow],
        # A failure is made small; to explain it too would run every line of the library under a tracer, for minutes.
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
    run_state_machine_as_test(machine, settings=options)


def test_a_store_does_what_the_plain_dict_does(backend):
    run(backend, 1)


@pytest.mark.soak
def test_a_store_does_what_the_plain_dict_does_for_a_long_time(backend):
    run(backend, SOAKED)
