"""Counts what a call asks of the directory and of the catalog of a store, whichever handle it uses or opens."""

from collections import Counter
from contextlib import contextmanager

from sqlalchemy import Engine, event

from versioned_io.catalog.plain import PlainConnection
from versioned_io.storage.objects.local import LocalObjects

_REQUESTS = {"put": "PUT", "get": "GET", "get_ranges": "GET", "size": "HEAD", "list": "LIST", "names": "LIST"}
_OF_TRANSACTIONS = "beacons/"


@contextmanager
def count_all():
    """Yield a counter of requests by verb, of SQL transactions, of the statements in these, and of SELECTs elsewhere.

    An SQL transaction is one that writes. The requests that belong to it, for beacons, count as "beacon".
    """
    counts = Counter()
    originals = {name: vars(LocalObjects)[name] for name in [*_REQUESTS, "delete"]}
    listeners = _listeners(counts)
    for name, original in originals.items():
        setattr(LocalObjects, name, _counting(name, original, counts))
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    execute = PlainConnection.execute
    PlainConnection.execute = _counting_plain(execute, counts)
    try:
        yield counts
    finally:
        PlainConnection.execute = execute
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)
        for name, original in originals.items():
            setattr(LocalObjects, name, original)


def _counting(name, original, counts):
    def call(self, first, *rest):
        first = [*first] if name == "delete" else first
        for key in first if name == "delete" else [first]:
            counts["beacon" if key.startswith(_OF_TRANSACTIONS) else _REQUESTS.get(name, "DELETE")] += 1
        return original(self, first, *rest)

    return call


def _counting_plain(original, counts):
    def execute(self, query, values):
        _count_reading(query, counts)
        return original(self, query, values)

    return execute


def _count_reading(statement, counts):
    verb = statement.split(maxsplit=1)[0].upper()
    if verb not in ("BEGIN", "PRAGMA"):
        counts["SELECT" if verb == "WITH" else verb] += 1


def _listeners(counts):
    def is_writing(connection):
        return connection.get_execution_options().get("takes_write_lock")

    def note(connection, cursor, statement, *_):
        if is_writing(connection):
            counts["statement"] += 1
        else:
            _count_reading(statement, counts)

    def begin(connection):
        if is_writing(connection):
            counts["SQL transaction"] += 1

    return {"before_cursor_execute": note, "begin": begin}
