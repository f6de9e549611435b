"""A proxy in front of an HTTP server that lets one request fail: never sent on, its reply lost, or its reply cut."""

import http.client
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NOT_SENT = "not sent"
REPLY_LOST = "reply lost"
REPLY_CUT = "reply cut"
WAYS = [NOT_SENT, REPLY_LOST, REPLY_CUT]


class FaultyHTTP:
    """Listens on `url`; the *number*-th request after `arm` fails, and every *each*-th after that."""

    def __init__(self, url):
        self._target = urlsplit(url).netloc
        self._lock = threading.Lock()
        self.arm(0, NOT_SENT)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _pass(self):
                proxy.handle(self)

            def __getattr__(self, name):
                if name.startswith("do_"):
                    return self._pass
                raise AttributeError(name)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def arm(self, number, way, *, each=0, answer=None):
        """Let the *number*-th request fail, 0 for none; with *answer*, (status, body) is the reply instead."""
        with self._lock:
            self._number, self._way, self._each, self._answer = number, way, each, answer
            self.requests, self.struck = [], 0

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        strikes = self._strikes(request.command)
        if strikes and self._answer is not None:
            self._reply(request, self._answer[0], [], self._answer[1])
            return
        if strikes and self._way == NOT_SENT:
            _reset(request)
            return
        status, headers, data = self._ask(request, body)
        if strikes and self._way == REPLY_LOST:
            _reset(request)
            return
        self._reply(request, status, headers, data, cuts=strikes)

    def _strikes(self, method):
        with self._lock:
            self.requests.append(method)
            past = len(self.requests) - self._number
            strikes = self._number > 0 and (past == 0 or (self._each > 0 and past > 0 and past % self._each == 0))
            self.struck += strikes
            return strikes

    def _ask(self, request, body):
        connection = http.client.HTTPConnection(self._target, timeout=120)
        connection.request(request.command, request.path, body, dict(request.headers))
        response = connection.getresponse()
        data = response.read()
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
        length = response.getheader("Content-Length") if request.command == "HEAD" else len(data)
        connection.close()
        return response.status, [*headers, ("Content-Length", str(length or 0))], data

    def _reply(self, request, status, headers, data, *, cuts=False):
        request.send_response(status)
        for name, value in headers or [("Content-Length", str(len(data)))]:
            request.send_header(name, value)
        request.end_headers()
        if cuts:
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            _reset(request)
        elif request.command != "HEAD":
            request.wfile.write(data)


_HOP_BY_HOP = {"content-length", "transfer-encoding", "connection", "date", "server"}


def _reset(request):
    """End the connection as a crash does: the other side gets a reset."""
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
