"""Install the peers that come from PyPI: ``python -m benchmarks.install_peers``.

Each gets a virtual environment of its own, since their dependencies conflict with each other and with this project. The
newest releases for this Python are installed; the page names their versions.
"""

import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT

DIRECTORY: Final = ROOT / ".bench-peers"

PACKAGES: Final[Mapping[str, Sequence[str]]] = {
    "dvc": ("dvc",),
    "oxen": ("oxenai",),
    "icechunk": ("icechunk", "zarr"),
    "deltalake": ("deltalake", "pyarrow"),
}


def program_of(peer: str, program: str = "python", *, directory: Path = DIRECTORY) -> Path | None:
    """Return the path of a program of a peer's environment; None if the peer is not installed completely."""
    environment = directory / peer
    found = environment / "bin" / program
    return found if (environment / "installed").exists() and found.exists() else None


def install(peer: str, *, directory: Path = DIRECTORY) -> None:
    """Install the peer's packages into its environment; a complete environment stays unchanged.

    Raises:
        subprocess.CalledProcessError: pip failed; its output says why. The next call continues.

    Cost: 10 to 300 MB on the disk.
    """
    environment = directory / peer
    done = environment / "installed"
    if done.exists():
        print(f"bench-peers: {peer} is there")
        return
    started = time.monotonic()
    print(f"bench-peers: installing {peer}", flush=True)
    venv.create(environment, with_pip=True, symlinks=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, "install", "--quiet", *PACKAGES[peer]], check=True)
    done.touch()  # last: half an environment is none
    print(f"bench-peers: {peer} done in {time.monotonic() - started:.0f} s", flush=True)


def main(peers: Sequence[str]) -> int:
    """Install all of *peers*, and return 1 if one of them failed; the others are installed anyway."""
    failed = []
    for peer in peers:
        try:
            install(peer)
        except subprocess.CalledProcessError as error:
            failed.append(peer)
            print(f"bench-peers: {peer}: pip exited with {error.returncode}; the benchmarks will skip it", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PACKAGES)))
