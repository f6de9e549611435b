"""A proxy in front of PostgreSQL that cuts a connection after the n-th message, in either direction."""

import contextlib
import socket
import struct
import threading

TO_SERVER = "to the server"
TO_CLIENT = "to the client"


class CuttingProxy:
    """Passes messages on; once armed, it cuts the connection of the n-th message that it counts, when that has passed.

    The server gets that message and then the end of the connection. What it was about to answer is thrown away.
    """

    def __init__(self, port):
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._left, self._direction, self._holding, self._then_gone = 0, TO_SERVER, b"", False
        self.seen = 0
        self.is_cut = False
        self.is_gone = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def arm(self, number, direction=TO_SERVER, *, holding=b"", then_gone=False):
        """Cut after *number* more messages in *direction*, 0 for never; with *then_gone* nobody can connect afterwards.

        Only messages that hold the bytes *holding* count.
        """
        with self._lock:
            self._left, self._direction, self._holding, self._then_gone = number, direction, holding, then_gone
            self.seen, self.is_cut, self.is_gone = 0, False, False

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_gone:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                cut = threading.Event()
                for direction, source, target in ((TO_SERVER, client, server), (TO_CLIENT, server, client)):
                    threading.Thread(target=self._pass, args=(direction, source, target, cut), daemon=True).start()

    def _pass(self, direction, source, target, cut):
        with contextlib.suppress(OSError):
            if direction == TO_SERVER:  # the first message has no type
                (length,) = struct.unpack("!I", head := _read(source, 4))
                target.sendall(head + _read(source, length - 4))
            while True:
                head = _read(source, 5)
                (length,) = struct.unpack("!I", head[1:])
                message = head + _read(source, length - 4)
                if cut.is_set():
                    break
                if self._counts(direction, message):
                    cut.set()  # before the server can answer
                target.sendall(message)
                if cut.is_set():
                    break
        _close(source)
        _close(target)

    def _counts(self, direction, message):
        with self._lock:
            if self.is_cut or direction != self._direction or self._holding not in message:
                return False
            self.seen += 1
            self._left -= 1
            if self._left != 0:
                return False
            self.is_cut = True
            self.is_gone = self._then_gone
            return True


def _read(source, length):
    data = b""
    while len(data) < length:
        part = source.recv(length - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def _close(one):
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
