"""Each store is looked at in a thread of its own, which its watchers share: one that hangs delays no other."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from airflow_versioned.connections import StoreAddress
from airflow_versioned.polling import MOST_HUNG_THREADS, StoreThread, looking_at
from airflow_versioned.triggers import CommitTrigger
from versioned_io.errors import StoreNotFoundError

HUNG = 8


def threads():
    return [one for one in threading.enumerate() if one.name.startswith("versioned-look")]


@pytest.fixture(autouse=True)
def _ended():
    """Wait for the threads of other tests, which end after their last look."""
    yield
    until = time.monotonic() + 10
    while threads():
        assert time.monotonic() < until, threads()
        time.sleep(0.01)


@pytest.fixture
def address(store):
    return StoreAddress(url=store.url.removeprefix("file://"))


@contextmanager
def hanging_server():
    """A server that takes connections and never says a word."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


def test_eight_hung_catalogs_do_not_delay_a_healthy_watcher(store, address, monkeypatch):
    with store.transaction("orders@main") as tx:
        tx.write("a.csv", b"1")

    async def watch(port):
        for number in range(HUNG):
            place = {"host": address.url, "password": f"postgresql+psycopg://ada@127.0.0.1:{port}/d{number}"}
            monkeypatch.setenv(f"AIRFLOW_CONN_HUNG{number}", json.dumps({"conn_type": "versioned", **place}))
        hung = [
            asyncio.ensure_future(anext(CommitTrigger("orders@main", connection=f"hung{number}").run()))
            for number in range(HUNG)
        ]
        await asyncio.sleep(0.5)  # they hang by now
        begun = time.monotonic()
        event = await asyncio.wait_for(anext(CommitTrigger("orders@main", store=address.url).run()), 20)
        took_s = time.monotonic() - begun
        still = [one for one in hung if not one.done()]
        for one in still:
            one.cancel()
        await asyncio.gather(*still, return_exceptions=True)
        return event, took_s, len(still)

    with hanging_server() as port:
        event, took_s, still = asyncio.run(watch(port))
    assert (event.payload["commit"], still) == (tx.commit.id, HUNG)
    assert took_s < 3


def test_watchers_of_one_store_share_its_thread_and_its_handle(address):
    async def look():
        async with looking_at(address) as first, looking_at(address) as second, looking_at(address) as third:
            opened = await asyncio.gather(*(one.ask(lambda opened: opened) for one in (first, second, third)))
            return {id(one.store) for one in opened}, len(threads())

    handles, count = asyncio.run(look())
    assert (len(handles), count) == (1, 1)


def test_a_look_that_hangs_is_given_up_and_the_next_gets_another_thread(address):
    release = threading.Event()

    async def look():
        async with looking_at(address) as looks:
            with pytest.raises(TimeoutError, match="no answer from"):
                await looks.ask(lambda _: release.wait(10), timeout_s=0.05)
            return await looks.ask(lambda opened: opened.store.repo("orders").name)

    assert asyncio.run(look()) == "orders"
    release.set()


def test_a_store_that_hangs_for_long_does_not_gather_threads(address):
    release = threading.Event()

    async def look():
        async with looking_at(address) as looks:
            for _ in range(MOST_HUNG_THREADS + 5):
                with pytest.raises(TimeoutError):
                    await looks.ask(lambda _: release.wait(10), timeout_s=0.02)
            return len(threads())

    assert asyncio.run(look()) == MOST_HUNG_THREADS + 1
    release.set()


def test_a_failed_look_opens_the_store_again(address, store):
    async def look():
        async with looking_at(address) as looks:
            first = await looks.ask(lambda opened: opened.store)
            with pytest.raises(ZeroDivisionError):
                await looks.ask(lambda _: 1 / 0)
            return first is await looks.ask(lambda opened: opened.store)

    assert asyncio.run(look()) is False


def test_a_store_that_is_not_there_raises_in_the_watcher(tmp_path):
    async def look():
        async with looking_at(StoreAddress(url=str(tmp_path / "none"))) as looks:
            await looks.ask(lambda opened: opened)

    with pytest.raises(StoreNotFoundError):
        asyncio.run(look())


def test_a_store_that_can_not_be_closed_hides_no_reason(caplog):
    """The thread ended without an answer, so the watcher waited for its time limit."""

    def refuse():
        raise OSError("gone")

    store = SimpleNamespace(close=refuse)
    location = SimpleNamespace(open_store=lambda: store)
    thread = StoreThread(SimpleNamespace(shown="a store", locate=lambda: location))
    assert isinstance(thread.submit(lambda _: 1 / 0).exception(timeout=2), ZeroDivisionError)
    assert thread.submit(lambda opened: opened.store).result(timeout=2) is store
    thread.end()
    assert "can't close a store" in caplog.text
