"""A name is a name, whatever characters are in it: no call takes it for a pattern and reaches another file."""

import fsspec
import pytest

import versioned_io as vio
from versioned_io.errors import PathNotFoundError
from versioned_io.interfaces.filesystem import VersionedFileSystem

# Each name, and others that it matches where somebody takes it for a pattern, a fragment or an escape.
NAMES = {
    "a[1].txt": ["a1.txt"],
    "[!ab]": ["a", "c"],
    "*": ["x", "y.txt"],
    "a?.txt": ["ab.txt", "a"],
    "{a,b}": ["a", "b"],
    "a#1": ["a"],
    "a%20b": ["a b"],
    "~root": ["root"],
    "$A;b& !c": ["x"],
}


@pytest.fixture(params=NAMES, scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def made(name, tmp_path_factory):
    """A directory with the name and with what it could be taken for, and another directory of that name with a file."""
    place = str(tmp_path_factory.mktemp("store") / "s")
    with vio.create_store(place) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            for other in NAMES[name]:
                tx.write(f"d/{other}", b"other")
                tx.write(f"dirs/{other}/f", b"other")
            tx.write(f"d/{name}", b"mine")
            tx.write(f"dirs/{name}/f", b"mine")
    found = fsspec.filesystem("versioned", store=place, skip_instance_cache=True)
    yield found
    found.store.close()


@pytest.fixture
def fs(made):
    """What was made, on a branch of its own."""
    made.store.create_branch("r@t", at="r@main")
    yield made
    made.store.delete_branch("r@t")
    made._trees.noted.clear()


def d(name):
    return f"r@t/d/{name}"


def others(name, parent="d", below=""):
    return sorted(f"r@t/{parent}/{other}{below}" for other in NAMES[name])


def changed(fs):
    """Return what the newest commit deleted and added, without the repo."""
    found = fs.store.diff("r@t~1", "r@t").to_pydict()
    pairs = list(zip(found["change"], found["path"], strict=True))
    return [sorted(path for change, path in pairs if change == kind) for kind in ("deleted", "added")]


@pytest.mark.parametrize("delete", ["rm", "rm_file", "rm of a list", "upath", "delete"])
def test_what_deletes_a_file_deletes_that_file_alone(fs, name, delete):
    if delete == "upath":
        upath = pytest.importorskip("upath")
        (upath.UPath("versioned://r@t/d", store=fs.store.url) / name).unlink()
    elif delete == "rm of a list":
        fs.rm([d(name)])
    else:
        getattr(fs, delete)(d(name))
    assert changed(fs) == [[f"d/{name}"], []]
    assert fs.find("r@t/d") == others(name)


@pytest.mark.parametrize("delete", ["rm", "upath"])
def test_what_deletes_a_directory_deletes_that_directory_alone(fs, name, delete):
    if delete == "upath":
        upath = pytest.importorskip("upath")
        (upath.UPath("versioned://r@t/dirs", store=fs.store.url) / name).rmdir()
    else:
        fs.rm(f"r@t/dirs/{name}", recursive=True)
    assert changed(fs) == [[f"dirs/{name}/f"], []]


@pytest.mark.parametrize("move", ["mv", "move", "rename", "mv to a directory", "upath"])
def test_what_moves_a_file_moves_that_file_alone(fs, name, move):
    if move == "upath":
        upath = pytest.importorskip("upath")
        root = upath.UPath("versioned://r@t", store=fs.store.url)
        (root / "d" / name).rename(root / "moved")
    elif move == "mv to a directory":
        fs.mv(d(name), "r@t/to/")
    else:
        getattr(fs, move)(d(name), "r@t/moved")
    assert changed(fs) == [[f"d/{name}"], [f"to/{name}" if "directory" in move else "moved"]]
    assert fs.find("r@t/d") == others(name)


def test_a_directory_is_moved_as_a_whole_and_alone(fs, name):
    fs.mv(f"r@t/dirs/{name}", "r@t/moved", recursive=True)
    assert changed(fs) == [[f"dirs/{name}/f"], ["moved/f"]]
    assert fs.cat("r@t/moved/f") == b"mine"


@pytest.mark.parametrize("copy", ["cp", "copy", "cp_file", "cp of a list"])
def test_what_copies_a_file_copies_that_file_alone(fs, name, copy):
    if copy == "cp of a list":
        fs.cp([d(name)], "r@t/to")
        assert fs.find("r@t/to") == [f"r@t/to/{name}"]
    else:
        getattr(fs, copy)(d(name), "r@t/copied")
        assert changed(fs) == [[], ["copied"]]
        assert fs.cat("r@t/copied") == b"mine"


def test_a_directory_is_copied_as_a_whole_and_alone(fs, name):
    fs.cp(f"r@t/dirs/{name}", "r@t/copied", recursive=True)
    assert changed(fs) == [[], ["copied/f"]]
    fs.cp(f"r@t/dirs/{name}", "r@t/copied", recursive=True)  # into what exists by now
    assert changed(fs) == [[], [f"copied/{name}/f"]]


def test_a_file_can_be_copied_and_moved_to_the_name(fs, name):
    with fs.transaction:
        fs.cp("r@t/d/" + name, f"r@t/new/{name}")
        fs.mv(f"r@t/dirs/{name}/f", f"r@t/newer/{name}")
    assert fs.find("r@t/new") + fs.find("r@t/newer") == [f"r@t/new/{name}", f"r@t/newer/{name}"]


def test_what_was_written_in_a_transaction_is_moved_and_deleted_by_its_name(fs, name):
    with fs.transaction:
        fs.pipe_file(f"r@t/new/{name}", b"new")
        fs.pipe_file(f"r@t/newer/{name}", b"newer")
        fs.mv(f"r@t/new/{name}", "r@t/moved")
        fs.rm(f"r@t/newer/{name}")
    assert changed(fs) == [[], ["moved"]]


@pytest.mark.parametrize("into", ["file", "directory"])
def test_what_is_fetched_is_that_file_alone(fs, name, tmp_path, into):
    if into == "directory":
        (tmp_path / "to").mkdir()
        fs.get(d(name), str(tmp_path / "to"))
        assert [path.name for path in (tmp_path / "to").iterdir()] == [name]
        return
    fs.get(d(name), str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == b"mine"
    fs.get_file(d(name), str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == b"mine"


def test_a_directory_is_fetched_as_a_whole_and_alone(fs, name, tmp_path):
    fs.get(f"r@t/dirs/{name}", str(tmp_path / "got"), recursive=True)
    assert [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "got").rglob("*")] == ["got/f"]
    assert (tmp_path / "got" / "f").read_bytes() == b"mine"


@pytest.mark.parametrize("how", ["name", "list", "directory"])
def test_what_is_put_is_that_local_file_alone(fs, name, tmp_path, how):
    local = tmp_path / "local"
    for one in (name, *NAMES[name]):
        (local / one).mkdir(parents=True)
        (local / one / "f").write_bytes(b"mine" if one == name else b"other")
        (local / f"{one}~").write_bytes(b"mine" if one == name else b"other")
    if how == "directory":
        fs.put(str(local / name), "r@t/put", recursive=True)
        assert changed(fs) == [[], ["put/f"]]
    elif how == "list":
        fs.put([str(local / f"{name}~")], "r@t/put")
        assert changed(fs) == [[], [f"put/{name}~"]]
    else:
        fs.put(str(local / f"{name}~"), "r@t/put")
        assert changed(fs) == [[], ["put"]]
        fs.put(str(local / f"{name}~"), f"r@t/named/{name}")
        assert changed(fs) == [[], [f"named/{name}"]]


def test_what_is_read_is_that_file_alone(fs, name):
    path = d(name)
    assert fs.cat(path) == b"mine"
    assert fs.cat([path]) == {path: b"mine"}
    assert fs.cat(f"r@t/dirs/{name}", recursive=True, on_error="omit") == {f"r@t/dirs/{name}/f": b"mine"}
    assert fs.read_bytes(path) == fs.open(path).read() == fs.cat_file(path) == b"mine"
    with fsspec.open(f"versioned://{path}", "rb", store=fs.store.url) as file:
        assert file.read() == b"mine"
    assert fs.info(path)["name"] == path
    assert fs.exists(path)
    assert fs.isfile(path)
    assert fs.isdir(f"r@t/dirs/{name}")
    assert fs.find(path) == fs.expand_path(path) == [path]
    assert fs.du(path) == fs.size(path) == 4
    assert fs.ls(path, detail=False) == [path]
    assert [(found[0], found[2]) for found in fs.walk(f"r@t/dirs/{name}")] == [(f"r@t/dirs/{name}", ["f"])]
    fs.rm_file(path)
    assert not fs.exists(path)
    assert not fs.isfile(path)
    assert fs.find(path) == []
    for look in (fs.info, fs.cat_file, fs.open, fs.ls, fs.size):
        with pytest.raises(FileNotFoundError):
            look(path)


def test_what_is_written_is_that_file_alone(fs, name):
    fs.pipe(f"r@t/w/{name}", b"1")
    with fsspec.open(f"versioned://r@t/v/{name}", "wb", store=fs.store.url) as file:
        file.write(b"2")
    fs.touch(f"r@t/u/{name}")
    assert [fs.find(f"r@t/{parent}") for parent in "wvu"] == [[f"r@t/{parent}/{name}"] for parent in "wvu"]


@pytest.mark.parametrize("change", ["rm", "mv", "rm_file", "rm recursive", "rm of a list"])
@pytest.mark.parametrize("pattern", ["d/a*", "d/a[0-9].txt", "d/a?.txt", "d*", "**"])
def test_a_pattern_deletes_and_moves_nothing(store, write, change, pattern):
    store.create_repo("r")
    commit = write(store, "r@main", {"d/a1.txt": b"1", "d/ab.txt": b"2"})
    fs = VersionedFileSystem.of(store)
    call = {
        "rm": lambda: fs.rm(f"r@main/{pattern}"),
        "rm recursive": lambda: fs.rm(f"r@main/{pattern}", recursive=True),
        "rm of a list": lambda: fs.rm(["r@main/d/ab.txt", f"r@main/{pattern}"]),
        "rm_file": lambda: fs.rm_file(f"r@main/{pattern}"),
        "mv": lambda: fs.mv(f"r@main/{pattern}", "r@main/moved/"),
    }[change]
    with pytest.raises(PathNotFoundError):
        call()
    assert store.commit("r@main").id == commit.id
    fs.rm(fs.glob("r@main/d/a?.txt"))  # which is how somebody asks for it
    assert fs.find("r@main") == []


def test_where_nothing_has_the_name_it_is_a_pattern_for_what_reads(store, write, tmp_path):
    store.create_repo("r")
    write(store, "r@main", {"d/a1.txt": b"1", "d/ab.txt": b"2", "d/b": b"3"})
    fs = VersionedFileSystem.of(store)
    assert fs.cat("r@main/d/a*") == {"r@main/d/a1.txt": b"1", "r@main/d/ab.txt": b"2"}
    fs.get("r@main/d/a?.txt", str(tmp_path / "got"))
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["a1.txt", "ab.txt"]
    fs.cp("r@main/d/a[0-9].txt", "r@main/copied")
    assert fs.find("r@main/copied") == ["r@main/copied/a1.txt"]
    assert fs.expand_path(["r@main/d/a[0-9].txt", "r@main/d/b"]) == ["r@main/d/a1.txt", "r@main/d/b"]
