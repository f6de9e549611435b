"""Disasters in any order: see `DisasterMachine`."""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.versioned_io.fault.disaster_machine import DisasterMachine

pytestmark = pytest.mark.slow

SOAKED = 30
"""How many times as many stories `make soak` tells."""


def sync_all(directory):
    """Make a directory durable with all that is in it, as whoever copies a catalog does."""
    for path in (directory, *directory.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


class Directory:
    """A store in a directory, with its SQLite catalog inside; copies of the catalog lie beside it."""

    def __init__(self, below=None):
        self._directory = Path(tempfile.mkdtemp(prefix="versioned-disaster-", dir=below))
        self.url, self.options = self._directory / "s", {}
        self._copies = 0

    def _catalog_files(self, directory):
        return sorted(directory.glob("catalog.db*"))

    def copy_catalog(self):
        self._copies += 1
        backup = self._directory / f"backup-{self._copies}"
        backup.mkdir()
        for file in self._catalog_files(self.url):
            shutil.copy(file, backup)
        sync_all(self._directory)
        return backup

    def restore_catalog(self, backup):
        self.lose_catalog()
        for file in self._catalog_files(backup):
            shutil.copy(file, self.url)
        sync_all(self.url)

    def clone_catalog(self):
        return f"sqlite:///{self.copy_catalog() / 'catalog.db'}"

    def lose_catalog(self):
        for file in self._catalog_files(self.url):
            file.unlink()

    def remove(self):
        shutil.rmtree(self._directory)


class Disk(Directory):
    """The same on a disk that loses power."""

    def __init__(self, mounted):
        super().__init__(mounted)
        sync_all(mounted)
        self._switch = mounted / ".lose-power"

    def lose_power(self):
        self._switch.write_text("all")


def tell_stories(begin_place, number, *, is_new=False):
    machine = type("DisasterMachine", (DisasterMachine,), {"begin_place": staticmethod(begin_place)})
    options = settings(
        max_examples=number,
        stateful_step_count=25,
        deadline=None,
        # The stories of `make test` are the same ones each time; `make soak` looks for new ones.
        derandomize=not is_new,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
    run_state_machine_as_test(machine, settings=options)


def test_what_was_acknowledged_is_readable_or_refused_through_any_disasters():
    tell_stories(Directory, 20)


def test_what_was_acknowledged_is_readable_or_refused_although_the_power_fails(forgetful):
    tell_stories(partial(Disk, forgetful), 8)


@pytest.mark.soak
def test_what_was_acknowledged_is_readable_or_refused_through_many_disasters():
    tell_stories(Directory, 20 * SOAKED, is_new=True)


@pytest.mark.soak
def test_what_was_acknowledged_is_readable_or_refused_although_the_power_fails_often(forgetful):
    tell_stories(partial(Disk, forgetful), 8 * SOAKED, is_new=True)
