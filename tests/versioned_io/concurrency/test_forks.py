"""A store that was opened before fork(): children make connections of their own, and the parent is unharmed."""

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time

import fsspec
import pytest

import versioned_io as vio
from tests.versioned_io.concurrency.forks import Child, in_child
from versioned_io.errors import ForkedError, StorageError
from versioned_io.interfaces.filesystem import VersionedFileSystem

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    catalog = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with vio.create_store(tmp_path / "s", catalog=catalog) as created:
        created.create_repo("r")
        with created.transaction("r@main") as tx:
            tx.write("first", b"1" * 1000)
        created.at = {"url": str(tmp_path / "s"), "catalog": catalog}
        yield created


def commit(store, path, data=b"x"):
    with store.transaction("r@main") as tx:
        tx.write(path, data)
    return tx.commit


def refused(use, words):
    with pytest.raises(ForkedError, match=words):
        use()


def reopened(store):
    """Return the paths that somebody else finds, after everything was closed and checked."""
    store.close()
    with vio.open_store(**store.at) as other:
        assert other.fsck().is_clean
        return [file.path for file in other.snapshot("r@main").walk()]


def test_what_children_commit_is_kept_whatever_the_parent_does(store):
    for number in range(2):
        in_child(lambda number=number: commit(store, f"child/{number}"))
        commit(store, f"parent/{number}")
    assert reopened(store) == ["child/0", "child/1", "first", "parent/0", "parent/1"]


def test_parent_and_children_commit_at_the_same_time(store):
    children = [Child(lambda n=n: [commit(store, f"{n}/{m}") for m in range(3)]) for n in range(3)]
    for number in range(3):
        commit(store, f"parent/{number}")
    assert [child.join() for child in children] == [0, 0, 0]
    assert len(reopened(store)) == 13


def test_a_child_of_a_child_commits_too(store):
    def work():
        commit(store, "child")
        in_child(lambda: commit(store, "grandchild"))
        commit(store, "child again")

    in_child(work)
    commit(store, "parent")
    assert reopened(store) == ["child", "child again", "first", "grandchild", "parent"]


def test_a_child_that_outlives_its_parents_handle_commits(store):
    reading, writing = os.pipe()

    def work():
        os.read(reading, 1)
        commit(store, "child")

    child = Child(work)
    store.close()
    os.write(writing, b"x")
    assert child.join() == 0
    os.close(reading), os.close(writing)
    assert reopened(store) == ["child", "first"]


def test_a_child_reads_with_what_it_inherited(store):
    snapshot = store.snapshot("r@main")
    file = snapshot.open("first")
    fs = VersionedFileSystem.of(store)

    def work():
        assert snapshot.read("first") == b"1" * 1000
        assert file.read(10) == b"1" * 10
        assert fs.cat("r@main/first") == store.snapshot("r@main").read("first")
        fs.pipe("r@main/child", b"x")

    in_child(work)
    assert file.read(10) == b"1" * 10
    assert fs.find("r@main") == ["r@main/child", "r@main/first"]


def test_forks_while_other_threads_commit_lose_nothing_and_hang_nobody(store):
    stop = threading.Event()
    failures, done = [], []

    def work(number):
        count = 0
        try:
            while not stop.is_set():
                commit(store, f"thread/{number}/{count}", os.urandom(2000))
                done.append(f"thread/{number}/{count}")
                count += 1
        except BaseException as error:  # noqa: BLE001 (reported below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(4):
        children.append(Child(lambda number=number: commit(store, f"child/{number}")))
        time.sleep(0.02)  # others go on for a while
    codes = [child.join() for child in children]
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 4
    assert failures == []
    assert set(reopened(store)) == {"first", *done, *(f"child/{number}" for number in range(4))}


def test_a_fork_in_a_thread_is_like_any_other(store):
    codes = []

    def work():
        codes.append(Child(lambda: commit(store, f"child/{threading.get_ident()}/{len(codes)}")).join())

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        commit(store, f"parent/{len(codes)}")
        thread.join()
    assert codes == [0, 0, 0]
    assert len(reopened(store)) == 7


def test_a_lock_that_another_thread_held_is_free_in_the_child(store):
    held, release = threading.Event(), threading.Event()
    locks = [store._backend.chunks._lock, store._backend.elsewhere._lock]

    def hold():
        with locks[0], locks[1]:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = Child(lambda: commit(store, "child", store.snapshot("r@main").read("first")))
    release.set()
    thread.join()
    assert child.join() == 0
    assert store.snapshot("r@main").read("child") == b"1" * 1000


def test_a_child_of_a_process_that_was_in_the_catalog_gets_fresh_connections_or_a_sentence(
    store, tmp_path, monkeypatch
):
    from versioned_io.catalog import forking

    monkeypatch.setattr(forking, "FORK_WAIT_S", 0.2)
    inside, release = threading.Event(), threading.Event()

    def work():
        with store._backend.catalog.read():
            inside.set()
            release.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()

    link, file = tmp_path / "link", tmp_path / "link.db"
    link.symlink_to(tmp_path / "s")

    def in_the_child():
        if store.at["catalog"] is not None:
            commit(store, "child")
            return
        os.link(tmp_path / "s" / "catalog.db", file)
        for use in (
            lambda: commit(store, "child"),
            lambda: vio.open_store(**store.at),
            # SQLite's table of open files, which the child inherited, has inodes.
            lambda: vio.open_store(link),
            lambda: vio.open_store(link, catalog=f"sqlite:///{file}"),
        ):
            with pytest.raises(ForkedError, match="was in use when it was forked"):
                use()

    child = Child(in_the_child)
    release.set()
    thread.join()
    assert child.join() == 0
    commit(store, "parent")
    in_child(lambda: commit(store, "later child"))
    assert "later child" in reopened(store)


# What can't be carried into a child


def test_an_open_transaction_is_refused_in_the_child_and_goes_on_in_the_parent(store):
    data = os.urandom(60_000_000)  # enough for a pack that is stored before the commit, and so for a lease
    with store.transaction("r@main") as tx:
        tx.write("big", data)

        def work():
            for use in (tx.finish, lambda: tx.write("child", b"x"), lambda: tx.read("first"), lambda: tx.delete("a")):
                with pytest.raises(ForkedError, match=f"belongs to process {os.getppid()}"):
                    use()
            tx.abort()

        in_child(work)

        def leave_the_block():
            with pytest.raises(ForkedError):
                tx.__exit__(None, None, None)
            tx.__exit__(ValueError, ValueError(), None)

        in_child(leave_the_block)
        tx.write("small", b"x")
    assert store.snapshot("r@main").read("big") == data
    assert reopened(store) == ["big", "first", "small"]


def test_a_file_that_is_being_written_is_refused_in_the_child_and_goes_on_in_the_parent(store):
    fs = VersionedFileSystem.of(store)
    with fs.open("r@main/a", "wb") as file, fs.open("r@main/b", "w") as text:
        file.write(b"one ")
        text.write("one ")

        def end_without_a_word():
            nonlocal file, text
            file = text = None
            gc.collect()

        in_child(lambda: refused(lambda: file.write(b"child"), "'r@main/a' belongs to process"))
        in_child(lambda: refused(file.close, "open it in the process that writes it"))
        in_child(end_without_a_word)
        file.write(b"two")
        text.write("two")
    assert (fs.cat("r@main/a"), fs.cat("r@main/b")) == (b"one two", b"one two")


def test_a_transaction_of_the_file_system_is_refused_in_the_child_and_goes_on_in_the_parent(store):
    fs = VersionedFileSystem.of(store)
    with fs.transaction:
        fs.pipe("r@main/a", b"1")
        in_child(lambda: refused(lambda: fs.pipe("r@main/b", b"2"), "the open transaction belongs"))
        fs.pipe("r@main/c", b"3")
    assert fs.find("r@main") == ["r@main/a", "r@main/c", "r@main/first"]


def test_a_store_in_memory_is_its_own_process_alone(tmp_path):
    with vio.create_store("memory://forked") as store:
        store.create_repo("r")
        commit(store, "a")
        for use in (
            lambda: commit(store, "b"),
            lambda: store.snapshot("r@main"),
            lambda: store.create_branch("r@b", at="r@main"),
            lambda: vio.open_store("memory://forked"),
        ):
            in_child(lambda use=use: refused(use, "a store in memory belongs to process"))
        script = """
            import os, sys
            import versioned_io as vio
            store = vio.create_store("memory://x")
            if os.fork() == 0:
                sys.exit(0)
            assert os.wait()[1] == 0
            store.create_repo("r")
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False)
        assert done.returncode == 0
        commit(store, "c")


def test_a_child_that_ends_like_any_program_leaves_its_parents_connections_alone(store, tmp_path):
    script = f"""
        import os, sys
        import versioned_io as vio
        store = vio.open_store(**{store.at!r})
        snapshot = store.snapshot("r@main")
        tx = store.transaction("r@main")
        tx.write("parent", b"x")
        if os.fork() == 0:
            child = store.transaction("r@main")
            child.write("child", b"y")
            child.finish()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
        tx.finish()
        store.create_branch("r@b", at="r@main")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert reopened(store) == ["child", "first", "parent"]


# As others fork


def _commit_in_pool(number):
    commit(_STORE, f"pool/{number}")
    return len(_STORE.snapshot("r@main").read("first"))


_STORE = None


def test_a_pool_of_four_forked_processes_commits_and_reads(store):
    global _STORE  # noqa: PLW0603 (how users hand something to forked workers)
    _STORE = store
    for run in range(2):
        with multiprocessing.get_context("fork").Pool(4) as pool:
            found = pool.map_async(_commit_in_pool, range(run * 6, run * 6 + 6), chunksize=1).get(60)
            assert found == [1000] * 6
            pool.close()
            pool.join()
        commit(store, f"parent/{run}")
    assert len(reopened(store)) == 15


def test_data_loaders_read_through_a_dataset_that_the_parent_made(store):
    """As PyTorch's: the dataset is made in the parent, each worker reads the items that it is told to."""
    names = [f"items/{number}" for number in range(20)]
    with store.transaction("r@main") as tx:
        for name in names:
            tx.write(name, name.encode() * 100)
    snapshot = store.snapshot("r@main")
    assert snapshot.read(names[0])  # the parent has used it
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def work(worker):
        for name in names[worker::4]:
            results.put((name, snapshot.read(name)))

    for _ in range(2):  # two epochs
        workers = [context.Process(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        assert dict(results.get() for _ in names) == {name: name.encode() * 100 for name in names}
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]


def test_a_master_that_forks_workers_again_and_again_as_celery_does(store):
    fs = fsspec.filesystem("versioned", store=store.at["url"], catalog=store.at["catalog"], skip_instance_cache=True)
    fs.pipe("r@main/master", b"x")

    def work(number):
        for task in range(2):
            fs.pipe(f"r@main/{number}/{task}", b"x")

    for generation in range(2):
        children = [Child(lambda n=n, g=generation: work(f"{g}-{n}")) for n in range(2)]
        assert [child.join() for child in children] == [0, 0]
    fs.pipe("r@main/master again", b"x")
    fs.store.close()
    assert len(reopened(store)) == 11


def test_a_child_that_is_killed_leaves_no_lock_behind(store):
    for _ in range(3):
        child = Child(lambda: [commit(store, f"child/{number}") for number in range(1000)])
        time.sleep(0.1)  # in the middle of something
        os.kill(child.pid, 9)
        assert child.join() == -9
        commit(store, "parent")
    try:
        assert "parent" in reopened(store)
    except StorageError as error:
        pytest.fail(str(error))
