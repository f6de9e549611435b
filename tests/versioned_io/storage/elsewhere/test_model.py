"""Whatever happens at the source: a commit reads as it was imported, or says that it can't, and never anything else."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import versioned_io as vio
from versioned_io.errors import ReferenceBrokenError
from versioned_io.storage.elsewhere import parts

pytestmark = pytest.mark.slow

KEYS = st.sampled_from(["a", "b/c", "b/d e"])
SIZES = st.sampled_from([0, 9, 10, 11, 25])
PICK = st.integers(0, 5).map(lambda number: lambda found: found[number % len(found)])
NOW = {"grace": timedelta(0), "expire": timedelta(0)}


@dataclass(frozen=True)
class File:
    """What a file must read as, which writing of which key it needs for that, and whether its end lies elsewhere."""

    data: bytes
    needs: tuple[str, int] | None
    ends_elsewhere: bool


class SourceThatChanges(RuleBasedStateMachine):
    """A store that refers to a directory, beside dictionaries that say what each commit must read as.

    *now* is what the directory holds: {key: (bytes, number of the writing)}. *tree* is what the branch holds, *commits*
    what every commit holds: {path: `File`}.
    """

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.outside = self.root / "outside"
        self.outside.mkdir()
        self.store = vio.create_store(self.root / "store", sources={str(self.outside): {}})
        self.store.create_repo("r")
        self.numbers = count(1)
        self.now = {}
        self.tree = {}
        self.commits = {}

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.root)

    @rule(key=KEYS, size=SIZES)
    def somebody_writes(self, key, size):
        number = next(self.numbers)
        path = self.outside / key
        path.parent.mkdir(exist_ok=True)
        data = bytes([number % 256]) * size
        path.write_bytes(data)
        os.utime(path, ns=(number * 10**9, number * 10**9))
        self.now[key] = (data, number)

    @precondition(lambda self: self.now)
    @rule(pick=PICK)
    def somebody_deletes(self, pick):
        key = pick(sorted(self.now))
        del self.now[key]
        (self.outside / key).unlink()

    @precondition(lambda self: self.now)
    @rule()
    def all_is_imported(self):
        with self.store.transaction("r@main") as tx:
            tx.delete("raw/")
            assert tx.reference_tree(self.outside, to="raw") == len(self.now)
        self._committed(tx, self._without("raw/") | {f"raw/{key}": self._referred(key) for key in self.now})

    @precondition(lambda self: self.now)
    @rule(pick=PICK, appends=st.booleans())
    def one_is_imported(self, pick, appends):
        key = pick(sorted(self.now))
        file = self._referred(key)
        with self.store.transaction("r@main") as tx:
            tx.reference(self.outside / key, to=f"one/{key}")
            if appends:
                tx.write(f"one/{key}", b"+", append=True)
                file = self._appended(file)
        self._committed(tx, self.tree | {f"one/{key}": file})

    @precondition(lambda self: self.tree)
    @rule(pick=PICK)
    def one_is_appended_to(self, pick):
        path = pick(sorted(self.tree))
        file = self.tree[path]
        if file.ends_elsewhere and not self._is_there(file.needs):
            with pytest.raises(ReferenceBrokenError), self.store.transaction("r@main") as tx:
                tx.write(path, b"+", append=True)
            return
        # Only the end is read: what is before it may be gone, and then the file stays as unreadable as it was.
        with self.store.transaction("r@main") as tx:
            tx.write(path, b"+", append=True)
        self._committed(tx, self.tree | {path: self._appended(file)})

    @rule()
    def it_is_kept_small(self):
        self.store.compact(small_bytes=1 << 20, min_live=1.0)
        self.store.gc(**NOW)

    @invariant()
    def every_commit_reads_as_it_was_imported_or_says_that_it_can_not(self):
        for commit_id, tree in self.commits.items():
            snapshot = self.store.snapshot(f"r@{commit_id}")
            assert [file.path for file in snapshot.walk()] == sorted(tree)
            for path, file in tree.items():
                if self._is_there(file.needs):
                    assert snapshot.read(path) == file.data
                else:
                    with pytest.raises(ReferenceBrokenError):
                        snapshot.read(path)

    @invariant()
    def the_check_names_what_changed(self):
        assert self.store.fsck().is_clean
        needed = {file.needs for tree in self.commits.values() for file in tree.values()}
        broken = {needs for needs in needed if not self._is_there(needs)}
        problems = self.store.fsck(sources=True).problems
        assert {problem.kind for problem in problems} <= {"source"}
        assert len(problems) == len(broken)

    def _referred(self, key):
        data, number = self.now[key]
        return File(data, (key, number) if data else None, bool(data))  # of an empty object nothing is needed

    def _appended(self, file):
        # All but the last part stays elsewhere.
        return File(file.data + b"+", file.needs if len(file.data) > parts._PART_BYTES else None, False)

    def _is_there(self, needs):
        return needs is None or (needs[0] in self.now and self.now[needs[0]][1] == needs[1])

    def _without(self, prefix):
        return {path: file for path, file in self.tree.items() if not path.startswith(prefix)}

    def _committed(self, tx, tree):
        assert tx.changed == (tree != self.tree)
        self.tree = tree
        if tx.changed:
            self.commits[tx.commit.id] = tree


@pytest.fixture(autouse=True)
def tiny_parts(monkeypatch):
    monkeypatch.setattr(parts, "_PART_BYTES", 10)


TestSourceThatChanges = SourceThatChanges.TestCase
TestSourceThatChanges.settings = settings(max_examples=8, stateful_step_count=16, deadline=None)
