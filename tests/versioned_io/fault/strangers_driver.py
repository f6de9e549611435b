"""Goes through every door of forged stores, in forked children of 200 each; says what went wrong, seed by seed.

python -m tests.versioned_io.fault.strangers_driver FIRST COUNT DOORS_EACH
"""

import gc
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.versioned_io.fault.forging import Forger, make_base
from tests.versioned_io.fault.strangers_changes import BOMBS, change_of, trailer_of, zeros
from tests.versioned_io.fault.strangers_doors import DOORS, open_door
from tests.versioned_io.shared_statements import share_statements
from versioned_io.storage.packs.frames import FrameKind

IN_ONE_CHILD = 200
MOST_KB = 512 * 1024
MOST_SECONDS = 30
"""Of one door, of the processor; the machine may be busy with other things."""

STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
KINDS = {
    FrameKind.PAGE: 12,
    FrameKind.COMMIT: 4,
    FrameKind.FOOTER: 4,
    FrameKind.JOURNAL: 2,
    FrameKind.BLOCK: 2,
    None: 1,  # a trailer
}


def doors_of(seed: int, each: int) -> list[str]:
    """Return which doors a seed goes through: one after the other, so that all are tried equally often."""
    return [DOORS[(seed * each + number) % len(DOORS)] for number in range(each)]


def try_seed(forger: Forger, seed: int, lineage: str, each: int) -> list[str]:
    """Return what went wrong with one forged store."""
    rng = random.Random(seed)
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    target = rng.choice([one for one in forger.targets if forger.kind_of(one) is kind])
    change, renames = trailer_of(rng) if kind is None else change_of(kind, rng), rng.random() < 0.7
    wrong = []
    with tempfile.TemporaryDirectory(prefix="strangers-") as directory:
        forger.forge(Path(directory, "forged"), target, change, renames=renames)
        for number, door in enumerate(doors_of(seed, each)):
            place = Path(directory, str(number), "deep")
            place.mkdir(parents=True)
            if number + 1 < each:
                shutil.copytree(Path(directory, "forged"), place / "store", copy_function=os.link)
                _own_catalog(place / "store")
            else:
                Path(directory, "forged").rename(place / "store")
            wrong += [f"{door}: {found}" for found in try_door(door, place, lineage)[1]]
            shutil.rmtree(place / "store")
        strays = [path for path in Path(directory).rglob("*") if not _may_be_written(path.relative_to(directory).parts)]
        wrong += [f"wrote {path}" for path in strays]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if used > MOST_KB:
        wrong.append(f"used {used} KB by now")
    return [f"seed {seed} ({'trailer' if kind is None else kind.name.lower()}): {one}" for one in wrong]


def _own_catalog(store: Path) -> None:
    for path in [*store.glob("*.*"), *(store / "beacons").glob("*")]:
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)


def _may_be_written(parts: tuple[str, ...]) -> bool:
    return len(parts) == 1 or (parts[1] == "deep" and (len(parts) == 2 or parts[2] in {"out", "backup"}))


def try_door(door: str, place: Path, lineage: str) -> tuple[list[int], list[str]]:
    """Return the exit codes of a door's commands, and what went wrong."""
    os.environ |= {"VERSIONED_STORE": str(place / "store"), "COLUMNS": "80"}
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    try:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        with redirect_stdout(out), redirect_stderr(err):
            codes = open_door(door, place, lineage)
    except Exception as error:  # noqa: BLE001 (that is what this looks for)
        return [], ["".join(traceback.format_exception(error)[-6:])]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    raw = door.startswith("cat ") and "--json" not in door
    shown = "".join(one.buffer.getvalue().decode(errors="replace") for one in ([err] if raw else [out, err]))
    return codes, [f"printed {shown!a}"] if STEERING.search(shown) else []


def try_sound(forger: Forger, lineage: str) -> list[str]:
    """Go through every door of the store that nobody has changed: each must be open, or what it tells shows nothing."""
    wrong = []
    for door in DOORS:
        with tempfile.TemporaryDirectory(prefix="strangers-") as directory:
            forger.forge(Path(directory, "store"), None, None, renames=False)
            codes, found = try_door(door, Path(directory), lineage)
            wrong += [
                f"the sound store: {door}: {one}" for one in [*found, *(f"exit code {code}" for code in codes if code)]
            ]
    return wrong


def run_child(forger: Forger, lineage: str, seeds: range, each: int, report: int) -> None:
    for seed in seeds:
        os.write(report, json.dumps({"began": seed}).encode() + b"\n")
        wrong = try_seed(forger, seed, lineage, each)
        os.write(report, json.dumps({"wrong": wrong}).encode() + b"\n")


def run_batch(forger: Forger, lineage: str, seeds: range, each: int) -> list[str]:
    """Run *seeds* in a forked child, and return what went wrong; a signal is a wrong, too, and the rest goes on."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(read)
            run_child(forger, lineage, seeds, each, write)
            code = 0
        except BaseException:  # noqa: BLE001 (a forked child must not go on as its parent)
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    wrong, last = [], seeds.start
    with os.fdopen(read) as lines:
        for line in lines:
            said = json.loads(line)
            last = said.get("began", last)
            wrong += said.get("wrong", [])
    _, status = os.waitpid(child, 0)
    if status:
        wrong.append(f"seed {last}: the child ended with {os.waitstatus_to_exitcode(status)} at {doors_of(last, each)}")
        wrong += run_batch(forger, lineage, range(last + 1, seeds.stop), each)
    return wrong


def main() -> None:
    first, count, each = map(int, sys.argv[1:4])
    share_statements()
    with tempfile.TemporaryDirectory(prefix="strangers-base-") as directory:
        base = Path(directory, "store")
        lineage = make_base(base)
        forger = Forger(base)
        for size in BOMBS:
            zeros(size)
        found = try_sound(forger, lineage)
        gc.freeze()
        for start in range(first, first + count, IN_ONE_CHILD):
            found += run_batch(forger, lineage, range(start, min(start + IN_ONE_CHILD, first + count)), each)
    print("\n".join(found[:50]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
