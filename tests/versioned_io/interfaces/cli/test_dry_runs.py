"""``--dry-run`` of ``put``, ``rm`` and ``merge`` says what the command then does, and stores nothing."""

import json
import random
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.interfaces.cli.app import app

LARGE = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def place(tmp_path):
    """A store with files on main, and a local directory in which some are equal, some are not, and one is new."""
    local = tmp_path / "local"
    (local / "d").mkdir(parents=True)
    for name, content in {"same": b"1", "d/large": LARGE, "size": b"22", "bytes": b"3", "new": b"4"}.items():
        (local / name).write_bytes(content)
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        store.create_repo("empty")
        with store.transaction("r@main") as tx:
            for name, content in {"same": b"1", "d/large": LARGE, "size": b"2", "bytes": b"9", "other": b"5"}.items():
                tx.write(name, content)
    return tmp_path


def run(place, *arguments, code=0, stdin=None):
    before = contents(place)
    done = CliRunner().invoke(app, list(arguments), env={"VERSIONED_STORE": str(place / "store")}, input=stdin)
    assert done.exit_code == code, done.output
    if "--dry-run" in arguments:
        assert contents(place) == before
    return done


def contents(place):
    """Return every file of the store, but for the log of SQLite, which readers write, too."""
    files = (one for one in (place / "store").rglob("*") if one.is_file() and one.suffix not in {".db-wal", ".db-shm"})
    return {str(one): one.read_bytes() for one in files}


def foreseen(place, *arguments, **options):
    found = json.loads(run(place, *arguments, "--dry-run", "--json", **options).stdout)
    assert found["dry_run"] is True
    return [(one["path"], one["change"], one["old_size"], one["new_size"]) for one in found["changes"]]


def made(place, ref="r@main"):
    with vio.open_store(place / "store") as store:
        try:
            changes = store.diff(f"{ref}~1", ref)
        except vio.VersionedError:
            changes = store.diff(None, ref)
        return [(one["path"], one["change"], one["old_size"], one["new_size"]) for one in changes.to_pylist()]


def test_put_says_what_it_then_does(place):
    local = str(place / "local")
    changes = foreseen(place, "put", "r@main", local)
    assert sorted(changes) == [("bytes", "modified", 1, 1), ("new", "added", None, 1), ("size", "modified", 1, 2)]
    shown = run(place, "put", "r@main", local, "--dry-run").stdout
    assert "dry run: 3 files of r@main would change, and nothing was changed" in shown
    run(place, "put", "r@main", local)
    assert made(place) == sorted(changes)
    assert foreseen(place, "put", "r@main", local) == []


def test_put_on_an_empty_branch_and_from_standard_input(place):
    changes = foreseen(place, "put", "empty@main", str(place / "local"))
    assert {change for _, change, _, _ in changes} == {"added"}
    assert foreseen(place, "put", "r@main:other", "-", stdin="5") == []
    assert foreseen(place, "put", "r@main:other", "-", stdin="66") == [("other", "modified", 1, 2)]
    run(place, "put", "empty@main", str(place / "local"))
    assert made(place, "empty@main") == sorted(changes)


@pytest.mark.parametrize("target", ["r@main:d", "r@main:same/below"])
def test_put_refuses_in_a_dry_run_what_it_refuses(place, target):
    source = str(place / "local" / "new")
    refused = run(place, "put", target, source, code=2).stderr
    assert run(place, "put", target, source, "--dry-run", code=2).stderr == refused
    run(place, "put", "r@nothing", source, "--dry-run", code=3)
    assert "leave out one" in run(place, "put", "r@main", source, "--in-place", "--dry-run", code=2).stderr


def test_rm_says_what_it_then_does(place):
    targets = ["r@main:d", "r@main:same", "r@main:d/large"]
    changes = foreseen(place, "rm", *targets)
    assert changes == [("d/large", "deleted", len(LARGE), None), ("same", "deleted", 1, None)]
    run(place, "rm", "r@main:nothing", "--dry-run", code=3)
    run(place, "rm", *targets[:2])
    assert made(place) == changes


def write(place, branch, **files):
    with vio.open_store(place / "store") as store:
        if branch != "r@main" and all(one.name != "dev" for one in store.branches("r")):
            store.create_branch(branch, at="r@main")
        with store.transaction(branch) as tx:
            for name, content in files.items():
                if content is None:
                    tx.delete(name)
                else:
                    tx.write(name, content)


def merged(place, *arguments, **options):
    return json.loads(run(place, "merge", "r@dev", "r@main", "--dry-run", "--json", *arguments, **options).stdout)


def test_merge_says_what_it_then_does(place):
    write(place, "r@dev", new=b"1", bytes=b"2", other=None)
    assert merged(place)["kind"] == "fast-forward"
    write(place, "r@main", size=b"777")
    found = merged(place)
    assert (found["kind"], found["conflicts"]) == ("commit", [])
    run(place, "merge", "r@dev", "r@main")
    assert made(place) == [tuple(one.values()) for one in found["changes"]]
    assert [(path, change) for path, change, *_ in made(place)] == [
        ("bytes", "modified"),
        ("new", "added"),
        ("other", "deleted"),
    ]
    assert (merged(place)["kind"], merged(place)["changes"]) == ("nothing", [])


def test_merge_says_which_conflicts_there_are_and_how_a_strategy_decides_them(place):
    write(place, "r@dev", bytes=b"dev", new=b"1")
    write(place, "r@main", bytes=b"main")
    found = merged(place, code=4)
    assert [one["path"] for one in found["conflicts"]] == ["bytes"]
    shown = run(place, "merge", "r@dev", "r@main", "--dry-run", code=4).stdout
    assert "r@main would get a commit" in shown
    for strategy, paths in {"ours": ["new"], "theirs": ["bytes", "new"]}.items():
        assert [one["path"] for one in merged(place, "--strategy", strategy)["changes"]] == paths
    run(place, "merge", "r@dev", "r@main", "--strategy", "theirs")
    assert [path for path, *_ in made(place)] == ["bytes", "new"]
    assert Path(place / "store").exists()


def test_put_foresees_attributes_that_change_with_the_same_bytes(place):
    local = place / "local"
    with vio.open_store(place / "store") as store, store.transaction("r@main") as tx:
        tx.write("same", b"1", attributes={"kind": "note"})
        tx.write("bytes", b"3", attributes={"executable": "true"})
        tx.write("size", b"22", attributes={"executable": "false"})
        tx.write("new", b"4")
    (local / "new").chmod(0o755)
    changes = foreseen(place, "put", "r@main", str(local))
    assert sorted(changes) == [("bytes", "modified", 1, 1), ("same", "modified", 1, 1)]
    run(place, "put", "r@main", str(local))
    assert made(place) == sorted(changes)


def test_a_merge_of_an_expired_commit_that_is_there_already_does_nothing(place):
    with vio.open_store(place / "store") as store:
        first = store.commit("r@main").id
    write(place, "r@main", more=b"1")
    with vio.open_store(place / "store") as store:
        store.set_retention("r@main", keep_last=1)
        store.gc(grace=timedelta(0), expire=timedelta(0))
    found = json.loads(run(place, "merge", f"r@{first}", "r@main", "--dry-run", "--json").stdout)
    assert (found["kind"], found["changes"]) == ("nothing", [])
    run(place, "merge", f"r@{first}", "r@main")
