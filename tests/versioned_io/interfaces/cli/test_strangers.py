"""What a stranger's store says never steers the terminal, whichever command shows it."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import versioned_io as vio
from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.cli.output import json_text, visible
from versioned_io.storage.objects.schemes import open_objects
from versioned_io.storage.packs.frames import FrameKind
from versioned_io.storage.packs.walking import walk_frames
from versioned_io.storage.packs.writer import PackWriter

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egnp.exe\u2066\u2028\x7f\x08end"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PRINTS = re.compile(r"typer\.s?echo|click\.s?echo|(?<![\w.])print\(|sys\.std(?:out|err)\.write")


def test_what_steers_a_terminal_is_written_out():
    assert visible("a\x1b[31mb\x9bc\u202ed\n\ud800") == r"a\x1b[31mb\x9bc\u202ed\x0a\ud800"
    assert visible("naïve 日本 👩‍👩‍👧 \\x1b") == "naïve 日本 👩‍👩‍👧 \\x1b"
    every = "".join(chr(code) for code in range(0x3000))
    assert not STEERING.search(visible(every))
    assert not STEERING.search(json_text({every: every}, indent=2))
    assert json.loads(json_text({every: [every]}, indent=2)) == {every: [every]}


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A store whose free texts hold what steers a terminal; some can be put there only by editing rows."""
    place = tmp_path_factory.mktemp("evil")
    with vio.create_store(str(place / "store")) as store:
        store.create_repo("r", description=EVIL)
        for number in range(2):
            with (
                store.run(EVIL, code_version=EVIL, params={EVIL: EVIL}),
                store.transaction("r@main", message=EVIL, author=EVIL, metadata={EVIL: EVIL}) as tx,
            ):
                tx.write("\u202egnp.exe", str(number).encode())
                tx.write("\u202egnp.csv", f"a,{EVIL}\n{number},{EVIL}\n".encode().replace(b"\r", b""))
                tx.write("d/plain", b"x", attributes={EVIL: EVIL})
        with store.transaction("r@main", message="line\nsecond\x1b[1A", author=EVIL) as tx:
            tx.write("d/more", b"y")
        store.create_tag("r@one", at="r@main")
        store.subscription(EVIL, "r@main").collect()
        store.create_branch("r@other", at="r@main~1")
        with store.transaction("r@other", author=EVIL) as tx:
            tx.write("d/plain", b"conflict")
        with store.transaction("r@main") as tx:
            tx.write("d/plain", b"other")
        lineage = store.commit("r@main").lineage_id
    with sqlite3.connect(place / "store" / "catalog.db") as catalog:
        catalog.execute("UPDATE tags SET name = ?", (EVIL,))
    catalog.close()
    return place / "store", lineage


COMMANDS = [
    ["repo", "list"],
    ["repo", "show", "r"],
    ["branch", "list", "r"],
    ["tag", "list", "r"],
    ["ls", "r@main"],
    ["ls", "-r", "r@main"],
    ["ls", "r@main", "--glob", "**"],
    ["log", "r@main"],
    ["log", "r@main:d"],
    ["show", "r@main~1"],
    ["show", "r@main~2"],
    ["diff", "r@main~1", "r@main~2"],
    ["find", "r@main", "*"],
    ["diff", "r@main~3", "r@main"],
    ["diff", "r@main~3", "r@main", "--data"],
    ["lineage", "show", "LINEAGE"],
    ["lineage", "upstream", "r@main"],
    ["lineage", "run", "r@main"],
    ["lineage", "export", "r@main"],
    ["lineage", "export", "r@main", "--format", "openlineage"],
    ["lineage", "export", "r@main", "--format", "mermaid"],
    ["lineage", "export", "r@main", "--format", "dot"],
    ["lineage", "downstream", "r@main~2"],
    ["merge", "r@other", "r@main"],
    ["reflog", "r@main"],
    ["due"],
    ["stats"],
    ["status"],
    ["fsck"],
    ["gc", "--dry-run"],
    ["compact", "--dry-run"],
    ["cat", f"r@main:{EVIL}"],
    ["ls", f"r@{EVIL}"],
    ["show", EVIL],
    ["get", "r@main:d/plain", f"/nowhere/{EVIL[:6]}/x"],
    [EVIL],
    ["ls", f"--{EVIL}"],
    ["checkout", "r@main", "OUT"],
    ["retention", "r@main"],
    ["trigger", "set", f"r@{EVIL}", "--on", f"r@{EVIL}", "--cron", EVIL],
    ["pipeline", "list"],
    ["pipeline", "show", f"{EVIL}.py:f"],
    ["pipeline", "schema"],
    ["pipeline", "create", f"{EVIL}.json"],
    ["pipeline", "history", f"{EVIL}.py:f"],
    ["pipeline", "run", f"{EVIL}.py:f"],
    ["datums", "list", f"{EVIL}.py:f"],
    ["datums", "plan", f"{EVIL}.py:f"],
    ["datums", "explain", f"{EVIL}.py:f", EVIL],
    ["datums", "invalidate", f"{EVIL}.py:f", EVIL],
    ["datums", "log", f"{EVIL}.py:f", EVIL],
    ["datums", "verify", f"{EVIL}.py:f"],
    ["rerun", f"r@{EVIL}", "--path", EVIL, "--pipeline", f"{EVIL}.py:f"],
    ["forget", f"r:{EVIL}", "--yes"],
    ["evict", "--unused-days", "1"],
    ["trigger", "list"],
    ["trigger", "tick"],
    ["trigger", "delete", f"r@{EVIL}"],
    ["branch", "create", f"r@{EVIL}", "--at", "r@main"],
    ["put", f"r@main:{EVIL}", "/etc/hostname"],
    ["rm", f"r@main:{EVIL}"],
    ["cp", f"r@main:{EVIL}", f"r@main:{EVIL}"],
    ["import-dagster", f"/nowhere{EVIL}.py", "--from", EVIL],
    ["init", f"/nowhere\x1b[2J/\n{EVIL}"],
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: visible(" ".join(command))[:40])
def test_no_command_lets_it_through(evil, tmp_path, command, as_json, monkeypatch):
    location, lineage = evil
    words = {"LINEAGE": lineage, "OUT": str(tmp_path / "out")}
    arguments = [words.get(word, word) for word in command] + (["--json"] if as_json else [])
    done = CliRunner().invoke(app, arguments, env={"VERSIONED_STORE": str(location), "COLUMNS": "80"})
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    if done.exit_code != 2 or "Usage" not in done.output:  # `run` writes out what Typer says of a wrong call
        assert not STEERING.search(done.output), ascii(done.output)


UPKEEP = [
    [["redact", "--dry-run"], ["redact", "--reason", EVIL, "--author", EVIL], ["redact"]],
    [["backup", "BACKUP"], ["restore", "BACKUP", "OUT"], ["restore", "BACKUP", "OUT"]],
    [["backup", "BACKUP"], ["backups", "list", "BACKUP"], ["backups", "list", "SPOILT"], ["backups", "list", EVIL]],
    [["backup", "BACKUP"], ["backups", "verify", "BACKUP"], ["backups", "verify", "SPOILT"]],
    [["backup", "BACKUP"], ["backups", "prune", "BACKUP", "--keep-last", "1"], ["backups", "prune", EVIL]],
    [["backup", f"/nowhere{EVIL}/x"], ["restore", f"/nowhere{EVIL}", "OUT"]],
    [["backup", "BACKUP"], ["restore", "BACKUP", "OUT", "--at", EVIL], ["restore", "SPOILT", "OUT"]],
    [["recover", "--dry-run"], ["recover"]],
    [["recover", "--store", f"/nowhere{EVIL}"], ["adopt", "--store", f"/nowhere{EVIL}"]],
    [["mv", "r@main:d", f"{EVIL}"], ["adopt"], ["adopt", "--catalog", f"sqlite:////nowhere/{EVIL}"]],
    [["maintain", "--status"], ["maintain"], ["maintain", "--full"], ["maintain", "--budget", EVIL]],
    [["repo", "delete", "r"], ["repo", "list"], ["repo", "restore", "r"], ["repo", "restore", EVIL]],
    [["repo", "rename", "r", EVIL], ["repo", "rename", EVIL, "r2"], ["repo", "rename", "r", "r2"], ["ls", "r@main"]],
    [["repo", "delete", EVIL], ["repo", "delete", "r", "--force"], ["fsck"]],
    [["repo", "create", EVIL], ["branch", "rename", f"r@{EVIL}", EVIL], ["branch", "rename", "r@other", EVIL]],
    [["branch", "protect", f"r@{EVIL}"], ["branch", "delete", f"r@{EVIL}"], ["branch", "delete", "r@other"]],
    [["tag", "create", f"r@{EVIL}", "--at", f"r@{EVIL}"], ["tag", "delete", f"r@{EVIL}"]],
    [["purge", "r:d/plain", "--yes", "--reason", EVIL], ["purge", "r", "--glob", "*.exe", "--yes"], ["fsck"]],
    [["purge", f"r:{EVIL}", "--yes"], ["purge", f"{EVIL}:x", "--yes"], ["reset", "r@main", EVIL]],
    [["drop", "r@main"], ["reset", "r@main", "r@main~1"], ["reflog", "r@main"], ["revert", "r@main", "r@main"]],
    [["squash", "r@main"], ["cherry-pick", "r@other", "r@main"], ["upgrade"]],
    [["gc"], ["compact"], ["stats", "--exact"], ["fsck", "--repair"]],
    ["rebuild"],
]


def put_forged_records(store):
    """Put commits and entries of the journal with EVIL for each text, and right checksums, into packs of the store."""
    objects = open_objects(store)
    for path in sorted((store / "packs").rglob("*.pack")):
        for frame, payload in walk_frames(path.stem, path.read_bytes()):
            if frame.kind in {FrameKind.COMMIT, FrameKind.JOURNAL}:
                document = json.loads(bytes(payload))
                pack = PackWriter(objects)
                for name, value in document.items():
                    if isinstance(value, str):
                        pack.append(frame.kind, json.dumps({**document, name: EVIL}).encode())
                pack.append(frame.kind, json.dumps({**document, EVIL: EVIL}).encode())
                pack.close()


def spoil(backup):
    """Put EVIL in the place of texts of a backup's own documents."""
    for file in backup.rglob("*"):
        if file.is_file() and file.suffix != ".pack":
            data = file.read_bytes()
            with contextlib.suppress(UnicodeDecodeError, json.JSONDecodeError, AttributeError):
                document = {name: EVIL if isinstance(one, str) else one for name, one in json.loads(data).items()}
                file.write_text(json.dumps(document))
    return backup


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("commands", UPKEEP, ids=lambda commands: visible(str(commands[0]))[:40])
def test_no_command_that_changes_a_store_lets_it_through(evil, tmp_path, commands, as_json):
    store = tmp_path / "store"
    shutil.copytree(evil[0], store)
    put_forged_records(store)
    if commands == ["rebuild"]:
        commands = [["rebuild"], ["fsck"], ["log", "r@main"]]
        for file in store.glob("catalog.db*"):
            file.unlink()
    else:
        CliRunner().invoke(app, ["adopt"], env={"VERSIONED_STORE": str(store)})
    for command in commands:
        if "SPOILT" in command:
            spoil(tmp_path / "backup")
        words = {"OUT": str(tmp_path / "out"), "BACKUP": str(tmp_path / "backup"), "SPOILT": str(tmp_path / "backup")}
        arguments = [words.get(word, word) for word in command] + (["--json"] if as_json else [])
        done = CliRunner().invoke(app, arguments, env={"VERSIONED_STORE": str(store), "COLUMNS": "80"})
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, repr(done.exception))
        assert not (done.exit_code == 2 and "Usage" in done.output), (command, done.output)
        assert not STEERING.search(done.output), (command, ascii(done.output))


@pytest.mark.parametrize("command", [["ls", "r@main"], ["put", "r@main:x", "/etc/hostname"], ["fsck"], ["adopt"]])
@pytest.mark.parametrize("fields", [["name", "host", "url", "packs", "identity"], ["kind"], ["catalog_id"]])
def test_who_owns_a_store_can_not_steer_the_terminal(evil, tmp_path, command, fields):
    store = tmp_path / "store"
    shutil.copytree(evil[0], store)
    (owner,) = (store / "beacons").glob("owner-*")
    document = json.loads(owner.read_bytes())
    for place in (document, document["address"]):
        place.update({name: EVIL for name in fields if name in place})
    assert EVIL in str(document) or repr(EVIL)[1:-1] in str(document)
    owner.write_text(json.dumps(document))
    for more in ([], ["--json"]):
        done = CliRunner().invoke(app, [*command, *more], env={"VERSIONED_STORE": str(store), "COLUMNS": "80"})
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert not STEERING.search(done.output), ascii(done.output)


def test_every_command_is_tried():
    hyphenated = {"cherry-pick", "import-dagster"}
    tried = {" ".join(word for word in command if word.isalpha() or word in hyphenated) for command in COMMANDS}
    tried |= {" ".join(command) for commands in UPKEEP if commands != ["rebuild"] for command in commands}
    root = typer.main.get_command(app)
    names = [
        f"{name} {below}" if below else name
        for name, command in root.commands.items()
        for below in getattr(command, "commands", {"": None})
    ]
    assert [name for name in names if name != "rebuild" and not any(one.startswith(name) for one in tried)] == []


def test_a_wrong_call_is_written_out_as_well(capfd, monkeypatch):
    from versioned_io.interfaces.cli.app import run

    for arguments in ([EVIL], ["ls", f"--{EVIL}"], ["ls", f"--{EVIL}", "--json"], ["log", "r", EVIL, EVIL, EVIL]):
        monkeypatch.setattr("sys.argv", ["versioned", *arguments])
        with pytest.raises(SystemExit):
            run()
        shown = capfd.readouterr()
        assert shown.err
        assert not STEERING.search(shown.out + shown.err), ascii(shown.err)


def test_what_is_logged_is_written_out_as_well(tmp_path):
    place = tmp_path / EVIL.replace("/", "")
    with vio.create_store(place) as store:
        store.create_repo("r")
    (beacon,) = place.glob("beacons/entry-*")
    beacon.unlink()
    beacon.mkdir()  # so it can't be deleted, and the log says so with the name of the store
    (place / "file").write_bytes(b"1")
    command = [
        sys.executable,
        "-m",
        "versioned_io.interfaces.cli",
        "put",
        "r@main",
        str(place / "file"),
        "--store",
        str(place),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "versioned: warning: the beacons of " in done.stderr
    assert not STEERING.search(done.stdout + done.stderr), ascii(done.stderr)


def test_a_message_of_several_lines_stays_several_lines(evil):
    done = CliRunner().invoke(app, ["show", "r@main~1"], env={"VERSIONED_STORE": str(evil[0])})
    assert "line  [1 added]" in done.output
    assert r"  second\x1b[1A" in done.output


def test_nothing_is_printed_past_the_place_where_that_is_done():
    """Every command prints through `versioned_io.interfaces.cli.output`."""
    place = Path(vio.__file__).parent / "interfaces" / "cli"
    for module in place.glob("*.py"):
        if module.name != "output.py":
            found = re.findall(
                r"typer\.s?echo|click\.s?echo|(?<![\w.])print\(|sys\.std(?:out|err)\.write", module.read_text()
            )
            assert not found, f"{module.name}: {found}: use echo, print_line, print_table or print_json of cli.output"
