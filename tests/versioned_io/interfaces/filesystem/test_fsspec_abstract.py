"""fsspec's own tests of what a file system does, all of them."""

import uuid

import pytest
from fsspec.tests import abstract

import versioned_io as vio
from versioned_io.interfaces.filesystem import VersionedFileSystem


class VersionedFixtures(abstract.AbstractFixtures):
    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls):
        with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
            store.create_repo("r")
            yield VersionedFileSystem.of(store)

    @pytest.fixture
    def fs_path(self):
        return "r@main/work"


class TestCopy(abstract.AbstractCopyTests, VersionedFixtures):
    pass


class TestGet(abstract.AbstractGetTests, VersionedFixtures):
    pass


class TestPut(abstract.AbstractPutTests, VersionedFixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, VersionedFixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, VersionedFixtures):
    pass


def test_every_class_of_tests_that_fsspec_has_is_run_here():
    theirs = {name for name in vars(abstract) if name.startswith("Abstract") and name.endswith("Tests")}
    ours = {base.__name__ for tests in (TestCopy, TestGet, TestPut, TestOpen, TestPipe) for base in tests.__bases__}
    assert ours - {"VersionedFixtures"} == theirs
