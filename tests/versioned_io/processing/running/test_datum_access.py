"""A function sees of a datum only what is in its fingerprint."""

import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError

ACCESSES = {"read": lambda one: one.read(), "open": lambda one: one.open(), "size": lambda one: one.size}


@pytest.fixture
def inputs(store):
    for repo in ("r", "out"):
        store.create_repo(repo)
    with store.transaction("r@main") as tx:
        tx.write("d/1.txt", b"one")
        tx.write("d/2.txt", b"two")
    return store


def see(store, spec, look):
    """Return what *look* returns for each datum of *spec*, by key."""
    seen = {}

    @vio.pipeline("see", inputs=spec, output="out@main", code_version="1", cache="never")
    def pipe(datum, out):
        seen[datum["r"][0].path] = look(datum["r"])

    run = store.pipeline(pipe).run()
    assert not run.failed, run.failed
    return seen


def refusal(access):
    """Return a function that returns the message with which *access* is refused."""

    def look(files):
        with pytest.raises(InvalidInputError) as refused:
            access(files)
        return str(refused.value)

    return look


@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
@pytest.mark.parametrize("pattern", ["/d/(*)", "/(d)"])
@pytest.mark.parametrize("is_joined", [False, True])
def test_files_declared_empty_offer_no_content(inputs, access, pattern, is_joined):
    spec = vio.glob("r@main", pattern, empty_files=True)
    if is_joined:
        spec = vio.cross(spec, vio.glob("r@main", "/", name="other"))
    messages = see(inputs, spec, refusal(lambda files: [access(one) for one in files]))
    assert messages
    assert all("declared empty_files=True" in one for one in messages.values())


def test_files_declared_empty_have_paths_and_captures(inputs):
    seen = see(inputs, vio.glob("r@main", "/d/(*).txt", empty_files=True), lambda files: (files.path, files.captures))
    assert seen == {"d/1.txt": ("d/1.txt", ("1",)), "d/2.txt": ("d/2.txt", ("2",))}


def test_whole_files_offer_everything(inputs):
    seen = see(
        inputs,
        vio.glob("r@main", "/d/(*)"),
        lambda files: (files.size, files[0].size, files.read(), files.open().read()),
    )
    assert seen["d/1.txt"] == (3, 3, b"one", b"one")
