"""Run Dagster's own tests of IO managers with the versioned IO manager in the place of the stock ones.

The tests are those of the source distributions of the versions in constraints.txt. They run with the store alone. Those
that look at the old places run again with an exported copy there, and so do dagster-aws's tests of S3.
Exit code 0 means that exactly those tests failed that docs/dagster.md lists with a reason.

Usage: ``python scripts/dagster_suite.py [PYTEST ARGUMENT ...]``
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile

from ranges import name_of
from set_up import CONSTRAINTS, ROOT, VENV, install, pip

WORK = ROOT / "build" / "dagster-suite"
DOCUMENT = ROOT / "docs" / "dagster.md"
HEADING = "## Dagster's own tests"
STUB = "def scrub_tox_uv_project_environment():\n    pass\n"  # of dagster-test, which is not published

ASSETS, STORAGE = "dagster_tests/asset_defs_tests", "dagster_tests/storage_tests"
STORED = (
    *(f"{ASSETS}/test_{name}.py" for name in ("assets", "partitioned_assets", "materialize", "asset_deps")),
    *(
        f"{STORAGE}/test_{name}.py"
        for name in (
            "asset_value_loader",
            "fs_io_manager",
            "input_manager",
            "io_manager",
            "io_manager_asset_metadata",
            "io_manager_composites",
            "io_manager_multiprocess",
            "io_managers_pythonic_config",
            "io_managers_with_graphs",
            "no_io_manager",
            "upath_io_manager",
        )
    ),
    f"{STORAGE}/branching_io_manager_tests",
    "dagster_tests/core_tests/resource_tests/test_with_resources.py",
    "dagster_tests/definitions_tests/test_default_io_manager.py",
    "dagster_tests/execution_tests/dynamic_tests",
)
EXPORTED = (
    f"{ASSETS}/test_materialize.py",
    f"{STORAGE}/test_fs_io_manager.py",
    f"{STORAGE}/test_io_managers_pythonic_config.py",
    "dagster_aws_tests/s3_tests/test_io_manager.py",
)
NEEDED = ("objgraph", "morefs", "pytest-mock")  # imported by the tests, beside our own tools


def main(arguments: list[str]) -> int:
    """Return 0 if exactly the documented tests failed, in both runs."""
    prepare()
    known = documented(DOCUMENT.read_text())
    found = {"stored": failures("stored", STORED, arguments), "exported": failures("exported", EXPORTED, arguments)}
    for kind, failed in found.items():
        for name in sorted(failed - known[kind]):
            print(f"dagster-suite: {kind}: {name} fails, and docs/dagster.md does not say why")
        for name in sorted(known[kind] - failed):
            print(f"dagster-suite: {kind}: {name} passes, but docs/dagster.md lists it")
    return 0 if found == known else 1


def prepare() -> None:
    """Fetch the source distributions and unpack their tests away from the packages, which they would shadow."""
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "stubs" / "dagster_test" / "dg_utils").mkdir(parents=True)
    (WORK / "stubs" / "dagster_test" / "dg_utils" / "utils.py").write_text(STUB)
    lines = CONSTRAINTS.read_text().splitlines()
    wanted = [line for line in lines if name_of(line) in {"dagster", "dagster-aws"}]
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    subprocess.run([*pip(VENV), *download, "--dest", str(WORK / "sources"), *wanted], check=True)
    for path in (WORK / "sources").iterdir():
        with tarfile.open(path) as archive:
            tests = [one for one in archive.getmembers() if re.match(r"[^/]+/dagster(_aws)?_tests/", one.name)]
            for one in tests:
                one.name = one.name.partition("/")[2]
            archive.extractall(WORK, members=tests, filter="data")
    install(VENV, "--target", str(WORK / "needed"), "--no-deps", *NEEDED)


def failures(kind: str, tests: tuple[str, ...], arguments: list[str]) -> set[str]:
    """Run *tests*, and return the names of those that failed, without their parameters."""
    report = WORK / f"{kind}.txt"
    paths = [ROOT / "scripts" / "stock_io_managers_replaced", ROOT, WORK / "stubs", WORK, WORK / "needed"]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "SUITE_ROOT": str(WORK / f"stores-{kind}"),
        "SUITE_EXPORT": "1" if kind == "exported" else "0",
    }
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(WORK), "--tb=short"]
    command = [str(VENV / "bin" / "python"), *pytest, *tests, *arguments]
    print(f"dagster-suite: {kind}", flush=True)
    with report.open("w") as file:
        subprocess.run(command, cwd=WORK, env=env, stdout=file, stderr=subprocess.STDOUT, check=False)
    text = report.read_text()
    print(f"dagster-suite: {kind}: {text.rstrip().rpartition(chr(10))[2]} (all of it: {report})", flush=True)
    return set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", text, re.MULTILINE))


def documented(text: str) -> dict[str, set[str]]:
    """Return the tests that the document says fail, by the run: with the store alone, and with an exported copy."""
    section = text.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", section, re.MULTILINE)
    found: dict[str, set[str]] = {"stored": set(), "exported": set()}
    for names, runs in rows:
        tests = re.findall(r"`(test_\w+)`", names)
        found["stored"].update(tests)
        if runs == "both":
            found["exported"].update(tests)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
