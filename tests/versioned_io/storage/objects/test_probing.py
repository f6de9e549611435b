"""Whether a server refuses to overwrite is found out when a store is made."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import versioned_io as vio
from versioned_io.errors import ConflictError, ExistsError
from versioned_io.storage.objects import open_objects
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.objects.probing import refuses_taken_keys
from versioned_io.store import opening


class Proxy(BaseHTTPRequestHandler):
    """Hands every request on to an S3 server, and its answer back."""

    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.s3_port, timeout=60)
        connection.request(self.command, self.path, body, dict(self.passed_on()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if not self.is_lost():
            self.answer(answer, content)

    def passed_on(self):
        return self.headers.items()

    def is_lost(self):
        return False

    def answer(self, answer, content):
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None and answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


for _method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
    setattr(Proxy, f"do_{_method}", Proxy.forward)


@pytest.fixture
def through(s3_place, s3_server):
    """A function that returns `s3_place` as it is reached through a proxy of the given class."""
    running = []

    def start(proxy_class):
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), proxy_class)
        proxy.s3_port, proxy.daemon_threads = s3_server.port, True
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        running.append((proxy, thread))
        url, options = s3_place
        return url, options | {"endpoint": f"http://127.0.0.1:{proxy.server_port}"}

    yield start
    for proxy, thread in running:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@pytest.fixture
def overwriting_place(through):
    """As `s3_place`, through a proxy that drops If-None-Match, as servers do that don't know it."""

    class WithoutConditions(Proxy):
        def passed_on(self):
            return [(name, value) for name, value in self.headers.items() if name.lower() != "if-none-match"]

    return through(WithoutConditions)


def marker_of(place):
    return json.loads(open_objects(*place).get("versioned.json"))


def test_a_server_that_refuses_is_told_from_one_that_overwrites(s3_place, overwriting_place, tmp_path):
    assert refuses_taken_keys(open_objects(*s3_place))
    assert not refuses_taken_keys(open_objects(*overwriting_place))
    assert refuses_taken_keys(LocalObjects(tmp_path))
    for place in (s3_place, overwriting_place):
        assert list(open_objects(*place).list("")) == []


def test_the_marker_of_a_store_says_what_was_found(s3_place, tmp_path):
    url, options = s3_place
    vio.create_store(url, catalog=f"sqlite:///{tmp_path}/c.db", storage_options=options).close()
    assert marker_of(s3_place)["refuses_taken_keys"] is True
    assert [info.key for info in open_objects(*s3_place).list("")] == ["versioned.json"]


def test_a_store_works_where_the_server_overwrites(overwriting_place, write, files_of, tmp_path):
    url, options = overwriting_place
    catalog = f"sqlite:///{tmp_path}/c.db"
    with vio.create_store(url, catalog=catalog, storage_options=options) as store:
        store.create_repo("r")
        write(store, "r@main", {"a": b"1", "b": b"2"})
        late = store.transaction("r@main")
        late.write("a", b"late")
        write(store, "r@main", {"a": b"first"})
        with pytest.raises(ConflictError):
            late.finish()
    assert marker_of(overwriting_place)["refuses_taken_keys"] is False
    with vio.open_store(url, catalog=catalog, storage_options=options) as store:
        assert files_of(store, "r@main") == {"a": b"first", "b": b"2"}
        assert store.fsck().is_clean
    with pytest.raises(ExistsError):
        vio.create_store(url, catalog=catalog, storage_options=options)


def test_a_store_whose_first_reply_was_lost_is_not_taken_for_another(through, tmp_path):
    """The client asks again, and the server says of the client's own marker that it is there."""
    lost = []

    class LosesReplies(Proxy):
        def is_lost(self):
            if self.command != "PUT" or not self.path.endswith("/versioned.json") or lost:
                return False
            lost.append(self.path)
            self.close_connection = True
            return True

    url, options = through(LosesReplies)
    arguments = {"catalog": f"sqlite:///{tmp_path}/c.db", "storage_options": options}
    with vio.create_store(url, **arguments) as store:
        assert store.fsck().is_clean
    assert len(lost) == 1
    with pytest.raises(ExistsError):
        vio.create_store(url, **arguments)


def test_of_two_calls_that_meet_one_makes_the_store(s3_place, tmp_path, monkeypatch):
    """Both have the same catalog, and so the same store: the marker says whose call it was."""
    url, options = s3_place
    arguments = {"catalog": f"sqlite:///{tmp_path}/c.db", "storage_options": options}
    real, others = opening.put_marker, []

    def after_another(objects, store_id):
        monkeypatch.undo()
        others.append(vio.create_store(url, **arguments))
        real(objects, store_id)

    monkeypatch.setattr(opening, "put_marker", after_another)
    with pytest.raises(ExistsError):
        vio.create_store(url, **arguments)
    assert others[0].fsck().is_clean
    others[0].close()
