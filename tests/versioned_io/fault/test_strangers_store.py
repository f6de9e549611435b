"""Stores in which something was changed on purpose, under right checksums, go through every command that reads.

No child ends by a signal or with a traceback, none takes more than 512 MB, none writes outside of its target, and
nothing that steers a terminal is printed. A failure names its seed; `strangers_driver` repeats it, alone.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import versioned_io as vio
from tests.versioned_io.fault import strangers_doors as doors
from tests.versioned_io.fault.forging import Forger, make_base
from tests.versioned_io.fault.strangers_changes import change_of
from versioned_io.storage.packs.frames import FrameKind

ROOT = Path(__file__).parents[3]


def run(first, count, each):
    command = [sys.executable, "-m", "tests.versioned_io.fault.strangers_driver", str(first), str(count), str(each)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_no_command_is_harmed_by_300_changes():
    """Some 30 s of CPU; soak goes through 11,000."""
    run(0, 300, 2)


@pytest.mark.soak
@pytest.mark.parametrize("first", [0, *range(10_000, 20_000, 1000)])
def test_no_command_is_harmed_by_11_000_changes(first):
    run(first, 1000, 3)


def test_every_command_is_tried_or_is_excepted_with_a_reason():
    tried = doors.commands_tried()
    known = set(doors.commands_of_the_command_line())
    assert {one for one in known if one not in tried and one not in doors.EXCEPTED} == set()
    assert set(doors.EXCEPTED) <= known - tried


def test_every_method_that_reads_files_of_a_snapshot_is_tried():
    """The doors through Python call each public method of a snapshot, so that one added later is not forgotten."""
    source = Path(doors.__file__).read_text()
    methods = {name for name, one in vars(vio.Snapshot).items() if not name.startswith("_") and callable(one)}
    assert {name for name in methods if f".{name}(" not in source} == set()


def test_a_forger_forges_what_its_seed_says_and_nothing_else(tmp_path):
    make_base(tmp_path / "base")
    forger = Forger(tmp_path / "base")
    page = next(one for one in forger.targets if forger.kind_of(one) is FrameKind.PAGE)
    forger.forge(tmp_path / "same", page, lambda payload, _around: payload, renames=True)
    with vio.open_store(tmp_path / "same") as store:
        assert store.fsck().problems == ()
    for kind in (FrameKind.PAGE, FrameKind.COMMIT, FrameKind.FOOTER):
        target = next(one for one in forger.targets if forger.kind_of(one) is kind)
        made = []
        for place in ("one", "two"):
            forger.forge(tmp_path / kind.name / place, target, change_of(kind, random.Random(8)), renames=True)
            made.append(sorted(one.read_bytes() for one in (tmp_path / kind.name / place).rglob("*.pack")))
        assert made[0] == made[1] != sorted(one.read_bytes() for one in (tmp_path / "base").rglob("*.pack"))
