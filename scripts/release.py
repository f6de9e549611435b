"""Build the wheel and the source distribution in ``dist/``, and try both as a user would get them.

Each is installed alone in an empty environment, where the README's quick start runs. The wheel is built from the
unpacked source distribution, so that it can't hold a file that the source distribution lacks.

Usage: ``python scripts/release.py [--check]``. With ``--check`` an unfinished setting is reported and does not stop it.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from set_up import install  # noqa: E402 - its directory had to be found first

from hatch_build import absolute_links, version  # noqa: E402 - the same

DIST = ROOT / "dist"
QUICK_START = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""The first Python block of the README, which needs the core alone."""
RELATIVE_LINK = re.compile(r"\]\((?!\w+:|#|//)([^)#\s]+)")


class ReleaseError(Exception):
    """The release can't be made. Args: one sentence that says what to mend."""


def main(arguments: list[str]) -> int:
    """Return 0 once both distributions are in ``dist/`` and were tried."""
    parser = argparse.ArgumentParser(description="Build and try a release.")
    parser.add_argument("--check", action="store_true", help="build and try although settings are unfinished")
    options = parser.parse_args(arguments)
    unfinished = unfinished_settings(ROOT)
    for reason in unfinished:
        say(reason)
    if unfinished and not options.check:
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="release-") as scratch:
            built = build(Path(scratch))
            run([sys.executable, "-m", "twine", "check", "--strict", *map(str, built)])
            for number, distribution in enumerate(built):
                try_out(distribution, Path(scratch) / f"environment-{number}")
    except ReleaseError as error:
        say(str(error))
        return 1
    for distribution in built:
        say(f"{hashlib.sha256(distribution.read_bytes()).hexdigest()}  {distribution.relative_to(ROOT)}")
    return 0


def unfinished_settings(root: Path) -> list[str]:
    """Return why the tree at *root* must not be released, one sentence each."""
    reasons = []
    home = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["versioned-io"]["home"]
    if re.match(r"https?://[^/]*\.invalid(?:[:/]|$)", home):
        reasons.append(
            f"{home} is a placeholder: set [tool.versioned-io] home in pyproject.toml to the project's address"
        )
    heading = rf"^## {re.escape(version(root))}(?: - \d{{4}}-\d{{2}}-\d{{2}})?$"
    if not re.search(heading, (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        reasons.append(f"CHANGELOG.md has no heading '## {version(root)} - YYYY-MM-DD': date the release there")
    return reasons


def build(scratch: Path) -> list[Path]:
    """Return the paths of the wheel and the source distribution, built into an empty ``dist/``."""
    shutil.rmtree(DIST, ignore_errors=True)
    hatchling = [sys.executable, "-m", "hatchling", "build", "--directory", str(DIST)]
    run([*hatchling, "--target", "sdist"], cwd=ROOT)
    (source,) = DIST.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(scratch, filter="data")
    unpacked = scratch / source.name.removesuffix(".tar.gz")
    check_contents(unpacked)
    run([*hatchling, "--target", "wheel"], cwd=unpacked)
    (wheel,) = DIST.glob("*.whl")
    return [wheel, source]


def check_contents(unpacked: Path) -> None:
    """Check that the source distribution holds the target of every relative link in its documents.

    Raises:
        ReleaseError: A document leads to a file that is not in it. Add that to the sdist's ``include``.
    """
    for document in [*unpacked.glob("*.md"), *(unpacked / "docs").rglob("*.md")]:
        for target in RELATIVE_LINK.findall(document.read_text()):
            if not (document.parent / target).exists():
                msg = f"{document.relative_to(unpacked)} leads to {target}, which the source distribution lacks"
                raise ReleaseError(msg)
    readme = absolute_links((unpacked / "README.md").read_text(), "https://home.invalid", "v0")
    if left := RELATIVE_LINK.findall(readme):
        msg = f"README.md keeps relative links on the package index: {left}"
        raise ReleaseError(msg)


def try_out(distribution: Path, environment: Path) -> None:
    """Install *distribution* alone in an empty environment, and run its command and the quick start there."""
    say(f"installing {distribution.name} in an empty environment")
    venv.create(environment, with_pip=True, symlinks=True)
    install(environment, str(distribution))
    work = environment / "work"
    work.mkdir()
    code = QUICK_START.findall((ROOT / "README.md").read_text())[0]
    # -I: neither this tree nor a user's own packages can be imported by mistake.
    run([str(environment / "bin" / "python"), "-I", "-c", code], cwd=work)
    stated = run([str(environment / "bin" / "versioned"), "--version"], cwd=work)
    if version(ROOT) not in stated:
        msg = f"{distribution.name} says that it is {stated.strip()!r}, not {version(ROOT)}"
        raise ReleaseError(msg)
    run([str(environment / "bin" / "versioned"), "init", "another"], cwd=work)
    say(f"{distribution.name} runs the quick start")


def run(command: list[str], cwd: Path = ROOT) -> str:
    """Return what *command* printed.

    Raises:
        ReleaseError: It failed; the text holds what it printed.
    """
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        msg = f"{' '.join(command[:6])} failed:\n{result.stdout}"
        raise ReleaseError(msg)
    return result.stdout


def say(text: str) -> None:
    """Print one line at once."""
    print(f"release: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
