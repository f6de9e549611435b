"""The peers, each used as by a newcomer, at its best settings for the case."""

import json
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.install_peers import program_of
from benchmarks.processes import ROOT, Finished, last_json, run_command, run_ours, settle, size_of

MIB = 1024 * 1024
MISSING: Final = "not installed, skipped: make bench-peers"


class Tool(Protocol):
    """A tool that keeps versions of a directory: one of the peers, or ours."""

    @property
    def name(self) -> str:
        """The name of the tool in the report."""

    def make(self, repo: Path) -> None:
        """Make an empty storage at *repo*, which does not exist."""

    def store(self, repo: Path, source: Path, name: str) -> dict[str, float]:
        """Store the directory *source* under *name*; return the measurements, ``wall_s`` among them."""

    def bring_back(self, repo: Path, dest: Path, name: str) -> dict[str, float]:
        """Restore the last version, of *name*, into *dest*, which does not exist; return the measurements."""

    def stored_bytes(self, repo: Path) -> int:
        """Return the size of its storage, without any working copy."""


@dataclass(frozen=True)
class Peer:
    """A tool whose storage is separate from the stored directory, defined by its commands.

    In a command ``{repo}`` is its storage, ``{home}`` a directory for its caches and settings, and ``{name}`` the name
    of the version. It runs in the directory that is stored, or in the target of a restore.
    """

    name: str
    version: Sequence[str]
    init: Sequence[Sequence[str]]
    ingest: Sequence[Sequence[str]]
    restore: Sequence[Sequence[str]]
    env: Mapping[str, str]

    def is_installed(self) -> bool:
        """Whether all programs of its commands exist."""
        commands = (self.version, *self.init, *self.ingest, *self.restore)
        return all(self.find(program) is not None for program in {command[0] for command in commands})

    def find(self, program: str) -> str | None:
        """Return the path of a program: in the peer's own environment, or else on the ``PATH``."""
        own = program_of(self.name, program)
        if own is not None or program == "python":
            return None if own is None else str(own)
        return shutil.which(program)

    def installed_version(self) -> str:
        """Return the version as the tool prints it."""
        return self._run_all([self.version], cwd=Path.cwd(), repo=Path.cwd())[0].output.splitlines()[-1].strip()

    def make(self, repo: Path) -> None:
        """See `Tool`."""
        _home_of(repo).mkdir()
        self._run_all(self.init, cwd=repo.parent, repo=repo)

    def store(self, repo: Path, source: Path, name: str) -> dict[str, float]:
        """See `Tool`."""
        return _taken(self._run_all(self.ingest, cwd=source, repo=repo, name=name))

    def bring_back(self, repo: Path, dest: Path, name: str) -> dict[str, float]:
        """See `Tool`."""
        dest.mkdir()
        return _taken(self._run_all(self.restore, cwd=dest, repo=repo, name=name))

    def stored_bytes(self, repo: Path) -> int:
        """See `Tool`."""
        return size_of(repo)

    def _run_all(self, commands: Sequence[Sequence[str]], *, cwd: Path, repo: Path, name: str = "") -> list[Finished]:
        values = {"repo": repo, "name": name, "home": _home_of(repo), "scripts": ROOT / "benchmarks"}
        env = {key: value.format(**values) for key, value in self.env.items()}
        finished = []
        for program, *arguments in commands:
            filled = [str(self.find(program)), *(argument.format(**values) for argument in arguments)]
            finished.append(run_command(filled, cwd=cwd, env=env))
        return finished


@dataclass(frozen=True)
class WorkspacePeer(Peer):
    """A tool that stores a directory of its own working copy, ``data``, and keeps its storage beside it.

    The data is linked into the working copy before the clock starts. Before the restore it is moved out, not deleted.
    The commands run in the working copy. A tool that writes to the files that it stores would change the files of the
    others, so this is checked.
    """

    storage: Sequence[str] = ()

    def make(self, repo: Path) -> None:
        """See `Tool`."""
        repo.mkdir()
        _home_of(repo).mkdir()
        self._run_all(self.init, cwd=repo, repo=repo)

    def store(self, repo: Path, source: Path, name: str) -> dict[str, float]:
        """See `Tool`."""
        data = repo / "data"
        if data.exists():
            data.rename(repo.with_name(f"{repo.name}-before-{name}"))
        shutil.copytree(source, data, copy_function=os.link)
        settle()
        before = _states_of(source)
        taken = _taken(self._run_all(self.ingest, cwd=repo, repo=repo, name=name))
        if _states_of(source) != before:
            msg = f"{self.name} changed the files that it was to store: copy them for it instead of linking"
            raise RuntimeError(msg)
        return taken

    def bring_back(self, repo: Path, dest: Path, name: str) -> dict[str, float]:
        """See `Tool`."""
        data = repo / "data"
        if data.exists():
            data.rename(dest.with_name(f"{dest.name}-aside"))
            settle()
        taken = _taken(self._run_all(self.restore, cwd=repo, repo=repo, name=name))
        data.rename(dest)
        return taken

    def stored_bytes(self, repo: Path) -> int:
        """See `Tool`."""
        return sum(size_of(repo / directory) for directory in self.storage)


class Ours:
    """versioned-io, with the same interface as a peer."""

    name = "versioned-io"

    def make(self, repo: Path) -> None:
        """Make an empty store with one repo."""
        run_ours("init", repo.parent, store=repo)

    def store(self, repo: Path, source: Path, name: str) -> dict[str, float]:
        """Store a directory; *name* is not needed."""
        del name
        run, inside = run_ours("ingest", repo.parent, store=repo, source=source)
        return {"wall_s": run.wall_s, "peak_mib": run.peak_mib, **inside}

    def bring_back(self, repo: Path, dest: Path, name: str, *, fsync: bool = False) -> dict[str, float]:
        """Restore the last version."""
        del name
        run, inside = run_ours("restore", repo.parent, store=repo, dest=dest, fsync=fsync)
        return {"wall_s": run.wall_s, "peak_mib": run.peak_mib, **inside}

    def stored_bytes(self, repo: Path) -> int:
        """See `Tool`."""
        return size_of(repo)


@dataclass(frozen=True, slots=True)
class ToldPeer:
    """A tool that commits single changes to a large tree, by a script that its own interpreter runs."""

    name: str
    environment: str
    script: str
    packages: Sequence[str]
    options: Mapping[str, Any]

    def installed_version(self) -> str | None:
        """Return the versions of its packages; None when it is not installed."""
        python = program_of(self.environment)
        if python is None:
            return None
        code = "import sys\nfrom importlib.metadata import version\nprint(*(f'{n} {version(n)}' for n in sys.argv[1:]))"
        return run_command([str(python), "-c", code, *self.packages], cwd=Path.cwd()).output.strip()

    def commit_told(self, directory: Path, *, entries: int, changes: int, repeats: int, seed: int) -> dict[str, float]:
        """Return the median time and added bytes of a commit of *changes* on a new tree of *entries*."""
        work = {"directory": str(directory), "entries": entries, "changes": changes, "repeats": repeats, "seed": seed}
        command = [
            str(program_of(self.environment)),
            str(ROOT / "benchmarks" / self.script),
            json.dumps({**work, **self.options}),
        ]
        inside = last_json(run_command(command, cwd=directory.parent))
        return {
            "after_1_ms": statistics.median(inside["times_s"]) * 1_000,
            "added_mib": statistics.median(inside["added_bytes"]) / MIB,
        }


def _states_of(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Return size, time of the last change and mode of every file below *directory*."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            state = Path(parent, name).stat()
            found[f"{parent}/{name}"] = (state.st_size, state.st_mtime_ns, state.st_mode)
    return found


def _home_of(repo: Path) -> Path:
    return repo.with_name(f"{repo.name}-home")


def _taken(runs: Sequence[Finished]) -> dict[str, float]:
    return {"wall_s": sum(run.wall_s for run in runs), "peak_mib": max(run.peak_mib for run in runs)}


_IDENTITY = ("-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "gc.auto=0")
_GIT = ("git", "--git-dir={repo}", "--work-tree=.", *_IDENTITY)
_GIT_ENV = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

PEERS = (
    Peer(
        name="restic",
        version=("restic", "version"),
        init=(("restic", "-r", "{repo}", "--quiet", "init"),),
        ingest=(("restic", "-r", "{repo}", "--quiet", "backup", "."),),
        restore=(("restic", "-r", "{repo}", "--quiet", "restore", "latest", "--target", "."),),
        env={"RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": "{home}"},
    ),
    Peer(
        name="borg",
        version=("borg", "--version"),
        init=(("borg", "init", "--encryption=none", "{repo}"),),
        ingest=(("borg", "create", "{repo}::{name}", "."),),
        restore=(("borg", "extract", "{repo}::{name}"),),
        env={"BORG_BASE_DIR": "{home}", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"},
    ),
    Peer(
        name="git",
        version=("git", "--version"),
        init=(("git", "--git-dir={repo}", "init", "--quiet"),),
        ingest=((*_GIT, "add", "-A", "."), (*_GIT, "commit", "--quiet", "-m", "{name}")),
        restore=((*_GIT, "checkout", "--quiet", "-f", "HEAD", "--", "."),),
        env=_GIT_ENV,
    ),
    WorkspacePeer(
        name="dvc",
        version=("dvc", "--version"),
        init=(("git", "init", "--quiet"), ("dvc", "init", "--quiet")),
        ingest=(
            ("dvc", "add", "--quiet", "data"),
            ("git", *_IDENTITY, "add", "data.dvc", ".gitignore", ".dvc"),
            ("git", *_IDENTITY, "commit", "--quiet", "-m", "{name}"),
        ),
        restore=(("dvc", "checkout", "--quiet"),),
        env={**_GIT_ENV, "HOME": "{home}", "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": "{home}"},
        storage=(".dvc", ".git"),
    ),
    WorkspacePeer(
        name="oxen",
        version=("python", "{scripts}/peer_oxen.py", "version"),
        init=(("python", "{scripts}/peer_oxen.py", "init"),),
        ingest=(("python", "{scripts}/peer_oxen.py", "ingest", "{name}"),),
        restore=(("python", "{scripts}/peer_oxen.py", "restore"),),
        env={"HOME": "{home}"},
        storage=(".oxen",),
    ),
)

TOLD_PEERS = (
    ToldPeer("icechunk", "icechunk", "peer_icechunk.py", ("icechunk", "zarr"), {"split": 0}),
    ToldPeer("icechunk-split", "icechunk", "peer_icechunk.py", ("icechunk", "zarr"), {"split": 10_000}),
    ToldPeer("deltalake", "deltalake", "peer_deltalake.py", ("deltalake",), {}),
)


def installed_peers(names: Sequence[str]) -> tuple[list[Peer], list[ToldPeer], dict[str, str]]:
    """Return the installed peers among *names*, and for each name the version or a note that it is missing."""
    found: list[Peer] = []
    told: list[ToldPeer] = []
    versions = {}
    for peer in PEERS:
        if peer.name in names:
            versions[peer.name] = peer.installed_version() if peer.is_installed() else MISSING
            found += [peer] if peer.is_installed() else []
    for other in TOLD_PEERS:
        if other.name in names:
            version = other.installed_version()
            versions[other.name] = MISSING if version is None else version
            told += [] if version is None else [other]
    return found, told, versions
