"""S3 in forked children: obstore's threads do not exist there, so boto3 serves them, and the parent is unharmed."""

import multiprocessing
import subprocess
import sys
import textwrap
import threading

import pytest

import versioned_io as vio
from tests.versioned_io.concurrency.forks import Child, in_child
from versioned_io.errors import ForkedError
from versioned_io.storage.objects.s3 import open_s3
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.testing import ObjectStoreContract

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    # A test process is itself the parent of children that speak to the same server.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]


class TestS3ThroughBoto3(ObjectStoreContract):
    @pytest.fixture
    def objects(self, s3_place):
        url, options = s3_place
        return open_s3(url, options)


@pytest.fixture
def store(s3_place, tmp_path):
    url, options = s3_place
    at = {"url": url, "catalog": f"sqlite:///{tmp_path}/catalog.db", "storage_options": options}
    with vio.create_store(**at) as created:
        created.create_repo("r")
        with created.transaction("r@main") as tx:
            tx.write("first", b"1" * 1000)
        created.at = at
        yield created


def commit(store, path):
    with store.transaction("r@main") as tx:
        tx.write(path, b"x")


def test_a_child_commits_and_reads_with_what_it_inherited_and_with_a_store_of_its_own(store):
    snapshot = store.snapshot("r@main")

    def work():
        assert snapshot.read("first") == b"1" * 1000
        commit(store, "child")
        with vio.open_store(**store.at) as own:
            assert own.snapshot("r@main").read("child") == b"x"
            commit(own, "own")
            assert own.fsck().is_clean
        in_child(lambda: commit(store, "grandchild"))

    for _ in range(2):
        in_child(work)
        commit(store, "parent")
        assert snapshot.read("first") == b"1" * 1000
    assert [file.path for file in store.snapshot("r@main").walk()] == ["child", "first", "grandchild", "own", "parent"]


def test_children_and_threads_of_the_parent_work_at_the_same_time(store):
    stop, failures = threading.Event(), []

    def read():
        try:
            while not stop.is_set():
                assert open_objects(store.url, store.at["storage_options"]).get("versioned.json")
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    children = [Child(lambda n=n: commit(store, f"child/{n}")) for n in range(3)]
    commit(store, "parent")
    assert [child.join() for child in children] == [0, 0, 0]
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert failures == []
    assert len(list(store.snapshot("r@main").walk())) == 5


def _read_and_commit(number):
    commit(_STORE, f"pool/{number}")
    return len(_STORE.snapshot("r@main").read("first"))


_STORE = None


def test_a_pool_of_forked_processes_does_not_hang(store):
    global _STORE  # noqa: PLW0603 (how users hand something to forked workers)
    _STORE = store
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map_async(_read_and_commit, range(8), chunksize=1).get(120) == [1000] * 8
        pool.close()
        pool.join()
    commit(store, "parent")


def test_a_child_that_ends_like_any_program_leaves_its_parent_unharmed(store):
    script = f"""
        import os, sys
        import versioned_io as vio
        store = vio.open_store(**{store.at!r})
        snapshot = store.snapshot("r@main")
        for _ in range(3):
            if os.fork() == 0:
                assert snapshot.read("first")
                del snapshot, store
                import gc
                gc.collect()
                sys.exit(7)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
            assert vio.open_store(**{store.at!r}).snapshot("r@main").read("first")
            assert snapshot.read("first")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_has_no_other_client_says_so_in_the_child(store):
    google = open_objects("gs://bucket/prefix", {"skip_signature": "true"})

    def work():
        with pytest.raises(ForkedError, match=r"the client of gs://bucket/prefix belongs to process \d+, .* spawn"):
            google.get("a")

    in_child(work)


def test_a_parent_that_never_used_its_client_leaves_it_to_the_child(s3_place):
    url, options = s3_place
    script = f"""
        import os
        from versioned_io.storage.objects.schemes import open_objects
        objects = open_objects({url!r}, {options!r})
        if os.fork() == 0:
            import sys
            objects.put("child", [b"x"])
            assert "boto3" not in sys.modules or "versioned_io.storage.objects.s3" not in sys.modules
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert objects.get("child") == b"x"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
