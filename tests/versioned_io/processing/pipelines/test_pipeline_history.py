"""Which pipelines a store has, and the code that each had over time, with diffs."""

import json
import uuid

import pytest

import versioned_io as vio
from versioned_io.interfaces.cli.app import app


@pytest.fixture
def store():
    with vio.create_store(f"memory://{uuid.uuid4().hex}") as store:
        store.create_repo("r")
        store.create_repo("out")
        with store.transaction("r@main") as tx:
            tx.write("a", b"a")
        yield store


def declared(store, place, text, **options):
    (place / "p.sh").write_text(text)
    return store.pipeline(
        name="p",
        command=["sh", "p.sh"],
        directory=place,
        inputs=vio.glob("r@main", "/*"),
        output="out@main",
        **options,
    )


def test_each_code_is_a_version_with_its_diff_also_where_the_bytes_stay_equal(store, tmp_path):
    assert declared(store, tmp_path, "true").history() == []
    first = declared(store, tmp_path, 'echo 1 > "$PFS_ROOT/out/a"')
    first.run()
    with store.transaction("r@main") as tx:
        tx.write("b", b"b")
    first = declared(store, tmp_path, 'echo 1 > "$PFS_ROOT/out/${r##*/}"')
    first.run()
    same_bytes = declared(store, tmp_path, 'echo 1 > "$PFS_ROOT/out/${r##*/}"; true')
    assert same_bytes.code_changes("a")[0].name == "file p.sh"
    assert same_bytes.code_changes("gone") == []
    same_bytes.run()
    first = declared(store, tmp_path, 'echo 1 > "$PFS_ROOT/out/${r##*/}"')
    first.run()
    found = first.history()
    assert [(one.number, one.runs) for one in found] == [(4, 1), (3, 1), (2, 1), (1, 1)]
    assert found[0].code == found[2].code != found[1].code
    (change,) = found[1].changes
    assert change.diff.splitlines()[-2:] == [
        '-echo 1 > "$PFS_ROOT/out/${r##*/}"',
        '+echo 1 > "$PFS_ROOT/out/${r##*/}"; true',
    ]
    assert found[3].changes == ()


def test_the_pipelines_of_a_store_are_those_that_made_the_heads_of_branches(store, tmp_path):
    assert store.pipelines() == []
    pipe = declared(store, tmp_path, 'cp "$r" "$PFS_ROOT/out"', on_failure="drop")
    head = pipe.run().commit
    (found,) = store.pipelines()
    assert (found.name, found.output, found.head, found.is_complete) == ("p", "out@main", head.id, True)
    assert found.code == pipe.history()[0].code
    declared(store, tmp_path, "exit 1", on_failure="drop").run()
    assert [one.is_complete for one in store.pipelines()] == [False]


def test_the_command_line_creates_an_output_and_shows_the_diff(tmp_path, monkeypatch):
    testing = pytest.importorskip("typer.testing")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VERSIONED_STORE", str(tmp_path / "store"))
    with vio.create_store(tmp_path / "store") as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("a", b"a")
    spec = {"name": "p", "command": ["sh", "p.sh"], "output": "out@dev"}
    spec["inputs"] = {"glob": {"ref": "r@main", "pattern": "/*"}}
    (tmp_path / "p.json").write_text(json.dumps(spec))

    def run(*words):
        done = testing.CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    (tmp_path / "p.sh").write_text('cp "$r" "$PFS_ROOT/out"')
    for _ in range(2):
        assert run("pipeline", "create", "p.json").splitlines()[0] == "p -> out@dev"
    run("pipeline", "run", "p.json")
    (tmp_path / "p.sh").write_text('echo new > "$PFS_ROOT/out/x"')
    assert run("datums", "explain", "p.json", "a").splitlines()[-4:] == [
        "  changed file p.sh",
        "    @@ -1 +1 @@",
        '    -cp "$r" "$PFS_ROOT/out"',
        '    +echo new > "$PFS_ROOT/out/x"',
    ]
    run("pipeline", "run", "p.json")
    lines = run("pipeline", "history", "p.json").splitlines()
    assert [line.split()[0] for line in lines] == ["2", "changed", "@@", "-cp", "+echo", "1"]
