"""The peers, each used as a newcomer would, at its best settings for the case."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Finished, run_command, run_ours


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool that keeps versions of a directory, by the commands that do it.

    In a command ``{repo}`` is its storage, ``{dest}`` where to restore to, ``{name}`` a name for what is stored; it is
    run in the directory that is stored, or restored to.
    """

    name: str
    version: Sequence[str]
    init: Sequence[str]
    ingest: Sequence[Sequence[str]]
    restore: Sequence[str]
    env: Mapping[str, str]
    """May hold ``{home}``, a directory for its caches."""

    @property
    def program(self) -> str | None:
        """Where the program is; None when it is not installed."""
        return shutil.which(self.version[0])

    def run(self, command: Sequence[str], *, cwd: Path, repo: Path, name: str = "") -> Finished:
        """Run one of the commands."""
        home = repo.with_name(f"{repo.name}-home")
        home.mkdir(exist_ok=True)
        filled = [part.format(repo=repo, name=name, dest=cwd) for part in command]
        env = {key: value.format(home=home) for key, value in self.env.items()}
        return run_command(filled, cwd=cwd, env=env)

    def make(self, repo: Path) -> None:
        """Make an empty storage."""
        self.run(self.init, cwd=repo.parent, repo=repo)

    def store(self, repo: Path, source: Path, name: str) -> dict[str, float]:
        """Store a directory."""
        runs = [self.run(command, cwd=source, repo=repo, name=name) for command in self.ingest]
        return {"wall_s": sum(run.wall_s for run in runs), "peak_mib": max(run.peak_mib for run in runs)}

    def bring_back(self, repo: Path, dest: Path, name: str) -> dict[str, float]:
        """Restore what was stored under *name*, the last that was, into the empty directory *dest*."""
        dest.mkdir()
        return {"wall_s": self.run(self.restore, cwd=dest, repo=repo, name=name).wall_s}


class Ours:
    """versioned-io, with the same face as a peer."""

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
        """Restore what was stored last."""
        del name
        run, inside = run_ours("restore", repo.parent, store=repo, dest=dest, fsync=fsync)
        return {"wall_s": run.wall_s, **inside}


_GIT = (
    "git",
    "--git-dir={repo}",
    "--work-tree=.",
    "-c",
    "user.name=b",
    "-c",
    "user.email=b@localhost",
    "-c",
    "gc.auto=0",
)

PEERS = (
    Peer(
        name="restic",
        version=("restic", "version"),
        init=("restic", "-r", "{repo}", "--quiet", "init"),
        ingest=(("restic", "-r", "{repo}", "--quiet", "backup", "."),),
        restore=("restic", "-r", "{repo}", "--quiet", "restore", "latest", "--target", "."),
        env={"RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": "{home}"},
    ),
    Peer(
        name="borg",
        version=("borg", "--version"),
        init=("borg", "init", "--encryption=none", "{repo}"),
        ingest=(("borg", "create", "{repo}::{name}", "."),),
        restore=("borg", "extract", "{repo}::{name}"),
        env={"BORG_BASE_DIR": "{home}", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"},
    ),
    Peer(
        name="git",
        version=("git", "--version"),
        init=("git", "--git-dir={repo}", "init", "--quiet"),
        ingest=((*_GIT, "add", "-A", "."), (*_GIT, "commit", "--quiet", "-m", "{name}")),
        restore=(*_GIT, "checkout", "--quiet", "-f", "HEAD", "--", "."),
        env={"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    ),
)


def installed_peers(names: Sequence[str]) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers among *names* that are installed, and what version each is, or that it is missing."""
    found, versions = [], {}
    for peer in PEERS:
        if peer.name not in names:
            continue
        if peer.program is None:
            versions[peer.name] = "not installed, skipped: make bench-peers"
            continue
        found.append(peer)
        versions[peer.name] = run_command(peer.version, cwd=Path.cwd()).output.splitlines()[0]
    return found, versions
