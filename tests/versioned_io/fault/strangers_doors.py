"""The ways into a stranger's store: every command that reads packs, and the same through Python and fsspec."""

from collections.abc import Callable
from pathlib import Path

import typer

import versioned_io as vio
from versioned_io.interfaces.cli.app import app
from versioned_io.interfaces.filesystem import VersionedFileSystem

COMMAND = typer.main.get_command(app)  # once: the runner of Typer's tests makes it again for each call

READS = (
    "ls r@main",
    "ls -r r@main",
    "ls r@main:b --json",
    "ls r@main --glob **/x*",
    "ls r@main --partitions {where}/x{number} --partition a-0",
    "cat r@main:a/x0",
    "cat other@main:out --json",
    "checkout r@main OUT",
    "checkout r@main OUT --incremental",
    "checkout r@main OUT; checkout r@v1 OUT --incremental --overwrite",
    "get r@main:a/x0 OUT",
    "get r@main OUT --glob **/y*",
    "log r@main",
    "log r@main:a --json",
    "show r@main",
    "show r@main --json",
    "diff r@main~1 r@main",
    "diff r@v1 r@main --json",
    "diff r@v1 r@other --renames",
    "diff r@v1 r@main --partitions {where}/{name}",
    "diff r@v1 r@main --data --json",
    "find r@main x*",
    "find r@main **/x* --digest 0000 --json",
    "lineage show LINEAGE",
    "lineage upstream other@main",
    "lineage upstream other@main:out --files",
    "lineage downstream r@v1:a/x0 --json",
    "lineage export other@main --format openlineage",
    "lineage export LINEAGE --format dot",
    "lineage run other@main --json",
    "checkout --lineage LINEAGE OUT",
    "stats",
    "status",
    "status --json",
    "stats --exact --json",
    "stats r --exact",
    "fsck",
    "fsck --json",
    "gc --dry-run",
    "compact --dry-run",
    "redact --dry-run",
    "purge r:a/x0 --dry-run",
    "maintain --status",
    "recover --dry-run",
    "due r@main",
    "pipeline list",
    "forget r:a/x0 --dry-run",
    "evict --unused-days 1 --dry-run",
    "repo list",
    "repo show r",
    "branch list r",
    "tag list r",
    "reflog r@main",
    "retention r@main",
    "trigger list",
    "LOSE; rebuild",
    "LOSE; rebuild; ls -r r@main; fsck",
    "backup BACKUP",
    "backup BACKUP; restore BACKUP OUT; ls -r r@main",
    "backup BACKUP; backups list BACKUP; backups verify BACKUP; backups prune BACKUP --keep-last 1",
)
"""Commands; LOSE deletes the catalog."""

WRITES = (
    "adopt; fsck --repair",
    "adopt; trigger set r@follower --on r@main --commits 1; trigger tick; trigger delete r@follower",
    "adopt; merge r@other r@main",
    "adopt; cherry-pick r@other r@main",
    "adopt; revert r@main~1 r@main",
    "adopt; squash r@main --since r@v1",
    "adopt; cp r@main:a r@main:e",
    "adopt; mv r@main:b r@main:e/f",
    "adopt; rm r@main:b/c/",
    "adopt; put r@main:a/x0 FILE",
    "adopt; gc --grace-hours 0; compact; fsck",
    "adopt; maintain --full",
    "adopt; purge r:a/x0 --yes",
    "adopt; forget r:a/x0 --yes",
    "adopt; evict --unused-days 0",
    "adopt; redact",
    "adopt; reset r@main r@v1; gc",
    "adopt; drop r@main; repo delete r --force; gc",
    "recover; fsck",
    "upgrade",
)
"""Commands that change a store which somebody has made their own without looking into it."""

EXCEPTED = {
    "init": "it makes a store, and reads none",
    "import-dagster": "it writes what lies outside, and reads only whether a path is there",
    "repo create": "it adds a name to the catalog, and reads no pack",
    "repo rename": "it changes a name in the catalog, and reads no pack",
    "repo restore": "it takes back a deletion in the catalog, and reads no pack",
    "branch create": "it adds a name to the catalog, and reads no pack",
    "branch delete": "it deletes a name from the catalog, and reads no pack",
    "branch rename": "it changes a name in the catalog, and reads no pack",
    "branch protect": "it sets a mark in the catalog, and reads no pack",
    "tag create": "it adds a name to the catalog, and reads no pack",
    "tag delete": "it deletes a name from the catalog, and reads no pack",
    "pipeline schema": "it reads no store",
    **dict.fromkeys(
        (
            "pipeline run",
            "pipeline show",
            "pipeline create",
            "pipeline history",
            "rerun",
            *(f"datums {name}" for name in ("list", "plan", "explain", "invalidate", "log", "verify")),
        ),
        "it needs a pipeline of the caller's; a malformed datum raises IntegrityError",
    ),
}
"""Commands that are not tried, and why."""


def walk_snapshot(store: vio.Store, _out: Path) -> None:
    snapshot = store.snapshot("r@main")
    for info in snapshot.walk():
        _ = (info.path, info.size, info.digest, dict(info.attributes))
    for batch in snapshot.batches():
        batch.to_pylist()


def list_snapshot(store: vio.Store, _out: Path) -> None:
    snapshot = store.snapshot("r@main")
    for entry in snapshot.list(""):
        if entry.is_directory:
            list(snapshot.list(entry.path))
    list(snapshot.glob("/*/x?"))
    _ = snapshot.exists("a/x0"), snapshot.is_directory("b"), snapshot.is_empty


def read_files(store: vio.Store, _out: Path) -> None:
    snapshot = store.snapshot("r@main")
    for path in ("a/x0", "b/c/y1", "d/new"):
        snapshot.stat(path)
        snapshot.read(path)
    with store.snapshot("other@main").open("out") as file:
        file.seek(-10, 2)
        file.read()
    list(snapshot.read_many(["a/x1", "d/y4"]))
    snapshot.row("a/x2")
    list(snapshot.rows("b"))


def look_back(store: vio.Store, _out: Path) -> None:
    for commit in store.log("r@main", path="a"):
        commit.to_json()
    snapshot = store.snapshot("r@main")
    list(snapshot.versions("a/x0"))
    snapshot.writer_of("a/x0")


def compare(store: vio.Store, _out: Path) -> None:
    store.diff("r@v1", "r@main").to_pylist()
    list(store.affected("r@v1", "r@main", "{where}/{name}"))
    first = list(store.log("r@main"))[-1].id
    store.changes("r@main", since=first, partitions="{where}/{name}")


def ask_lineage(store: vio.Store, _out: Path) -> None:
    store.upstream("other@main:out")
    store.downstream("r@v1:a/x0")
    store.lineage(store.commit("r@main").lineage_id)
    store.lineage_graph("r@main", with_commits=True)
    store.lineage_graph("r@v1", way="down", depth=2)


def use_fsspec(store: vio.Store, out: Path) -> None:
    fs = VersionedFileSystem.of(store)
    fs.ls("r@main/a", detail=True)
    fs.find("r@main")
    fs.glob("r@main/**/x*")
    fs.du("r@main/b")
    list(fs.walk("r@main"))
    fs.info("r@main/a/x0")
    fs.checksum("r@main/a/x0")
    fs.modified("r@main/a/x0")
    fs.cat_file("r@main/a/x0", 1, 3)
    fs.cat(["r@main/d/x1", "r@main/d/new"])
    fs.get("r@main/b", str(out), recursive=True)


def check_out(store: vio.Store, out: Path) -> None:
    store.snapshot("r@main").checkout(out)
    store.snapshot("r@v1").checkout(out, mode="incremental", overwrite=True)


PYTHON: dict[str, Callable[[vio.Store, Path], None]] = {
    door.__name__: door
    for door in (
        walk_snapshot,
        list_snapshot,
        read_files,
        look_back,
        compare,
        ask_lineage,
        use_fsspec,
        check_out,
    )
}

DOORS = (*READS, *WRITES, *PYTHON)


def commands_of_the_command_line() -> list[str]:
    """Return every command, as ``ls`` or ``repo list``."""
    root = COMMAND.commands
    return [f"{name} {below}".strip() for name, one in root.items() for below in getattr(one, "commands", {"": None})]


def commands_tried() -> set[str]:
    """Return the commands that the doors try."""
    steps = [step.split() for door in (*READS, *WRITES) for step in door.split("; ")]
    return {words[0] for words in steps} | {" ".join(words[:2]) for words in steps}


def open_door(door: str, place: Path, lineage: str) -> list[int]:
    """Go through a door of the store in *place*, and return the exit codes of the commands.

    Python's ways in are 0, or as the command line has them where they refuse.
    """
    words = {"LINEAGE": lineage, "OUT": str(place / "out"), "BACKUP": str(place / "backup"), "FILE": __file__}
    if door in PYTHON:
        return [_call(PYTHON[door], place)]
    codes = []
    for step in door.split("; "):
        if step == "LOSE":
            for file in (place / "store").glob("catalog.db*"):
                file.unlink()
            continue
        found = COMMAND.main(args=[words.get(word, word) for word in step.split()], standalone_mode=False)
        codes.append(found or 0)
    return codes


def _call(door: Callable[[vio.Store, Path], None], place: Path) -> int:
    from versioned_io.interfaces.cli.session import exit_code_of

    try:
        with vio.open_store(place / "store") as store:
            door(store, place / "out")
    except vio.VersionedError as error:
        str(error)
        return exit_code_of(error)
    return 0
