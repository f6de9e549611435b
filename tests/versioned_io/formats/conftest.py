"""A store to put objects into, and the way there and back."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

import versioned_io as vio
from versioned_io.formats import StoredObject, load_object, save_object


@dataclass
class Objects:
    """One place in one repo that holds one object at a time."""

    store: vio.Store
    repo: str
    stem: str = "2012-01/data"

    @property
    def branch(self) -> str:
        return f"{self.repo}@main"

    def save(self, obj: object, **options: str) -> StoredObject:
        with self.store.transaction(self.branch, empty="allow") as tx:
            return save_object(tx, self.stem, obj, **options)

    def load(self, type_hint: object = None, *, allow_pickle: bool = True, directory: Path | None = None) -> object:
        return load_object(
            self.snapshot(), self.stem, type_hint=type_hint, allow_pickle=allow_pickle, directory=directory
        )

    def round_trip(self, obj: object) -> tuple[object, str]:
        stored = self.save(obj)
        return self.load(), stored.format

    def snapshot(self) -> vio.Snapshot:
        return self.store.snapshot(self.branch)

    def content(self, stored: StoredObject) -> bytes:
        return self.snapshot().read(stored.path)

    def paths(self) -> list[str]:
        return [info.path for info in self.snapshot().walk()]


@pytest.fixture(scope="module")
def store_of_module():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        yield store


@pytest.fixture
def objects(store_of_module) -> Objects:
    """An empty repo for one test."""
    repo = f"objects-{uuid.uuid4().hex}"
    store_of_module.create_repo(repo)
    return Objects(store_of_module, repo)
