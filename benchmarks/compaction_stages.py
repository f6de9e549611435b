"""Where the CPU of a second compaction goes: ``python -m benchmarks.compaction_stages STORE ROUNDS``.

The store is one that ``benchmarks.ours_years grow`` has made, and is maintained first. In each round it gets 100
commits and is compacted. A stage's time is without that of the stages that it calls. Each figure is the fastest tenth.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, Final

import versioned_io as vio
from benchmarks.ours_years import commit_small
from versioned_io.maintenance.collection import new_marks

_NEW: Final = 100
_IN: Final = "versioned_io.maintenance"
STAGES: Final = (
    ("mark: rows", f"{_IN}.collection.new_marks", "_list_new"),
    ("mark: fetch pages", "versioned_io.storage.pages.page_source", "PageSource._fetch"),
    ("mark: decode pages", "versioned_io.storage.pages.schema", "decode_page"),
    ("mark: compare", f"{_IN}.collection.marking", "LeafVersions.follow"),
    ("mark: compare", f"{_IN}.collection.marking", "Marks.add_places"),
    ("mark: the rest", f"{_IN}.compaction.compaction", "mark_new"),
    ("rounds", f"{_IN}.compaction.compaction", "enter_marks"),
    ("scope", f"{_IN}.compaction.compaction", "find_scope"),
    ("packs: read", f"{_IN}.compaction.copied_blocks", "read_footer"),
    ("packs: blocks", f"{_IN}.compaction.copied_blocks", "CopiedBlocks.copy"),
    ("pages: new places", f"{_IN}.compaction.moved_places", "MovedPlaces.lead"),
    ("pages: name", f"{_IN}.compaction.led_trees", "check_name"),
    ("pages: compress", f"{_IN}.compaction.pack_series", "PackSeries.put_page"),
    ("pages: the rest", f"{_IN}.compaction.led_trees", "LedTrees.lead"),
    ("records: rows", f"{_IN}.compaction.moved_records", "get_commits"),
    ("records: fetch", f"{_IN}.compaction.moved_records", "fetch_frames"),
    ("records: decode", f"{_IN}.compaction.moved_records", "decode_record"),
    ("records: encode", f"{_IN}.compaction.moved_records", "encode_record"),
    ("records: the rest", f"{_IN}.compaction.moved_records", "MovedRecords.write"),
    ("new packs: footer and file", f"{_IN}.compaction.pack_series", "PackSeries.close"),
    ("switch", f"{_IN}.compaction.moving", "switch_in_batches"),
)
"""The name, the module and the function of each stage."""


class _Watch:
    """Sums up the CPU time of stages, each without the stages that it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    def run(self, stage: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 (whatever the stage returns)
        self._turn()
        self._open.append(stage)
        try:
            return work()
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        now = time.process_time()
        if self._open:
            self.spent[self._open[-1]] = self.spent.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def watch(self, stage: str, module: str, name: str) -> None:
        """Count the calls of a function to *stage*, while one is under way."""
        *path, last = name.split(".")
        owner: Any = import_module(module)
        for one in path:
            owner = getattr(owner, one)
        original = getattr(owner, last)

        @wraps(original)
        def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 (any function)
            if not self._open:
                return original(*arguments, **options)
            return self.run(stage, lambda: original(*arguments, **options))

        setattr(owner, last, counted)


def measure(url: str, rounds: int) -> dict[str, Any]:
    """Return the microseconds a commit of each stage of a compaction, of the whole, and of a mark alone."""
    watch = _Watch()
    for stage, module, name in STAGES:
        watch.watch(stage, module, name)
    marks: list[float] = []
    found: list[dict[str, float]] = []
    with vio.open_store(url) as store:
        store.maintain()
        noise = random.Random(rounds)
        for number in range(rounds * _NEW):
            commit_small(store, noise, number)
            if number % _NEW != _NEW - 1:
                continue
            start = time.process_time()
            new_marks.mark_new(store._backend)  # noqa: SLF001 (one step alone)
            marks.append(time.process_time() - start)
            watch.spent = {}
            watch.run("the rest", store.compact)
            found.append(watch.spent)
    whole = _fast([sum(one.values()) for one in found])
    stages = {stage: _fast([one.get(stage, 0.0) for one in found]) for stage in found[0]}
    return {"mark_us": _fast(marks), "compact_us": whole, "ratio": whole / _fast(marks), "stages_us": stages}


def _fast(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 10] / _NEW * 1e6


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2])), indent=1))
