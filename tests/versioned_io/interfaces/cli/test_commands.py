"""The command line, as a person and as a script use it."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from unittest.mock import ANY

import pytest
from typer.testing import CliRunner

import versioned_io as vio
from tests.versioned_io.interfaces.cli.forked_program import ForkedProgram
from versioned_io import errors
from versioned_io.catalog.revisions import REVISION
from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.cli.help_sections import SECTIONS
from versioned_io.interfaces.cli.session import exit_code_of

PROGRAM = Path(sys.executable).with_name("versioned")


class Terminal:
    """Commands on one store, in this process."""

    def __init__(self, location):
        self.location = location

    def run(self, *arguments, code=0, stdin=None):
        environment = {"VERSIONED_STORE": str(self.location), "COLUMNS": "80"}
        done = CliRunner().invoke(app, list(arguments), env=environment, input=stdin)
        assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
        return done

    def text(self, *arguments, **options):
        return self.run(*arguments, **options).stdout

    def json(self, *arguments, **options):
        return json.loads(self.run(*arguments, "--json", **options).stdout)


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path / "store")


@pytest.fixture
def weather(terminal, tmp_path):
    """A store with a repo, a local directory of three months, and those months committed."""
    terminal.run("init")
    terminal.run("repo", "create", "weather", "--description", "Seattle")
    local = tmp_path / "local"
    for month in ("01", "02", "03"):
        (local / "2012").mkdir(parents=True, exist_ok=True)
        (local / "2012" / f"{month}.csv").write_bytes(f"rain\n{month}\n".encode())
    terminal.run("put", "weather@main", str(local), "-m", "first load")
    return local


def test_it_says_which_version_it_is(terminal):
    assert terminal.text("--version") == f"versioned {version('versioned-io')}\n"


def test_a_store_is_made_once(terminal):
    assert "made an empty store" in terminal.text("init")
    assert "exists already" in terminal.run("init", code=2).stderr


def test_a_repo_is_made_shown_and_listed(terminal, weather):
    assert terminal.json("repo", "list")["repos"][0]["branches"][0]["number"] == 1
    assert terminal.json("repo", "show", "weather")["description"] == "Seattle"
    assert "weather" in terminal.text("repo", "list")
    assert "main" in terminal.text("repo", "show", "weather")
    assert "exists already" in terminal.run("repo", "create", "weather", code=2).stderr


def test_a_directory_is_put_and_the_same_again_makes_no_commit(terminal, weather):
    first = terminal.json("log", "weather@main")["commits"]
    assert [(commit["message"], commit["stats"]["added"]) for commit in first] == [("first load", 3)]
    again = terminal.json("put", "weather@main", str(weather))
    assert (again["changed"], again["commit"]["id"]) == (False, first[0]["id"])
    assert "no commit was made" in terminal.text("put", "weather@main", str(weather))


def test_a_file_is_put_under_its_own_name_under_a_path_and_from_standard_input(terminal, weather):
    month = str(weather / "2012" / "01.csv")
    terminal.run("put", "weather@main", month)
    terminal.run("put", "weather@main:copies/january.csv", month)
    terminal.run("put", "weather@main:copies/", month)
    terminal.run("put", "weather@main:typed.txt", "-", stdin="hello")
    paths = [entry["path"] for entry in terminal.json("ls", "weather@main", "-r")["entries"]]
    assert paths == [
        "01.csv",
        "2012/01.csv",
        "2012/02.csv",
        "2012/03.csv",
        "copies/01.csv",
        "copies/january.csv",
        "typed.txt",
    ]
    assert terminal.text("cat", "weather@main:typed.txt") == "hello"


def test_files_come_back_one_by_one_and_as_a_directory(terminal, weather, tmp_path):
    terminal.run("get", "weather@main:2012/02.csv", str(tmp_path / "feb.csv"))
    assert (tmp_path / "feb.csv").read_bytes() == b"rain\n02\n"
    assert terminal.json("get", "weather@main", str(tmp_path / "all"))["files"] == 3
    assert (tmp_path / "all" / "2012" / "03.csv").read_bytes() == b"rain\n03\n"
    assert "exists already" in terminal.run("get", "weather@main", str(tmp_path / "all"), code=2).stderr
    terminal.run("get", "weather@main", str(tmp_path / "all"), "--overwrite")


def test_a_checkout_follows_the_branch(terminal, weather, tmp_path):
    out = tmp_path / "out"
    assert (
        terminal.json("checkout", "weather@main:2012", str(out), "--incremental", "--glob", "0[12].csv")["files"] == 2
    )
    terminal.run("rm", "weather@main:2012/02.csv")
    assert "1 file to" in terminal.text("checkout", "weather@main:2012", str(out), "--incremental", "--fsync")
    assert sorted(path.name for path in out.glob("*.csv")) == ["01.csv", "03.csv"]
    (out / "01.csv").write_text("mine")
    done = terminal.run("checkout", "weather@main:2012", str(out), "--incremental", code=2)
    assert "01.csv" in done.stderr
    done = terminal.run("get", "weather@main:2012/01.csv", str(tmp_path / "x"), "--glob", "*", code=2)
    assert "are for directories" in done.stderr


def test_what_is_no_text_is_printed_as_json_in_base64(terminal, tmp_path):
    terminal.run("init")
    terminal.run("repo", "create", "r")
    (tmp_path / "b").write_bytes(b"\xff\x00")
    terminal.run("put", "r@main", str(tmp_path / "b"))
    assert terminal.json("cat", "r@main:b")["base64"] == "/wA="


def test_directories_are_listed_and_patterns_matched(terminal, weather):
    assert terminal.json("ls", "weather@main")["entries"] == [{"path": "2012", "kind": "directory"}]
    assert [entry["size"] for entry in terminal.json("ls", "weather@main:2012")["entries"]] == [8, 8, 8]
    assert [entry["path"] for entry in terminal.json("ls", "weather@main", "--glob", "*/0[12].csv")["entries"]] == [
        "2012/01.csv",
        "2012/02.csv",
    ]
    assert "2012/" in terminal.text("ls", "weather@main")


def test_a_correction_is_shown_by_log_show_and_diff(terminal, weather):
    (weather / "2012" / "02.csv").write_bytes(b"rain\n22\n")
    terminal.run("put", "weather@main", str(weather), "-m", "correct February", "--author", "station")
    assert [commit["message"] for commit in terminal.json("log", "weather@main:2012/02.csv")["commits"]] == [
        "correct February",
        "first load",
    ]
    assert [commit["message"] for commit in terminal.json("log", "weather@main:2012/01.csv")["commits"]] == [
        "first load"
    ]
    changes = terminal.json("diff", "weather@main~1", "weather@main")["changes"]
    assert [(change["path"], change["change"]) for change in changes] == [("2012/02.csv", "modified")]
    template = ("--partitions", "{year}/{month}.csv")
    assert terminal.json("diff", "weather@main~1", "weather@main", *template) == {"partitions": ["2012-02"]}
    assert terminal.text("diff", "weather@main~1", "weather@main", *template) == "2012-02\n"
    shown = terminal.json("show", "weather@main")
    assert (shown["commit"]["author"], shown["changes"]) == ("station", changes)
    assert "2012/02.csv" in terminal.text("show", shown["commit"]["id"])
    assert "correct February" in terminal.text("log", "weather@main", "-n", "1")
    assert terminal.text("diff", "weather@main", "weather@main") == "no file differs\n"
    refs, other = ("weather@main~1", "weather@main"), ("--partitions", "{year}-{month}.csv")
    assert "no changed path matches '{year}-{month}.csv'; the only one is '2012/02.csv'" in terminal.text(
        "diff", *refs, *other
    )
    assert "no file differs" in terminal.text("diff", "weather@main", "weather@main", *other)
    assert terminal.json("diff", *refs, *other) == {"partitions": []}


def test_a_moved_file_is_one_change_for_who_asks(terminal, weather):
    with vio.open_store(terminal.location) as store, store.transaction("weather@main") as tx:
        tx.move("2012/01.csv", "2013/01.csv")
    refs = ("weather@main~1", "weather@main")
    assert [change["change"] for change in terminal.json("diff", *refs)["changes"]] == ["deleted", "added"]
    (change,) = terminal.json("diff", *refs, "--renames")["changes"]
    assert (change["change"], change["old_path"], change["path"]) == ("renamed", "2012/01.csv", "2013/01.csv")
    assert "2012/01.csv -> 2013/01.csv" in terminal.text("diff", *refs, "--renames")


def test_a_history_is_squashed(terminal, weather):
    with vio.open_store(terminal.location) as store, store.transaction("weather@main") as tx:
        tx.write("more", b"1")
    made = terminal.json("squash", "weather@main", "-m", "all")["commit"]
    assert (made["number"], made["message"]) == (1, "all")
    assert terminal.json("reflog", "weather@main")["entries"][-1]["action"] == "squash"
    refused = terminal.run("squash", "weather@main", "--since", tx.commit.id, code=2)
    assert "not in its history" in refused.output


def test_the_newest_commit_is_dropped_unless_it_is_needed(terminal, weather):
    terminal.run("branch", "create", "weather@dev", "--at", "weather@main")
    with vio.open_store(terminal.location) as store, store.transaction("weather@dev") as tx:
        tx.write("wrong", b"1")
    assert terminal.json("drop", "weather@dev")["dropped"]["id"] == tx.commit.id
    assert terminal.json("reflog", "weather@dev")["entries"][-1]["action"] == "drop"
    assert "the branch 'main' needs it" in terminal.run("drop", "weather@dev", code=2).output


def test_several_commits_are_taken_back_at_once(terminal, weather):
    for number in (1, 2):
        with vio.open_store(terminal.location) as store, store.transaction("weather@main") as tx:
            tx.write(f"wrong/{number}", b"1")
            tx.write("2012/03.csv", b"wrong %d" % number)
    made = terminal.json("revert", "weather@main", "weather@main", "--since", "weather@main~2")["commit"]
    assert (made["number"], made["stats"]["deleted"], made["stats"]["modified"]) == (4, 2, 1)
    assert terminal.text("cat", "weather@main:2012/03.csv") == "rain\n03\n"
    with vio.open_store(terminal.location) as store, store.transaction("weather@main") as tx:
        tx.write("2012/03.csv", b"later")
    refused = terminal.run("revert", "weather@main~2", "weather@main", "--since", "weather@main~4", code=4)
    assert "2012/03.csv" in refused.output
    assert terminal.json("show", "weather@main")["commit"]["number"] == 5


def test_what_matches_a_pattern_is_purged_and_named(terminal, weather):
    terminal.run("rm", "weather@main:2012/01.csv")
    would = terminal.json("purge", "weather:2012", "--glob", "0[12].csv", "--dry-run")
    assert (would["paths"], would["dry_run"]) == (["2012/01.csv", "2012/02.csv"], True)
    assert terminal.json("purge", "weather", "--glob", "2012/0[12].csv", "--dry-run") == would
    shown = terminal.text("purge", "weather:2012/", "--glob", "0[12].csv", "--yes")
    assert "2012/01.csv" in shown
    assert "2 files left 2 commits" in shown
    assert [entry["path"] for entry in terminal.json("ls", "weather@main", "-r")["entries"]] == ["2012/03.csv"]
    assert (
        "no file '2012/0[12].csv'"
        in terminal.run("purge", "weather:2012", "--glob", "0[12].csv", "--yes", code=3).stderr
    )


def test_branches_and_tags_are_made_and_read(terminal, weather):
    terminal.run("branch", "create", "weather@dev", "--at", "weather@main")
    terminal.run("tag", "create", "weather@v1", "--at", "weather@main")
    assert [branch["name"] for branch in terminal.json("branch", "list", "weather")["branches"]] == ["dev", "main"]
    assert terminal.json("show", "weather@v1")["commit"] == terminal.json("show", "weather@dev")["commit"]


def test_a_file_and_a_directory_are_removed(terminal, weather):
    terminal.run("rm", "weather@main:2012/01.csv")
    assert len(terminal.json("ls", "weather@main", "-r")["entries"]) == 2
    terminal.run("rm", "weather@main:2012")
    assert terminal.json("ls", "weather@main", "-r")["entries"] == []
    assert "2012" in terminal.run("rm", "weather@main:2012", code=3).stderr


@pytest.fixture
def traced(terminal, weather):
    """One month made into a summary by a run, and the lineage ID of both."""
    with vio.open_store(terminal.location) as store:
        store.create_repo("summary")
        with store.run("sum", orchestrator="airflow", run_id="r1", partition_key="2012-01", url="http://x/r1"):
            rain = store.snapshot("weather@main").read("2012/01.csv")
            with store.transaction("summary@main", message="January") as transaction:
                transaction.write("2012-01.txt", rain)
    return transaction.commit


def test_lineage_shows_every_commit_and_the_run_that_made_it(terminal, traced):
    shown = terminal.json("lineage", "show", traced.lineage_id)
    assert [(commit["repo"], commit["run"] and commit["run"]["run_id"]) for commit in shown["commits"]] == [
        ("weather", None),
        ("summary", "r1"),
    ]
    text = terminal.text("lineage", "show", traced.lineage_id)
    assert "by airflow sum  partition 2012-01  run r1" in text
    assert "http://x/r1" in text


def test_show_prints_the_code_of_the_run_as_far_as_it_is_known(terminal, weather):
    with vio.open_store(terminal.location) as store:
        for code in ({"code_version": "3", "git_commit": "e" * 40}, {"code_version": "4"}, {"git_commit": "f" * 40}):
            with store.run("sum", **code), store.transaction("weather@main") as tx:
                tx.write("sum.csv", str(code).encode())
    assert f"\n  code version 3  git commit {'e' * 40}\n  lineage " in terminal.text("show", "weather@main~2")
    assert "\n  code version 4\n  lineage " in terminal.text("show", "weather@main~1")
    assert f"\n  git commit {'f' * 40}\n  lineage " in terminal.text("show", "weather@main")
    assert "code version" not in terminal.text("show", "weather@main~3")


def test_export_prints_lineage_for_other_programs(terminal, traced):
    document = terminal.json("lineage", "export", "summary@main:2012-01.txt")
    assert [edge["files"][0]["path"] for edge in document["edges"]] == ["2012/01.csv"]
    events = [
        json.loads(line)
        for line in terminal.text("lineage", "export", "summary@main", "--format", "openlineage").splitlines()
    ]
    assert [event["eventType"] for event in events][-2:] == ["START", "COMPLETE"]
    assert events[-1]["run"]["facets"]["versioned_commit"]["lineageId"] == traced.lineage_id
    diagram = terminal.text("lineage", "export", traced.lineage_id, "--format", "mermaid")
    assert diagram.startswith("flowchart LR\n")
    assert terminal.json("lineage", "export", traced.lineage_id, "--format", "dot")["text"].startswith("digraph")
    below = terminal.json("lineage", "export", "weather@main:2012/01.csv", "--downstream")
    assert [commit["repo"] for commit in below["commits"]] == ["weather", "summary"]


def test_checkout_writes_every_repo_of_a_lineage_id_below_its_name(terminal, traced, tmp_path):
    done = terminal.json("checkout", "--lineage", traced.lineage_id, str(tmp_path / "then"))
    assert (tmp_path / "then" / "summary" / "2012-01.txt").exists()
    assert (tmp_path / "then" / "weather" / "2012" / "01.csv").exists()
    assert done["commits"]["summary"] == traced.id
    assert sorted(done["commits"]) == ["summary", "weather"]


def test_the_run_of_a_commit_is_shown_with_its_pinned_inputs(terminal, traced):
    shown = terminal.json("lineage", "run", traced.id)
    (file,) = shown["inputs"]
    assert shown["refs"] == [f"weather@{file['commit']}:2012/01.csv"]
    assert len(file["digest"]) == 64
    assert f"  read {shown['refs'][0]}" in terminal.text("lineage", "run", "summary@main")


def test_what_saw_some_bytes_is_asked_by_their_digest(terminal, traced):
    digest = terminal.json("ls", "weather@main:2012/01.csv")["entries"][0]["digest"]
    shown = terminal.json("lineage", "downstream", "--digest", digest)
    assert [(use["consumer"], use["path"]) for use in shown["files"]] == [(traced.id, "2012/01.csv")]
    assert [commit["repo"] for commit in shown["commits"]] == ["weather", "summary"]
    assert terminal.json("lineage", "downstream", "--digest", "0" * 64)["commits"] == []


def test_upstream_and_downstream_lead_to_the_exact_files(terminal, traced):
    upstream = terminal.json("lineage", "upstream", "summary@main:2012-01.txt")
    assert [(use["consumer"], use["path"]) for use in upstream["files"]] == [(traced.id, "2012/01.csv")]
    assert "from weather@main #1: 2012/01.csv" in terminal.text("lineage", "upstream", "summary@main")
    downstream = terminal.json("lineage", "downstream", "weather@main:2012/01.csv")
    assert [commit["repo"] for commit in downstream["commits"]] == ["weather", "summary"]
    with vio.open_store(terminal.location) as store:
        old = [{"uri": f"file:///old/{number}", "digest": f"sha256:{number}"} for number in range(20)]
        with store.transaction("summary@main", metadata={"external_inputs": old}) as tx:
            tx.write("imported.txt", b"1")
    external = terminal.json("lineage", "upstream", "summary@main:imported.txt")["external"]
    assert external[0] == {"consumer": tx.commit.id, "uri": "file:///old/0", "digest": "sha256:0", "output": ""}
    few = terminal.text("lineage", "upstream", "summary@main:imported.txt")
    assert "  from outside of the store: file:///old/0 sha256:0\n" in few
    assert "more outside of the store (--files shows all)" in few
    assert few.count("file:///old") < 20
    assert terminal.text("lineage", "upstream", "summary@main:imported.txt", "--files").count("file:///old") == 20
    alone = terminal.json("lineage", "downstream", "weather@main:2012/02.csv")
    assert [commit["repo"] for commit in alone["commits"]] == ["weather"]


def test_many_files_are_counted_and_named_on_request(terminal, weather):
    with vio.open_store(terminal.location) as store:
        store.create_repo("model")
        with store.transaction("weather@main") as transaction:
            for number in range(10):
                transaction.write(f"more/{number}.csv", b"x")
        with store.run("train"):
            for info in store.snapshot("weather@main").walk("more"):
                store.snapshot("weather@main").read(info.path)
            with store.transaction("model@main") as transaction:
                transaction.write("model.bin", b"m")
    few = terminal.text("lineage", "upstream", "model@main")
    assert "10 files: more/0.csv" in few
    assert "--files shows all" in " ".join(few.split())
    assert "more/9.csv" in terminal.text("lineage", "upstream", "model@main", "--files")


def test_fsck_names_the_damage_and_says_so_by_its_exit_code(terminal, weather):
    assert terminal.json("fsck")["is_clean"] is True
    pack = max(Path(terminal.location).glob("packs/*/*.pack"), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.write_bytes(damaged)
    assert terminal.json("fsck", code=6)["is_clean"] is False
    shown = terminal.text("fsck", code=6)
    assert "damaged" in shown
    assert "run fsck" not in shown


def test_nothing_found_is_not_headed_as_if_something_was(terminal, weather, tmp_path):
    backup = str(tmp_path / "backup")
    shown = [
        terminal.text("fsck"),
        terminal.text("backup", backup),
        terminal.text("restore", backup, str(tmp_path / "restored")),
        terminal.text("recover"),
        terminal.text("maintain"),
        terminal.text("maintain", "--status"),
    ]
    assert all(shown)
    for word in ("damaged", "healed", "repaired", "uncertain", "parted", "problem\n", "because\n0 commits"):
        assert not [text for text in shown if word in text]


BAD_CALLS = [
    (("ls", "weather@main"), {"VERSIONED_STORE": ""}, 2, "no store was named"),
    (("ls", "weather@main", "--store", "missing"), {}, 3, "no store at"),
    (("ls", "nothing@main"), {}, 3, "no repo 'nothing'"),
    (("ls", "weather@nothing"), {}, 3, "no branch, tag, commit or lineage ID 'nothing'"),
    (("cat", "weather@main:2012/13.csv"), {}, 3, "no file '2012/13.csv'"),
    (("cat", "weather@main:2012"), {}, 2, "is a directory, not a file"),
    (("ls", "weather@main:2012/01.csv/x"), {}, 3, "2012/01.csv/x"),
    (("show", "0" * 32), {}, 3, "no commit"),
    (("lineage", "show", "0" * 32), {}, 3, "no commit carries the lineage ID"),
    (("lineage", "show", "abc"), {}, 2, "is not a lineage ID"),
    (("checkout", "--lineage", "0" * 32), {}, 2, "versioned checkout --lineage ID DEST"),
    (("checkout", "--lineage", "0" * 32, "then"), {}, 3, "no commit carries the lineage ID"),
    (("checkout",), {}, 2, "pass --lineage ID"),
    (("lineage", "export", "weather@main", "--format", "svg"), {}, 2, "'openlineage', 'mermaid', 'dot'"),
    (("put", "weather@main:a/../b", "{local}/2012/01.csv"), {}, 2, "illegal path"),
    (("put", "weather@main:2012/01.csv/x", "{local}/2012/01.csv"), {}, 2, "can't be a file while"),
    (("put", "weather@main", "{local}/nothing"), {}, 2, "no local file or directory"),
    (("put", "weather@main", "-"), {}, 2, "standard input"),
    (("put", "weather@main:copies/", "-"), {}, 2, "standard input"),
    (("put", "weather@main~1", "{local}/2012/01.csv"), {}, 2, "only a branch can be written to"),
    (("put", "weather@main", "{local}/2012/01.csv", "{local}/../local/2012/01.csv"), {}, 2, "two sources would become"),
    (("rm", "weather@main~1:2012/01.csv"), {}, 2, "only a branch can be written to"),
    (("rm", "weather@main"), {}, 2, "names no path"),
    (
        ("ls", "weather@main", "--partitions", "{year}/{month}.csv", "--partition", "2012"),
        {},
        2,
        "is not a partition key of",
    ),
    (("ls", "weather@main", "--partition", "2012-01"), {}, 2, "go together"),
    (("ls", "weather@main:2012", "--partitions", "{month}.csv", "--partition", "01"), {}, 2, "of whole paths"),
    (("get", "weather@main:2012/01.csv", "{local}/2012/01.csv"), {}, 2, "exists already"),
    (("get", "weather@main:2012/13.csv", "new.csv"), {}, 3, "no file '2012/13.csv'"),
    (("branch", "create", "weather@main", "--at", "weather@main"), {}, 2, "exists already"),
    (("branch", "create", "weather@b", "--at", "weather@none"), {}, 3, "'none'"),
    (("tag", "create", "weather@t", "--at", "other@main"), {}, 2, "it must be of repo 'weather'"),
    (("init", "{local}/../store"), {}, 2, "exists already"),
    (("log", "weather@main:2012//01.csv"), {}, 2, "illegal path"),
    (("lineage", "upstream", "weather@main:none.csv"), {}, 3, "none.csv"),
    (("lineage", "downstream", "nothing@main"), {}, 3, "no repo 'nothing'"),
    (("diff", "weather@main", "weather@main", "--partitions", "{year"), {}, 2, "{year"),
    (("repo", "create", "a/b"), {}, 2, "is not a valid repo name"),
    (("merge", "weather@dev", "main"), {}, 3, "no repo 'main': did you mean weather@main?"),
    (("diff", "weather@main", "dev"), {}, 3, "did you mean weather@dev?"),
    (("reset", "weather@main", "main~1"), {}, 2, "write weather@main~1"),
    (("branch", "create", "weather@dev", "--at", "main"), {}, 2, "write weather@main"),
    (("tag", "create", "weather@v1", "--at", "main"), {}, 2, "write weather@main"),
    (
        ("put", "{local}", "weather@main:x"),
        {},
        2,
        "comes before the files: write `versioned put weather@main:x {local}`",
    ),
    (("put", "a", "b", "weather@main"), {}, 2, "write `versioned put weather@main a b`"),
    (
        ("get", "out", "weather@main:2012"),
        {},
        3,
        "no repo 'out': the local place comes last: write `versioned get weather@main:2012 out`\n",
    ),
    (
        ("checkout", "./out", "weather@main"),
        {},
        2,
        "'./out' is not a valid ref: the local place comes last: write `versioned checkout weather@main ./out`\n",
    ),
    (("get", "nothing", "out"), {}, 3, "no repo 'nothing': the store holds"),
    (("put", "weather@nope", "{local}"), {}, 3, "`versioned branch create weather@nope --at weather@main` makes it"),
    (("cp", "weather@main:2012", "weather@nope"), {}, 3, "`versioned branch create weather@nope --at weather@main`"),
    (("put", "weather:2012", "{local}/2012/01.csv"), {}, 2, "write weather:2012/ as the target"),
    (("put", "weather:2012/01.csv/x", "{local}/2012/01.csv"), {}, 2, "`versioned rm` the one that is in the way"),
    (("repo", "create", "weather"), {}, 2, "repo 'weather' exists already: choose another name\n"),
    (("init", "{local}/../store"), {}, 2, "/store' exists already: choose another name\n"),
]


@pytest.mark.parametrize("call", BAD_CALLS, ids=lambda call: " ".join(call[0]))
def test_bad_input_is_one_clear_sentence_and_changes_nothing(terminal, weather, tmp_path, monkeypatch, call):
    arguments, environment, code, sentence = call
    monkeypatch.chdir(tmp_path)
    before = (terminal.json("repo", "list"), terminal.json("ls", "weather@main", "-r"))
    arguments = [argument.replace("{local}", str(weather)) for argument in arguments]
    settings = {"VERSIONED_STORE": str(terminal.location), **environment}
    done = CliRunner().invoke(app, arguments, env=settings)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert sentence.replace("{local}", str(weather)) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (terminal.json("repo", "list"), terminal.json("ls", "weather@main", "-r")) == before


def test_errors_are_json_on_request_and_stdout_stays_empty(terminal, weather):
    done = terminal.run("ls", "nothing@main", "--json", code=3)
    assert done.stdout == ""
    assert json.loads(done.stderr)["error"]["code"] == "repo_not_found"


def test_what_is_wrong_with_the_call_itself_is_json_on_request_too():
    done = run_program("ls", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "usage"
    assert "Missing argument" in error["message"]
    done = run_program("ls")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: versioned ls" in done.stderr


def test_a_local_file_that_cannot_be_written_is_one_sentence(terminal, weather, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    done = terminal.run("get", "weather@main:2012/01.csv", "/proc/nothing/here", code=1)
    assert len(done.stderr.splitlines()) == 1
    assert "/proc/nothing" in done.stderr
    done = terminal.run("get", "weather@main:2012/01.csv", "/proc/nothing/here", "--json", code=1)
    assert json.loads(done.stderr)["error"]["code"] == "local_file"


def test_several_sources_keep_their_names(terminal, weather, tmp_path):
    (tmp_path / "one.csv").write_bytes(b"1")
    (tmp_path / "link.csv").symlink_to(tmp_path / "one.csv")
    terminal.run("repo", "create", "mixed")
    terminal.run("put", "mixed@main:in", str(weather), str(tmp_path / "one.csv"), str(tmp_path / "link.csv"))
    assert [entry["path"] for entry in terminal.json("ls", "mixed@main", "-r")["entries"]] == [
        "in/link.csv",
        "in/local/2012/01.csv",
        "in/local/2012/02.csv",
        "in/local/2012/03.csv",
        "in/one.csv",
    ]


def test_the_files_of_a_partition_are_listed(terminal, weather):
    arguments = ("ls", "weather@main", "--partitions", "{year}/{month}.csv", "--partition")
    assert [entry["path"] for entry in terminal.json(*arguments, "2012-02")["entries"]] == ["2012/02.csv"]
    assert terminal.json(*arguments, "2013-02")["entries"] == []
    with_key = terminal.json(*arguments, "02|2012", "--key", "{month}|{year}")
    assert [entry["path"] for entry in with_key["entries"]] == ["2012/02.csv"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.VersionedError(), 1),
        (errors.InvalidInputError(), 2),
        (errors.PathCollisionError("a", "a/b"), 2),
        (errors.PathNotFoundError("a", "b"), 3),
        (errors.ConflictError("weather@main", ("a",), "0" * 32), 4),
        (errors.StorageError(), 5),
        (errors.IntegrityError(), 6),
        (errors.FormatError(), 7),
        (errors.GateError(), 8),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_code_says_what_to_do_next(error, code):
    assert exit_code_of(error) == code


def test_a_store_of_a_newer_format_says_upgrade(terminal, weather):
    marker = Path(terminal.location) / "versioned.json"
    marker.chmod(0o600)
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "format": 99}))
    assert "upgrade versioned-io" in terminal.run("repo", "list", code=7).stderr


def run_program(*arguments, **environment):
    return subprocess.run(
        [PROGRAM, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_installed_program_runs(terminal, weather):
    done = run_program("log", "weather@main", VERSIONED_STORE=str(terminal.location))
    assert (done.returncode, done.stderr) == (0, "")
    assert "first load" in done.stdout


@pytest.fixture(params=["forked", pytest.param("by itself", marks=pytest.mark.soak)])
def run_fresh(request, tmp_path):
    """A function that runs the installed program in a process that has loaded none of our modules yet."""
    environment = {**os.environ, "VERSIONED_STORE": str(tmp_path / "store")}
    if request.param == "by itself":
        yield partial(run_program, **environment)
        return
    with ForkedProgram(PROGRAM, environment) as program:
        yield program


GROUPS = {"repo", "branch", "tag", "lineage", "backups", "pipeline", "datums", "trigger"}
PIPELINE = """
import versioned_io as vio

@vio.pipeline("copies", inputs=vio.glob("r@main", "/(*).csv"), output="copies@main")

def copies(datum, out):
    print("copying")
    out.write(datum["r"].path, datum["r"].read())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # some fifty processes
def test_every_command_of_the_installed_program_runs(run_fresh, tmp_path):
    store = str(tmp_path / "store")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "a.csv").write_bytes(b"1")

    def run(*arguments):
        done = run_fresh(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, ""), arguments
        ran.add(" ".join(arguments[: 2 if arguments[0] in GROUPS else 1]))
        return json.loads(done.stdout)

    ran: set[str] = set()
    assert run("init")["store"] == store
    assert run("repo", "create", "r")["name"] == "r"
    assert [repo["name"] for repo in run("repo", "list")["repos"]] == ["r"]
    assert run("repo", "show", "r")["branches"][0]["name"] == "main"
    commit = run("put", "r@main", str(tmp_path / "local"), "-m", "first")["commit"]
    assert run("branch", "create", "r@dev", "--at", "r@main")["head"] == commit["id"]
    assert len(run("branch", "list", "r")["branches"]) == 2
    assert run("tag", "create", "r@v1", "--at", "r@main")["commit"] == commit
    assert run("ls", "r@v1")["entries"][0]["path"] == "a.csv"
    assert run("get", "r@main:a.csv", str(tmp_path / "b.csv"))["files"] == 1
    assert run("rm", "r@dev:a.csv")["commit"]["stats"]["deleted"] == 1
    assert run("log", "r@main")["commits"] == [commit]
    assert run("show", commit["id"])["commit"] == commit
    assert run("diff", "r@main", "r@dev")["changes"][0]["change"] == "deleted"
    assert run("lineage", "show", commit["lineage_id"])["commits"] == [commit]
    assert run("lineage", "upstream", "r@main")["roots"] == [commit["id"]]
    assert run("lineage", "downstream", "r@main")["roots"] == [commit["id"]]
    assert run("lineage", "run", "r@main")["commit"]["id"] == commit["id"]
    assert run("lineage", "export", "r@main")["roots"] == [commit["id"]]
    assert run("fsck")["is_clean"] is True
    assert run("status")["problems"] == []
    assert [one["commit"] for one in run("find", "r@main", "a.csv")["found"]] == [commit["id"]]
    assert run("branch", "rename", "r@dev", "work")["name"] == "work"
    assert run("branch", "protect", "r@work")["is_protected"] is True
    assert run("branch", "protect", "r@work", "--off")["is_protected"] is False
    assert run("tag", "list", "r")["tags"] == [{"name": "v1", "commit": commit["id"]}]
    assert run("merge", "r@work", "r@main")["commit"]["number"] == 2
    assert run("reset", "r@main", "r@v1")["commit"] == commit
    assert run("reflog", "r@main")["entries"][-1]["action"] == "move_branch"
    run("branch", "create", "r@dropped", "--at", "r@main")
    assert run("cp", "r@v1:a.csv", "r@dropped:copy.csv")["changed"]
    assert run("mv", "r@dropped:copy.csv", "moved.csv")["changed"]
    wrong = run("put", "r@dropped:wrong", str(tmp_path / "local" / "a.csv"))["commit"]
    assert run("drop", "r@dropped")["dropped"]["id"] == wrong["id"]
    assert run("cherry-pick", "r@work", "r@main")["commit"]["stats"]["deleted"] == 1
    assert run("revert", "r@main", "r@main")["commit"]["stats"]["added"] == 1
    assert run("retention", "r@main", "--keep-last", "5")["keep_last"] == 5
    assert run("trigger", "set", "r@follower", "--on", "r@main", "--commits", "1")["rule"]["commits"] == 1
    assert [one["on"] for one in run("trigger", "list")["triggers"]] == ["r@main"]
    assert [one["branch"] for one in run("trigger", "tick")["fired"]] == ["r@follower"]
    assert run("trigger", "delete", "r@follower")["deleted"]["branch"] == "r@follower"
    run("branch", "delete", "r@follower")
    assert run("gc", "--dry-run")["deleted"] == 0
    assert run("compact", "--dry-run")["new_packs"] == 0
    assert run("purge", "r:a.csv", "--dry-run")["paths"] == ["a.csv"]
    assert run("upgrade")["to"] == REVISION
    assert run("tag", "delete", "r@v1") == {"deleted": "r@v1"}
    assert run("repo", "create", "old")["name"] == "old"
    assert run("repo", "rename", "old", "new")["undo"] == "versioned repo rename new old"
    assert run("repo", "rename", "new", "old")["repo"]["name"] == "old"
    assert run("repo", "delete", "old")["undo"] == "versioned repo restore old"
    assert run("repo", "restore", "old")["name"] == "old"
    assert run("repo", "delete", "old")["deleted"]["name"] == "old"
    assert run("branch", "delete", "r@work").keys() == {"deleted", "head", "undo"}
    assert run("checkout", "r@main", str(tmp_path / "all"))["files"] == 1
    assert run("squash", "r@main")["commit"]["number"] == 1
    assert run("stats")["commits"] == 7
    assert run("due")["subscriptions"] == []
    assert [step["problem"] for step in run("maintain")["steps"] if step["problem"]] == []
    assert run("redact", "--dry-run")["commits"] == []
    kept = run("backup", str(tmp_path / "backup"))
    assert [one["id"] for one in run("backups", "list", str(tmp_path / "backup"))["backups"]] == [kept["id"]]
    run("backups", "verify", str(tmp_path / "backup"))
    run("backups", "prune", str(tmp_path / "backup"), "--keep-last", "1")
    assert run("restore", str(tmp_path / "backup"), str(tmp_path / "again"))["id"] == kept["id"]
    assert run("recover", "--dry-run")["commits"] == 0
    (tmp_path / "made.py").write_text(PIPELINE)
    pipe = f"{tmp_path / 'made.py'}:copies"
    assert run("pipeline", "create", pipe)["output"] == "copies@main"
    assert run("datums", "plan", pipe)["runs"] == ["a.csv"]
    assert run("pipeline", "run", pipe)["counts"]["run"] == 1
    assert run("pipeline", "show", pipe)["plan"]["skips"] == 1
    assert [one["commits"] for one in run("pipeline", "history", pipe)["versions"]] == [1]
    assert run("pipeline", "schema")["required"] == ["name", "inputs", "output"]
    assert run("pipeline", "list")["pipelines"] == [{"output": "copies@main", "name": "copies", "complete": True}]
    assert [one["outputs"] for one in run("datums", "list", pipe)["datums"]] == [["a.csv"]]
    assert run("datums", "log", pipe, "a.csv")["log"] == "copying\n"
    assert run("datums", "verify", pipe)["checked"] == ["a.csv"]
    assert run("rerun", "copies@main", "--pipeline", pipe)["is_equal"] is True
    assert run("datums", "invalidate", pipe, "a.csv") == {"invalidated": 1}
    assert run("datums", "explain", pipe, "a.csv")["explanation"] == "'a.csv' runs: it was invalidated"
    assert run("evict", "--unused-days", "1")["runs"] == 0
    assert run("forget", "r:a.csv", "--dry-run")["outputs"] == {"copies": ["a.csv"]}
    (tmp_path / "store" / "catalog.db").rename(tmp_path / "lost.db")
    assert run("rebuild")["repos"] == 2
    assert run("adopt")["adopted"] is False
    assert run("cat", "r@main:a.csv")["text"] == "1"
    assert run_fresh("cat", "r@main:a.csv").stdout == "1"
    # Which needs Dagster: tests/dagster_versioned/test_importing.py runs it.
    assert ran == set(every_command()) - {"import-dagster"}


def test_a_reader_that_stops_early_is_no_error(terminal, weather):
    with subprocess.Popen(
        [PROGRAM, "log", "weather@main"],
        env={**os.environ, "VERSIONED_STORE": str(terminal.location)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_loads_neither_arrow_nor_the_catalog():
    script = (
        "import sys; from typer.testing import CliRunner; from versioned_io.interfaces.cli.app import app;"
        "assert CliRunner().invoke(app, ['put', '--help']).exit_code == 0;"
        "print(sorted({'pyarrow', 'sqlalchemy', 'pandas', 'obstore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "versioned_io.interfaces.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert "lineage" in done.stdout


def test_the_installed_program_fails_without_a_traceback(tmp_path):
    done = run_program("log", "weather@main", VERSIONED_STORE=str(tmp_path / "missing"))
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


def test_every_command_explains_itself_and_takes_json():
    pages = {name: CliRunner().invoke(app, [*name.split(), "--help"]).stdout for name in every_command()}
    assert {name for name, page in pages.items() if "--json" not in page} == set()
    assert all(len(line) <= 80 for page in pages.values() for line in page.splitlines())


def test_the_help_lists_each_command_once_on_a_line_of_its_own():
    page = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    listed = re.findall(r"^  ([a-z][a-z-]+)  +[A-Z].*\.$", page, re.MULTILINE)
    named = [command.name for command in app.registered_commands] + [one.name for one in app.registered_groups]
    assert sorted(listed) == sorted(named)
    assert re.findall(r"^([A-Z][a-z]+):$", page, re.MULTILINE)[1:] == [*SECTIONS]
    assert "repo@ref:path" in page
    assert "VERSIONED_STORE" in page


@pytest.mark.parametrize("group", [one.name for one in app.registered_groups])
def test_no_description_of_a_group_is_cut(group):
    page = CliRunner().invoke(app, [group, "--help"], env={"COLUMNS": "80"}).stdout
    assert [line for line in page.splitlines() if line.startswith("  ") and line.endswith("...")] == []


def every_command():
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    yield from (command.name for command in app.registered_commands)
    for name, group in groups.items():
        yield from (f"{name} {command.name}" for command in group.registered_commands)


def test_every_command_is_documented_with_the_json_that_it_prints(terminal, traced):
    page = (Path(__file__).parents[4] / "docs" / "cli.md").read_text()
    assert [name for name in every_command() if f"`{name} " not in page and f"`{name}`" not in page] == []
    commit = terminal.json("show", "summary@main")["commit"]
    graph = terminal.json("lineage", "upstream", "summary@main")
    shapes = {
        "commit": [*commit, *commit["run"], *commit["stats"]],
        "repo": [*terminal.json("repo", "show", "weather")],
        "file": [*terminal.json("ls", "summary@main")["entries"][0]],
        "change": [*terminal.json("show", "summary@main")["changes"][0]],
        "graph": [*graph, *graph["files"][0]],
    }
    for shape, keys in shapes.items():
        described = re.search(rf"- \*{shape}\*:(.*?)(?:\n- |\Z)", page, re.DOTALL)[1]
        words = set(re.findall(r"\w+", described))
        assert set(keys) <= words, f"{shape}: {set(keys) - words}"


def test_files_are_copied_and_moved_in_the_store(terminal, weather):
    terminal.run("repo", "create", "copies")
    done = terminal.json("cp", "weather@main:2012", "copies@main:years/", "-m", "as they were")
    assert done["changed"]
    assert done["commit"]["message"] == "as they were"
    terminal.run("cp", "weather@main:2012/01.csv", "copies@main")
    assert [entry["path"] for entry in terminal.json("ls", "copies@main", "-r")["entries"]] == [
        "01.csv",
        "years/2012/01.csv",
        "years/2012/02.csv",
        "years/2012/03.csv",
    ]
    assert terminal.json("mv", "copies@main:01.csv", "first.csv")["changed"]
    terminal.run("mv", "copies@main:years", "copies@main:old/")
    assert [entry["path"] for entry in terminal.json("ls", "copies@main", "-r")["entries"]] == [
        "first.csv",
        "old/years/2012/01.csv",
        "old/years/2012/02.csv",
        "old/years/2012/03.csv",
    ]
    assert "another branch" in terminal.run("mv", "copies@main:old", "weather@main:old", code=2).stderr
    assert "names no path" in terminal.run("mv", "copies@main", "x", code=2).stderr
    assert "nope" in terminal.run("cp", "weather@main:nope", "copies@main:x", code=3).stderr


def test_a_purge_as_json_needs_a_yes(terminal, weather):
    assert "pass --yes" in terminal.run("purge", "weather:2012/01.csv", "--json", code=2).stderr
    assert terminal.json("purge", "weather:2012/01.csv", "--dry-run")["paths"] == ["2012/01.csv"]
    assert terminal.json("purge", "weather:2012/01.csv", "--yes")["gone"]
    terminal.run("repo", "create", "other")
    terminal.run("cp", "weather@main:2012/02.csv", "other@main:copy")
    done = terminal.run("purge", "weather:2012/02.csv", "--yes", code=1)
    assert "other files have some of it, too: purge those as well" in done.stdout
    assert "other@" in done.stdout


def test_a_trigger_with_every_condition_is_set_shown_and_fired(terminal, weather):
    conditions = ["--commits", "9", "--bytes", "1GB", "--files", "9", "--metric", "m.json:test.auc", "--change", "0.01"]
    times = ["--cron", "0 6 * * 1-5", "--time-zone", "Europe/Berlin", "--at-most-every", "1h"]
    terminal.run("trigger", "set", "weather@train", "--on", "weather@main", *conditions, *times, "--all")
    (found,) = terminal.json("trigger", "list")["triggers"]
    assert (found["rule"]["any"], found["rule"]["at_most_every_s"], found["fired_at"]) == (False, 3600, None)
    assert "9 commits and 1000000000 bytes and 9 files and m.json:test.auc by 0.01" in terminal.text("trigger", "list")
    assert "weather@train waits: " in terminal.text("trigger", "tick")
    alone = terminal.run("trigger", "set", "weather@x", "--on", "weather@main", "--metric", "m.json:auc", code=2)
    assert "--change" in alone.stderr
    nothing = terminal.run("trigger", "set", "weather@x", "--on", "weather@main", code=2)
    assert "--commits 1" in nothing.stderr
    terminal.run("trigger", "delete", "weather@train")
    assert "no branch is behind" in terminal.text("trigger", "tick")


def test_trigger_tick_follow_prints_each_round_that_fires(terminal, weather):
    terminal.run("trigger", "set", "weather@train", "--on", "weather@main", "--commits", "1")
    command = [PROGRAM, "trigger", "tick", "--follow", "--poll-s", "0.05"]
    env = {**os.environ, "VERSIONED_STORE": str(terminal.location)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("weather@train follows weather@main")
        with vio.open_store(terminal.location) as store, store.transaction("weather@main") as tx:
            tx.write("new", b"new")
        assert tx.commit.id in process.stdout.readline()
        process.kill()  # other signals may be ignored: a job in the background inherits that


def test_the_retention_of_a_branch_is_shown_and_lifted(terminal, weather):
    terminal.run("retention", "weather@main", "--keep-last", "5", "--keep-days", "1.5")
    assert terminal.json("retention", "weather@main") == {"branch": "weather@main", "keep_last": 5, "keep_days": 1.5}
    assert "the last 5 commits and the commits of the last 1.5 days" in terminal.text("retention", "weather@main")
    both = terminal.run("retention", "weather@main", "--keep-all", "--keep-last", "1", code=2)
    assert "one or the other" in both.stderr
    assert "gc keeps all" in terminal.text("retention", "weather@main", "--keep-all")


def test_the_conflicts_of_a_merge_are_told_as_json(terminal, weather):
    terminal.run("branch", "create", "weather@dev", "--at", "weather@main")
    terminal.run("put", "weather@main:2012/01.csv", "-", stdin="main")
    terminal.run("put", "weather@dev:2012/01.csv", "-", stdin="dev")
    error = json.loads(terminal.run("merge", "weather@dev", "weather@main", "--json", code=4).stderr)["error"]
    assert error["code"] == "merge_conflict"
    (conflict,) = error["conflicts"]
    assert conflict["path"] == "2012/01.csv"
    assert len({conflict["base"], conflict["ours"], conflict["theirs"]}) == 3
    for sentence in (error["message"], terminal.run("merge", "weather@dev", "weather@main", code=4).stderr):
        assert (
            "--strategy ours keeps the files of weather@main, --strategy theirs takes those of weather@dev" in sentence
        )
    picked = terminal.run("cherry-pick", "weather@dev", "weather@main", code=4).stderr
    assert f"--strategy theirs takes those of {terminal.json('show', 'weather@dev')['commit']['id']}" in picked


def test_every_command_on_an_older_catalog_says_so_and_writes_nothing(terminal, weather, tmp_path):
    backup = tmp_path / "backup.db"
    shutil.copy(terminal.location / "catalog.db", backup)
    terminal.run("tag", "create", "weather@v1", "--at", "weather@main")
    for file in terminal.location.glob("catalog.db*"):
        file.unlink()
    shutil.copy(backup, terminal.location / "catalog.db")
    for command in (("ls", "weather@main"), ("log", "weather@main"), ("stats",), ("tag", "list", "weather")):
        done = terminal.run(*command)
        assert "warning: the catalog" in done.stderr
        assert "versioned recover" in done.stderr
    for command in (("tag", "create", "weather@v2", "--at", "weather@main"), ("gc",), ("adopt",)):
        assert terminal.run(*command, code=6).stderr.count("versioned recover") == 1
        error = json.loads(terminal.run(*command, "--json", code=6).stderr)["error"]
        assert error["code"] == "catalog_older"
    assert "1 problem in" in terminal.run("fsck", code=6).stdout
    (problem,) = json.loads(terminal.run("fsck", "--json", code=6).stdout)["problems"]
    assert (problem["kind"], problem["where"][:6]) == ("catalog", "entry-")
    by_itself = subprocess.run(
        [PROGRAM, "log", "weather@main", "--store", str(terminal.location)], capture_output=True, text=True, check=True
    )
    assert by_itself.stderr.count("versioned recover") == 1


def test_a_copy_of_the_catalog_is_adopted_by_a_command(terminal, weather, tmp_path):
    shutil.copy(terminal.location / "catalog.db", tmp_path / "copy.db")
    copy = ("--catalog", f"sqlite:///{tmp_path}/copy.db")
    assert "versioned adopt" in terminal.run("gc", *copy, code=2).stderr
    assert terminal.json("adopt", *copy) == {"store": str(terminal.location), "adopted": True}
    assert terminal.json("adopt", *copy)["adopted"] is False
    terminal.run("gc", *copy)
    assert "versioned adopt" in terminal.run("gc", code=2).stderr


def test_what_was_done_to_a_name_is_taken_back_by_the_command_that_was_printed(terminal, weather):
    def undo(*arguments):
        done = terminal.json(*arguments)
        terminal.run(*done["undo"].split()[1:])
        return done

    head = terminal.json("show", "weather@main")["commit"]["id"]
    terminal.run("branch", "create", "weather@dev", "--at", "weather@main")
    terminal.run("tag", "create", "weather@v1", "--at", "weather@main")
    assert undo("branch", "delete", "weather@dev")["head"] == head
    assert f"`versioned tag create weather@v1 --at weather@{head}`" in terminal.text("tag", "delete", "weather@v1")
    terminal.run("rm", "weather@dev:2012/01.csv")
    dev = terminal.json("show", "weather@dev")["commit"]["id"]
    assert undo("reset", "weather@dev", "weather@main")["before"] == dev
    assert undo("merge", "weather@dev", "weather@main")["changed"]
    assert undo("revert", "weather@dev", "weather@dev")["before"] == dev
    assert undo("squash", "weather@dev")["changed"]
    assert terminal.json("show", "weather@main")["commit"]["id"] == head
    assert terminal.json("show", "weather@dev")["commit"]["id"] == dev
    assert f"was at {dev}" in terminal.text("branch", "delete", "weather@dev")


def test_what_changes_nothing_says_so(terminal, weather):
    terminal.run("branch", "create", "weather@dev", "--at", "weather@main")
    terminal.run("rm", "weather@dev:2012/01.csv")
    terminal.run("merge", "weather@dev", "weather@main")
    assert "weather@main holds weather@dev already" in terminal.text("merge", "weather@dev", "weather@main")
    terminal.run("revert", "weather@dev", "weather@main")
    assert "there is nothing to revert" in terminal.text("revert", "weather@dev", "weather@main")
    again = terminal.json("merge", "weather@dev", "weather@main")
    assert (again["changed"], again["undo"]) == (False, None)
    assert "can't be undone" in terminal.text("drop", "weather@main")
    head = terminal.json("show", "weather@main")["commit"]["id"]
    assert (
        terminal.text("reset", "weather@main", "weather@main") == f"nothing changed: weather@main is {head} already\n"
    )
    again = terminal.json("reset", "weather@main", "weather@main")
    assert (again["before"], again["undo"]) == (head, None)


@pytest.mark.parametrize("length", [4, 8, 31, 32])
def test_no_name_hides_a_commit(terminal, weather, length):
    for field in ("id", "lineage_id"):
        name = terminal.json("show", "weather@main")["commit"][field][:length]
        for command in (
            ("branch", "create", f"weather@{name}", "--at", "weather@main"),
            ("tag", "create", f"weather@{name}", "--at", "weather@main"),
            ("branch", "rename", "weather@main", name),
        ):
            assert "is not a valid ref" in terminal.run(*command, code=2).output


@pytest.mark.parametrize("name", ["2026", "20261101", "dead", "beef1", "a1"])
def test_names_that_only_look_hexadecimal_are_names(terminal, weather, name):
    terminal.run("branch", "create", f"weather@{name}", "--at", "weather@main")
    assert "rain" in terminal.text("cat", f"weather@{name}:2012/01.csv")


def test_a_repo_is_deleted_and_brought_back(terminal, weather):
    terminal.run("branch", "protect", "weather@main")
    assert "--force" in terminal.run("repo", "delete", "weather", code=2).output
    deleted = terminal.json("repo", "delete", "weather", "--force")
    assert deleted["undo"] == "versioned repo restore weather"
    assert "repo restore weather" in terminal.run("ls", "weather@main", code=3).output
    assert terminal.json("repo", "restore", "weather") == deleted["deleted"] | {"created_at": ANY}
    assert "undoes this" in terminal.text("repo", "delete", "weather", "--force")
    assert "restored repo weather" in terminal.text("repo", "restore", "weather")


def test_a_repo_is_renamed_and_says_how_to_undo_it(terminal, weather):
    terminal.run("branch", "protect", "weather@main")
    assert "--force" in terminal.run("repo", "rename", "weather", "climate", code=2).output
    assert "undoes this" in terminal.text("repo", "rename", "weather", "climate", "--force")
    assert "'climate' now" in terminal.run("ls", "weather@main", code=3).output
    assert "climate" in terminal.run("repo", "create", "weather", code=2).output
    undone = terminal.json("repo", "rename", "climate", "weather", "--force")
    assert undone["undo"] == "versioned repo rename weather climate --force"
    assert "rain" in terminal.text("cat", "weather@main:2012/01.csv")


def test_put_says_what_it_does_not_keep_and_programs_stay_programs(terminal, weather, tmp_path):
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    for name, mode in (("run", 0o755), ("odd", 0o604)):
        (source / name).write_text(name)
        (source / name).chmod(mode)
    said = terminal.text("put", "weather@main:bin/", str(source))
    assert "not kept: 1 empty directory, the mode of 1 file but for the execute bit" in said
    told = terminal.json("put", "weather@main:bin/", str(source))
    assert (told["changed"], told["not_kept"]) == (False, {"empty_directories": 1, "modes": 1})
    assert "not kept" not in terminal.text("put", "weather@main:run", str(source / "run"))
    listed = {one["path"]: one["attributes"] for one in terminal.json("ls", "weather@main:bin")["entries"]}
    assert listed == {"bin/odd": {}, "bin/run": {"executable": "true"}}
    terminal.run("get", "weather@main:bin/run", str(tmp_path / "one"))
    terminal.run("checkout", "weather@main:bin", str(tmp_path / "all"))
    for path in (tmp_path / "one", tmp_path / "all" / "run"):
        assert path.stat().st_mode & 0o100


@pytest.fixture(scope="module")
def long_names(tmp_path_factory):
    """A store in which everything has a name of more than a hundred characters, and commits that use each other."""
    place = tmp_path_factory.mktemp("long") / "store"
    repo, branch = "r" * 60 + "." + "epo" * 10, "b" * 100
    paths = [f"{'directory' * 12}/{number}{'file' * 20}.csv" for number in range(3)]
    with vio.create_store(place) as store:
        store.create_repo(repo, description="described " * 20)
        store.create_branch(f"{repo}@{branch}", at=f"{repo}@main")
        with store.transaction(f"{repo}@main", message="said " * 30) as tx:
            for path in paths:
                tx.write(path, b"1")
        store.create_tag(f"{repo}@{'t' * 100}", at=f"{repo}@main")
        store.create_repo("made")
        with store.run("j" * 120), store.transaction("made@main") as tx:
            tx.write("sum", b"".join(store.snapshot(f"{repo}@main").read(path) for path in paths))
        store.subscription("s" * 150, f"{repo}@main").collect()
    return place, {"R": repo, "B": branch, "P": paths[0]}


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        ("repo list", "{R}"),
        ("repo show {R}", "main"),
        ("branch list {R}", "{B}"),
        ("tag list {R}", "t" * 100),
        ("ls {R}@main -r", "{P}"),
        ("show {R}@main", "{P}"),
        ("diff {R}@{B} {R}@main", "{P}"),
        ("reflog {R}@{B}", "create_branch"),
        ("lineage upstream made@main", "{P}"),
        ("log {R}@main", "said " * 29 + "said"),
    ],
)
def test_nothing_is_folded_or_cut_through_a_pipe(long_names, command, whole):
    place, names = long_names
    environment = {**os.environ, "COLUMNS": "40", "VERSIONED_STORE": str(place)}
    words = [PROGRAM, *(word.format(**names) for word in command.split())]
    shown = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert whole.format(**names) in shown, shown


@pytest.fixture
def table(terminal):
    """A store with two versions of a table, and of a file that is none."""
    terminal.run("init")
    terminal.run("repo", "create", "r")
    with vio.open_store(terminal.location) as store:
        for content in (b"id,v,w\n1,a,x\n2,b,x\n4,,x\n", b"id,v,u\n1,a,y\n2,c,y\n3,d,y\n4,,y\n"):
            with store.transaction("r@main") as tx:
                tx.write("t.csv", content)
                tx.write("t.txt", content)


def test_the_rows_and_columns_of_tables_are_compared(terminal, table):
    shown = terminal.text("diff", "r@main~1", "r@main", "--data", "--key", "id")
    assert [line.split() for line in shown.splitlines()] == [
        ["t.csv", "(modified):", "1", "row", "added,", "0", "removed,", "1", "changed,", "2", "unchanged"],
        ["column", "name", "type"],
        ["added", "u", "string"],
        ["removed", "w", "string"],
        ["row", "id", "v"],
        ["changed", "from", "2", "b"],
        ["changed", "to", "2", "c"],
        ["added", "3", "d"],
        ["1", "other", "file", "differs:", "see", "`diff`"],
    ]
    shown = terminal.text("diff", "r@main~1:t.csv", "r@main:t.csv", "--data", "-n", "1")
    assert "t.csv (modified): 2 rows added, 1 removed, 0 changed, 2 unchanged" in shown
    assert "not shown: 1 added; --limit N shows more" in shown
    assert "no table differs" in terminal.text("diff", "r@main", "r@main", "--data")


def test_the_rows_of_tables_are_compared_as_json(terminal, table):
    found = terminal.json("diff", "r@main~1", "r@main", "--data", "--key", "id")
    assert found["others"] == ["t.txt"]
    (one,) = found["tables"]
    assert (one["rows_added"], one["rows_removed"], one["rows_changed"], one["columns_added"]) == (
        1,
        0,
        1,
        {"u": "string"},
    )
    assert one["rows"] == [
        {"old": {"id": "2", "v": "b"}, "new": {"id": "2", "v": "c"}},
        {"old": None, "new": {"id": "3", "v": "d"}},
    ]
    assert "no column 'x'" in terminal.run("diff", "r@main~1", "r@main", "--data", "--key", "x", code=2).stderr
    assert "use one of them" in terminal.run("diff", "r@main~1", "r@main", "--data", "--renames", code=2).stderr


@pytest.fixture
def years(tmp_path):
    """A store with three commits of three authors and years, the last of which changed 250 files."""
    now = [datetime(2024, 5, 6, 7, tzinfo=UTC)]
    with vio.create_store(tmp_path / "store", clock=lambda: now[0]) as store:
        store.create_repo("r")
        for year, author, files in ((2024, "Ana Lima", 1), (2025, "ben", 1), (2026, "ANA", 250)):
            now[0] = now[0].replace(year=year)
            with store.transaction("r@main", message=f"{year}\nmore", author=author) as tx:
                for number in range(files):
                    tx.write(f"{number:03}", str(year).encode())
    return Terminal(tmp_path / "store")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [2026, 2025, 2024]),
        (("--since", "2025-05-06"), [2026, 2025]),
        (("--since", "2025-05-06T07:00:01"), [2026]),
        (("--until", "2025-05-06"), [2025, 2024]),
        (("--until", "2025-05-06T06:59:59Z"), [2024]),
        (("--since", "2025-01-01", "--until", "2025-12-31"), [2025]),
        (("--author", "ana"), [2026, 2024]),
        (("--author", "ana", "-n", "1"), [2026]),
        (("--author", "ana", "--until", "2025-01-01", "-n", "1"), [2024]),
    ],
)
def test_a_log_is_filtered_by_time_and_author(years, options, expected):
    found = years.json("log", "r@main", *options)["commits"]
    assert [int(one["message"][:4]) for one in found] == expected
    lines = years.text("log", "r@main", "--oneline", *options).splitlines()
    assert lines == [f"{one['id']}  {one['message'][:4]}  {CHANGES[one['message'][:4]]}" for one in found]


CHANGES = {"2024": "[1 added]", "2025": "[1 modified]", "2026": "[249 added, 1 modified]"}


def test_a_filter_that_is_no_time_or_finds_nothing_says_so(years):
    assert (
        "--since 'soon' is not a date or a time: write 2026-11-01"
        in years.run("log", "r@main", "--since", "soon", code=2).stderr
    )
    assert years.text("log", "r@main", "--author", "eva") == "no such commit\n"


def test_show_leaves_out_what_is_much_and_says_how_to_see_it(years):
    few = years.text("show", "r@main").splitlines()
    assert few[-1] == "150 changes of 250 not shown: `versioned show r@main --all` shows all"
    assert sum(line.startswith(("added", "modified")) for line in few) == 100
    every = years.text("show", "r@main", "--all")
    assert "249" in every.splitlines()[-1]
    assert "not shown" not in every
    assert "249 changes of 250 not shown" in years.text("show", "r@main", "-n", "1")
    assert len(years.json("show", "r@main")["changes"]) == 250


def test_a_terminal_shows_short_ids_that_are_refs_and_a_pipe_whole_ones(years):
    with vio.open_store(years.location) as store:
        whole = [commit.id for commit in store.log("r@main")]
    short = [line.split()[0] for line in on_a_terminal(years, "log", "r@main", "--oneline").splitlines()]
    assert all(12 <= len(one) < 32 and full.startswith(one) for one, full in zip(short, whole, strict=True))
    assert years.json("show", f"r@{short[1]}")["commit"]["id"] == whole[1]
    for command in (["repo", "list"], ["branch", "list", "r"], ["status"], ["show", "r@main"], ["repo", "show", "r"]):
        shown = on_a_terminal(years, *command)
        assert (short[0] in shown, whole[0] in shown) == (True, False), shown
        assert whole[0] in on_a_terminal(years, *command, "--full-ids")
        assert whole[0] in years.text(*command)
    digest = years.json("ls", "r@main:000")["entries"][0]["digest"]
    assert digest not in on_a_terminal(years, "ls", "r@main")
    assert digest in on_a_terminal(years, "ls", "r@main", "--full-ids")
    assert digest in years.text("ls", "r@main")


@pytest.mark.parametrize(
    ("arguments", "environment", "is_paged"),
    [
        (["log", "r@main"], {}, True),
        (["show", "r@main"], {}, True),
        (["log", "r@main", "--no-pager"], {}, False),
        (["--no-pager", "log", "r@main"], {}, False),
        (["log", "r@main", "--json"], {}, False),
        (["log", "r@main"], {"TERM": "dumb"}, False),
        (["log", "r@main"], {"PAGER": ""}, False),
        (["log", "r@main"], {"PAGER": "/nowhere/pager"}, False),
        (["log", "r@main"], {"PAGER": "less '"}, False),
        (["repo", "list"], {}, False),
    ],
)
def test_a_long_answer_goes_through_the_pager_on_a_terminal(years, arguments, environment, is_paged):
    shown = on_a_terminal(years, *arguments, **{"TERM": "xterm", "PAGER": "sed s/^/paged:/", **environment})
    assert shown
    assert all(line.startswith("paged:") == is_paged for line in shown.splitlines()), shown
    with vio.open_store(years.location) as store:
        head = store.commit("r@main").id
    assert (head in shown) == ("--json" in arguments)  # a pager shows what the terminal would


def test_nothing_goes_through_a_pager_into_a_pipe_and_one_may_be_left_early(years):
    environment = {"VERSIONED_STORE": str(years.location), "TERM": "xterm", "PAGER": "sed s/^/paged:/"}
    assert "paged" not in run_program("log", "r@main", **environment).stdout
    assert on_a_terminal(years, "show", "r@main", "--all", TERM="xterm", PAGER="head -n 1").count("\n") == 1


def on_a_terminal(terminal, *arguments, **more):
    """Return what a command prints on a terminal of 200 columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "VERSIONED_STORE": str(terminal.location), "COLUMNS": "200", "TERM": "dumb", **more}
    with subprocess.Popen([PROGRAM, *arguments], env=environment, stdout=follower, stdin=follower) as process:
        os.close(follower)
        seen = b""
        with contextlib.suppress(OSError):  # as Linux says that the other side is closed
            while data := os.read(leader, 65536):
                seen += data
        os.close(leader)
    assert process.returncode == 0
    return seen.decode().replace("\r\n", "\n")


def test_a_file_is_found_in_history_by_name_pattern_and_digest(terminal, weather):
    terminal.run("rm", "weather@main:2012/02.csv")
    lines = [line.split() for line in terminal.text("find", "weather@main", "02.csv").splitlines()]
    assert [(line[3], line[4]) for line in lines[1:]] == [("deleted", "2012/02.csv"), ("added", "2012/02.csv")]
    assert lines == [line.split() for line in terminal.text("find", "weather@main", "2012/02.*").splitlines()]
    found = terminal.json("find", "weather@main", "--digest", lines[1][-1], "-n", "1")["found"]
    assert [(one["number"], one["change"]) for one in found] == [(2, "deleted")]
    assert terminal.text("find", "weather@main", "04.csv") == "no commit of this history has such a file\n"
    assert "pass --digest" in terminal.run("find", "weather@main", code=2).stderr
