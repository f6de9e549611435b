"""Install the peers that come from PyPI: ``python -m benchmarks.install_peers``.

Each gets a virtual environment of its own: what they depend on clashes with each other and with this project. The
newest releases that this Python takes are installed; the page says which they were.
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
    """Return where a program of a peer's environment is; None when the peer is not installed whole."""
    environment = directory / peer
    found = environment / "bin" / program
    return found if (environment / "installed").exists() and found.exists() else None


def install(peer: str, *, directory: Path = DIRECTORY) -> None:
    """Make the peer's environment hold its packages; one that is whole already stays as it is.

    Raises:
        subprocess.CalledProcessError: pip could not; its output says why. The next call goes on.

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
    """Install all of *peers*, and return 1 when one of them failed: the others are there all the same."""
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
