"""Pushed events: posted after the commit, within a limit, by a token that nobody sees; the relay is the net below."""

import json
import logging
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import fsspec
import pytest
from airflow.sdk import ObjectStoragePath

import versioned_io as vio
from airflow_versioned import VersionedHook, push_events, versioned_asset
from airflow_versioned.connections import read_connection
from airflow_versioned.notes import TaskListener
from airflow_versioned.pushing import PUSH_TIMEOUT_S, PushEndpoint

TOKEN = "very-secret-token"
HOW = {"redeliver_after_s": 300.0, "is_listening": lambda _: True, "most_keys": 100}


class Airflow:
    """What answers as Airflow's API does, and notes what it was asked."""

    def __init__(self, url):
        self.url = url
        self.assets = {}
        self.events = []
        self.tokens = set()
        self.status = 200
        self.pause_s = 0.0

    def answer(self, handler):
        self.tokens.add(handler.headers["Authorization"])
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        time.sleep(self.pause_s)
        if self.status != 200:
            return {"detail": f"no, {handler.headers['Authorization']}"}
        if body is not None:
            self.events.append(body)
            return {"id": len(self.events)}
        pattern = parse_qs(urlsplit(handler.path).query)["uri_pattern"][0]
        found = [{"uri": uri, "id": number} for uri, number in self.assets.items() if pattern in uri]
        return {"assets": found}

    @property
    def keys(self):
        return [event["partition_key"] for event in self.events]


@contextmanager
def serving():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self):
            content = json.dumps(airflow.answer(self)).encode()
            self.send_response(airflow.status)
            self.send_header("Content-Length", str(len(content)))
            if airflow.status == 302:
                self.send_header("Location", f"{airflow.url}/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 (the server's names)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """Say nothing of a client that has left."""

    with Server(("127.0.0.1", 0), Handler) as server:
        airflow = Airflow(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield airflow
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def airflow():
    with serving() as airflow:
        airflow.assets = {"versioned://orders/main/{date}.csv": 7, "versioned://orders/main/{date}.csv.old": 8}
        yield airflow


@pytest.fixture
def relay(store):
    """A relay that has run, with one consumer."""
    relay = store.relay("airflow", "orders@main", partitions="{date}.csv")
    relay.subscribe("check")
    relay.collect(owner="relay", **HOW)
    return relay


@pytest.fixture
def pushed(store, airflow):
    push_events(store, airflow.url, token=TOKEN)
    return store


def commit(store, *keys, content=b"1"):
    with store.transaction("orders@main") as tx:
        for key in keys:
            tx.write(f"{key}.csv", content)
    return tx.commit


def test_each_touched_key_is_posted_with_its_commit_and_the_relay_does_not_repeat_it(pushed, airflow, relay):
    made = commit(pushed, "a", "b")
    facts = {"commit": made.id, "lineage_id": made.lineage_id, "number": 1, "repo": "orders", "branch": "main"}
    assert airflow.events == [{"asset_id": 7, "partition_key": key, "extra": facts} for key in ("a", "b")]
    assert airflow.tokens == {f"Bearer {TOKEN}"}
    assert relay.collect(owner="relay", **HOW) is None
    check = relay.subscribe("check")
    assert [due.announced_at is not None for due in check.due()] == [True, True]
    assert check.claim("a", owner="run", repeat=False) is not None


def test_a_branch_without_a_relay_or_an_asset_is_not_posted(pushed, airflow, relay):
    with pushed.transaction("quality@main") as tx:
        tx.write("a.json", b"{}")
    airflow.assets.clear()
    commit(pushed, "a")
    assert airflow.events == []
    assert relay.collect(owner="relay", **HOW).keys == ["a"]


def test_a_key_whose_last_file_was_deleted_is_not_posted(pushed, airflow, relay):
    """A run began for it, and found nothing to do."""
    commit(pushed, "a", "b")
    airflow.events.clear()
    with pushed.transaction("orders@main") as tx:
        tx.delete("a.csv")
        tx.write("b.csv", b"2")
    assert airflow.keys == ["b"]


def test_a_key_that_a_run_of_the_relay_announces_is_not_posted_too(store, airflow, relay):
    taken = []
    store.after_commit(lambda _: taken.extend(relay.collect(owner="relay", **HOW).keys))
    push_events(store, airflow.url, token=TOKEN)
    commit(store, "a")
    assert (taken, airflow.keys) == (["a"], [])


def test_another_deployments_relay_is_left_alone(pushed, airflow):
    other = pushed.relay("other", "orders@main", partitions="{date}.csv")
    other.collect(owner="relay", **HOW)
    commit(pushed, "a")
    assert airflow.events == []
    assert other.collect(owner="relay", **HOW).keys == ["a"]


def test_the_asset_of_a_store_that_is_named_by_its_path_is_found(pushed, airflow, relay):
    declared = versioned_asset("orders@main", partitions="{date}.csv", store=pushed.url.removeprefix("file://"))
    airflow.assets = {declared.uri: 9}
    commit(pushed, "a")
    assert [event["asset_id"] for event in airflow.events] == [9]


@pytest.mark.parametrize("status", [302, 401, 500])
def test_a_refusal_is_one_warning_without_the_token_and_the_relay_announces(pushed, airflow, relay, caplog, status):
    airflow.status = status
    commit(pushed, "a", "b")
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert f"orders@main (status {status})" in record.getMessage()
    assert TOKEN not in caplog.text
    assert relay.collect(owner="relay", **HOW).keys == ["a", "b"]


def test_a_server_that_hangs_holds_a_commit_for_two_seconds_at_most(pushed, airflow, relay, caplog):
    airflow.pause_s = 3 * PUSH_TIMEOUT_S
    begun = time.monotonic()
    made = commit(pushed, "a")
    assert time.monotonic() - begun < PUSH_TIMEOUT_S + 1.5
    assert pushed.commit("orders@main") == made
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    assert relay.collect(owner="relay", **HOW).keys == ["a"]
    airflow.pause_s = 0.0


def test_a_server_that_is_not_there_is_one_warning(store, relay, caplog):
    push_events(store, "http://127.0.0.1:1", token=TOKEN)
    commit(store, "a")
    assert "ConnectionRefusedError" in caplog.text
    assert relay.collect(owner="relay", **HOW).keys == ["a"]


def test_what_was_sent_before_a_failure_is_not_repeated(pushed, airflow, relay, monkeypatch):
    original = airflow.answer

    def answer(handler):
        if len(airflow.events) == 1:
            airflow.status = 500
        return original(handler)

    airflow.answer = answer
    commit(pushed, "a", "b")
    assert airflow.keys == ["a"]
    assert relay.collect(owner="relay", **HOW).keys == ["b"]


def test_more_keys_than_a_push_takes_are_left_to_the_relay(pushed, airflow, relay):
    commit(pushed, *(f"{number:03}" for number in range(103)))
    assert len(set(airflow.keys)) == len(airflow.keys) <= 100
    left = relay.collect(owner="relay", **HOW).keys
    assert sorted([*airflow.keys, *left]) == [f"{number:03}" for number in range(103)]


@pytest.mark.parametrize("token", ["", "a b", "line\nbreak", "schlüssel"])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(token):
    with pytest.raises(ValueError, match="token of a push") as caught:
        PushEndpoint("https://airflow", token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "airflow:8080",
        "ftp://airflow",
        "http://",
        "https://ada:pw@airflow",
        "http://airflow:80a",
        "http://airflow:99999",
        "http://airflow/straße",
        "http://air flow",
        "http://[::1",
    ],
)
def test_an_endpoint_that_is_not_one_is_refused(url):
    with pytest.raises(ValueError, match="URL of a push"):
        PushEndpoint(url, TOKEN)
    assert TOKEN not in repr(PushEndpoint("https://airflow", TOKEN))


def connection(**extra):
    return SimpleNamespace(
        conn_id="versioned_default", conn_type="versioned", host="/data", password=None, extra_dejson=extra
    )


def test_a_connection_has_both_push_fields_or_none():
    location = read_connection(connection(push_url="https://airflow", push_token=TOKEN))
    assert location.push == PushEndpoint("https://airflow", TOKEN)
    assert TOKEN not in repr(location)
    assert read_connection(connection()).push is None
    with pytest.raises(ValueError, match="both push_url and push_token"):
        read_connection(connection(push_url="https://airflow"))


@pytest.mark.parametrize("has_outlet", [False, True])
@pytest.mark.usefixtures("relay")
def test_a_commit_of_a_task_is_pushed_unless_an_outlet_announces_it(
    store, airflow, build_context, monkeypatch, has_outlet
):
    extra = {"push_url": airflow.url, "push_token": TOKEN}
    fields = {"conn_type": "versioned", "host": store.url, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_VERSIONED_DEFAULT", json.dumps(fields))
    orders = versioned_asset("orders@main", partitions="{date}.csv")
    context = build_context(outlets=[orders] if has_outlet else [])
    context["ti"].get_template_context = lambda: context
    listener = TaskListener()
    listener.on_task_instance_running(context["ti"])
    try:
        with VersionedHook().run(context) as opened:
            commit(opened, "a")
    finally:
        listener.on_task_instance_success(context["ti"])
        vio.offer_settings(None)
    assert airflow.keys == ([] if has_outlet else ["a"])


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("path", ["versioned://orders@main/a.csv", "versioned://versioned_default@orders@main/a.csv"])
def test_a_commit_of_a_path_is_pushed(store, airflow, build_context, monkeypatch, path):
    extra = {"push_url": airflow.url, "push_token": TOKEN}
    fields = {"conn_type": "versioned", "host": store.url, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_VERSIONED_DEFAULT", json.dumps(fields))
    monkeypatch.delenv("VERSIONED_STORE", raising=False)
    context = build_context()
    context["ti"].get_template_context = lambda: context
    listener = TaskListener()
    listener.on_task_instance_running(context["ti"])
    try:
        ObjectStoragePath(path).write_text("1")
        if "default" not in path:
            with fsspec.open(path.replace("/a", "/b"), "wb") as file:
                file.write(b"1")
    finally:
        listener.on_task_instance_success(context["ti"])
        vio.offer_settings(None)
    assert airflow.keys == (["a"] if "default" in path else ["a", "b"])


@pytest.mark.parametrize("body", [[], {"assets": None}, {"assets": [{"id": 7}]}, {"assets": [{"uri": "x", "id": {}}]}])
def test_an_answer_of_another_server_is_one_warning(pushed, airflow, relay, caplog, body):
    airflow.answer = lambda handler: body
    commit(pushed, "a")
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "the answer is not a list of assets" in record.getMessage()
    assert relay.collect(owner="relay", **HOW).keys == ["a"]


def test_a_host_that_can_not_be_a_name_is_one_warning(store, relay, caplog):
    push_events(store, f"http://{'a' * 70}.example", token=TOKEN)
    commit(store, "a")
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "orders@main (UnicodeE" in record.getMessage()
    assert relay.collect(owner="relay", **HOW).keys == ["a"]
