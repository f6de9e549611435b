"""Stores, snapshots and file systems travel to other processes as addresses, and no secret with them."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap

import fsspec
import pytest
from sqlalchemy.engine import make_url

import versioned_io as vio
from versioned_io.errors import ForkedError, InvalidInputError, StorageError
from versioned_io.interfaces.filesystem import VersionedFileSystem

cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle comes with versioned-io[dev]")

pytestmark = pytest.mark.timeout(120)
SECRET = "hunter2"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "s", catalog=catalog) as created:
        created.create_repo("r")
        with created.transaction("r@main") as tx:
            tx.write("a", b"1")
        created.password = None if catalog is None else make_url(catalog).password
        yield created


def password_of(store):
    """Return what another process needs in its environment, and nothing else in its pickles says."""
    return {} if store.password is None else {"PGPASSWORD": store.password}


def in_another_process(pickled, expression, **environment):
    """Return what *expression* of the unpickled ``it`` prints in a new process."""
    script = f"import pickle, sys\nit = pickle.loads(sys.stdin.buffer.read())\nprint({expression})"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VERSIONED_", "PG"))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=pickled,
        capture_output=True,
        timeout=120,
        check=False,
        env=kept | {"PYTHONPATH": os.getcwd()} | environment,  # noqa: PTH109 (as text)
    )
    return done.stdout.decode().strip() or done.stderr.decode().strip().splitlines()[-1]


def shapes(store):
    """Return what may travel, with an expression that reads ``a`` with it."""
    engine = store._backend.catalog.engine
    options = {"store": store.url}
    if store.password is not None:
        options["catalog"] = engine.url.render_as_string(hide_password=False)
    return {
        "store": (store, "it.snapshot('r@main').read('a')"),
        "snapshot": (store.snapshot("r@main"), "it.read('a')"),
        "file system": (VersionedFileSystem.of(store), "it.cat('r@main/a')"),
        "unopened": (VersionedFileSystem(**options, skip_instance_cache=True), "it.cat('r@main/a')"),
        "registered": (fsspec.filesystem("versioned", **options, skip_instance_cache=True), "it.cat('r@main/a')"),
        "open file": (fsspec.open("versioned://r@main/a", **options), "it.open().read()"),
        "in a function": (store.snapshot("r@main").read, "it('a')"),
    }


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_what_is_handed_to_another_process_reads_there(store, dumps):
    things = shapes(store)
    pickled = dumps([thing for thing, _ in things.values()])
    assert store.password is None or store.password.encode() not in pickled
    reads = ", ".join(
        expression.replace("it", f"it[{number}]", 1) for number, (_, expression) in enumerate(things.values())
    )
    assert in_another_process(pickled, f"[{reads}]", **password_of(store)) == repr([b"1"] * len(things))


def test_a_snapshot_travels_as_its_commit(store):
    snapshot = store.snapshot("r@main")
    pickled = pickle.dumps(snapshot)
    with store.transaction("r@main") as tx:
        tx.write("a", b"2")
    restored = pickle.loads(pickled)
    assert (restored.commit, restored.name, restored.read("a")) == (snapshot.commit, snapshot.name, b"1")
    assert in_another_process(pickled, "it.read('a')", **password_of(store)) == "b'1'"
    store.create_repo("empty")
    assert pickle.loads(pickle.dumps(store.snapshot("empty@main"))).is_empty


def test_a_restored_store_writes_and_travels_on(store):
    restored = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(store))))
    with restored.transaction("r@main") as tx:
        tx.write("b", b"2")
    assert store.snapshot("r@main").read("b") == b"2"
    subscription = store.subscription("s", "r@main")
    assert pickle.loads(pickle.dumps(subscription)).cursor == subscription.cursor
    assert copy.deepcopy(store.snapshot("r@main")).read("b") == b"2"


def test_many_that_travel_open_the_store_once(store):
    snapshots = [pickle.loads(pickle.dumps(store.snapshot("r@main"))) for _ in range(5)]
    assert len({id(snapshot._backend) for snapshot in snapshots}) == 1


def test_an_open_transaction_does_not_travel(store):
    with pytest.raises(InvalidInputError, match="can't be pickled: begin one"), store.transaction("r@main") as tx:
        pickle.dumps(tx)


def test_a_store_in_memory_does_not_travel():
    with vio.create_store("memory://pickled") as store:
        store.create_repo("r")
        pickled = pickle.dumps(store)
        assert pickle.loads(pickled).repos()[0].name == "r"
        assert in_another_process(pickled, "it").startswith(f"{ForkedError.__module__}.ForkedError: a store in memory")


def _write(given):
    store, number = given
    with store.transaction("r@main") as tx:
        tx.write(f"pool/{number}", b"x")
    return store.snapshot("r@main").read("a")


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_of_every_kind_commit_with_the_store_that_they_are_given(tmp_path, method):
    with vio.create_store(tmp_path / "s") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("a", b"1")
        with multiprocessing.get_context(method).Pool(2) as pool:
            found = pool.map_async(_write, [(store, number) for number in range(4)], chunksize=1).get(60)
            pool.close()
            pool.join()
        assert found == [b"1"] * 4
        assert len(list(store.snapshot("r@main").walk("pool"))) == 4


# Secrets


def test_without_the_password_the_worker_is_told_where_it_is_looked_for(tmp_path, postgres_url):
    with vio.create_store(tmp_path / "s", catalog=postgres_url) as store:
        said = in_another_process(pickle.dumps(store), "it", HOME=str(tmp_path))
    assert "without secrets (the password of the catalog), which this process must find: in PGPASSWORD" in said
    assert make_url(postgres_url).password not in said


def test_a_password_is_resolved_in_the_worker(tmp_path):
    address = f"postgresql+psycopg://user:{SECRET}@host/db?sslmode=require"
    for url in (address, f"postgresql+psycopg://user@host/db?password={SECRET}&sslmode=require"):
        fs = VersionedFileSystem(tmp_path / "s", url, skip_instance_cache=True)
        pickled = pickle.dumps(fs)
        assert SECRET.encode() not in pickled
        given = pickle.loads(pickled)._store.address
        assert given.withheld == ("the password of the catalog",)
        assert given.resolve_catalog() == "postgresql+psycopg://user@host/db?sslmode=require"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VERSIONED_CATALOG", url)
            assert given.resolve_catalog() == url
            patch.setenv("VERSIONED_CATALOG", address.replace("@host", "@elsewhere"))
            assert SECRET not in given.resolve_catalog()


def test_secret_storage_options_are_resolved_in_the_worker_and_the_others_travel(tmp_path, s3_place):
    url, options = s3_place
    options = dict(options) | {"access_key_id": "AKIAHUNTER", "secret_access_key": SECRET, "timeout_s": "17"}
    catalog = f"sqlite:///{tmp_path}/catalog.db"
    with vio.create_store(url, catalog=catalog, storage_options=options, cache=tmp_path / "cache") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("a", b"1")
        fs = VersionedFileSystem(url, catalog, storage_options=options, skip_instance_cache=True)
        for thing, expression in ((store, "it.snapshot('r@main').read('a')"), (fs, "it.cat('r@main/a')")):
            pickled = pickle.dumps(thing)
            assert SECRET.encode() not in pickled
            assert b"HUNTER" not in pickled
            assert b"timeout_s" in pickled
            assert (
                in_another_process(pickled, expression, AWS_ACCESS_KEY_ID="AKIAHUNTER", AWS_SECRET_ACCESS_KEY=SECRET)
                == "b'1'"
            )
            given = '{"access_key_id": "AKIAHUNTER", "secret_access_key": "hunter2"}'
            assert in_another_process(pickled, expression, VERSIONED_STORAGE_OPTIONS=given) == "b'1'"
            said = in_another_process(pickled, expression, AWS_EC2_METADATA_DISABLED="true", HOME=str(tmp_path))
            assert StorageError.__name__ in said
            assert "without secrets (access_key_id, secret_access_key), which this process must find" in said
            assert SECRET not in said


def test_sources_travel_without_their_secrets(tmp_path):
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "x").write_bytes(b"far")
    sources = {
        str(tmp_path / "lake"): {},
        "s3://lake/": {"secret_access_key": SECRET, "access_key_id": "A", "region": "x"},
    }
    with vio.create_store(tmp_path / "s", sources=sources) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.reference(str(tmp_path / "lake" / "x"), "x")
        pickled = pickle.dumps(store.snapshot("r@main"))
    assert SECRET.encode() not in pickled
    assert in_another_process(pickled, "it.read('x')") == "b'far'"
