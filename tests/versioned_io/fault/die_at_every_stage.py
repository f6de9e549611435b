"""Run one transaction again and again, each time in a process that kills itself one stage later than the last.

``python -m tests.versioned_io.fault.die_at_every_stage BASE OUT SIZE RACES``: for n = 1, 2, ... the store BASE is
copied to OUT/n, a forked process commits to the copy and sends itself SIGKILL at the n-th stage; its name goes to
OUT/n.stage. It ends with the first n that the transaction survives; that store is OUT/alive. A stage is the moment
before or after an object is stored, before or after an SQL statement that writes, before COMMIT, after it, and before a
file is linked or removed or a directory is made (all that packs need are there).
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from tests.versioned_io.shared_statements import share_statements
from versioned_io.catalog.connect import connect_catalog
from versioned_io.catalog.engines import sqlite_url
from versioned_io.platform.clock import system_clock
from versioned_io.storage.chunks.reader import ChunkReader
from versioned_io.storage.objects.local import LocalObjects
from versioned_io.storage.pages.page_source import PageSource
from versioned_io.store import Store
from versioned_io.versioning.backend.backend import Backend


class Stages:
    """Counts the stages from `begin` on, and ends the process at one of them."""

    def __init__(self, last: int, note: Path) -> None:
        self._last = last
        self._note = note
        self._count: int | None = None

    def begin(self) -> None:
        self._count = 0

    def reach(self, name: str) -> None:
        if self._count is None:
            return
        self._count += 1
        if self._count == self._last:
            self._note.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedObjects(LocalObjects):
    """A local object store whose PUTs are stages."""

    def __init__(self, root: Path, stages: Stages) -> None:
        super().__init__(root)
        self._stages = stages

    def put(self, key, data) -> None:
        self._stages.reach(f"before PUT {key.partition('/')[0]}")
        super().put(key, data)
        self._stages.reach(f"after PUT {key.partition('/')[0]}")


def open_watched(location: Path, stages: Stages) -> Store:
    objects = WatchedObjects(location, stages)
    catalog = connect_catalog(sqlite_url(location / "catalog.db"))
    engine = catalog.engine

    # A death around a statement that only reads leaves what one just before it leaves.
    @event.listens_for(engine, "before_cursor_execute")
    def before(_connection, _cursor, statement, *_) -> None:
        if not statement.startswith("SELECT"):
            stages.reach(f"before {' '.join(statement.split()[:3])}")

    @event.listens_for(engine, "after_cursor_execute")
    def after(_connection, _cursor, statement, *_) -> None:
        if not statement.startswith("SELECT"):
            stages.reach(f"after {' '.join(statement.split()[:3])}")

    @event.listens_for(engine, "commit")
    def commit(_connection) -> None:
        stages.reach("before COMMIT")

    @event.listens_for(engine, "checkin")
    def checkin(_connection, _record) -> None:
        stages.reach("after COMMIT or the end of a read")

    @sys.addaudithook
    def system_call(name, arguments) -> None:
        if name in {"os.mkdir", "os.link", "os.remove"} and str(location) in str(arguments[0]):
            stages.reach(f"before {name}")

    return Store(str(location), Backend(objects, catalog, PageSource(objects), ChunkReader(objects), system_clock))


def commit(store: Store, stages: Stages, size: int, races: int) -> None:
    """Change a file, add one of *size* bytes, delete one, on two branches, and complete a claimed key, all at once.

    Others overtake it *races* times before it ends.
    """
    due = store.subscription("work", "data@main", partitions="{name}.txt").claim("changed", owner="killed")
    with store.transaction("data@main", message="new", completes=[due]) as transaction:
        transaction.write("changed.txt", b"new")
        transaction.write("added.bin", os.urandom(size))
        transaction.delete("deleted.txt")
        transaction.branch("other@main").write("file.txt", b"new")
        for number in range(races):
            with store.transaction("data@main", message="race") as other:
                other.write(f"race-{number}", b"old")
        stages.begin()


def warm_up(base: Path, scratch: Path, size: int, races: int) -> None:
    """Commit once in this process, whose modules and compiled statements each child then inherits."""
    share_statements()
    shutil.copytree(base, scratch)
    stages = Stages(0, scratch)
    with open_watched(scratch, stages) as store:
        commit(store, stages, size, races)
    shutil.rmtree(scratch)


def main(base: Path, out: Path, size: int, races: int) -> None:
    warm_up(base, out / "warm-up", size, races)
    number = 0
    while True:
        number += 1
        location, note = out / str(number), out / f"{number}.stage"
        shutil.copytree(base, location)
        # Pack names are random. Were a directory made for some and there already for others, the n-th stage would be
        # another one in each process, and one in between could be left out.
        for prefix in range(256):
            (location / "packs" / f"{prefix:02x}").mkdir(exist_ok=True)
        child = os.fork()
        if child == 0:
            stages = Stages(number, note)
            commit(open_watched(location, stages), stages, size, races)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            location.rename(out / "alive")
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
