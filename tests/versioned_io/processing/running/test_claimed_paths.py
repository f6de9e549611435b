"""Two datums that want one path, or a path and one below it, are both named, and nothing is committed."""

import pytest

import versioned_io as vio
from versioned_io.errors import PathClaimedError


@pytest.fixture
def pipe(store):
    """A pipeline whose datums write to the paths that their files name, one a line."""
    for repo in ("r", "out"):
        store.create_repo(repo)

    @vio.pipeline("to", inputs=vio.glob("r@main", "/(*)"), output="out@main", code_version="1")
    def to(datum, out):
        for path in datum["r"].read().decode().split():
            out.write(path, datum["r"].path.encode())

    return store.pipeline(to)


def run(store, pipe, files):
    """Run after one commit of *files*; None deletes one."""
    with store.transaction("r@main") as tx:
        for path, data in files.items():
            if data is None:
                tx.delete(path)
            else:
                tx.write(path, data)
    return pipe.run()


def contents(store):
    found = store.snapshot("out@main")
    return {file.path: found.read(file.path).decode() for file in found.walk()}


CLASHES = {
    "one path": (b"x", b"x"),
    "a file above": (b"x/y/z", b"x"),
    "a file below": (b"x", b"x/y/z"),
    "one of several below": (b"b x/1 x/2", b"a x"),
}


@pytest.mark.parametrize("is_unchanged", [False, True])
@pytest.mark.parametrize("clash", CLASHES.values(), ids=CLASHES)
def test_both_datums_are_named(store, pipe, clash, is_unchanged):
    first, second = clash
    if is_unchanged:
        run(store, pipe, {"1": first, "0": b"other"})
    before = contents(store)
    with pytest.raises(PathClaimedError) as claimed:
        run(store, pipe, {"1": first, "2": second})
    assert (claimed.value.path, set(claimed.value.keys)) == ("x", {"1", "2"})
    assert "both write 'x' of out@main, as a file or a directory" in str(claimed.value)
    assert contents(store) == before
    run(store, pipe, {"2": b"elsewhere"})
    assert contents(store)["elsewhere"] == "2"


@pytest.mark.parametrize(("first", "second"), [(b"x/y/z", b"x"), (b"x", b"x/y/z")])
def test_a_path_passes_from_a_directory_to_a_file_and_back(store, pipe, first, second):
    run(store, pipe, {"1": first})
    run(store, pipe, {"1": b"elsewhere", "2": second})
    assert contents(store) == {"elsewhere": "1", second.decode(): "2"}
    run(store, pipe, {"1": second, "2": None})
    assert contents(store) == {second.decode(): "1"}
    run(store, pipe, {"1": first})
    assert contents(store) == {first.decode(): "1"}
